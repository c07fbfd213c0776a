"""Samples of clips, read or decoded, are the same samples."""

import struct
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sed.audio.blocks import read_recording
from sed.errors import DamagedRecordingError, RecordingError
from tests.conftest import rising_noise
from train.data.audio import PlainWav, n_samples, plain_wav, read_clip, wav_header
from train.data.clips import Clip

RATE = 8_000


def clip_of(path, start=0.0, duration=None):
    return Clip(str(path), ("a",), "a", start_seconds=start, duration_seconds=duration)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the same two seconds as a plain file of either kind, and as files to decode."""
    folder = tmp_path_factory.mktemp("store")
    sound = rising_noise(2 * RATE)
    for name, subtype in (("pcm.wav", "PCM_16"), ("float.wav", "FLOAT"), ("flac.flac", "PCM_16")):
        soundfile.write(folder / name, sound, RATE, subtype)
    soundfile.write(folder / "wavex.wav", sound, RATE, "PCM_16", format="WAVEX")
    soundfile.write(folder / "deep.wav", sound, RATE, "PCM_24")
    soundfile.write(folder / "rf64.rf64", sound, RATE, "FLOAT", format="RF64")
    soundfile.write(folder / "stereo.wav", np.stack([sound, sound], axis=1), RATE, "FLOAT")
    soundfile.write(folder / "ogg.ogg", sound, RATE)
    soundfile.write(folder / "mp3.mp3", sound, RATE)
    return folder


@pytest.mark.parametrize(
    ("name", "dtype"), [("pcm.wav", np.int16), ("float.wav", np.float32), ("wavex.wav", np.int16)]
)
def test_plain_files_are_read_as_they_are(files, name, dtype):
    plain = plain_wav(files / name, RATE)
    assert isinstance(plain, PlainWav)
    assert plain.dtype == dtype
    np.testing.assert_array_equal(plain[:], soundfile.read(files / name, dtype=dtype)[0])


@pytest.mark.parametrize(
    "name",
    ["deep.wav", "rf64.rf64", "stereo.wav", "flac.flac", "ogg.ogg", "mp3.mp3", "none.wav", "."],
)
def test_what_has_to_be_decoded_is_not_plain(files, name):
    assert plain_wav(files / name, RATE) is None


def test_another_rate_is_not_plain(files):
    assert plain_wav(files / "pcm.wav", RATE + 1) is None


def test_unknown_chunks_are_passed_over(files, tmp_path):
    data = (files / "float.wav").read_bytes()
    body = data[12:36] + b"LIST" + struct.pack("<I", 3) + b"odd\0" + data[36:]
    path = tmp_path / "chunks.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    np.testing.assert_array_equal(plain_wav(path, RATE)[:], soundfile.read(files / "float.wav")[0])


@pytest.mark.parametrize("n_bytes", [-2, 1])
def test_a_file_that_is_not_as_long_as_it_says_is_left_to_the_decoder(files, tmp_path, n_bytes):
    data = (files / "pcm.wav").read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(data[:n_bytes] if n_bytes < 0 else data + b"\1" * n_bytes)
    assert plain_wav(path, RATE) is None
    if n_bytes < 0:
        with pytest.raises(DamagedRecordingError):
            read_clip(clip_of(path), RATE)


@pytest.mark.parametrize("n_bytes", [100, 0])
def test_a_file_that_shrinks_is_an_error(files, tmp_path, n_bytes):
    """A map of it would end the process."""
    path = tmp_path / "shrinks.wav"
    path.write_bytes((files / "float.wav").read_bytes())
    plain = plain_wav(path, RATE)
    with open(path, "rb+") as file:
        file.truncate(n_bytes)
    with pytest.raises(RecordingError, match="has become shorter since it was opened"):
        plain[RATE:]
    path.unlink()
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        plain[RATE:]


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 55))
def test_a_header_of_any_bytes_is_a_wav_or_none(tmp_path_factory, noise, place):
    path = tmp_path_factory.getbasetemp() / "noise.wav"
    whole = bytearray(wav_header(100, RATE, np.float32) + bytes(400))
    whole[place : place + len(noise)] = noise
    path.write_bytes(whole)
    plain = plain_wav(path, RATE)
    assert plain is None or 0 < len(plain) * plain.dtype.itemsize <= len(whole)


@pytest.mark.parametrize(("dtype", "subtype"), [(np.int16, "PCM_16"), (np.float32, "FLOAT")])
def test_the_header_is_what_libsndfile_expects(tmp_path, dtype, subtype):
    path = tmp_path / "x.wav"
    samples = (rising_noise(1_001) * (1 if dtype == np.float32 else 20_000)).astype(dtype)
    path.write_bytes(wav_header(1_001, RATE, dtype) + samples.tobytes())
    about = soundfile.info(path)
    assert (about.format, about.subtype, about.frames) == ("WAV", subtype, 1_001)
    assert (about.samplerate, about.channels) == (RATE, 1)
    np.testing.assert_array_equal(soundfile.read(path, dtype=dtype)[0], samples)


@pytest.mark.parametrize("rate", [RATE, 11_025])
@pytest.mark.parametrize(
    "name", ["pcm.wav", "float.wav", "stereo.wav", "flac.flac", "ogg.ogg", "mp3.mp3"]
)
def test_a_clip_is_what_decoding_gives(files, name, rate):
    samples = read_clip(clip_of(files / name), rate)
    assert samples.dtype == np.float32
    assert samples.flags.writeable  # augmentation works in place
    np.testing.assert_array_equal(samples, read_recording(files / name, rate))
    known = n_samples(clip_of(files / name), rate)
    assert known == (None if name == "mp3.mp3" else len(samples))


@settings(max_examples=60, deadline=None)
@example(name="pcm.wav", rate=5_000, begin=0.0, seconds=0.2495, start=None, length=None)
@given(
    name=st.sampled_from(["pcm.wav", "float.wav", "flac.flac"]),
    rate=st.sampled_from([RATE, 5_000]),
    begin=st.floats(0, 2.5),
    seconds=st.none() | st.floats(0, 2.5),
    start=st.none() | st.integers(0, 20_000),
    length=st.none() | st.integers(0, 20_000),
)
def test_a_range_is_a_slice_of_the_whole(files, name, rate, begin, seconds, start, length):
    clip = clip_of(files / name, begin, seconds)
    # Exact, since a product of floats may be rounded up to the half of a sample.
    first = int(Fraction(begin) * rate + Fraction(1, 2))
    end = None if seconds is None else first + int(Fraction(seconds) * rate + Fraction(1, 2))
    whole = read_recording(files / name, rate)[first:end]
    wanted = whole[start or 0 :][:length]
    np.testing.assert_array_equal(read_clip(clip, rate, start=start, length=length), wanted)
    assert n_samples(clip, rate) == len(whole)


def test_nothing_but_the_clip_is_read(tmp_path):
    path = tmp_path / "day.wav"
    n = 400_000_000  # 1.6 GB that take no room on the disk
    with open(path, "wb") as file:
        file.write(wav_header(n, RATE, np.float32))
        file.truncate(file.tell() + 4 * n)
    tracemalloc.start()
    try:
        samples = read_clip(clip_of(path, start=20_000.0), RATE, start=100, length=5 * RATE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert samples.shape == (5 * RATE,)
    assert peak < 3 * samples.nbytes


def test_decoding_ends_where_the_clip_does(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, rising_noise(8 * RATE), RATE)
    whole = read_recording(path, RATE)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(DamagedRecordingError):
        read_clip(clip_of(path), RATE)
    np.testing.assert_array_equal(read_clip(clip_of(path, duration=2.0), RATE), whole[: 2 * RATE])


def test_samples_that_are_nan_are_reported(tmp_path):
    path = tmp_path / "nan.wav"
    samples = rising_noise(RATE)
    samples[4_000] = np.nan
    soundfile.write(path, samples, RATE, "FLOAT")
    assert np.isfinite(read_clip(clip_of(path), RATE, length=4_000)).all()
    with pytest.raises(RecordingError, match="holds samples that are not finite"):
        read_clip(clip_of(path), RATE, start=3_999, length=2)


def test_a_missing_file_is_reported_as_by_the_decoder(tmp_path):
    for read in (read_clip, n_samples):
        with pytest.raises(RecordingError, match="no such file"):
            read(clip_of(tmp_path / "none.wav"), RATE)


def test_a_size_that_is_too_small_is_left_to_the_decoder(files, tmp_path):
    data = (files / "pcm.wav").read_bytes()
    at = data.index(b"data") + 4
    (n_bytes,) = struct.unpack_from("<I", data, at)
    path = tmp_path / "small.wav"
    path.write_bytes(data[:at] + struct.pack("<I", n_bytes // 2) + data[at + 4 :])
    assert plain_wav(path, RATE) is None
    assert n_samples(clip_of(path), RATE) == n_bytes // 2
