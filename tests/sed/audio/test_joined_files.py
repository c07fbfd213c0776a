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


@pytest.mark.parametrize("name", ["a.aiff", "a.au", "a.caf", "a.w64"])
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


def test_packets_of_asf_that_cannot_be_found_are_reported(tmp_path):
    path = tmp_path / "a.wma"
    write_movie(path, [(0, SAMPLES)], codec="mp2")
    samples, message = read(path)
    assert (len(samples) / RATE, message) == (pytest.approx(2.0, abs=0.1), "")
    content = bytearray(path.read_bytes())
    # A wrong length, and a damaged header of a payload before the last packet of 3,200 bytes.
    properties = content.index(b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11")
    content[properties + 64 : properties + 72] = b"\0\xff\xff\0\0\0\0\0"
    at = len(content) - 2 * 3_200 + 12
    content[at : at + 12] = 12 * b"\xff"
    path.write_bytes(content)
    samples, message = read(path)
    assert onsets(samples) == pytest.approx([0.5, 1.25], abs=0.04)
    assert re.search(r"damaged at 1\.7\d\d s: 6,400 bytes follow that cannot be dec", message)


def with_total(content, n_samples):
    """Return a FLAC file whose header promises another number of samples."""
    value = int.from_bytes(content[18:26], "big") >> 36 << 36 | n_samples
    return content[:18] + value.to_bytes(8, "big") + content[26:]


@pytest.mark.parametrize("total", [4_096, 16_000, 30_000])
@pytest.mark.parametrize("n_before", [0, 1])
def test_a_joined_flac_that_promises_less_is_read_to_its_end(tmp_path, total, n_before):
    pytest.importorskip("av", reason="needs the av extra")
    path = tmp_path / "a.flac"
    soundfile.write(path, SAMPLES, RATE)
    content = path.read_bytes()
    path.write_bytes(n_before * content + with_total(content, total) + content)
    samples, message = read(path)
    assert message == ""
    assert len(samples) == (n_before + 2) * len(SAMPLES)
    expected = [2 * n + time for n in range(n_before + 2) for time in (0.5, 1.25)]
    assert onsets(samples) == pytest.approx(expected, abs=0.001)


def amr(path, seconds=4.0):
    """Write noise as AMR; return its bytes."""
    av = pytest.importorskip("av", reason="needs the av extra")
    if "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("FFmpeg has no encoder of AMR")
    noise = np.random.default_rng(0).normal(0, 3_000, round(seconds * 8_000)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        stream.codec_context.bit_rate = 12_200
        for start in range(0, len(noise), 160):
            frame = av.AudioFrame.from_ndarray(noise[None, start : start + 160], "s16", "mono")
            frame.sample_rate, frame.pts = 8_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("junk", [JUNK, bytes(30_000)], ids=["noise", "zeros"])
def test_junk_in_amr_is_reported_and_costs_its_own_time(tmp_path, junk):
    path = tmp_path / "a.amr"
    content = amr(path)
    samples, message = read(path)
    n_whole = len(samples)
    assert (n_whole / 8_000, message) == (pytest.approx(4.0, abs=0.1), "")
    path.write_bytes(content + junk)
    samples, message = read(path)
    assert len(samples) == pytest.approx(n_whole, abs=4 * 160)
    assert "bytes follow that cannot be decoded" in message
    # 31 bytes are a frame of 20 ms.
    path.write_bytes(content[:3_000] + junk[:1_550] + content[3_000:])
    samples, message = read(path)
    assert len(samples) == pytest.approx(n_whole + 50 * 160, abs=6 * 160)
    assert re.search(r"damaged at 1\.8\d\d s: .* cannot be decoded", message)
    path.write_bytes(2 * content)
    samples, message = read(path)
    assert (len(samples), message) == (pytest.approx(2 * n_whole, abs=160), "")


def test_pauses_in_amr_are_no_damage(tmp_path):
    path = tmp_path / "a.amr"
    content = amr(path, 3.0)
    magic, frames = content[:6], [content[at : at + 32] for at in range(6, len(content), 32)]
    # A description of silence, and seven frames of nothing, as phones send them.
    pause = bytes([0x44, 16, 32, 48, 64, 80]) + 7 * b"\x7c"
    path.write_bytes(b"".join([magic, *frames[:50], 12 * pause, *frames[50:100]]))
    samples, message = read(path)
    assert (len(samples), message) == (196 * 160, "")
    assert 0 < np.abs(samples[55 * 160 : 140 * 160]).max() < 0.02
    assert np.abs(samples[150 * 160 :]).max() > 0.1
