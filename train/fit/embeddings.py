"""Embed what a head is fitted to: the parts of a table, and background from folders.

`sed.embed` stands in another package, and is called by its public name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from sed.audio.decode import open_recording
from sed.audio.find import find_recordings
from sed.errors import SedError, UsageError
from sed.events.tracker import Event
from sed.models.registry import DEFAULT_ALIAS, find_model, is_registered, model_name
from sed.text import pluralize
from sed.types import Floats
from train.fit.crossval import N_FOLDS
from train.fit.table import Part

# More frames of a part are averaged to so many: fewer where there are many parts, so that all of
# them take about a gigabyte with 1,024 features.
MOST_FRAMES = 512
FEWEST_FRAMES = 16
MOST_FRAMES_OF_ALL = 250_000
BACKGROUND_WINDOWS = 1_000
# Windows of a recording are spread over so many times their total length, which bounds what is
# computed of a recording of a day.
BACKGROUND_SPREAD = 4

OnProgress = Callable[[int, int], None]  # parts done, in all
OnError = Callable[[SedError], None]

_log = logging.getLogger("sed.fit")


@dataclass(frozen=True)
class Encoder:
    """A frozen model, and which of its numbers are the features.

    Attributes
    ----------
    model
        Name of a model, a checkpoint, or whatever else `sed.embed` takes.
    layer
        See `sed.embed`.
    pool
        Statistics over the frames of a part; none: the frames themselves.
    device
        Where it runs.
    """

    model: str = DEFAULT_ALIAS
    layer: str = "features"
    pool: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def is_checkpoint(self) -> bool:
        """Whether the model is one of this package."""
        if self.model.startswith("hf:"):
            return False
        path = find_model(self.model)
        is_named_graph = is_registered(self.model) and path.suffix == ".json"
        return not is_named_graph and path.suffix not in (".onnx", ".xml")

    def embed(
        self,
        parts: Sequence[Event],
        on_error: OnError,
        on_progress: OnProgress | None = None,
    ) -> list[Floats | None]:
        """Return the features of each part, in fp32, None where it cannot be read.

        Shape (frames, n_features), or (statistics · n_features,) with `pool`.
        """
        import sed

        if not parts:
            return []
        found: list[Floats | None] = [None] * len(parts)
        most = min(MOST_FRAMES, max(FEWEST_FRAMES, MOST_FRAMES_OF_ALL // len(parts)))
        # The label of a part is returned with its vector.
        numbered = [replace(part, label=str(i)) for i, part in enumerate(parts)]
        # The package loads its public names when they are used, which mypy does not follow here.
        rows = sed.embed(  # type: ignore[attr-defined]
            model=self.model,
            clips=numbered,
            pool=self.pool,
            layer=self.layer,
            # The same numbers on each run, and nothing is exported or measured for a few clips.
            engine="torch" if self.is_checkpoint else "auto",
            device=self.device,
            precision="fp32",
            on_error=on_error,
        )
        for n_done, (event, vector) in enumerate(rows, start=1):
            found[int(event.label)] = vector if self.pool else averaged(vector, most)
            if on_progress is not None:
                on_progress(n_done, len(parts))
        return found


def encoder_name(model: str | os.PathLike[str]) -> str:
    """Return the name of a model for a file: an absolute path, unless it has a name of its own.

    It is never ``default``, which may become another model.
    """
    name = os.fspath(model)
    if is_registered(name):
        return model_name(name)
    return name if name.startswith("hf:") else os.path.abspath(find_model(name))


def averaged(frames: Floats, most: int) -> Floats:
    """Return at most so many frames: means of consecutive ones."""
    if len(frames) <= most:
        return frames
    edges = np.linspace(0, len(frames), most + 1).astype(int)
    sums = np.add.reduceat(frames, edges[:-1], axis=0)
    means: Floats = (sums / np.diff(edges)[:, None]).astype(np.float32)
    return means


def background_parts(
    folders: Sequence[str | os.PathLike[str]],
    window_seconds: float,
    on_error: OnError,
    *,
    without: Collection[str] = (),
) -> list[Part]:
    """Return windows of recordings without any of the classes, evenly over the recordings.

    A recording is a group. Where there are few, so that too few groups could be held out, each is
    several, one for each stretch of it.

    Parameters
    ----------
    folders
        Recordings, and folders to search for them.
    window_seconds
        Length of a window.
    on_error
        Called with what cannot be read.
    without
        Recordings that are left out, as those of the classes themselves.

    Raises
    ------
    UsageError
        If there is no recording.
    """
    if not folders:
        return []
    found, errors = find_recordings(folders)
    for error in errors:
        on_error(error)
    places = {os.path.abspath(file) for file in without}
    recordings = [recording for recording in found if recording.place not in places]
    if n_left_out := len(found) - len(recordings):
        _log.warning("--background: %s of the table left out", pluralize(n_left_out, "recording"))
    if not recordings:
        raise UsageError(
            "--background: no recording there that is not in the table. Give others, without the "
            "classes"
        )
    parts = []
    share = max(1, BACKGROUND_WINDOWS // len(recordings))
    n_stretches = -(-N_FOLDS // len(recordings))
    chosen = np.linspace(0, len(recordings) - 1, min(len(recordings), BACKGROUND_WINDOWS))
    for recording in (recordings[i] for i in chosen.astype(int).tolist()):
        try:
            with closing(open_recording(recording.path)) as decoder:
                n_samples, rate = decoder.n_samples, decoder.sample_rate
        except SedError as error:
            on_error(error)
            continue
        seconds = n_samples / rate if n_samples else window_seconds
        seconds = min(seconds, BACKGROUND_SPREAD * share * window_seconds)
        n_windows = max(1, min(share, int(seconds / window_seconds)))
        for k in range(n_windows):
            onset = k * max(window_seconds, (seconds - window_seconds) / max(1, n_windows - 1))
            event = Event(onset, onset + window_seconds, "", 1.0, recording.path)
            stretch = f", stretch {k * n_stretches // n_windows}" * (n_stretches > 1)
            parts.append(Part(event, (), recording.path + stretch))
    return parts
