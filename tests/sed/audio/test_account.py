"""What headers say about a recording is what decoding it finds."""

import struct

import numpy as np
import pytest
import soundfile

from sed.audio import blocks
from sed.audio.blocks import examine
from sed.audio.decode import open_recording
from tests.conftest import rising_noise
from tests.sed.audio.decoders.containers import write_movie

RATE = 16_000
SECONDS = 20.0
SOUND = 0.5 * rising_noise(int(SECONDS * RATE))


def write(path, format, subtype):
    with soundfile.SoundFile(path, "w", RATE, 1, subtype, format=format) as file:
        # In steps: libsndfile crashes where it is given much Vorbis at once.
        for start in range(0, len(SOUND), RATE):
            file.write(SOUND[start : start + RATE])
    return path.read_bytes()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    formats = {
        "wav": ("WAV", "PCM_16"),
        "aiff": ("AIFF", "PCM_16"),
        "flac": ("FLAC", "PCM_16"),
        "vorbis": ("OGG", "VORBIS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }
    return {name: write(folder / name, *form) for name, form in formats.items()}


def examined(path, max_seconds):
    decoder = open_recording(path)
    try:
        return examine(str(path), decoder, max_seconds=max_seconds)
    finally:
        decoder.close()


def cut(content):
    return content[: len(content) * 6 // 10]


def with_size(content, size):
    at = content.index(b"data") + 4
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def half_lost(content):
    return content[: len(content) // 2] + content[len(content) * 3 // 4 :]


CASES = {
    "wav": ("wav", lambda c: c, 20.0, ""),
    "cut wav": ("wav", cut, 12.0, "the header promises 640000 bytes of sound"),
    "unfinished wav": ("wav", lambda c: with_size(c, 0), 20.0, ""),
    "wav that promises less": ("wav", lambda c: with_size(c, 64_000), 20.0, ""),
    "joined wav": ("wav", lambda c: c + c, 40.0, ""),
    "joined wav, cut": ("wav", lambda c: c + cut(c), 32.0, "the header promises 640000 bytes"),
    "cut aiff": ("aiff", cut, 12.0, "the header promises"),
    "flac": ("flac", lambda c: c, 20.0, ""),
    "cut flac": ("flac", cut, 12.0, "it is cut off there; its header promises 20.000 s"),
    "vorbis": ("vorbis", lambda c: c, 20.0, ""),
    "cut vorbis": ("vorbis", cut, 12.0, "it is cut off there, before its end mark"),
    "mp3": ("mp3", lambda c: c, 20.0, ""),
    "joined mp3": ("mp3", lambda c: c + c, 40.0, ""),
    "mp3 with a hole": ("mp3", half_lost, 15.0, "cannot be decoded"),
}


@pytest.mark.parametrize("name", CASES)
def test_headers_say_what_decoding_finds(originals, tmp_path, name):
    pytest.importorskip("av")
    original, change, seconds, fault = CASES[name]
    path = tmp_path / "a"
    path.write_bytes(change(originals[original]))
    whole, quick = examined(path, None), examined(path, 0.0)
    assert (whole.is_complete, quick.is_complete) == (True, False)
    assert 0 < quick.n_decoded < RATE * 6
    assert whole.n_decoded == whole.n_samples
    # Frames at a cut, and the delay of an MP3 encoder, which headers of frames do not show.
    near = 0.3 if original in ("flac", "mp3") else 0.0
    assert quick.n_samples == pytest.approx(whole.n_samples, abs=near * RATE)
    assert whole.n_samples / RATE == pytest.approx(seconds, rel=0.1)
    for found in (whole, quick):
        assert (found.failure is not None) == bool(fault), found.failure
        assert fault in str(found.failure or "")


def test_the_rest_of_a_chain_is_not_guessed(originals, tmp_path):
    path = tmp_path / "a"
    for name in ("vorbis", "flac"):
        path.write_bytes(2 * originals[name])
        assert examined(path, 0.0).n_samples is None
        assert examined(path, None).n_samples == 40 * RATE


def test_samples_that_are_not_numbers_and_files_without_any_are_failures(tmp_path):
    path = tmp_path / "a.wav"
    sound = SOUND.copy()
    sound[100] = np.nan
    soundfile.write(path, sound, RATE, "FLOAT")
    for seconds in (None, 0.0):
        assert "1 samples are non-finite" in str(examined(path, seconds).failure)
    soundfile.write(path, SOUND[:0], RATE)
    assert "holds no samples" in str(examined(path, 0.0).failure)
    soundfile.write(path, 0 * SOUND, RATE)
    silent = "every sample is zero (digital silence). Check the microphone."
    assert str(examined(path, None).failure).endswith(silent)


def test_gaps_of_a_container_are_found_as_far_as_it_is_decoded(tmp_path):
    path = tmp_path / "a.mkv"
    write_movie(path, [(0, SOUND), (25.0, SOUND)])
    found = examined(path, 60.0)
    assert found.is_complete
    assert found.n_samples == pytest.approx(45 * RATE, abs=0.01 * RATE)
    assert "damaged at 20.032 s: 5.000 s are missing" in str(found.failure)
    assert examined(path, 0.0).failure is None


def test_a_long_recording_is_decoded_for_a_bounded_time(originals, tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    path.write_bytes(cut(originals["flac"]))
    clock = iter(range(1_000))
    monkeypatch.setattr(blocks.time, "monotonic", lambda: next(clock))
    found = examined(path, 2.5)
    assert found.n_decoded / 16_384 == 3
    assert "cut off" in str(found.failure)


def test_a_large_mp3_is_not_read_from_end_to_end(originals, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(originals["mp3"])
    monkeypatch.setattr("sed.audio.account.MAX_SCAN_BYTES", 1_000)
    found = examined(path, 1.0)
    assert (found.n_samples, found.n_decoded, found.is_complete) == (None, 0, False)
    assert examined(path, None).n_samples == pytest.approx(SECONDS * RATE, abs=0.1 * RATE)
