"""Play sound and messages into a clip recorder, and read what it saved."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import soundfile

from sed.events.tracker import Event
from streaming.messages import AudioBlock, ClipSaved, Gap, InputStatus, Problem, Status

RATE = 8_000
START = datetime(2026, 11, 21, 13, 15, tzinfo=timezone(timedelta(hours=1)))
NOTHING = np.empty((0, 4), np.float32)


def sound(seconds, n_channels=1, seed=0):
    """Return noise quantized to 16 bits, as from a microphone."""
    steps = np.random.default_rng(seed).integers(-(2**15), 2**15, (int(seconds * RATE), n_channels))
    return (steps / 2**15).astype(np.float32)


def audio_block(block, start, source="mic", sample_rate=RATE):
    return AudioBlock(source, start, block, sample_rate, NOTHING, NOTHING)


def event(onset, offset, label="siren", source="mic"):
    return Event(onset, offset, label, 0.8, source, START + timedelta(seconds=onset))


def gap(at, n_samples, source="mic"):
    onset, offset = at / RATE, (at + n_samples) / RATE
    return Gap(source, onset, offset, n_samples, "lost", START + timedelta(seconds=onset))


def status(state, n_waiting=0):
    return Status(1, 0, 0, 0, (InputStatus("mic", state, RATE, 1, 0, 0, 0, n_waiting, 0, 0, 0),))


def play(clips, samples, messages=(), *, source="mic", piece=800, start=0, sample_rate=RATE):
    """Push samples in pieces, and each (position, message) once that position was processed."""
    results, messages = [], sorted(messages, key=lambda pair: pair[0])
    for at in range(0, len(samples), piece):
        block = samples[at : at + piece]
        results += clips.handle(audio_block(block, start + at, source, sample_rate))
        while messages and messages[0][0] <= start + at + len(block):
            results += clips.handle(messages.pop(0)[1])
    assert not messages
    return results


def paths(results):
    return [Path(result.path) for result in results if isinstance(result, ClipSaved)]


def read(path):
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples, sample_rate


def files(folder):
    return sorted(os.fspath(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def problems(results):
    return [result.text for result in results if isinstance(result, Problem)]
