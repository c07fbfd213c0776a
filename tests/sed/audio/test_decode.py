import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.audio.blocks import read_blocks, read_recording
from sed.audio.decode import open_recording
from sed.audio.decoders.libsndfile import SoundFileDecoder
from sed.audio.decoders.pcm import PcmStreamDecoder
from sed.audio.resample import Resampler
from sed.errors import DamagedRecordingError, MissingExtraError, RecordingError

# Ending, container, encoding, and how near the samples come back.
FORMATS = [
    ("wav", "WAV", "PCM_U8", 2e-2),
    ("wav", "WAV", "PCM_16", 1e-4),
    ("wav", "WAV", "PCM_24", 1e-6),
    ("wav", "WAV", "PCM_32", 1e-6),
    ("wav", "WAV", "FLOAT", 1e-7),
    ("wav", "WAV", "DOUBLE", 1e-7),
    ("WAV", "WAVEX", "PCM_16", 1e-4),
    ("wav", "RF64", "PCM_16", 1e-4),
    ("w64", "W64", "PCM_16", 1e-4),
    ("flac", "FLAC", "PCM_16", 1e-4),
    ("ogg", "OGG", "VORBIS", 0.2),
    ("aiff", "AIFF", "PCM_16", 1e-4),
]


@pytest.mark.parametrize(("ending", "container", "encoding", "tolerance"), FORMATS)
def test_formats(tmp_path, tone, ending, container, encoding, tolerance):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, tone, 16_000, format=container, subtype=encoding)
    samples = read_recording(path, 16_000)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone, atol=tolerance)


@pytest.mark.parametrize(("ending", "encoding"), [("opus", "OPUS"), ("mp3", "MPEG_LAYER_III")])
def test_lossy_formats_keep_length_and_pitch(tmp_path, ending, encoding):
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(96_000) / 48_000)
    path = tmp_path / f"x.{ending}"
    container = "OGG" if ending == "opus" else "MP3"
    soundfile.write(path, tone, 48_000, format=container, subtype=encoding)
    samples = read_recording(path, 48_000)
    assert len(samples) == 96_000
    assert np.abs(np.fft.rfft(samples)).argmax() == 2_000


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000])
def test_any_rate_becomes_the_models_and_the_tone_stays_in_its_place(tmp_path, rate):
    time = np.arange(2 * rate) / rate
    path = tmp_path / "x.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1_000 * time), rate, subtype="FLOAT")
    samples = read_recording(path, 16_000)
    assert len(samples) == 32_000
    expected = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 16_000)
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=2e-3)


def test_after_an_hour_at_another_rate_a_click_is_where_it_was():
    """44.1 to 16 kHz, pushed in odd pieces; the last click is 200 ms before the end."""
    resampler = Resampler(44_100, 16_000)
    n_samples, click = 3_600 * 44_100, 3_600 * 44_100 - 8_820
    block = np.zeros(100_003, np.float32)
    position, peaks, n_out = 0, [], 0
    while position < n_samples:
        part = block[: min(len(block), n_samples - position)]
        if position <= click < position + len(part):
            part = part.copy()
            part[click - position] = 1.0
        out = resampler.push(part)
        position += len(part)
        if out.size and out.max() > 0.1:
            peaks.append(n_out + int(out.argmax()))
        n_out += len(out)
    n_out += len(resampler.flush())
    assert n_out == 3_600 * 16_000
    assert len(peaks) == 1
    assert abs(peaks[0] / 16_000 - click / 44_100) < 1e-4


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 20_000), max_size=8),
    st.sampled_from([(44_100, 16_000), (48_000, 32_000), (8_000, 16_000), (16_000, 16_000)]),
)
def test_the_resampler_does_not_mind_how_samples_arrive(cuts, rates):
    samples = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    resampler = Resampler(*rates)
    parts = [resampler.push(part) for part in np.split(samples, sorted(cuts))]
    ours = np.concatenate([*parts, resampler.flush()])
    expected = samples if rates[0] == rates[1] else soxr.resample(samples, *rates)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_channels_are_averaged_or_chosen(tmp_path):
    left, right = np.full(8_000, 0.5), np.full(8_000, -0.1)
    path = tmp_path / "x.wav"
    soundfile.write(path, np.stack([left, right], axis=1), 8_000, subtype="FLOAT")
    assert read_recording(path, 8_000)[0] == pytest.approx(0.2)
    assert read_recording(path, 8_000, channel=1)[0] == pytest.approx(0.5)
    assert read_recording(path, 8_000, channel=2)[0] == pytest.approx(-0.1)
    with pytest.raises(RecordingError, match="has no channel 3: it has 2, counted from 1"):
        read_recording(path, 8_000, channel=3)


@pytest.mark.parametrize("encoding", ["u8", "s16", "s24", "s32", "f32", "f64"])
def test_raw_streams_of_every_encoding(encoding, tone):
    subtype = {
        "u8": "PCM_U8",
        "s16": "PCM_16",
        "s24": "PCM_24",
        "s32": "PCM_32",
        "f32": "FLOAT",
        "f64": "DOUBLE",
    }[encoding]
    raw = io.BytesIO()
    soundfile.write(
        raw, np.stack([tone, -tone], axis=1), 16_000, format="RAW", subtype=subtype, endian="LITTLE"
    )
    raw.seek(0)
    decoder = PcmStreamDecoder(raw, 16_000, encoding, n_channels=2)
    blocks = np.concatenate(list(decoder.blocks()))
    np.testing.assert_allclose(blocks, np.stack([tone, -tone], 1), atol=1e-2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_from_a_pipe(tmp_path, tone, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone, 16_000, subtype=subtype)
    program = (
        "import sed, sys, numpy as np;"
        "x = sed.read_recording('-', 16_000); print(len(x), abs(x).max().round(2))"
    )
    command = f'cat {path} | {sys.executable} -c "{program}"'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.split() == ["32000", "0.5"], done.stderr


def write_container(path, codec, samples, form, layout):
    """Write samples at 16 kHz, shape (1, n), through FFmpeg."""
    av = pytest.importorskip("av", reason="needs the av extra")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format=form, layout=layout)
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_containers_of_other_kinds_are_read_with_the_extra(tmp_path, tone):
    path = tmp_path / "x.m4a"
    write_container(path, "aac", tone[None], "fltp", "mono")
    samples = read_recording(path, 16_000)
    assert abs(len(samples) - 32_000) <= 2_048  # the encoder pads
    assert np.abs(np.fft.rfft(samples[:16_000])).argmax() == 1_000


def test_of_eight_channels_in_a_container_each_is_read(tmp_path):
    path = tmp_path / "eight.mka"
    levels = np.linspace(0.1, 0.8, 8, dtype=np.float32)
    write_container(path, "pcm_f32le", np.tile(levels, 16_000)[None], "flt", "7.1")
    for channel, level in enumerate(levels, 1):
        decoded = read_recording(path, 16_000, channel=channel)
        np.testing.assert_allclose(decoded, np.full(16_000, level), atol=1e-6)


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "x.m4a"
    path.write_bytes(b"\0\0\0\x18ftypM4A " + b"\0" * 100)
    with pytest.raises(MissingExtraError, match=r"x\.m4a.*pip install 'sed-engine\[av\]'"):
        open_recording(path)


def test_blocks_are_small_however_long_the_recording(noise_wav):
    assert max(len(b) for b in read_blocks(noise_wav, 8_000)) <= 16_384


def chunk(name, body, size=None):
    return (
        name + struct.pack("<I", len(body) if size is None else size) + body + len(body) % 2 * b"\0"
    )


def riff(*chunks, rate=16_000):
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))
    body = b"WAVE" + form + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


SOUND = np.arange(1, 4_001, dtype="<i2").tobytes()


@pytest.mark.parametrize(
    "stream",
    [
        riff(chunk(b"data", SOUND)),
        riff(chunk(b"data", SOUND, 0)),
        riff(chunk(b"data", SOUND, 2_000)),
        riff(chunk(b"data", SOUND), chunk(b"LIST", bytes(999))) + b"\xff" * 50,
        riff(chunk(b"data", SOUND[:4_000]), chunk(b"id3 ", b"x"), chunk(b"data", SOUND[4_000:])),
        riff(chunk(b"data", SOUND[:4_000])) + riff(chunk(b"data", SOUND[4_000:])),
    ],
    ids=["whole", "size 0", "size too small", "metadata behind", "two chunks", "joined"],
)
def test_of_a_wav_stream_all_samples_are_read(stream):
    decoder = PcmStreamDecoder.from_wav(io.BytesIO(stream))
    samples = np.concatenate(list(decoder.blocks()))[:, 0]
    np.testing.assert_array_equal(samples * 32_768, np.arange(1, 4_001))


def test_a_wav_stream_of_another_format_behind_the_first_is_damage():
    stream = riff(chunk(b"data", SOUND)) + riff(chunk(b"data", SOUND), rate=8_000)
    decoder = PcmStreamDecoder.from_wav(io.BytesIO(stream))
    with pytest.raises(DamagedRecordingError, match=r"damaged at 0\.250 s: a recording of another"):
        list(decoder.blocks())


@pytest.mark.parametrize("rate", [384_002, 500_000, 1_000_000])
def test_the_rates_of_bat_detectors_take_little_memory_and_keep_the_tone(tmp_path, rate):
    path = tmp_path / "x.wav"
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(2 * rate) / rate)
    soundfile.write(path, tone, rate, subtype="FLOAT")
    blocks = list(read_blocks(path, 16_000))
    assert max(map(len, blocks)) <= 16_384
    samples = np.concatenate(blocks)
    assert len(samples) == 32_000
    expected = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 16_000)
    np.testing.assert_allclose(samples[800:-800], expected[800:-800], atol=2e-3)


def test_whatever_a_library_raises_is_an_error_of_the_recording(tmp_path, tone, monkeypatch):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone, 16_000)
    for error in (ValueError("odd"), MemoryError(), OverflowError("far\ntoo big")):
        monkeypatch.setattr(SoundFileDecoder, "_read_block", lambda *_, error=error: throw(error))
        with pytest.raises(
            RecordingError, match=rf"x\.wav: cannot be read \({type(error).__name__}"
        ):
            read_recording(path, 16_000)
        monkeypatch.setattr(SoundFileDecoder, "_opened", lambda *_, error=error: throw(error))
        with pytest.raises(
            RecordingError, match=rf"x\.wav: cannot be read \({type(error).__name__}"
        ):
            open_recording(path)
        monkeypatch.undo()


def throw(error):
    raise error
