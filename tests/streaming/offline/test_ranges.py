"""A recording that several threads read, range by range, is the recording that one reads."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.audio.blocks import read_blocks
from sed.audio.decode import open_recording
from sed.audio.decoders.libsndfile import SoundFileDecoder
from sed.errors import SedError
from streaming.engines.pytorch import TorchEngine
from streaming.offline import ranges
from streaming.offline.detect import stream_detections
from streaming.offline.ranges import read_parallel
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from streaming.pipeline.feature_stream import FeatureStream
from tests.bad_recordings import TABLE
from tests.conftest import TINY_LOG_MEL, rising_noise

PLAIN = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AU", "FLOAT"),
    ("CAF", "PCM_16"),
    ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
]


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    return TorchEngine(tiny_checkpoint, "cpu", "fp32")


@pytest.fixture
def short_ranges(monkeypatch):
    """Let ranges be of two seconds."""
    monkeypatch.setattr(ranges, "RANGE_SECONDS", 2.0)


def detector_of(engine):
    return Detector(engine, DetectorConfig(hop_seconds=0.5))


def in_ranges(engine, path, *, channel=None, n_readers=3):
    """Return the columns of all whole ranges."""
    with closing(open_recording(path)) as decoder:
        found = read_parallel(
            detector_of(engine).front_end, path, decoder, channel=channel, n_readers=n_readers
        )
        return np.concatenate([np.empty((0, 24), np.float32), *found])


def in_one_stream(engine, path, channel=None):
    stream = detector_of(engine).front_end.feature_stream()
    with closing(read_blocks(path, 8_000, channel=channel)) as blocks:
        return np.concatenate([part for block in blocks for part in stream.push(block)])


def analyse(engine, path, n_readers):
    """Return all columns and events of a recording, and the message of its error."""
    columns, events, failure = [np.empty((0, 24), np.float32)], [], ""
    try:
        for detection in stream_detections(detector_of(engine), str(path), n_readers=n_readers):
            columns.append(detection.log_mel)
            events += detection.events
    except SedError as error:
        failure = str(error)
    return np.concatenate(columns), events, failure


def reader_threads():
    return [thread for thread in threading.enumerate() if "range-reader" in thread.name]


@pytest.mark.parametrize(("container", "subtype"), PLAIN)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_plain_samples_and_flac_are_entered_at_any_sample(tmp_path, container, subtype, n_channels):
    path = str(tmp_path / "sound")
    noise = rising_noise(2 * 50_001)[: 50_001 * n_channels].reshape(-1, n_channels)
    soundfile.write(path, noise, 44_100, format=container, subtype=subtype)
    with closing(open_recording(path)) as decoder:
        whole = np.concatenate(list(decoder.blocks()))
    for position in (1, 4_095, 4_096, 16_384, 31_337, 49_999, 50_000):
        with closing(open_recording(path)) as decoder:
            assert decoder.seeks_exactly
            assert decoder.seek(position) == position
            np.testing.assert_array_equal(np.concatenate(list(decoder.blocks())), whole[position:])


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM")],
)
def test_what_seeks_roughly_is_read_in_one_stream(
    tmp_path, engine, short_ranges, container, subtype
):
    path = str(tmp_path / "sound")
    soundfile.write(path, rising_noise(160_000), 8_000, format=container, subtype=subtype)
    with closing(open_recording(path)) as decoder:
        assert not decoder.seeks_exactly
    assert len(in_ranges(engine, path)) == 0


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    n_seconds=st.floats(1.0, 12.0),
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000, 96_000]),
    channels=st.sampled_from([(1, None), (2, None), (2, 2), (3, 1)]),
    container=st.sampled_from(["WAV", "FLAC"]),
    range_seconds=st.sampled_from([0.3, 0.5, 1.7, 4.0]),
    n_readers=st.integers(2, 5),
)
def test_ranges_equal_the_stream(
    tmp_path_factory, engine, seed, n_seconds, rate, channels, container, range_seconds, n_readers
):
    n_channels, channel = channels
    path = str(tmp_path_factory.getbasetemp() / "ranges")
    noise = rising_noise(round(n_seconds * rate) * n_channels, seed).reshape(-1, n_channels)
    soundfile.write(path, noise, rate, format=container)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "RANGE_SECONDS", range_seconds)
        found = in_ranges(engine, path, channel=channel, n_readers=n_readers)
    stream = in_one_stream(engine, path, channel)
    n_each = 50 * max(1, int(range_seconds / 0.5))
    # Ranges count on as many resampled samples as are certain; the stream may have one more.
    n_at_8_khz = round(n_seconds * rate) * 8_000 // rate
    n_complete = TINY_LOG_MEL.n_columns(TINY_LOG_MEL.left_padding + n_at_8_khz)
    n_ranges = n_complete // n_each
    assert len(stream) // n_each - n_ranges in (0, int(len(stream) - n_complete == 1))
    assert len(found) == (n_ranges * n_each if n_ranges >= ranges.MIN_RANGES else 0)
    # soxr's blocks fit into 8 kHz at an early sample for some rates; for others roundings differ.
    atol = 1e-4 if rate in (11_025, 44_100) else 0
    np.testing.assert_allclose(found, stream[: len(found)], rtol=0, atol=atol)


@pytest.mark.parametrize("rates", [(44_100, 16_000), (44_100, 32_000), (192_000, 32_000)])
def test_a_resampled_recording_is_entered_to_the_last_bit(tmp_path, rates):
    from_rate, to_rate = rates
    path = str(tmp_path / "noise.wav")
    soundfile.write(path, rising_noise(8 * from_rate), from_rate)
    whole = np.concatenate(list(read_blocks(path, to_rate)))
    for start in (1, 2 * to_rate + 17, 7 * to_rate):
        rest = np.concatenate(list(read_blocks(path, to_rate, start=start)))
        np.testing.assert_array_equal(rest, whole[start:])


def test_ranges_and_one_stream_give_the_same_events(tmp_path, engine, short_ranges):
    path = tmp_path / "noise.flac"
    soundfile.write(path, rising_noise(16_000 * 15 + 123), 16_000)
    columns, events, _ = analyse(engine, path, 3)
    whole_columns, whole_events, _ = analyse(engine, path, 1)
    np.testing.assert_array_equal(columns, whole_columns)
    assert events == whole_events != []


@pytest.mark.parametrize(("file", "make"), [row[:2] for row in TABLE if row[0] != "folder"])
def test_ranges_and_one_stream_report_the_same_errors(tmp_path, engine, short_ranges, file, make):
    path = tmp_path / file
    make(path)
    columns, _, failure = analyse(engine, path, 3)
    whole_columns, _, whole_failure = analyse(engine, path, 1)
    assert failure == whole_failure
    np.testing.assert_array_equal(columns, whole_columns)


@pytest.mark.parametrize("seed", range(5))
def test_damage_anywhere_in_a_flac_is_reported_alike(tmp_path, engine, short_ranges, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "noise.flac"
    soundfile.write(path, rising_noise(160_000, seed), 8_000)
    content = path.read_bytes()
    at, n_bytes = rng.integers(1_000, len(content)), rng.integers(1, 9_000)
    n_lost = rng.choice([0, n_bytes])  # overwritten, or pushed in
    path.write_bytes(content[:at] + rng.bytes(n_bytes) + content[at + n_lost :])
    columns, _, failure = analyse(engine, path, 3)
    whole_columns, _, whole_failure = analyse(engine, path, 1)
    assert failure == whole_failure
    assert "damaged at" in failure
    np.testing.assert_array_equal(columns, whole_columns)


def test_a_flac_that_cannot_be_entered_is_read_from_its_beginning(tmp_path, monkeypatch):
    path = str(tmp_path / "noise.flac")
    soundfile.write(path, rising_noise(80_000), 8_000)
    whole = np.concatenate(list(read_blocks(path, 8_000)))

    seek = soundfile.SoundFile.seek
    refused = []

    def refuse(self, frames, whence=soundfile.SEEK_SET):
        if not refused:
            refused.append(frames)
            raise soundfile.LibsndfileError(39)
        return seek(self, frames, whence)

    monkeypatch.setattr(soundfile.SoundFile, "seek", refuse)
    rest = np.concatenate(list(read_blocks(path, 8_000, start=31_337)))
    assert refused == [31_337]
    np.testing.assert_array_equal(rest, whole[31_337:])


def test_silence_for_most_of_a_recording_is_no_silent_recording(tmp_path, engine, short_ranges):
    noise = rising_noise(160_000)
    for sound in (slice(0, 100), slice(70_000, 70_100)):
        samples = np.zeros_like(noise)
        samples[sound] = noise[sound]
        soundfile.write(tmp_path / "rare.wav", samples, 8_000)
        assert analyse(engine, tmp_path / "rare.wav", 3)[2] == ""


def test_only_so_many_ranges_are_ahead(tmp_path, engine, short_ranges, monkeypatch):
    path = str(tmp_path / "noise.wav")
    soundfile.write(path, rising_noise(8_000 * 60), 8_000)
    begun = []
    read = ranges._RangeReader.read
    monkeypatch.setattr(
        ranges._RangeReader, "read", lambda self, n: begun.append(n) or read(self, n)
    )
    with closing(open_recording(path)) as decoder:
        found = read_parallel(detector_of(engine).front_end, path, decoder, n_readers=2)
        next(found)
        time.sleep(0.2)
        assert len(begun) <= 4
        for _ in range(4):  # stretches of half a second: the next range begins
            next(found)
        time.sleep(0.2)
        assert len(begun) <= 5
        found.close()
    assert reader_threads() == []


def test_closing_ends_the_threads_in_the_middle_of_a_range(tmp_path, engine, monkeypatch):
    path = str(tmp_path / "noise.wav")
    soundfile.write(path, rising_noise(8_000 * 30), 8_000)
    monkeypatch.setattr(ranges, "RANGE_SECONDS", 5.0)
    blocks = SoundFileDecoder.blocks

    def slow(self):
        for block in blocks(self):
            yield block
            if self._position:  # all ranges but the first
                time.sleep(0.3)

    monkeypatch.setattr(SoundFileDecoder, "blocks", slow)
    with closing(open_recording(path)) as decoder:
        found = read_parallel(detector_of(engine).front_end, path, decoder, n_readers=3)
        next(found)
        assert len(reader_threads()) == 3
        began = time.monotonic()
        found.close()
    assert time.monotonic() - began < 0.6  # the rest of the blocks would take 0.9 s
    assert reader_threads() == []


def test_an_error_of_the_front_end_comes_out(tmp_path, engine, short_ranges, monkeypatch):
    path = tmp_path / "noise.wav"
    soundfile.write(path, rising_noise(8_000 * 20), 8_000)

    def fail(samples):
        raise MemoryError("no room")

    monkeypatch.setattr(engine, "extract_features", fail)
    with pytest.raises(MemoryError, match="no room"):
        analyse(engine, path, 3)
    assert reader_threads() == []


@pytest.mark.parametrize("n_readers", [1, 3])
def test_a_recording_of_few_ranges_starts_no_threads(tmp_path, engine, n_readers):
    path = str(tmp_path / "noise.wav")
    soundfile.write(path, rising_noise(8_000 * 20), 8_000)
    assert len(in_ranges(engine, path, n_readers=n_readers)) == 0


def test_columns_from_the_middle_are_those_from_the_beginning(engine):
    samples = rising_noise(40_000)
    stream = FeatureStream(engine, 50)
    whole = [*stream.push(samples), *stream.flush()]
    assert sum(map(len, whole)) == 500
    stream.reset(100)
    assert stream.n_samples == 100 * 80 - TINY_LOG_MEL.left_padding
    rest = [*stream.push(samples[stream.n_samples :]), *stream.flush()]
    np.testing.assert_array_equal(np.concatenate(rest), np.concatenate(whole)[100:])
