"""Read examples, parts of recordings that a search is for, and embed them as a store was made."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from sed.audio.blocks import mono_blocks
from sed.audio.decode import open_recording
from sed.errors import CheckpointError, RecordingError, UsageError
from sed.events.embedding_store.store import StoreConfig
from sed.events.tracker import Event
from sed.models.registry import DEFAULT_ALIAS, SHIPPED
from sed.text import printable
from sed.types import Floats
from streaming.engines.identity import is_missing
from streaming.offline.embed import embed
from streaming.offline.job_config import model_checksum

RANGE = re.compile(r"(?P<file>.+):(?P<onset>\d+(?:\.\d*)?)-(?P<offset>\d+(?:\.\d*)?)", re.DOTALL)
ROUNDING_SECONDS = 0.001  # of times in results, which may be examples


def parse_example(text: str | os.PathLike[str]) -> Event:
    """Return the part of a recording that an example names.

    Parameters
    ----------
    text
        A recording, or one and a range of seconds: ``clip.wav:3.2-5.0``. A file of exactly that
        name is taken as a whole.

    Returns
    -------
    Event
        Its offset is infinite for a whole recording.

    Raises
    ------
    UsageError
        If the range is empty, or what follows the name of a file is no range.
    """
    name = os.fspath(text)
    match = None if os.path.exists(name) else RANGE.fullmatch(name)
    if match is None:
        file, _, rest = name.rpartition(":")
        if os.path.isfile(file) and not os.path.exists(name):
            raise UsageError(
                f"{printable(name)}: expected a range in seconds, as {printable(file)}:3.2-5.0, "
                f"got {printable(rest)!r}"
            )
        return Event(0.0, math.inf, "", 1.0, name)
    onset, offset = float(match["onset"]), float(match["offset"])
    if onset >= offset:
        raise UsageError(
            f"{printable(name)}: expected a range whose end is after its start, got "
            f"{match['onset']}-{match['offset']} s"
        )
    return Event(onset, offset, "", 1.0, match["file"])


def check_sound(example: Event, channel: int | None = None) -> Event:
    """Return an example with its true end, after reading its recording up to there.

    Raises
    ------
    UsageError
        If the range is outside the recording.
    RecordingError
        If the recording cannot be read, or there is only digital silence in the range.
    """
    decoder = open_recording(example.file)
    rate = decoder.sample_rate
    first = round(example.onset * rate)
    end = math.inf if math.isinf(example.offset) else round(example.offset * rate)
    position, has_sound = 0, False
    try:
        for block in mono_blocks(example.file, decoder, channel=channel):
            part = block[max(0, first - position) : int(max(0, min(end - position, len(block))))]
            has_sound = has_sound or bool(part.any())
            position += len(block)
            if position >= end:
                break
    finally:
        decoder.close()
    length = position / rate
    if not math.isinf(end):
        if position < end - ROUNDING_SECONDS * rate:
            raise UsageError(
                f"{printable(example.file)}: the example {_seconds(example)} is outside the "
                f"recording, which ends at {length:.3f} s"
            )
        length = min(example.offset, length)
    example = replace(example, offset=length)
    if not has_sound:
        raise RecordingError(
            example.file,
            f"the example {_seconds(example)} is digital silence. Choose another range"
            + ("." if channel is None else ", or another channel."),
        )
    return example


def embed_examples(
    examples: Sequence[Event],
    config: StoreConfig,
    *,
    model: str | os.PathLike[str] | None = None,
    channel: int | None = None,
    engine: str = "auto",
    device: str = "auto",
) -> Floats:
    """Return the embeddings of examples, (examples, dimension), as the rows of a store were made.

    Parameters
    ----------
    examples
        Parts of recordings.
    config
        Of the store.
    model
        Path of the model, if it is not where the store says.
    channel
        Counted from 1; the mean of all if not given.
    engine, device
        What runs the model; see `open_engine`.

    Raises
    ------
    UsageError
        If the model is another one than the store's, or an example is too short.
    CheckpointError
        If the model cannot be loaded.
    RecordingError
        If a recording cannot be read.
    """
    if model is None:
        model = _model_of(config)
        if is_missing(model):
            raise UsageError(
                f"{printable(config.model)}: the model of the store is not there. Give its path "
                "with --model."
            )
    elif is_missing(os.fspath(model)):
        raise UsageError(f"{printable(os.fspath(model))}: no such model. Check the name.")
    if model_checksum(model) != config.model_sha256:
        raise UsageError(
            f"{printable(str(model))}: is not the model that the store was "
            f"made with, {printable(config.model)}. Give that model with --model, or embed the "
            "recordings again."
        )
    # Rows are yielded by recording, so that labels have to say which example each belongs to.
    clips = [replace(example, label=str(i)) for i, example in enumerate(examples)]
    vectors = np.zeros((len(clips), config.dimension), np.float32)
    rows = embed(
        model=model,
        clips=clips,
        pool=config.pool,
        layer=config.layer,
        channel=channel,
        engine=engine,
        device=device,
        sample_rate=config.sample_rate,
        window_seconds=config.window_seconds,
    )
    found = set()
    for event, vector in rows:
        found.add(int(event.label))
        vectors[int(event.label)] = vector
    for i in sorted(set(range(len(clips))) - found):
        raise UsageError(
            f"{printable(clips[i].file)}: the example {_seconds(clips[i])} is too short for an "
            "embedding. Give a longer one."
        )
    return vectors


def _model_of(config: StoreConfig) -> str:
    """Return the model of a store; of ``default`` in older stores, the shipped one that it was."""
    if config.model == DEFAULT_ALIAS:
        for name in SHIPPED:
            with suppress(CheckpointError):
                if model_checksum(name) == config.model_sha256:
                    return name
    return config.model


def same_sound(event: Event, examples: Sequence[Event]) -> bool:
    """Return whether a row overlaps one of the examples in the same file."""
    return any(
        event.onset < example.offset
        and example.onset < event.offset
        and _same_file(event.file, example.file)
        for example in examples
    )


def _same_file(one: str, other: str) -> bool:
    return one == other or any(a == b for a in _paths(one) for b in _paths(other))


def _paths(name: str) -> Iterator[str]:
    if "://" not in name:
        yield os.path.realpath(name)


def _seconds(example: Event) -> str:
    return f"{example.onset:.3f}–{example.offset:.3f} s"
