"""Compute the frame probabilities of recordings as `sed detect` does, or read those it wrote.

`sed.Scan` and `sed.open_engine` stand in another package, and are called by their public names.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sed.errors import SedError, TableError
from sed.events.reading.frames import FrameScores, read_frame_scores
from sed.events.scoring.names import match_names
from sed.models.registry import find_model
from sed.text import printable
from sed.types import Floats

OnProgress = Callable[[int, int], None]  # bytes of the recordings done, in all
OnError = Callable[[SedError], None]


def computed_scores(
    engine: Any,
    model: object,
    recordings: Sequence[str],
    labels: Sequence[str],
    *,
    cache: str | os.PathLike[str] | None,
    on_progress: OnProgress | None,
    on_error: OnError,
) -> dict[str, FrameScores]:
    """Return the frame probabilities of recordings by their paths.

    Parameters
    ----------
    engine
        An open engine.
    model
        What it was opened from, which names it in the cache.
    recordings
        Their paths, each once.
    labels
        The classes that are kept in memory.
    cache
        A folder that keeps them for the next time; none if None.
    on_progress
        Called with the bytes of the recordings that are done, and of all.
    on_error
        Called with what cannot be read, which is then missing in the result.

    Raises
    ------
    KeyboardInterrupt
        If it is stopped; the cache keeps what is done.
    """
    sed: Any = importlib.import_module("sed")
    with ExitStack() as stack:
        if cache is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sed-tune-")))
        else:
            folder = Path(cache) / _key(model, recordings)
            folder.mkdir(parents=True, exist_ok=True)
        outputs = sed.OutputConfig(formats=("npz",), output=f"{folder}/", skip_existing=True)
        config = sed.DetectorConfig(batch_size=None)
        sizes: list[int] = [0]
        callbacks = sed.ScanCallbacks(
            on_start=lambda _, n_bytes: sizes.append(n_bytes),
            on_progress=lambda n_bytes, _: (
                None if on_progress is None else on_progress(int(n_bytes), sizes[-1])
            ),
            on_error=on_error,
        )
        scan = sed.Scan(sed.JobConfig(outputs, engine, config), callbacks=callbacks)
        if scan.run(recordings).interrupted:
            raise KeyboardInterrupt
        return _by_name(folder, recordings, labels)


def stored_scores(
    folder: str | os.PathLike[str], recordings: Sequence[str], labels: Sequence[str]
) -> dict[str, FrameScores]:
    """Return the frame probabilities that `sed detect --format npz` wrote to a folder.

    Recordings are found by their names, see `sed.events.scoring.names`.

    Raises
    ------
    TableError
        If the folder has none, or one cannot be read.
    """
    if not os.path.isdir(folder):
        raise TableError(f"{printable(os.fspath(folder))}: no such folder. Check the name.")
    found = _by_name(Path(folder), recordings, labels)
    if not found:
        raise TableError(
            f"{printable(os.fspath(folder))}: no frame probabilities of the recordings of the "
            "table. Make them: sed detect RECORDINGS --format npz --output DIR/"
        )
    return found


def _by_name(
    folder: Path, recordings: Sequence[str], labels: Sequence[str]
) -> dict[str, FrameScores]:
    """Return what the files in a folder hold about the recordings, by the paths of these."""
    every = [_selected(read_frame_scores(path), labels) for path in sorted(folder.rglob("*.npz"))]
    exact = set(recordings)
    found = {one.file: one for one in every if one.file in exact}
    rest = [one for one in every if one.file not in exact]
    missing = [path for path in recordings if path not in found]
    for one, path in zip(rest, match_names([one.file for one in rest], missing), strict=True):
        if path is not None:
            found[path] = one
    return found


def _selected(scores: FrameScores, labels: Sequence[str]) -> FrameScores:
    """Return the probabilities of some classes; 0 for those that are not there."""
    column = {label: number for number, label in enumerate(scores.labels)}
    probs: Floats = np.zeros((len(scores.probs), len(labels)), np.float32)
    for number, label in enumerate(labels):
        if label in column:
            probs[:, number] = scores.probs[:, column[label]]
    return FrameScores(scores.file, tuple(labels), scores.edges, probs)


def _key(model: object, recordings: Sequence[str]) -> str:
    """Return the name of a folder for the results of a model about recordings as they are now."""
    files = [os.fspath(model) if isinstance(model, str | os.PathLike) else "default"]
    if isinstance(model, str | os.PathLike) or model is None:
        files = [os.fspath(find_model(model))]
    facts: list[Mapping[str, object] | tuple[object, ...]] = []
    for path in (*files, *recordings):
        place = os.path.abspath(path)
        stat = os.stat(place) if os.path.exists(place) else None
        facts.append((place, stat and stat.st_size, stat and stat.st_mtime_ns))
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:24]
