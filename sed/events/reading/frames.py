"""Read frame probabilities that `sed detect --format npz` wrote."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.errors import TableError
from sed.text import message_of, printable


@dataclass(frozen=True)
class FrameScores:
    """Frame probabilities of one recording.

    Attributes
    ----------
    file
        Name of the recording.
    labels
        Names of the classes.
    edges
        Edges of the frames in seconds, ascending, shape (frames + 1,).
    probs
        Shape (frames, classes), each 0 to 1.
    """

    file: str
    labels: tuple[str, ...]
    edges: NDArray[np.float64]
    probs: NDArray[np.float32]


def read_frame_scores(path: str | os.PathLike[str]) -> FrameScores:
    """Return the frame probabilities in an NPZ file; nothing is unpickled.

    Raises
    ------
    TableError
        If it cannot be read, or its arrays do not fit each other.
    """
    name = printable(os.fspath(path))
    try:
        # A file that numpy opens itself stays open if it is none of its own.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            file, labels = str(archive["file"]), archive["labels"]
            edges, probs = archive["edges"], archive["frame_probs"]
            fits = (
                labels.ndim == 1
                and labels.dtype.kind == "U"
                and probs.shape == (len(edges) - 1, len(labels))
                and np.issubdtype(probs.dtype, np.floating)
                and np.issubdtype(edges.dtype, np.floating)
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise TableError(
            f"{name}: cannot be read as frame probabilities: {message_of(error)}. Give a file that "
            "sed detect --format npz wrote."
        ) from error
    if not fits or not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise TableError(f"{name}: its arrays do not fit each other. Make it again.")
    if probs.size and not (probs.min() >= 0 and probs.max() <= 1):
        raise TableError(f"{name}: has probabilities outside of 0 to 1. Make it again.")
    own = file or Path(path).stem
    return FrameScores(own, tuple(labels.tolist()), edges.astype(np.float64), probs)
