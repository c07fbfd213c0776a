"""Mutated recordings of every format, and what becomes of them; run as a program by their test.

``python -m tests.sed.audio.mutations FOLDER FIRST N [pipe]`` reads the originals in a folder,
decodes mutations number FIRST to FIRST + N - 1, as files or through a pipe, and prints a JSON
object for each that is not as it should be. Before each one it prints its number, so that a crash
shows which it was.
"""

import faulthandler
import json
import os
import re
import resource
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import soundfile

from sed.audio.decode import open_recording
from sed.audio.start_time import recording_start
from sed.errors import SedError

RATE, SECONDS = 16_000, 6
MAX_BYTES_OF_MEMORY = 6 << 30  # of address space
MAX_SECONDS = 30  # for one recording

# Name, format and encoding of libsndfile.
BY_LIBSNDFILE = {
    "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAVEX", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "ulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "a.rf64": ("RF64", "PCM_16"),
    "a.w64": ("W64", "PCM_16"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.caf": ("CAF", "PCM_16"),
    "a.au": ("AU", "PCM_16"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
}
# Name, codec and muxer of FFmpeg.
BY_FFMPEG = {
    "flac.oga": ("flac", "ogg"),
    "a.m4a": ("aac", "ipod"),
    "a.mkv": ("flac", "matroska"),
    "a.webm": ("libopus", "webm"),
    "a.ts": ("aac", "mpegts"),
    "a.aac": ("aac", "adts"),
    "a.mp2": ("mp2", "mp2"),
    "a.wma": ("wmav2", "asf"),
    "a.tta": ("tta", "tta"),
    "a.avi": ("pcm_s16le", "avi"),
}
# Formats that do not say how long they are: what is cut off leaves no trace.
NO_LENGTH = ("a.ts", "a.aac", "a.mp2", "open.mp3", "open.flac", "a.au", "a.mkv", "a.webm", "a.wma")
# FFmpeg reads an AVI file to the end that its header gives, which may be wrong.
UNACCOUNTED = ("a.avi",)
HEADER_BYTES = 1_000
PLAIN_BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1}


def write_originals(folder):
    """Write a recording in each format."""
    # Slow to import, and not needed where mutations are decoded.
    import av

    from tests.conftest import rising_noise

    samples = rising_noise(SECONDS * RATE)
    for name, (container, subtype) in BY_LIBSNDFILE.items():
        rate = RATE
        path = folder / name
        with soundfile.SoundFile(path, "w", rate, 1, subtype, format=container) as file:
            for start in range(0, len(samples), RATE):
                file.write(samples[start : start + RATE])
    with soundfile.SoundFile(folder / "long.ogg", "w", 8_000, 1, "VORBIS", format="OGG") as file:
        for _ in range(6):
            file.write(samples[: 8_000 * 6])
    content = (folder / "a.mp3").read_bytes()
    (folder / "open.mp3").write_bytes(content[content.find(content[:2], 4) :])
    content = bytearray((folder / "a.flac").read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    (folder / "open.flac").write_bytes(content)
    for name, (codec, muxer) in BY_FFMPEG.items():
        rate = 48_000 if codec == "libopus" else RATE
        with av.open(str(folder / name), "w", format=muxer) as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            stream.codec_context.bit_rate = 32_000
            resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate)
            for start in range(0, len(samples), 1_024):
                part = np.ascontiguousarray(samples[None, start : start + 1_024], np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                for resampled in resampler.resample(frame):
                    container.mux(stream.encode(resampled))
            for resampled in resampler.resample(None):
                container.mux(stream.encode(resampled))
            container.mux(stream.encode(None))


def mutated(content, rng):
    """Return a mutation of bytes, and how it was made."""
    content = bytearray(content)
    kinds = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.choice(list(KINDS))
        kinds.append(str(kind))
        content = KINDS[kind](content, rng)
    return bytes(content), kinds


def _place(content, rng, most=0.4):
    """Return the first and the last byte of a part, in the header more often than elsewhere."""
    size = max(1, len(content))
    start = int(rng.integers(min(size, 400) if rng.random() < 0.3 else size))
    return start, min(size, start + int(2 ** rng.uniform(0, np.log2(max(2, size * most)))))


def _flip(content, rng):
    for _ in range(int(2 ** rng.uniform(0, 8))):
        start, _ = _place(content, rng)
        if content:
            content[start] ^= 1 << int(rng.integers(8))
    return content


def _extreme(content, rng):
    start, _ = _place(content, rng)
    value = rng.choice([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF, 0xFF00_0000])
    content[start : start + 4] = int(value).to_bytes(4, str(rng.choice(["little", "big"])))
    return content


def _zero(content, rng):
    start, end = _place(content, rng)
    content[start:end] = bytes(end - start)
    return content


def _noise(content, rng):
    start, end = _place(content, rng)
    content[start:end] = rng.bytes(end - start)
    return content


def _delete(content, rng):
    start, end = _place(content, rng)
    return content[:start] + content[end:]


def _cut(content, rng):
    return content[: int(rng.integers(1, max(2, len(content))))]


def _insert(content, rng):
    start, end = _place(content, rng)
    return content[:start] + rng.bytes(end - start) + content[start:]


def _repeat(content, rng):
    start, end = _place(content, rng)
    return content[:end] + content[start:]


def _append(content, rng):
    return content + rng.bytes(int(2 ** rng.uniform(0, 16)))


KINDS = {
    "flip": _flip,
    "extreme": _extreme,
    "zero": _zero,
    "noise": _noise,
    "delete": _delete,
    "cut": _cut,
    "insert": _insert,
    "repeat": _repeat,
    "append": _append,
}


def decoded(path):
    """Return the number of samples, the rate, the channels, the format, and the error."""
    n_samples, message, decoder = 0, "", None
    try:
        recording_start(path)
        decoder = open_recording(path)
        for block in decoder.blocks():
            n_samples += len(block)
    except SedError as error:
        message = str(error)
    if decoder is None:
        return 0, 0, 0, "", message
    decoder.close()
    return n_samples, decoder.sample_rate, decoder.n_channels, decoder.format, message


def piped(content):
    """Return what `decoded` does, for sound that comes through a pipe."""
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb", buffering=0) as pipe, suppress(OSError):
            rest = memoryview(content)
            while rest:
                rest = rest[pipe.write(rest) :]

    thread = Thread(target=write)
    thread.start()
    try:
        *counts, form, message = decoded(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
        thread.join()
    return *counts, form.replace(" stream", ""), message


def lost_seconds(name, content, kinds, has_other_header, whole, result):
    """Return how many seconds of a mutation were lost without a word, by an account of our own.

    Plain samples are as many as the bytes say. Other formats have the samples of the original, as
    long as they say how many that are, or nothing of the file was removed.
    """
    n_samples, rate, n_channels, form, _ = result
    if name in UNACCOUNTED or n_samples == 0:  # without samples there is an error later on
        return 0.0
    n_whole, rate_whole, _, form_whole, _ = whole
    if width := _width(form):
        n_bytes = len(content) - HEADER_BYTES
        if name == "a.au":  # a text of any length follows its header
            n_bytes -= int.from_bytes(content[4:8], "big")
        return (n_bytes - n_samples * n_channels * width) / (_width(form_whole) * RATE)
    is_shorter = "delete" in kinds or "cut" in kinds
    if is_shorter and (name in NO_LENGTH or has_other_header):
        return 0.0
    factor = rate_whole / rate if "opus" in form.lower() else 1
    return (n_whole - n_samples * factor) / rate_whole


def _width(form):
    """Return the bytes of a sample, if it is plain; else 0."""
    container, _, subtype = form.partition(" ")
    if match := re.search(r"pcm_[fsu](\d+)", subtype):
        return int(match[1]) // 8
    return 0 if container == "FLAC" else PLAIN_BYTES.get(subtype, 0)


def main(folder, first, n_mutations, *, by_pipe=False):
    """Decode mutations, and report what is wrong."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES_OF_MEMORY, MAX_BYTES_OF_MEMORY))
    warnings.simplefilter("ignore")
    originals = {path.name: path.read_bytes() for path in sorted(folder.glob("*.*"))}
    whole = {name: decoded(folder / name) for name in originals}
    place = folder / f"mutated-{first}{'-pipe' * by_pipe}"
    place.mkdir()
    for number in range(first, first + n_mutations):
        rng = np.random.default_rng(number)
        name = list(originals)[number % len(originals)]
        content, kinds = mutated(originals[name], rng)
        path = place / name
        path.write_bytes(content)
        print(number, flush=True)
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        problem = ""
        try:
            result = piped(content) if by_pipe else decoded(path)
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            has_other = content[:HEADER_BYTES] != originals[name][:HEADER_BYTES]
            lost = lost_seconds(name, content, kinds, has_other, whole[name], result)
            lost = 0.0 if result[-1] else lost
            if lost > 1.0:
                problem = f"{lost:.2f} s lost, decoded {result[:4]}, whole {whole[name][:4]}"
        faulthandler.cancel_dump_traceback_later()
        if problem:
            print(json.dumps([number, name, kinds, problem]), flush=True)
    print("end", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), by_pipe="pipe" in sys.argv[4:])
