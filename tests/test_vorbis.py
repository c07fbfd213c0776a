"""Ogg Vorbis by FFmpeg and by libsndfile is one and the same."""

import os

import numpy as np
import pytest
import soundfile
from conftest import rising_noise

from sed import audio
from sed.audio import open_recording
from sed.errors import RecordingError
from sed.soundfiles import BLOCK_SAMPLES, SoundFileDecoder

RATE = 8_000

pytest.importorskip("av")


def vorbis(path, n_seconds=40.0, n_channels=1):
    """Write noise, bit by bit: libsndfile crashes where it is given much Vorbis at once."""
    samples = rising_noise(int(n_seconds * RATE) * n_channels).reshape(-1, n_channels)
    with soundfile.SoundFile(path, "w", RATE, n_channels, "VORBIS", format="OGG") as file:
        for first in range(0, len(samples), RATE):
            file.write(samples[first : first + RATE])
    return path


def heard(decoder):
    """Return all samples, and what is said to be wrong."""
    blocks, trouble = [np.empty((0, decoder.n_channels), np.float32)], ""
    try:
        blocks += decoder.blocks()
    except RecordingError as error:
        trouble = str(error)
    decoder.close()
    return np.concatenate(blocks), trouble


def both(path):
    """Return what is heard as recordings are opened, and by libsndfile alone."""
    ours = open_recording(path)
    assert type(ours).__name__ == "VorbisDecoder"
    return heard(ours), heard(SoundFileDecoder(str(path), os.fsencode(path)))


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("n_seconds", [0.1, 29.9, 30.0, 40.0123, 65.536])
def test_the_samples_are_those_of_libsndfile(tmp_path, n_seconds, n_channels):
    (ours, trouble), (theirs, _) = both(vorbis(tmp_path / "x.ogg", n_seconds, n_channels))
    assert trouble == ""
    assert len(ours) == int(n_seconds * RATE)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def overwritten(content):
    middle = len(content) // 2
    return content[:middle] + bytes(3_000) + content[middle + 3_000 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "cut off there, before its end mark"),
        (overwritten, "a part of the file is missing or overwritten"),
        (lambda content: content[: len(content) // 2] + content[len(content) // 2 + 9_000 :],
         "a part of the file is missing or overwritten"),
        (lambda content: content + b"junk" * 1_000, ""),
        (lambda content: content + content, ""),
    ],
    ids=["cut", "overwritten", "a part gone", "more behind", "twice"],
)  # fmt: skip
def test_what_is_wrong_is_told_as_libsndfile_tells_it(tmp_path, damage, message):
    path = tmp_path / "x.ogg"
    path.write_bytes(damage(vorbis(path).read_bytes()))
    (ours, trouble), (theirs, their_trouble) = both(path)
    assert trouble == their_trouble
    assert message in trouble
    assert 0 <= len(ours) - len(theirs) < BLOCK_SAMPLES  # up to the damage, to the sample
    np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=1e-6)


def test_reading_begins_anywhere_after_a_seek(tmp_path):
    path = vorbis(tmp_path / "x.ogg")
    whole, _ = heard(SoundFileDecoder(str(path), os.fsencode(path)))
    decoder = open_recording(path)
    position = decoder.seek(12_345)
    rest, _ = heard(decoder)
    assert len(rest) == len(whole) - position


def test_without_ffmpeg_libsndfile_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "find_spec", lambda _: None)
    decoder = open_recording(vorbis(tmp_path / "x.ogg"))
    assert type(decoder) is SoundFileDecoder
    assert len(heard(decoder)[0]) == 40 * RATE
