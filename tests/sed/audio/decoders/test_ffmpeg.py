"""Containers are decoded at the times of the file, and what is lost is reported with its time."""

import numpy as np
import pytest

from sed.audio.blocks import read_blocks, read_recording
from sed.audio.decode import open_recording
from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.errors import DamagedRecordingError, RecordingError
from tests.sed.audio.decoders.containers import RATE, clicks, onsets, write_movie

FIRST, SECOND = clicks(2, 0.5, 1.5), clicks(1, 0.25, seed=1)


def read(path, **options):
    """Return the samples, the error in the end, and the decoder."""
    decoder = ContainerDecoder(str(path), **options)
    blocks, error = [], None
    try:
        blocks.extend(decoder.blocks())
    except RecordingError as caught:
        error = caught
    decoder.close()
    return np.concatenate(blocks or [np.zeros((0, 1))])[:, 0], error, decoder


def overwrite(number):
    """Return an edit that makes a packet impossible to decode."""
    return lambda i, data: b"\xff\x00" * (len(data) // 2) if i == number else data


@pytest.mark.parametrize(
    ("ending", "codec"), [("mkv", "flac"), ("mkv", "aac"), ("mp4", "alac"), ("mp4", "aac")]
)
@pytest.mark.parametrize("video_seconds", [0, 9])
def test_sound_that_begins_later_than_the_file_has_the_times_of_the_file(
    tmp_path, ending, codec, video_seconds
):
    path = tmp_path / f"late.{ending}"
    write_movie(path, [(6, FIRST)], codec=codec, video_seconds=video_seconds)
    samples, error, decoder = read(path)
    assert error is None
    np.testing.assert_allclose(onsets(samples), [6.5, 7.5], atol=0.01)
    assert not samples[: round(5.9 * RATE)].any()
    assert abs(len(samples) - 8 * RATE) < 0.13 * RATE  # the encoder pads
    assert abs(decoder.n_samples - len(samples)) <= 0.13 * RATE


def test_sound_of_a_transport_stream_that_begins_later_than_its_picture(tmp_path):
    """FFmpeg finds its sample rate only when it reads further than it does by itself."""
    path = tmp_path / "late.ts"
    write_movie(path, [(12, FIRST)], codec="mp2", video_seconds=14)
    samples, error, decoder = read(path)
    assert (error, decoder.sample_rate, decoder.n_samples) == (None, RATE, None)
    np.testing.assert_allclose(onsets(samples), [12.5, 13.5], atol=0.01)


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mkv", "flac"), ("mkv", "pcm_s16le"), ("mp4", "alac"), ("mp4", "aac"), ("ts", "mp2")],
)
def test_a_gap_becomes_silence_and_is_reported(tmp_path, ending, codec):
    path = tmp_path / f"gap.{ending}"
    write_movie(path, [(0, FIRST), (7, SECOND)], codec=codec)
    samples, error, _ = read(path)
    delay = onsets(samples)[0] - 0.5  # MPEG-TS does not say how much an encoder pads
    np.testing.assert_allclose(np.array(onsets(samples)) - delay, [0.5, 1.5, 7.25], atol=0.01)
    assert 0 <= delay < 0.035
    assert isinstance(error, DamagedRecordingError)
    assert 1.99 < error.seconds < 2.14
    assert "5.000 s are missing. Silence stands there, so all times are right." in str(error)
    gap = samples[round((error.seconds + 0.01) * RATE) : round((error.seconds + 4.9) * RATE)]
    assert not gap.any()


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_picture_that_lasts_longer_is_no_damage(tmp_path, ending):
    path = tmp_path / f"longer.{ending}"
    write_movie(path, [(0, FIRST)], codec="aac", video_seconds=8)
    samples, error, decoder = read(path)
    assert error is None
    assert abs(len(samples) - 2 * RATE) <= 2_048
    assert abs(decoder.n_samples - 2 * RATE) <= 2_048


def test_an_estimated_length_promises_nothing(tmp_path):
    """Of ADTS FFmpeg knows the bit rate of the first packets."""
    path = tmp_path / "quiet_first.aac"
    noise = np.random.default_rng(0).normal(0, 0.3, 4 * RATE).astype(np.float32)
    write_movie(path, [(0, np.concatenate([np.zeros(8 * RATE, np.float32), noise]))], codec="aac")
    samples, error, decoder = read(path)
    assert (error, decoder.n_samples) == (None, None)
    assert abs(len(samples) - 12 * RATE) <= 2_048


@pytest.mark.parametrize(
    ("ending", "video_seconds", "tags"),
    [("mp4", 0, True), ("mp4", 8, True), ("mkv", 0, True), ("mkv", 8, True), ("mkv", 8, False)],
)
def test_a_file_that_is_cut_off_is_reported(tmp_path, ending, video_seconds, tags):
    path = tmp_path / f"cut.{ending}"
    long = clicks(8, *np.arange(0.5, 8))
    options = {"movflags": "faststart"} if ending == "mp4" else {}
    write_movie(
        path, [(0, long)], codec="pcm_s16le" if ending == "mkv" else "alac",
        video_seconds=video_seconds, options=options,
    )  # fmt: skip
    data = path.read_bytes()
    if not tags:  # some programs write the length of the whole only
        data = data.replace(b"DURATION", b"ELONGATE")
    path.write_bytes(data[: len(data) // 2])
    samples, error, _ = read(path)
    assert isinstance(error, DamagedRecordingError)
    assert "cut off there; its header promises 8.0" in str(error)
    assert onsets(samples)[:3] == pytest.approx([0.5, 1.5, 2.5], abs=1e-3)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts", "aac"])
def test_a_packet_that_cannot_be_decoded_costs_itself(tmp_path, ending):
    path, good = tmp_path / f"bad.{ending}", tmp_path / f"good.{ending}"
    long = clicks(4, *np.arange(0.5, 4))
    write_movie(good, [(0, long)], codec="aac")
    write_movie(path, [(0, long)], codec="aac", edit=overwrite(20))
    expected, no_error, _ = read(good)
    samples, error, _ = read(path)
    assert no_error is None
    assert isinstance(error, DamagedRecordingError)
    assert error.seconds == pytest.approx(20 * 1_024 / RATE, abs=0.065)
    assert "0.064 s cannot be decoded" in str(error)
    assert len(samples) == len(expected)
    assert onsets(samples) == onsets(expected)
    first = round(error.seconds * RATE)
    assert not samples[first : first + 1_024].any()
    np.testing.assert_allclose(samples[: first - 2_048], expected[: first - 2_048])
    np.testing.assert_allclose(samples[first + 4_096 :], expected[first + 4_096 :], atol=1e-6)


def test_packets_that_are_missing_are_noticed_one_by_one(tmp_path):
    path = tmp_path / "lost.mkv"
    lost = {10, 20, 21, 40}
    write_movie(
        path, [(0, clicks(4, 0.7, 3.5))], n_frame=400,
        edit=lambda i, data: None if i in lost else data,
    )  # fmt: skip
    samples, error, _ = read(path)
    assert len(samples) == 4 * RATE
    assert onsets(samples) == pytest.approx([0.7, 3.5], abs=1e-3)
    assert (
        "damaged at 0.250 s: 0.025 s are missing; at 0.500 s 0.050 s are missing; at 1.000 s 0.025 "
        "s are missing." in str(error)
    )


def test_of_a_file_without_a_good_packet_nothing_is_left(tmp_path):
    path = tmp_path / "bad.m4a"
    write_movie(path, [(0, FIRST)], codec="aac", edit=lambda i, data: b"\x5a" * len(data))
    samples, error, _ = read(path)
    assert not len(samples)
    assert "none of its sound can be decoded (aac)" in str(error)


def test_joined_transport_streams_go_on_without_a_gap(tmp_path):
    paths = [tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / "joined.ts"]
    write_movie(paths[0], [(0, FIRST)], codec="mp2")
    write_movie(paths[1], [(0, SECOND)], codec="mp2")
    paths[2].write_bytes(paths[0].read_bytes() + paths[1].read_bytes())
    samples, error, _ = read(paths[2])
    assert error is None
    parts = [read(path)[0] for path in paths[:2]]
    assert abs(len(samples) - sum(map(len, parts))) <= 1_152
    assert len(onsets(samples)) == 3


def test_a_clock_that_jumps_by_hours_makes_no_silence(tmp_path):
    path = tmp_path / "jump.ts"
    write_movie(path, [(0, FIRST), (5 * 3_600, SECOND)], codec="mp2")
    samples, error, _ = read(path)
    assert len(samples) < 4 * RATE
    assert len(onsets(samples)) == 3
    assert "17998." in str(error)
    assert "too many for silence" in str(error)


def test_an_edit_list_that_leaves_out_the_beginning_is_followed(tmp_path):
    path = tmp_path / "edited.m4a"
    write_movie(path, [(0, clicks(4, 0.5, 1.5, 2.5, 3.5))], codec="alac")
    data = bytearray(path.read_bytes())
    media_time = data.index(b"elst") + 16
    data[media_time - 4 : media_time + 4] = (3_000).to_bytes(4, "big") + RATE.to_bytes(4, "big")
    path.write_bytes(data)
    samples, error, _ = read(path)
    assert error is None
    assert onsets(samples) == pytest.approx([0.5, 1.5, 2.5], abs=1e-3)


@pytest.fixture
def two_tracks(tmp_path):
    path = tmp_path / "two.mkv"
    write_movie(
        path, [(0, SECOND)], [(0, FIRST)], codec="flac",
        tags=[{"language": "deu"}, {"language": "eng", "title": "Far \x1b[31mmicrophone"}],
    )  # fmt: skip
    return path


def test_of_several_tracks_one_is_chosen_and_the_notice_says_which(two_tracks):
    samples, _, decoder = read(two_tracks)
    assert len(onsets(samples)) == 1
    assert decoder.notice.startswith(
        "has 2 tracks of sound; number 1 is read (flac, 1 channel, 16,000 Hz, deu). Choose another"
    )
    assert str(decoder.tracks[1]) == (
        "flac, 1 channel, 16,000 Hz, eng, '\"Far \\x1b[31mmicrophone\"'"
    )
    samples, _, decoder = read(two_tracks, track=2)
    assert len(onsets(samples)) == 2
    assert (decoder.notice, decoder.track.number) == ("", 2)
    assert len(onsets(read_recording(two_tracks, RATE, track=2))) == 2
    assert len(onsets(np.concatenate(list(read_blocks(two_tracks, RATE, track=2))))) == 2


def test_the_default_track_is_that_of_the_container(tmp_path):
    path = tmp_path / "two.mkv"
    write_movie(path, [(0, SECOND)], [(0, FIRST)], codec="flac")
    av = pytest.importorskip("av")
    moved = tmp_path / "default.mkv"
    with av.open(str(path)) as source, av.open(str(moved), "w") as target:
        streams = [target.add_stream_from_template(each) for each in source.streams.audio]
        streams[0].disposition, streams[1].disposition = 0, 1
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    samples, _, decoder = read(moved)
    assert (decoder.track.number, decoder.track.is_default) == (2, True)
    assert len(onsets(samples)) == 2


@pytest.mark.parametrize("track", [0, 3])
def test_a_track_that_is_not_there_is_refused(two_tracks, track, noise_wav):
    with pytest.raises(RecordingError, match=rf"has no track {track}: it has 2, counted from 1"):
        open_recording(two_tracks, track=track)
    with pytest.raises(RecordingError, match=rf"has no track {track}: it has 1, counted from 1"):
        open_recording(noise_wav, track=track)


def test_a_container_without_sound_is_refused(tmp_path):
    path = tmp_path / "silent.mp4"
    write_movie(path, video_seconds=1)
    with pytest.raises(RecordingError, match=r"holds no sound, only a picture\. Give a recording"):
        open_recording(path)


@pytest.mark.parametrize("ending", ["m4a", "mkv"])
def test_tags_may_be_in_any_encoding(tmp_path, ending):
    path = tmp_path / f"tags.{ending}"
    tags = [{"title": "XXYY", "language": "XXY"}]
    write_movie(
        path, [(0, FIRST)], codec="aac", tags=tags, options={"movflags": "use_metadata_tags"}
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"XXYY", b"X\xe9YY").replace(b"XXY", b"X\xe9Y"))
    samples, error, _ = read(path)
    assert error is None
    assert len(onsets(samples)) == 2


def test_a_decoder_reads_an_open_file(two_tracks):
    with open(two_tracks, "rb") as file:
        decoder = ContainerDecoder(file, track=2)
        assert len(onsets(np.concatenate(list(decoder.blocks()))[:, 0])) == 2
        decoder.close()


def test_whatever_pyav_raises_is_an_error_of_this_recording(tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    path = tmp_path / "x.mkv"
    write_movie(path, [(0, FIRST)])

    def fail(*_, **__):
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid start byte")

    with monkeypatch.context() as patch:
        patch.setattr(av, "AudioResampler", fail)
        _, error, _ = read(path)
        assert "none of its sound can be decoded" in str(error)
    with monkeypatch.context() as patch:
        patch.setattr(av, "open", fail)
        with pytest.raises(RecordingError, match=r"not by FFmpeg either \('utf-8' codec"):
            open_recording(path)
