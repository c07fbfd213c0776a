"""Ogg Vorbis decoded by FFmpeg equals that of libsndfile."""

import os
import re
import struct
import sys

import numpy as np
import pytest
import soundfile

from sed.audio import first_decoder
from sed.audio.decode import open_recording
from sed.audio.decoders.libsndfile import SoundFileDecoder
from sed.errors import RecordingError
from tests.conftest import rising_noise

RATE = 8_000

pytest.importorskip("av")


def vorbis(path, n_seconds=40.0, n_channels=1):
    """Write noise, bit by bit: libsndfile crashes where it is given much Vorbis at once."""
    samples = rising_noise(int(n_seconds * RATE) * n_channels).reshape(-1, n_channels)
    with soundfile.SoundFile(path, "w", RATE, n_channels, "VORBIS", format="OGG") as file:
        for first in range(0, len(samples), RATE):
            file.write(samples[first : first + RATE])
    return path


def decoded(decoder):
    """Return all samples, and the error."""
    blocks, message = [np.empty((0, decoder.n_channels), np.float32)], ""
    try:
        blocks += decoder.blocks()
    except RecordingError as error:
        message = str(error)
    decoder.close()
    return np.concatenate(blocks), message


def by_libsndfile(path):
    return decoded(SoundFileDecoder(str(path), os.fsencode(path)))


def both(path, monkeypatch):
    """Return samples and error by default and by libsndfile alone, and samples that FFmpeg read."""
    from sed.audio.decoders.vorbis import VorbisDecoder

    by_ffmpeg = []
    agreed = VorbisDecoder._agreed

    def counted(decoder):
        for block in agreed(decoder):
            by_ffmpeg.append(len(block))
            yield block

    monkeypatch.setattr(VorbisDecoder, "_agreed", counted)
    return decoded(open_recording(path)), by_libsndfile(path), sum(by_ffmpeg)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("n_seconds", [30.0, 40.0123, 65.536])
def test_the_samples_are_those_of_libsndfile(tmp_path, monkeypatch, n_seconds, n_channels):
    path = vorbis(tmp_path / "x.ogg", n_seconds, n_channels)
    (ours, error), (theirs, _), n_by_ffmpeg = both(path, monkeypatch)
    assert error == ""
    assert len(ours) == n_by_ffmpeg == int(n_seconds * RATE)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("n_seconds", "n_channels"), [(0.1, 1), (29.9, 1), (31.0, 3), (31.0, 6), (31.0, 8)]
)
def test_what_is_short_or_has_many_channels_is_left_to_libsndfile(
    tmp_path, monkeypatch, n_seconds, n_channels
):
    path = vorbis(tmp_path / "x.ogg", n_seconds, n_channels)
    (ours, error), (theirs, _), n_by_ffmpeg = both(path, monkeypatch)
    assert (error, n_by_ffmpeg) == ("", 0)
    np.testing.assert_array_equal(ours, theirs)


def overwritten(content):
    middle = len(content) // 2
    return content[:middle] + bytes(3_000) + content[middle + 3_000 :]


def without_a_part(content):
    return content[: len(content) // 2] + content[len(content) // 2 + 9_000 :]


@pytest.mark.parametrize("damage", [overwritten, without_a_part])
def test_a_gap_is_silence_that_is_reported_and_what_follows_is_read(tmp_path, monkeypatch, damage):
    path = vorbis(tmp_path / "x.ogg")
    whole, _ = by_libsndfile(path)
    path.write_bytes(damage(path.read_bytes()))
    (ours, error), (theirs, their_error), n_by_ffmpeg = both(path, monkeypatch)
    assert "a part of the file is missing or overwritten" in their_error
    assert re.search(r"damaged at \d\d\.\d{3} s: \d\.\d{3} s are missing. Silence stands", error)
    assert len(theirs) <= n_by_ffmpeg < len(ours) == len(whole)
    is_lost = np.abs(ours - whole)[:, 0] > 1e-6
    assert is_lost[:n_by_ffmpeg].sum() == 0
    first, last = np.flatnonzero(is_lost)[[0, -1]]
    assert last - first < 4 * RATE


@pytest.mark.parametrize(
    ("change", "message", "helps"),
    [
        (lambda content: content[: len(content) // 2], "cut off there, before its end mark", False),
        (lambda content: content + b"junk" * 100, "", True),
        (lambda content: moved(content, 700), "", False),
        (lambda content: moved(content, -500), "", True),
        (lambda content: moved(content, -5_000), "", False),
    ],
    ids=["cut", "more behind", "beginning trimmed", "begun a little late", "begun late"],
)
def test_unusual_files_are_read_as_by_libsndfile(tmp_path, monkeypatch, change, message, helps):
    path = vorbis(tmp_path / "x.ogg")
    path.write_bytes(change(path.read_bytes()))
    (ours, error), (theirs, their_error), n_by_ffmpeg = both(path, monkeypatch)
    assert error == their_error
    assert message in error
    assert helps is None or (n_by_ffmpeg > 0) == helps
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_tags_may_be_in_any_encoding(tmp_path, monkeypatch):
    path = tmp_path / "x.ogg"
    with soundfile.SoundFile(path, "w", RATE, 1, "VORBIS", format="OGG") as file:
        file.title = "XXYY"
        for _ in range(40):
            file.write(rising_noise(RATE))
    path.write_bytes(moved(path.read_bytes().replace(b"XXYY", b"X\xe9YY"), 0))
    (ours, error), (theirs, _), n_by_ffmpeg = both(path, monkeypatch)
    assert (error, n_by_ffmpeg) == ("", 40 * RATE)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def moved(content, n_samples):
    """Return an Ogg file whose pages end `n_samples` earlier; these are cut off in front."""
    pages, start = [], 0
    while (end := content.find(b"OggS", start + 4)) > 0:
        pages.append(bytearray(content[start:end]))
        start = end
    pages.append(bytearray(content[start:]))
    for page in pages:
        (position,) = struct.unpack_from("<q", page, 6)
        if position > 0:
            struct.pack_into("<q", page, 6, position - n_samples)
        struct.pack_into("<I", page, 22, 0)
        struct.pack_into("<I", page, 22, ogg_checksum(page))
    return b"".join(pages)


def ogg_checksum(page):
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x04C11DB7 if remainder & 0x8000_0000 else 0)
        remainder &= 0xFFFF_FFFF
    return remainder


def test_reading_begins_anywhere_after_a_seek(tmp_path):
    path = vorbis(tmp_path / "x.ogg")
    whole, _ = by_libsndfile(path)
    decoder = open_recording(path)
    position = decoder.seek(12_345)
    rest, _ = decoded(decoder)
    np.testing.assert_allclose(rest, whole[position:], atol=1e-6)


def test_without_ffmpeg_libsndfile_reads_it(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "sed.audio.decoders.vorbis", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    first_decoder._vorbis_decoder.cache_clear()
    try:
        decoder = open_recording(vorbis(tmp_path / "x.ogg"))
    finally:
        first_decoder._vorbis_decoder.cache_clear()
    assert type(decoder._decoder) is SoundFileDecoder
    assert len(decoded(decoder)[0]) == 40 * RATE
