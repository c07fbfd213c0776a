"""Recordings in pipes are read as they come."""

import os
import re
import struct
import sys
import threading
from contextlib import closing, contextmanager, suppress

import numpy as np
import pytest
import soundfile

from sed.audio.blocks import read_recording
from sed.audio.decode import is_pipe, open_recording
from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError
from tests.sed.audio.decoders.containers import RATE, clicks, onsets

SAMPLES = clicks(2.0, 0.5, 1.25)


@contextmanager
def piped(content):
    """Yield the path of a pipe that bytes are written into, as of the shell's ``<(command)``."""
    reading, writing = os.pipe()

    def write():
        # The reader may give up.
        with open(writing, "wb", buffering=0) as pipe, suppress(OSError):
            pipe.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        thread.join()


def encoded(tmp_path, name, subtype, samples=SAMPLES):
    """Return a recording as bytes."""
    path = tmp_path / name
    soundfile.write(path, samples, RATE, subtype=subtype)
    return path.read_bytes()


def read(content):
    """Return the samples of the first channel, and the error."""
    blocks, message = [], ""
    with piped(content) as path, closing(open_recording(path)) as decoder:
        try:
            blocks += decoder.blocks()
        except DamagedRecordingError as error:
            message = str(error)
    return np.concatenate(blocks)[:, 0], message


def test_a_named_pipe_is_read_as_a_stream(tmp_path):
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    content = encoded(tmp_path, "x.wav", "PCM_16")
    thread = threading.Thread(target=lambda: path.write_bytes(content))
    thread.start()
    samples = read_recording(path, RATE)
    thread.join()
    assert is_pipe(path)
    assert len(samples) == len(SAMPLES)
    assert onsets(samples) == pytest.approx([0.5, 1.25], abs=0.005)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("x.flac", "PCM_16"),
        ("x.ogg", "VORBIS"),
        ("x.ogg", "OPUS"),
        ("x.mp3", "MPEG_LAYER_III"),
        ("x.aiff", "PCM_16"),
        ("x.w64", "PCM_16"),
    ],
)
def test_formats_that_need_no_seek(tmp_path, name, subtype):
    pytest.importorskip("av", reason="needs the av extra")
    with piped(encoded(tmp_path, name, subtype)) as path:
        samples = read_recording(path, RATE)
    assert len(samples) == pytest.approx(len(SAMPLES), abs=0.05 * RATE)
    assert onsets(samples) == pytest.approx([0.5, 1.25], abs=0.005)


@pytest.mark.parametrize(
    ("name", "subtype", "change"),
    [
        ("x.flac", "PCM_16", "middle"),
        ("x.flac", "PCM_16", "behind"),
        ("x.w64", "PCM_16", "behind"),
        ("x.aiff", "PCM_16", "behind"),
        ("x.ogg", "VORBIS", "middle"),
        ("x.ogg", "VORBIS", "behind"),
        ("x.mp3", "MPEG_LAYER_III", "start"),
        ("x.mp3", "MPEG_LAYER_III", "cut"),
        ("x.ogg", "OPUS", "page"),
        ("x.mp3", "MPEG_LAYER_III", "middle"),
        ("x.mp3", "MPEG_LAYER_III", "behind"),
    ],
)
def test_what_cannot_be_decoded_is_damage(tmp_path, name, subtype, change):
    pytest.importorskip("av", reason="needs the av extra")
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 8)
    content = encoded(tmp_path, name, subtype, noise)
    half, rest = len(content) // 2, len(content) // 8
    garbage = bytes(range(128)) * (rest // 128)
    if change == "start":
        content = content[:200] + bytes(5_000) + content[5_200:]
    elif change == "cut":
        content = content[: 7 * rest]
    elif change == "page":  # the first one with sound
        page = content.find(b"OggS", content.find(b"OpusTags"))
        content = content[:page] + b"xxxx" + content[page + 4 :]
    elif change == "middle":
        content = content[:half] + garbage + content[half + len(garbage) :]
    else:
        content += garbage
    samples, message = read(content)
    assert "damaged at " in message
    rate = 48_000 if subtype == "OPUS" else RATE
    assert len(samples) / rate == pytest.approx(8, abs=1.5)  # bytes are a measure of time in MP3


@pytest.mark.parametrize("number", [2, -2])
def test_a_damaged_page_of_more_than_a_second_is_damage(tmp_path, number):
    pytest.importorskip("av", reason="needs the av extra")
    path = tmp_path / "x.ogg"
    noise = np.random.default_rng(0).normal(0, 0.1, 8_000)
    with soundfile.SoundFile(path, "w", 8_000, 1, "VORBIS", format="OGG") as file:
        for _ in range(20):
            file.write(noise)
    content = bytearray(path.read_bytes())
    pages = [page.start() for page in re.finditer(b"OggS\0", content)]
    content[pages[number] + 600] ^= 1
    samples, message = read(bytes(content))
    assert len(samples) / 8_000 == pytest.approx(18.7, abs=0.1)
    assert re.search(r"damaged at 18\.\d{3} s: it should last 20\.000 s", message)
    content[pages[number] + 600] ^= 1
    assert read(bytes(content))[1] == ""


@pytest.mark.parametrize("content", [b"", b"\0" * 5_000, b"some text " * 99, b"\xff\xfb" * 999])
def test_what_is_no_stream_of_sound_is_refused_with_the_remedy(content):
    with piped(content) as path, pytest.raises(RecordingError) as caught:
        open_recording(path)
    assert caught.value.path == path
    remedy = "Give it as a file." if content else "this stream is empty. Pipe a recording into it."
    assert str(caught.value).endswith(remedy)


def test_a_container_with_its_index_at_the_end_is_refused(tmp_path):
    av = pytest.importorskip("av", reason="needs the av extra")
    with av.open(str(tmp_path / "x.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        # Long enough that FFmpeg cannot seek in what it has read.
        noise = np.random.default_rng(0).normal(0, 0.3, (1, 10 * RATE)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with (
        piped((tmp_path / "x.m4a").read_bytes()) as path,
        pytest.raises(RecordingError, match=r"cannot be read from a pipe .* as a file\.$"),
        closing(open_recording(path)) as decoder,
    ):
        list(decoder.blocks())


def test_without_the_extra_a_pipe_of_flac_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with (
        piped(encoded(tmp_path, "x.flac", "PCM_16")) as path,
        pytest.raises(MissingExtraError, match=r"pip install 'sed-engine\[av\]'"),
    ):
        open_recording(path)


def test_a_wav_stream_of_24_bits_in_32_is_read_by_its_alignment():
    samples = (SAMPLES * 8_388_607).astype("<i4")
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 4 * RATE, 4, 24)
    data = samples.tobytes()
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    content = b"RIFF" + struct.pack("<I", len(body)) + body
    streamed, message = read(content)
    assert message == ""
    np.testing.assert_allclose(streamed, samples / 2**31, atol=1e-9)


def test_a_wav_stream_without_a_sample_rate_is_an_error_of_the_recording(tmp_path):
    content = bytearray(encoded(tmp_path, "x.wav", "PCM_16"))
    content[24:28] = bytes(4)
    with piped(content) as path, pytest.raises(RecordingError, match=r"gives 0 samples per"):
        open_recording(path)


def odd_wav(tmp_path):
    """Return a WAV file of 24 bits with an odd number of bytes of sound, without padding."""
    samples = SAMPLES[:-1] if len(SAMPLES) % 2 == 0 else SAMPLES
    content = encoded(tmp_path, "x.wav", "PCM_24", samples)
    start = content.index(b"data") + 8
    return content[: start + 3 * len(samples)]


FOLLOWING = {
    "no padding": (lambda wav: wav + wav, [0.5, 1.25, 2.5, 3.25]),
    "padding": (lambda wav: wav + b"\0" + wav, [0.5, 1.25, 2.5, 3.25]),
    "sound": (lambda wav: wav + wav[-3 * RATE :], [0.5, 1.25, 2.25]),
    "unknown chunk": (
        lambda wav: wav + b"\0" + b"zzZZ" + struct.pack("<I", 6_000) + 2_000 * b"\x7f\x20\x70",
        [0.5, 1.25],
    ),
    "unfinished": (
        lambda wav: wav + with_data_size(wav, -3 * (len(SAMPLES) - 1)),
        [0.5, 1.25, 2.5, 3.25],
    ),
    "partial sample": (
        lambda wav: with_data_size(wav[:-1], -1) + wav,
        [0.5, 1.25, 2.5, 3.25],
    ),
}


def with_data_size(content, n_more):
    """Return a WAV file whose header promises some bytes more or less."""
    at = content.index(b"data") + 4
    size = struct.unpack("<I", content[at : at + 4])[0] + n_more
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_follows_an_odd_number_of_bytes_of_sound_in_a_pipe(tmp_path, name):
    change, times = FOLLOWING[name]
    samples, message = read(change(odd_wav(tmp_path)))
    assert message == ""
    assert onsets(samples) == pytest.approx(times, abs=0.005)
    assert np.median(np.abs(samples)) < 0.002


def test_a_long_chunk_of_unknown_name_in_a_pipe_is_reported(tmp_path):
    content = encoded(tmp_path, "x.wav", "PCM_16")
    chunk = b"zzZZ" + struct.pack("<I", 1_100_000) + bytes(1_100_000)
    samples, message = read(content + chunk)
    assert len(samples) == len(SAMPLES) + 550_004
    assert "damaged at 2.000 s: 1100000 bytes there look like a chunk of unknown name" in message
    # Sound beyond a promised length does not look like that.
    assert read(content + content[-40_000:])[1] == ""
