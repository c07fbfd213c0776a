"""Tables, submissions and pseudo-labels of recordings without labels."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import train.evaluate.ensemble
from sed.cli import app
from sed.errors import RecordingError, UsageError
from sed.models.checkpoint import save_checkpoint
from tests.conftest import rising_noise
from train.data.audio import read_clip
from train.data.clips import Clip
from train.data.pseudo_labels import read_pseudo_labels
from train.evaluate.evaluate import predict_clips
from train.evaluate.predict import predict

LABELS = ("beep", "a, b\t'c'", "élan")
SECONDS = 5


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint):
    """Return the tiny model with windows as long as the rows of BirdCLEF."""
    return replace(tiny_checkpoint, window_seconds=5.0)


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder of two recordings, of 20 s and of 12 s."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "deep").mkdir()
    write(folder / "dawn.wav", 20)
    write(folder / "deep" / "dusk.wav", 12)
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture
def broken_site(site, tmp_path):
    """Return the same, with one recording that is damaged, and one that is none."""
    whole = site / "dawn.wav"
    (tmp_path / "dawn.wav").write_bytes(whole.read_bytes())
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[: 44 + 2 * 8_000 * 11])
    (tmp_path / "text.wav").write_text("this is no sound")
    return tmp_path


def write(path, seconds, seed=0):
    soundfile.write(path, rising_noise(8_000 * seconds, seed), 8_000)


def expected_probs(checkpoint, path):
    """Return what the model says about each whole window of a file."""
    samples, _ = soundfile.read(path, dtype="float32")
    n_windows = len(samples) // (SECONDS * 8_000)
    windows = samples[: n_windows * SECONDS * 8_000].reshape(n_windows, -1)
    with torch.inference_mode():
        return checkpoint.model(torch.from_numpy(windows)).clip_probs.numpy()


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def numbers(rows, first):
    return np.array([[float(cell) for cell in row[first:]] for row in rows])


def test_each_window_has_a_row(model, checkpoint, site, tmp_path):
    summary = predict([model], [site], output=tmp_path / "rows.csv", device="cpu", batch_size=3)
    header, *rows = rows_of(tmp_path / "rows.csv")
    assert header == ["file", "start", "end", *LABELS]
    dawn, dusk = str(site / "dawn.wav"), str(site / "deep" / "dusk.wav")
    assert [row[:3] for row in rows] == [
        [dawn, "0.000", "5.000"],
        [dawn, "5.000", "10.000"],
        [dawn, "10.000", "15.000"],
        [dawn, "15.000", "20.000"],
        [dusk, "0.000", "5.000"],
        [dusk, "5.000", "10.000"],
        [dusk, "10.000", "12.000"],
    ]
    expected = np.vstack([expected_probs(checkpoint, path) for path in (dawn, dusk)])
    np.testing.assert_allclose(numbers(rows[:6], 3), expected, atol=1e-5)
    assert (summary.n_recordings, summary.n_windows, summary.audio_seconds) == (2, 7, 32.0)
    assert summary.failures == []


def test_birdclef_has_a_row_every_five_seconds(model, checkpoint, site, tmp_path):
    predict([model], [site / "dawn.wav"], submission="birdclef", output=tmp_path / "rows.csv")
    header, *rows = rows_of(tmp_path / "rows.csv")
    assert header == ["row_id", *LABELS]
    assert [row[0] for row in rows] == ["dawn_5", "dawn_10", "dawn_15", "dawn_20"]
    expected = expected_probs(checkpoint, site / "dawn.wav")
    np.testing.assert_allclose(numbers(rows, 1), expected, atol=1e-5)


@pytest.mark.parametrize("submission", ["urban", "freesound"])
def test_a_recording_has_the_classes_that_an_evaluation_gives_it(
    model, checkpoint, site, tmp_path, submission
):
    predict([model], [site], submission=submission, output=tmp_path / "rows.csv", device="cpu")
    clips = [Clip(str(site / name), (), name) for name in ("dawn.wav", "deep/dusk.wav")]
    probs = predict_clips([checkpoint], clips, device="cpu").clip_probs
    header, *rows = rows_of(tmp_path / "rows.csv")
    if submission == "urban":
        assert header == ["ID", "Class"]
        expected = [LABELS[c] for c in probs.argmax(1)]
        assert rows == [["dawn", expected[0]], ["dusk", expected[1]]]
    else:
        assert header == ["fname", "label"]
        names = ("beep", "a,_b\t'c'", "élan")
        expected = [" ".join(names[c] for c in np.argsort(-row)) for row in probs]
        assert rows == [["dawn.wav", expected[0]], ["dusk.wav", expected[1]]]


def test_a_submission_is_complete_though_recordings_are_broken(
    model, checkpoint, broken_site, tmp_path
):
    out = tmp_path / "rows.csv"
    summary = predict([model], [broken_site], submission="birdclef", output=out, device="cpu")
    _, *rows = rows_of(out)
    ids = [row[0] for row in rows]
    # cut.wav was predicted for 11 s, dawn.wav whole; the missing rows come last.
    predicted = ["cut_5", "cut_10", "cut_15", "dawn_5", "dawn_10", "dawn_15", "dawn_20"]
    assert ids == [*predicted, "cut_20", "text_5", "text_10", "text_15", "text_20"]
    assert summary.n_imputed == 5
    failures = [str(error) for error in summary.failures]
    assert ["cut.wav: damaged at 11.000 s" in failures[0], "text.wav: " in failures[1]] == [
        True
    ] * 2
    probs = numbers(rows, 1)
    np.testing.assert_allclose(probs[7:], np.tile(probs[:7].mean(0), (5, 1)), rtol=1e-4)
    plain = tmp_path / "plain.csv"
    assert predict([model], [broken_site], output=plain, device="cpu").n_imputed == 0
    assert len(rows_of(plain)) == 1 + 7


def test_a_recording_per_row_is_filled_too(model, broken_site, tmp_path):
    out = tmp_path / "rows.csv"
    summary = predict([model], [broken_site], submission="urban", output=out)
    rows = rows_of(out)[1:]
    assert [row[0] for row in rows] == ["cut", "dawn", "text"]
    assert all(row[1] in LABELS for row in rows)
    assert summary.n_imputed == 1
    only = predict([model], [broken_site / "text.wav"], submission="birdclef", output=out)
    assert [row[0] for row in rows_of(out)[1:]] == ["text_5"]
    np.testing.assert_allclose(numbers(rows_of(out)[1:], 1), 1 / 3, atol=1e-5)
    assert (only.n_imputed, only.n_windows) == (1, 0)


def test_pseudo_labels_are_read_as_they_were_predicted(model, checkpoint, site, tmp_path):
    table = tmp_path / "soft.csv"
    predict([model], [site], pseudo_labels=table, device="cpu")
    clips = read_pseudo_labels(table, min_prob=0.0)
    assert [(clip.start_seconds, clip.duration_seconds) for clip in clips] == [
        (0, 5), (5, 5), (10, 5), (15, 5), (0, 5), (5, 5), (10, 2),
    ]  # fmt: skip
    assert {clip.path for clip in clips} == {
        str(site / name) for name in ("dawn.wav", "deep/dusk.wav")
    }
    rate = checkpoint.timeline.sample_rate
    for clip in clips[:4]:
        assert clip.pseudo.labels == LABELS
        with torch.inference_mode():
            expected = checkpoint.model(torch.from_numpy(read_clip(clip, rate))[None])
        np.testing.assert_allclose(clip.pseudo.clip_probs, expected.clip_probs[0], atol=1e-5)
        np.testing.assert_allclose(clip.pseudo.frame_probs, expected.frame_probs[0], atol=1e-3)
    # The last window holds 2 s: their frames are distributed evenly over them.
    assert clips[-1].pseudo.frame_probs.shape == clips[0].pseudo.frame_probs.shape
    predicted = np.ceil(2 / 5 * len(clips[-1].pseudo.frame_probs))
    assert 1 < len(np.unique(clips[-1].pseudo.frame_probs[:, 0])) <= predicted


def test_what_was_there_stays_if_it_cannot_be_finished(model, site, tmp_path, monkeypatch):
    out = tmp_path / "rows.csv"
    out.write_text("of yesterday")
    real, calls = train.evaluate.ensemble.Ensemble._probabilities, []

    def interrupted(self, batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(train.evaluate.ensemble.Ensemble, "_probabilities", interrupted)
    done = sed("predict", model, site, "--output", out, "--batch-size", "4")
    assert calls == [4, 3]
    assert done.exit_code == 130
    assert done.stderr == "sed: stopped; nothing was written\n"
    assert out.read_text() == "of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_misuse_is_reported_before_anything_is_predicted(model, tiny_checkpoint, site, tmp_path):
    write(tmp_path / "dawn.wav", 5)
    (tmp_path / "none").mkdir()
    short = tmp_path / "short.safetensors"
    save_checkpoint(tiny_checkpoint, short)
    both = [site / "dawn.wav", tmp_path / "dawn.wav"]
    for arguments, options, message in (
        (([model], both), {"submission": "urban"}, "and there are several of: dawn$"),
        (
            ([short], both[:1]),
            {"submission": "birdclef"},
            "the windows of these models are 1 s long",
        ),
        (([model], both), {"submission": "bird"}, "Did you mean birdclef"),
        (([model], both), {"pseudo_labels": "soft.parquet"}, "expected a table to write, NAME.csv"),
    ):
        with pytest.raises(UsageError, match=message):
            predict(*arguments, **options, output=tmp_path / "rows.csv")
    with pytest.raises(RecordingError, match="holds no recordings"):
        predict([model], [tmp_path / "none"], output=tmp_path / "rows.csv")
    assert not (tmp_path / "rows.csv").exists()


# ------------------------------------------------------------------------------------- the command


def sed(*arguments):
    return CliRunner().invoke(app(), [str(a) for a in arguments])


def test_the_command_writes_to_standard_output_and_says_what_failed(model, broken_site, tmp_path):
    done = sed("predict", model, broken_site, "--submission", "birdclef")
    assert done.exit_code == 1
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert len(rows) == 1 + 12
    assert f"sed: {broken_site / 'text.wav'}: is not a sound file" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "3 recordings · 7 windows · 31.0 s of sound · 2 failures · 5 rows filled with the mean of "
        "all others"
    )
    soft = sed(
        "predict", broken_site / "dawn.wav", model, "--pseudo-labels", tmp_path / "x" / "soft.csv"
    )
    assert (soft.exit_code, soft.stdout) == (0, "")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["soft.csv", "soft.npz"]


def test_models_and_recordings_are_distinguished(model, site, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for suffix in (".safetensors", ".json"):
        (run / f"best{suffix}").write_bytes(model.with_suffix(suffix).read_bytes())
    by_file = sed("predict", model, site / "dawn.wav", "-q")
    assert by_file.stdout.count("\n") == 5
    assert sed("predict", run, site / "dawn.wav", "-q").stdout == by_file.stdout
    assert "no checkpoint among" in str(sed("predict", site).exception)
    assert "no recording among" in str(sed("predict", model, run).exception)
