"""Soft labels: what an ensemble made of recordings, as a table to learn from."""

import numpy as np
import pytest

from sed.errors import TableError, UsageError
from train.data.pseudo_labels import read_pseudo_labels, write_pseudo_labels

LABELS = ["dog", "a, b\t'c'", "file"]


@pytest.fixture
def table(tmp_path):
    """Return a table of four rows: three clips of one recording, and one of another."""
    for name in ("a.wav", "é.wav"):
        (tmp_path / name).touch()
    path = tmp_path / "soft.csv"
    clips, frames = probabilities()
    files = [str(tmp_path / name) for name in ("a.wav", "a.wav", "a.wav", "é.wav")]
    write_pseudo_labels(path, files, [0, 0.1 + 0.2, 10, 0], [5, 5, 2.5, 5], LABELS, clips, frames)
    return path


def probabilities():
    frames = (
        np.random.default_rng(0).uniform(size=(4, 7, 3)) * np.array([1, 1, 0.4, 1])[:, None, None]
    )
    return frames.max(axis=1), frames


def test_pseudo_labels_come_back_as_they_were_written(table):
    clips, frames = probabilities()
    read = read_pseudo_labels(table, min_prob=0.0)
    assert [clip.start_seconds for clip in read] == [0, 0.1 + 0.2, 10, 0]
    assert [clip.duration_seconds for clip in read] == [5, 5, 2.5, 5]
    assert [clip.group for clip in read] == ["a.wav"] * 3 + ["é.wav"]
    assert {(clip.labels, clip.fold) for clip in read} == {((), "train")}
    for clip, clip_probs, frame_probs in zip(read, clips, frames, strict=True):
        assert clip.pseudo.labels == tuple(LABELS)
        assert clip.pseudo.frame_probs.dtype == np.float16
        assert clip.pseudo.clip_probs.dtype == np.float32
        np.testing.assert_allclose(clip.pseudo.clip_probs, clip_probs, atol=5e-7)
        np.testing.assert_allclose(clip.pseudo.frame_probs, frame_probs, atol=2**-12)


def test_clips_without_a_certain_class_are_left_out(table):
    highest = probabilities()[0].max(axis=1)
    assert highest[2] < 0.4 < 0.5 < highest[[0, 1, 3]].min()
    kept = read_pseudo_labels(table, min_prob=0.5)
    assert [clip.start_seconds for clip in kept] == [0, 0.1 + 0.2, 0]
    with pytest.raises(TableError, match=r"no clip has a probability of 0\.9999 or more"):
        read_pseudo_labels(table, min_prob=0.9999)


def test_faulty_rows_are_reported_together(table):
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("a.wav", "gone.wav")
    lines[2] = lines[2].rsplit(",", 1)[0] + ",1.5"
    lines[3] = lines[3].replace(",2.5,", ",0,")
    lines[4] = lines[4].rsplit(",", 1)[0] + ",much"
    table.write_text("\n".join(lines))
    with pytest.raises(TableError) as caught:
        read_pseudo_labels(table, min_prob=0.0)
    assert str(caught.value).splitlines()[1:] == [
        f"  row 2: gone.wav: no such file in {table.parent}",
        "  row 3: a.wav: expected probabilities from 0 to 1",
        "  row 4: a.wav: expected start >= 0 and duration > 0, got 10 and 0",
        "  row 5: é.wav: expected a number for file, got 'much'",
    ]


def test_files_that_do_not_belong_together_are_refused(table):
    text = table.read_text()
    table.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(TableError, match=r"has 3 rows, but soft\.npz has 4"):
        read_pseudo_labels(table, min_prob=0.0)
    table.write_text(text.replace(",dog,", ",cat,"))
    with pytest.raises(TableError, match=r"and the 3 classes of soft\.npz in their order"):
        read_pseudo_labels(table, min_prob=0.0)
    table.write_text(text)
    archive = table.with_suffix(".npz")
    good = archive.read_bytes()
    np.savez(archive, labels=np.array(LABELS), frame_probs=np.zeros((4, 3)))
    with pytest.raises(TableError, match=r"got \(4, 3\) and \(3,\)"):
        read_pseudo_labels(table, min_prob=0.0)
    np.save(table.with_suffix(".npy"), np.zeros(3))
    alone = table.with_suffix(".npy").read_bytes()
    broken = good[:80] + bytes(200) + good[280:]
    for content in (b"", b"PK\3\4nothing", b"nothing", good[:-90], broken, alone):
        archive.write_bytes(content)
        with pytest.raises(TableError, match=r"soft\.npz: cannot be read"):
            read_pseudo_labels(table, min_prob=0.0)
    archive.unlink()
    with pytest.raises(TableError, match=r"soft\.npz: cannot be read"):
        read_pseudo_labels(table, min_prob=0.0)


def test_nothing_in_an_archive_is_unpickled(table):
    np.savez(table.with_suffix(".npz"), labels=np.array([{}]), frame_probs=np.zeros((4, 7, 1)))
    with pytest.raises(TableError, match="Object arrays cannot be loaded"):
        read_pseudo_labels(table, min_prob=0.0)


def test_shapes_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path):
    def write(name="x.csv", clips=(2, 3), frames=(2, 7, 3), begins=(0, 1)):
        write_pseudo_labels(
            tmp_path / name, ["a", "b"], begins, [5, 5], LABELS, np.zeros(clips), np.zeros(frames)
        )

    for wrong in ({"clips": (2, 2)}, {"frames": (1, 7, 3)}, {"frames": (2, 3)}):
        with pytest.raises(UsageError, match=r"of 2 rows and 3 classes, got \("):
            write(**wrong)
    with pytest.raises(UsageError, match="a file, a start and a duration for each row"):
        write(begins=(0,))
    with pytest.raises(UsageError, match=r"x\.tsv: expected a table of pseudo-labels, NAME\.csv"):
        write("x.tsv")
    assert not any(tmp_path.iterdir())
