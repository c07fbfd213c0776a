import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import RecordingError
from streaming.results.clips import excerpts
from streaming.results.clips.excerpts import RecordingFinder, read_excerpts

RATE = 8_000


@pytest.fixture(scope="module", params=["wav", "flac", "ogg"])
def recording(request, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("r") / f"a.{request.param}")
    sound = 0.1 * np.random.default_rng(0).normal(size=(20 * RATE, 2))
    soundfile.write(path, sound, RATE)
    return path, soundfile.read(path, dtype="float32")[0]


@given(st.lists(st.tuples(st.floats(-1, 19.5), st.floats(0.01, 8)), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_excerpts_are_the_samples_of_the_recording(recording, spans):
    path, sound = recording
    spans = [(start, max(start, 0) + length) for start, length in spans]
    found = {e.number: e for e in read_excerpts(path, spans)}
    assert sorted(found) == list(range(len(spans)))
    for i, (start, end) in enumerate(spans):
        first = max(0, round(start * RATE))
        assert np.array_equal(found[i].samples, sound[first : round(end * RATE)])
        assert found[i].start_seconds == first / RATE
        assert found[i].sample_rate == RATE


def test_far_parts_are_reached_by_a_seek(tmp_path, monkeypatch):
    path = str(tmp_path / "a.wav")
    sound = np.random.default_rng(0).uniform(-1, 1, 60 * RATE).astype("f4")
    soundfile.write(path, sound, RATE, "FLOAT")
    n_decoded = 0
    read = excerpts._read

    def counted(path, blocks, *rest):
        def count():
            nonlocal n_decoded
            for block in blocks:
                n_decoded += len(block)
                yield block

        return read(path, count(), *rest)

    monkeypatch.setattr(excerpts, "_read", counted)
    found = list(read_excerpts(path, [(50, 51), (0.5, 1), (20, 21)]))
    assert [e.number for e in found] == [1, 2, 0]
    assert np.array_equal(found[2].samples[:, 0], sound[50 * RATE : 51 * RATE])
    assert n_decoded < 12 * RATE


def test_a_recording_that_ends_before_an_event(recording):
    found = []
    with pytest.raises(RecordingError, match=r"ends at 20\.000 s, before an event at 30\.000 s"):
        found.extend(read_excerpts(recording[0], [(30, 31), (1, 2)]))


def test_what_is_before_damage_is_read(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 20 * RATE), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = []
    with pytest.raises(RecordingError, match="cut off"):
        found.extend(read_excerpts(str(path), [(1, 2), (18, 19)]))
    assert [excerpt.number for excerpt in found] == [0]


def test_recordings_of_one_name_differ_by_their_folders(tmp_path, monkeypatch):
    for site in ("north", "south"):
        (tmp_path / "disk" / site).mkdir(parents=True)
        soundfile.write(tmp_path / "disk" / site / "a.wav", np.zeros(800), RATE)
    monkeypatch.chdir(tmp_path)
    finder = RecordingFinder(["disk", tmp_path / "disk"])
    assert finder.find("D:\\rec\\North\\a.wav").endswith("disk/north/a.wav")
    assert finder.find("rec/south/a").endswith("disk/south/a.wav")
    with pytest.raises(RecordingError, match=r"several recordings have this name: .*north.*south"):
        finder.find("west/a.wav")
    assert RecordingFinder([], tables=["disk/south"]).find("a.wav") == "disk/south/a.wav"
