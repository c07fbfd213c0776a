"""Write damaged, cut and unusual recordings."""

import os
import struct

import numpy as np
import soundfile

from tests.conftest import rising_noise

GOOD = rising_noise(80_000)


def wav(path, samples=GOOD, **options):
    soundfile.write(os.fsencode(path), samples, 8_000, **options)


def cut_to(share, container, subtype):
    def make(path):
        soundfile.write(path, GOOD, 8_000, format=container, subtype=subtype)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def header_promises(n_bytes):
    def make(path):
        wav(path, subtype="PCM_16")
        content = bytearray(path.read_bytes())
        at = content.find(b"data") + 4
        content[at : at + 4] = struct.pack("<I", n_bytes)
        path.write_bytes(content)

    return make


def with_samples(change):
    def make(path):
        samples = GOOD.copy()
        change(samples)
        wav(path, samples, subtype="FLOAT")

    return make


def nan(samples):
    samples[40_000:40_010] = np.nan


def infinite(samples):
    samples[8_000] = np.inf


def silent(samples):
    samples[:] = 0


def only_header(path):
    wav(path, np.zeros(0))
    assert path.stat().st_size == 44


def mp3_without_length(path):
    """Write what a recorder that was cannot seek back writes: variable rate, no header."""
    samples = GOOD.copy()
    samples[:40_000] *= 0.001
    soundfile.write(path, samples, 8_000, format="MP3", bitrate_mode="VARIABLE")
    content = path.read_bytes()
    path.write_bytes(content[content.find(content[:2], 4) :])


def flac_without_length(path):
    soundfile.write(path, GOOD, 8_000, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits of zeros
    content[22:26] = b"\0\0\0\0"
    path.write_bytes(content)


TABLE = [
    # name, how it is made, what is said, exit status, events are found in it (None: as it may be)
    ("empty.wav", lambda p: p.write_bytes(b""), "is empty (0 bytes)", 1, False),
    ("header.wav", only_header, "holds no samples, only a header", 1, False),
    ("cut.ogg", cut_to(0.6, "OGG", "VORBIS"), "damaged at ", 1, True),
    ("cut.opus", cut_to(0.6, "OGG", "OPUS"), "cut off there, before its end mark", 1, True),
    ("cut.flac", cut_to(0.6, "FLAC", "PCM_16"), "damaged at ", 1, True),
    ("cut.mp3", cut_to(0.6, "MP3", "MPEG_LAYER_III"), "its header promises 10.0", 1, True),
    ("cut.wav", cut_to(0.6, "WAV", "PCM_16"), "damaged at 5.9", 1, True),
    ("text.wav", lambda p: p.write_text("no sound\n" * 99), "is not a sound file", 1, False),
    ("more.wav", header_promises(300_000), "header promises 300000 bytes", 1, True),
    ("less.wav", header_promises(100_000), "", 0, True),
    ("unfinished.wav", header_promises(0), "", 0, True),
    ("open.wav", header_promises(0xFFFF_FFFF), "", 0, True),
    ("sox.wav", header_promises(0x7FFF_F000), "", 0, True),
    ("arecord.wav", header_promises(0x8000_0000), "", 0, True),
    ("open.mp3", mp3_without_length, "", 0, True),
    ("open.flac", flac_without_length, "", 0, True),
    ("nan.wav", with_samples(nan), "10 samples are non-finite", 1, True),
    ("inf.wav", with_samples(infinite), "the first at 1.000 s", 1, True),
    ("silence.wav", with_samples(silent), "every sample is zero (digital silence)", 1, None),
    ("short.wav", lambda p: wav(p, GOOD[:3_000]), "", 0, True),
    ("click.wav", lambda p: wav(p, GOOD[:60]), "lasts 7.5 ms, too short", 1, None),
    ("slow.wav", lambda p: soundfile.write(p, GOOD, 4_000), "4000 samples per second", 1, False),
    ("UPPER.WAV", wav, "", 0, True),
    ("it's \"odd\"\nünï 🦉.wav", wav, "", 0, True),
    ("missing.wav", lambda p: None, "no such file", 1, False),
    ("folder", lambda p: p.mkdir(), "this folder holds no recordings", 1, False),
]  # fmt: skip
