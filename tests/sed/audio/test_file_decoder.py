"""Every second of a file is decoded or reported, whatever its header promises."""

import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from sed.audio.decode import open_recording
from sed.audio.decoders.layout.local_file import LocalFile
from sed.audio.decoders.layout.mpeg import mpeg_end, mpeg_start
from sed.errors import DamagedRecordingError, RecordingError
from tests.sed.audio.decoders.containers import RATE, clicks, onsets

FIRST, SECOND = clicks(2.0, 0.5, 1.5), clicks(2.0, 0.25, 1.25, seed=1)
BOTH = np.concatenate([FIRST, SECOND])
PCM = (BOTH * 32_767).astype("<i2").tobytes()
AT = [0.5, 1.5, 2.25, 3.25]


def write(path, samples=BOTH, rate=RATE, **options):
    with soundfile.SoundFile(path, "w", rate, 1, **options) as file:
        # In steps: libsndfile crashes where it is given much Vorbis at once.
        for start in range(0, len(samples), RATE):
            file.write(samples[start : start + RATE])
    return path.read_bytes()


def encode(path, codec, samples=BOTH, **options):
    """Write samples with FFmpeg."""
    av = pytest.importorskip("av", reason="needs the av extra")
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", RATE)
        for start in range(0, len(samples), 1_024):
            part = np.ascontiguousarray(samples[None, start : start + 1_024])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path.read_bytes()


def decoded(path):
    """Return the samples of the first channel, and the error."""
    blocks, message = [], ""
    decoder = open_recording(path)
    try:
        blocks += decoder.blocks()
    except DamagedRecordingError as error:
        message = str(error)
    decoder.close()
    return np.concatenate(blocks)[:, 0], message


def check(path, *, at=AT, seconds=4.0, within=0.005, padding=0.0):
    """Make sure that a file is decoded without an error, with the clicks at their times."""
    samples, message = decoded(path)
    assert message == ""
    assert seconds - 1e-3 <= len(samples) / RATE <= seconds + padding + 1e-3
    assert onsets(samples) == pytest.approx(at, abs=within)


def chunk(name, body, size=None):
    pad = b"\0" * (len(body) % 2)
    return name + struct.pack("<I", len(body) if size is None else size) + body + pad


def form(rate=RATE, bits=16, n_channels=1, tag=1):
    n_bytes = n_channels * bits // 8
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", tag, n_channels, rate, rate * n_bytes, n_bytes, bits)
    )


def riff(*parts, size=None, magic=b"RIFF"):
    body = b"WAVE" + b"".join(parts)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


HALF = len(PCM) // 2
DS64 = chunk(b"ds64", struct.pack("<QQQI", 100 + len(PCM), len(PCM), 0, 0))
ODD_WAVS = {
    "size 0": riff(form(), chunk(b"data", PCM, 0), size=36),
    "size 0 in a whole file": riff(form(), chunk(b"data", PCM, 0)),
    "size too small": riff(form(), chunk(b"data", PCM, HALF)),
    "both sizes too small": riff(form(), chunk(b"data", PCM, HALF), size=36 + HALF),
    "metadata behind a right size": riff(form(), chunk(b"data", PCM), chunk(b"id3 ", bytes(9_001))),
    "unknown chunk behind": riff(form(), chunk(b"data", PCM), chunk(b"abcd", bytes(9_001))),
    "a few bytes behind": riff(form(), chunk(b"data", PCM)) + b"\xff" * 60,
    "two data chunks": riff(form(), chunk(b"data", PCM[:HALF]), chunk(b"data", PCM[HALF:])),
    "two data chunks with metadata between": riff(
        form(), chunk(b"data", PCM[:HALF]), chunk(b"LIST", b"INFO"), chunk(b"data", PCM[HALF:])
    ),
    "joined": riff(form(), chunk(b"data", PCM[:HALF])) + riff(form(), chunk(b"data", PCM[HALF:])),
    "RF64 without ds64": riff(
        form(), chunk(b"data", PCM, 0xFFFF_FFFF), size=0xFFFF_FFFF, magic=b"RF64"
    ),
    "BW64": riff(DS64, form(), chunk(b"data", PCM, 0xFFFF_FFFF), size=0xFFFF_FFFF, magic=b"BW64"),
    "odd chunk without padding": riff(
        form(), b"LIST" + struct.pack("<I", 5) + b"INFOx", chunk(b"data", PCM)
    ),
    "empty smpl": riff(form(), chunk(b"smpl", b""), chunk(b"data", PCM)),
}


@pytest.mark.parametrize("content", ODD_WAVS.values(), ids=ODD_WAVS)
def test_of_an_odd_wav_all_samples_are_read(tmp_path, content):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    check(path, padding=0.002)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize(
    ("ending", "name", "n_size"), [("aiff", b"SSND", 4), ("aifc", b"SSND", 4), ("caf", b"data", 8)]
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_aiff_or_caf_with_a_size_too_small_is_read_to_its_end(
    tmp_path, subtype, ending, name, n_size, share
):
    path = tmp_path / f"x.{ending}"
    content = bytearray(write(path, subtype=subtype, format="CAF" if ending == "caf" else "AIFF"))
    at = content.find(name) + 4
    size = int.from_bytes(content[at : at + n_size], "big")
    content[at : at + n_size] = int(size * share).to_bytes(n_size, "big")
    if ending != "caf":  # the number of samples of an unfinished file too
        comm = content.find(b"COMM") + 10
        n_samples = int.from_bytes(content[comm : comm + 4], "big")
        content[comm : comm + 4] = int(n_samples * share).to_bytes(4, "big")
    path.write_bytes(content)
    check(path, padding=0.01)


def test_joined_wavs_of_other_rates_and_channels_become_those_of_the_first(tmp_path):
    path = tmp_path / "x.wav"
    second = np.repeat(np.stack([SECOND, SECOND], 1), 3, axis=0)  # at 48 kHz
    write(path, FIRST)
    soundfile.write(tmp_path / "y.wav", second, 48_000)
    path.write_bytes(path.read_bytes() + (tmp_path / "y.wav").read_bytes())
    check(path)


def test_a_size_that_wrapped_at_4_gb_is_found_by_the_chunk_behind_the_samples(tmp_path):
    path = tmp_path / "x.wav"
    n_bytes = (1 << 32) + 64_000
    with open(path, "wb") as file:  # sparse: takes no space
        file.write(riff(form(), chunk(b"data", b"", 64_000), size=0))
        file.seek(n_bytes, os.SEEK_CUR)
        file.write(chunk(b"LIST", b"INFO" * 99))
    decoder = open_recording(path)
    assert decoder.n_samples == n_bytes // 2
    decoder.close()


def test_an_odd_wav_seeks_and_is_read_on_from_there(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(ODD_WAVS["size too small"])
    whole, _ = decoded(path)
    decoder = open_recording(path)
    assert decoder.seeks_exactly
    position = decoder.seek(12_345)
    np.testing.assert_array_equal(np.concatenate(list(decoder.blocks()))[:, 0], whole[position:])
    decoder.close()


def with_total(content, n_samples):
    """Return a FLAC file whose header promises another number of samples."""
    value = int.from_bytes(content[18:26], "big") >> 36 << 36 | n_samples
    return content[:18] + value.to_bytes(8, "big") + content[26:]


@pytest.mark.parametrize("total", [0, 20_000])
def test_a_flac_that_promises_less_is_read_to_its_end(tmp_path, total):
    pytest.importorskip("av")
    path = tmp_path / "x.flac"
    path.write_bytes(with_total(write(path), total))
    check(path)


@pytest.mark.parametrize("total", [128_000, 0])
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("has_sizes", [True, False])
def test_damage_at_either_end_of_a_flac_is_reported_and_moves_nothing(
    tmp_path, total, place, has_sizes
):
    pytest.importorskip("av", reason="needs the av extra")
    path = tmp_path / "x.flac"
    content = bytearray(with_total(write(path, np.tile(BOTH, 2)), total))
    if not has_sizes:  # of frames
        content[12:18] = bytes(6)
    start = 90 if place == "start" else len(content) - 30_000
    content[start : start + 30_000] = np.random.default_rng(0).bytes(30_000)
    path.write_bytes(content)
    samples, message = decoded(path)
    assert "damaged at " in message
    whole = [seconds + 4 * n for n in (0, 1) for seconds in AT]
    kept = [t for t in whole if (t > 1.5 if place == "start" else t < 6.0)]
    found = [t for t in onsets(samples) if (t > 1.6 if place == "start" else t < 6.0)]
    assert kept[-len(found) :] == pytest.approx(found, abs=0.005)
    assert len(found) >= len(kept) - 1


@pytest.mark.parametrize("total", [64_000, 0])
def test_damage_in_a_flac_costs_itself(tmp_path, total):
    pytest.importorskip("av")
    path = tmp_path / "x.flac"
    content = bytearray(with_total(write(path, np.tile(BOTH, 2)), total * 2))
    middle = content.find(b"\xff\xf8", len(content) // 2) + 20
    content[middle : middle + 1_000] = bytes(1_000)
    path.write_bytes(content)
    samples, message = decoded(path)
    assert len(samples) == 128_000
    assert "are missing. Silence stands there" in message
    is_silent = np.convolve(samples == 0, np.ones(1_000), "valid") == 1_000
    assert 4 * RATE < np.flatnonzero(is_silent)[0] < 5 * RATE
    assert onsets(samples)[-2:] == pytest.approx([6.25, 7.25], abs=0.005)


def test_flacs_that_were_joined_are_read_one_after_the_other(tmp_path):
    path = tmp_path / "x.flac"
    second = write(tmp_path / "y.flac", np.repeat(SECOND, 3), 48_000)
    path.write_bytes(write(path, FIRST) + second)
    check(path)


def test_flac_of_other_depths_is_read_by_ffmpeg(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "x.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono", format="s32")
        frame = av.AudioFrame.from_ndarray(
            (BOTH * 2.0**30).astype(np.int32)[None], format="s32", layout="mono"
        )
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    content = bytearray(path.read_bytes())
    check(path)
    assert content[:4] == b"fLaC"


def test_a_name_says_nothing_about_the_content(tmp_path):
    path = tmp_path / "x.wav"
    for name, codec in (("x.tta", "tta"), ("x.ts", "mp2"), ("x.aac", "aac"), ("x.oga", "flac")):
        encode(tmp_path / name, codec)
        (tmp_path / name).rename(path)
        samples, message = decoded(path)
        assert message == ""
        assert len(samples) / RATE == pytest.approx(4.0, abs=0.15), name


@pytest.mark.parametrize(("subtype", "rates"), [("VORBIS", (16, 32)), ("OPUS", (16, 48))])
@pytest.mark.parametrize("has_same_number", [False, True])
def test_chained_ogg_streams_are_read_one_after_the_other(
    tmp_path, subtype, rates, has_same_number
):
    path = tmp_path / "x.ogg"
    factor = rates[1] // rates[0]
    first = write(path, FIRST, format="OGG", subtype=subtype)
    second = write(path, np.repeat(SECOND, factor), rates[1] * 1_000, format="OGG", subtype=subtype)
    if has_same_number:
        second = write(path, SECOND, format="OGG", subtype=subtype)
        second = second if subtype == "VORBIS" else first
    path.write_bytes(first + second)
    samples, message = decoded(path)
    assert message == ""
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.01)
    at = AT if second is not first else [0.5, 1.5, 2.5, 3.5]
    assert onsets(samples) == pytest.approx(at, abs=0.005)


def test_joined_mp3s_are_read_one_after_the_other(tmp_path):
    path = tmp_path / "x.mp3"
    first, second = write(path, FIRST), write(path, SECOND)
    tag = b"ID3\x03\0\0\0\0\x10\0" + bytes(2_048)
    tail = b"TAG" + bytes(125)
    path.write_bytes(first + tail + tag + second + tail)
    check(path, within=0.02, padding=0.05)


@pytest.mark.parametrize("has_length", [True, False])
def test_missing_frames_of_an_mp3_become_silence(tmp_path, has_length):
    path = tmp_path / "x.mp3"
    content = bytearray(write(path, np.tile(BOTH, 3)))
    if not has_length:
        content = content[content.find(content[:2], 4) :]
    middle = len(content) // 2
    content[middle : middle + 4_000] = bytes(4_000)
    path.write_bytes(content)
    samples, message = decoded(path)
    assert re.search(r"damaged at [56]\.\d{3} s: [01]\.\d{3} s cannot be decoded. Silence", message)
    assert len(samples) / RATE == pytest.approx(12.0, abs=0.2)
    assert onsets(samples)[-2:] == pytest.approx([10.25, 11.25], abs=0.1)


def test_an_mp3_of_two_formats_is_read_by_runs(tmp_path):
    path = tmp_path / "x.mp3"
    second = write(path, np.repeat(SECOND, 3), 48_000)
    path.write_bytes(write(path, FIRST) + second)
    check(path, seconds=3.98, within=0.1, padding=0.3)


def test_frames_that_no_decoder_understands_are_no_mp3(tmp_path):
    path = tmp_path / "x.mp3"
    path.write_bytes(b"\xff\xfb\x90\x00" + np.random.default_rng(0).bytes(9_000))
    with pytest.raises(RecordingError):
        list(open_recording(path).blocks())


def test_lost_frames_of_adts_are_reported(tmp_path):
    path = tmp_path / "x.aac"
    content = bytearray(encode(path, "aac", np.tile(BOTH, 3)))
    middle = len(content) // 2
    content[middle : middle + len(content) // 8] = bytes(len(content) // 8)
    path.write_bytes(content)
    samples, message = decoded(path)
    assert re.search(r"damaged at 6.*cannot be decoded\. .*At 10.* bytes here or before", message)
    assert len(samples) / RATE == pytest.approx(10.5, abs=0.3)
    path.write_bytes(content[:middle] + bytes(5_000))
    assert "bytes here or before cannot be decoded" in decoded(path)[1]


def test_a_cut_or_incomplete_ogg_flac_is_damage(tmp_path):
    path = tmp_path / "x.oga"
    content = bytearray(encode(path, "flac"))
    check(path)
    path.write_bytes(content[: len(content) // 2])
    assert re.search("before its end mark|bytes follow", decoded(path)[1])
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    content[pages[-2] + 100] ^= 1  # its checksum is wrong
    path.write_bytes(content)
    assert "it should last 4.000 s, and a part before cannot be decoded" in decoded(path)[1]


@pytest.mark.parametrize("kilobytes", [0, 4, 64, 128, 300])
def test_an_mp3_without_a_length_is_read_behind_a_tag_of_any_length(tmp_path, kilobytes):
    path = tmp_path / "x.mp3"
    content = write(path)
    n = kilobytes * 1_024
    tag = b"ID3\x03\0\0" + bytes([n >> 21 & 127, n >> 14 & 127, n >> 7 & 127, n & 127]) + bytes(n)
    path.write_bytes((tag if n else b"") + content[content.find(content[:2], 4) :])
    check(path, within=0.1, padding=0.3)


def test_tags_of_mp3_are_no_sound(tmp_path):
    path = tmp_path / "x.mp3"
    frames = b"\xff\xfb" + bytes(1_000)
    tag = b"ID3\x03\0\0\0\0\x01\0" + bytes(128)
    ape = b"x" * 68 + b"APETAGEX" + struct.pack("<IIII", 2_000, 100, 1, 0x8000_0000) + bytes(8)
    lyrics = b"LYRICSBEGIN" + b"x" * 9 + b"000020" + b"LYRICS200"
    path.write_bytes(tag + frames + lyrics + ape + b"TAG" + bytes(125))
    file = LocalFile(str(path), str(path))
    assert mpeg_start(file, 0) == len(tag)
    # The footer of an APE tag counts its items and itself.
    path.write_bytes(tag + frames + lyrics + b"TAG" + bytes(125))
    file = LocalFile(str(path), str(path))
    assert mpeg_end(file) == len(tag + frames)
    file.close()


def test_what_cannot_be_decoded_behind_the_sound_is_damage(tmp_path):
    path = tmp_path / "x.caf"
    path.write_bytes(write(path, subtype="ALAC_16") + b"\xff" * 9_000)
    samples, message = decoded(path)
    assert len(samples) == 64_000
    assert "damaged at 4.000 s: 9,001 bytes follow that cannot be decoded" in message


def test_without_ffmpeg_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "x.flac"
    path.write_bytes(with_total(write(path), 20_000))
    monkeypatch.setitem(sys.modules, "av", None)
    samples, message = decoded(path)
    assert len(samples) == 20_000
    assert "damaged at 1.250 s" in message
    assert "pip install 'sed-engine[av]'" in message
    path.write_bytes(b"\xffTTA1" * 99)
    with pytest.raises(RecordingError, match=r"is not a sound file .* 'sed-engine\[av\]'"):
        open_recording(path)


def test_standard_input_is_read_like_a_file(tmp_path):
    program = (
        "import sed; x = sed.read_recording('-', 16_000);"
        "print(len(x), [round(float(i) / 16_000, 2) for i in abs(x).argsort()[-150:]][0])"
    )
    files = {"x.wav": ODD_WAVS["size 0"], "y.wav": ODD_WAVS["joined"]}
    files["z.flac"] = write(tmp_path / "z.flac")
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with open(path, "rb") as stdin:
            done = subprocess.run(
                [sys.executable, "-c", program], stdin=stdin, capture_output=True, text=True
            )
        assert done.stdout.split()[0] == "64000", done.stderr


def test_nothing_of_c_libraries_is_printed(tmp_path, capfd):
    path = tmp_path / "x.mp3"
    path.write_bytes(write(path, FIRST)[:-500] + write(path, SECOND)[3_000:])
    decoded(path)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.77, 0.93])
def test_a_torn_ogg_stream_costs_none_of_the_next(tmp_path, share):
    path = tmp_path / "x.ogg"
    first = write(path, np.tile(FIRST, 20), format="OGG", subtype="VORBIS")
    second = write(path, SECOND, format="OGG", subtype="VORBIS")
    cut = first[: int(share * len(first))]
    path.write_bytes(cut + second)
    samples, message = decoded(path)
    assert "before the next recording that cannot be decoded" in message
    # The second is whole, behind what is left of the first.
    end = len(samples) / RATE
    assert onsets(samples)[-2:] == pytest.approx([end - 1.75, end - 0.75], abs=0.01)


@pytest.mark.parametrize(
    "tail",
    [
        b"ID3\x03\0\0\0\0\x10\0" + b"t" * 4_000,
        b"TAG" + b"t" * 125,
        b"<?xml version='1.0'?>" + b"<a>text</a>" * 400,
        b"APETAGEX" + b"t" * 3_000,
    ],
)
def test_tags_behind_a_wav_are_no_sound(tmp_path, tail):
    path = tmp_path / "x.wav"
    path.write_bytes(write(path) + tail)
    samples, message = decoded(path)
    assert message == ""
    assert len(samples) == 4 * RATE


def test_a_recording_of_another_format_behind_a_wav_is_reported(tmp_path):
    path = tmp_path / "x.wav"
    flac = write(tmp_path / "y.flac")
    path.write_bytes(write(path) + flac)
    samples, message = decoded(path)
    assert len(samples) == 4 * RATE
    assert f"at 4.000 s: {len(flac)} bytes of FLAC follow that are not read" in message


def test_sound_beyond_the_promise_of_a_wav_is_a_notice(tmp_path):
    path = tmp_path / "x.wav"
    content = bytearray(write(path))
    half = len(PCM) // 2
    content[40:44] = struct.pack("<I", half)
    content[4:8] = struct.pack("<I", 36 + half)
    path.write_bytes(content)
    decoder = open_recording(path)
    assert decoder.notice == (
        f"{half:,} bytes beyond its promised length are read as sound too. Listen to the end."
    )
    decoder.close()
    assert len(decoded(path)[0]) == 4 * RATE


def test_bytes_between_joined_flacs_are_reported(tmp_path):
    path = tmp_path / "x.flac"
    second = write(tmp_path / "y.flac", SECOND)
    path.write_bytes(write(path, FIRST) + b"j" * 200_000 + second)
    samples, message = decoded(path)
    assert len(samples) == 4 * RATE
    assert "bytes before the next recording that cannot be decoded" in message


@pytest.mark.parametrize(
    ("junk", "is_reported"),
    [
        (bytes(50_000), False),
        (b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + b"j" * 5_000, True),
    ],
)
def test_junk_before_an_mp3_moves_no_times(tmp_path, junk, is_reported):
    pytest.importorskip("av")
    path = tmp_path / "x.mp3"
    plain = write(path)
    path.write_bytes(plain)
    expected = onsets(decoded(path)[0])
    path.write_bytes(junk + plain)
    samples, message = decoded(path)
    assert onsets(samples) == pytest.approx(expected, abs=0.03)
    assert ("before the sound that cannot be decoded" in message) == is_reported


@pytest.mark.parametrize("kind", ["joined", "junk", "text"])
def test_bytes_behind_an_mp4_are_reported(tmp_path, kind):
    path = tmp_path / "x.m4a"
    content = encode(path, "aac")
    junk = np.random.default_rng(0).bytes(50_000)
    rest = {"joined": content, "junk": junk, "text": b"U" * 50_000}[kind]
    path.write_bytes(content + rest)
    message = decoded(path)[1]
    assert f"{len(rest):,} bytes behind the recording are not read" in message
    path.write_bytes(content + bytes(500))
    assert decoded(path)[1] == ""
