"""What follows a recording in its file is read, or it is reported."""

import re

import numpy as np
import pytest
import soundfile

from sed.audio.blocks import examine
from sed.audio.decode import open_recording
from sed.errors import DamagedRecordingError
from tests.sed.audio.decoders.containers import RATE, clicks, onsets, write_movie

SAMPLES = clicks(2.0, 0.5, 1.25)
JUNK = np.random.default_rng(1).bytes(30_000)


def read(path):
    """Return the samples of the first channel, and the error."""
    blocks, message, decoder = [], "", open_recording(path)
    try:
        blocks += decoder.blocks()
    except DamagedRecordingError as error:
        message = str(error)
    finally:
        decoder.close()
    return np.concatenate(blocks)[:, 0], message


def by_headers(path):
    decoder = open_recording(path)
    try:
        return examine(str(path), decoder, max_seconds=0.0).n_samples
    finally:
        decoder.close()


@pytest.mark.parametrize("name", ["a.aiff", "a.caf", "a.w64"])
def test_joined_files_of_chunks_are_all_read_but_for_their_headers(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, SAMPLES, RATE)
    path.write_bytes(3 * path.read_bytes())
    samples, message = read(path)
    assert message == ""
    assert len(samples) == 3 * len(SAMPLES)
    assert onsets(samples) == pytest.approx([0.5, 1.25, 2.5, 3.25, 4.5, 5.25], abs=0.001)
    assert by_headers(path) is None


@pytest.mark.parametrize("follows", ["junk", "the same"])
def test_what_follows_a_tta_file_is_reported(tmp_path, follows):
    path = tmp_path / "a.tta"
    write_movie(path, [(0, SAMPLES)], codec="tta")
    content = path.read_bytes()
    path.write_bytes(content + (JUNK if follows == "junk" else content))
    samples, message = read(path)
    assert onsets(samples) == pytest.approx([0.5, 1.25], abs=0.001)
    assert re.search(r"damaged at (1\.984|2\.000) s: ", message)
    assert "bytes follow that cannot be decoded" in message
    path.write_bytes(content)
    assert read(path)[1] == ""


@pytest.mark.parametrize("name", ["a.mka", "a.webm"])
def test_what_follows_a_matroska_file_is_read_or_reported(tmp_path, name):
    path = tmp_path / name
    codec = "libopus" if name == "a.webm" else "pcm_s16le"
    write_movie(path, [(0, SAMPLES)], codec=codec)
    content = path.read_bytes()
    path.write_bytes(content + JUNK)
    assert "30,000 bytes behind the recording are not read" in read(path)[1]
    path.write_bytes(2 * content)
    samples, message = read(path)
    assert message == ""
    assert len(samples) > 1.95 * len(SAMPLES)
