"""Score sound that none of the classes explains: the class ``unknown``.

The score of a frame is high where its level rises above the background and the probabilities of all
classes stay below their thresholds::

    rise     mean of the quarter of the mel bands that rise most above the background, in dB
    fit      highest of probability / threshold, from the frame before until 0.6 s later
    score    1 / (1 + exp(-(rise - 12 dB) / 2 dB)) / (1 + fit³)

The threshold is that of the onset. Once a class has reached it, it is that of the offset until the
class falls below: the fit of a class is 1 or more until its event ends. Classes of the kind
``ambience`` (silence, noise, a small room) explain no sound, and all others do, also those that are
not selected.

The background of a band follows its level half of the way in 0.3 s, and upwards at most 1 dB/s.
Everything is computed frame by frame from what came before and 0.6 s more, so that a stream gives
the scores of a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sed.errors import UsageError
from sed.events.tracker import TrackerConfig
from sed.events.tracking.config import OFFSET_RATIO
from sed.features.log_mel import LogMelConfig
from sed.features.shown import ShownSpectrogram
from sed.models.spec import ModelSpec
from sed.types import Floats
from streaming.pipeline.config import UNKNOWN, DetectorConfig

AMBIENCE = "ambience"  # the kind of the classes that are no sound of their own
ONSET_THRESHOLD = 0.5
RISE_DB, RISE_SCALE_DB = 12.0, 2.0
FIT_EXPONENT = 3
BANDS_SHARE = 4  # one in so many bands counts
HALF_SECONDS, CLIMB_DB_PER_SECOND = 0.3, 1.0  # of the background
LAG_SECONDS = 0.6  # a class often reaches its threshold so much later than the level rises


class UnknownScore:
    """Computes the score of consecutive frames.

    Parameters
    ----------
    spec
        The model.
    onsets, offsets
        Thresholds of all its classes, (classes,).
    """

    def __init__(self, spec: ModelSpec, onsets: ArrayLike, offsets: ArrayLike) -> None:
        self._classes = explaining_classes(spec)
        self._onsets, self._offsets = (
            np.asarray(each, np.float32)[self._classes]
            for each in (onsets, np.minimum(onsets, offsets))
        )
        self._shown = ShownSpectrogram(spec.log_mel, spec.spectrogram)
        self._config = spec.spectrogram
        self._frame_columns = spec.frame_columns
        frame_seconds = spec.timeline.frame_seconds
        self.lag_frames = max(1, math.ceil(LAG_SECONDS / frame_seconds))
        self._climb = np.float32(CLIMB_DB_PER_SECOND * frame_seconds)
        self._share = np.float32(1 - 0.5 ** (frame_seconds / HALF_SECONDS))
        self._n_bands = max(1, spec.spectrogram.n_mels // BANDS_SHARE)
        self.reset()

    def reset(self) -> None:
        """Start a new recording."""
        self._columns: Floats | None = None  # levels of those of the next frames
        self._level: Floats = np.empty(0, np.float32)  # of the last frame
        self._waiting: Floats | None = None  # the rows whose later fits are not known
        self._fits: Floats = np.empty(0, np.float32)  # of the row before them, and theirs
        self._background: Floats | None = None
        self._is_on = np.zeros(len(self._classes), bool)  # whether a class has reached its onset

    def push(
        self, log_mel: Sequence[Floats], values: Floats, *, is_last: bool
    ) -> tuple[Floats, Floats]:
        """Take the next columns and frames; return the frames whose score is known.

        Parameters
        ----------
        log_mel
            Columns of the model, each (columns, mels).
        values
            Frames, shape (frames, values); the first values are probabilities of all classes.
        is_last
            Whether the recording ends here.

        Returns
        -------
        Such frames, (frames, values), and their scores, (frames, 1).
        """
        for columns in log_mel:
            levels = band_levels(self._shown(columns), self._config)
            kept = [levels] if self._columns is None else [self._columns, levels]
            self._columns = np.concatenate(kept)
        new_fits = self._new_fits(values[:, self._classes])
        if self._waiting is not None:
            values = np.concatenate([self._waiting, values])
        if not len(self._fits):
            self._fits = new_fits[:1]  # the first frame is its own neighbour
        fits = np.concatenate([self._fits, new_fits])
        n = len(values) if is_last else max(0, len(values) - self.lag_frames)
        if is_last:
            fits = np.concatenate([fits, fits[-1:]])
        self._waiting, self._fits = values[n:].copy(), fits[n:]
        scores = np.empty((n, 1), np.float32)
        for i in range(n):
            fit = float(fits[i : i + 2 + self.lag_frames].max())
            scores[i] = self._rise_score() / (1 + fit**FIT_EXPONENT)
        if is_last:
            self.reset()
        return values[:n], scores

    def _new_fits(self, probs: Floats) -> Floats:
        """Return the fit of each of the next frames, (frames,), from (frames, classes)."""
        fits = np.zeros(len(probs), np.float32)
        for i, frame in enumerate(probs):
            self._is_on = (frame >= self._onsets) | (self._is_on & (frame >= self._offsets))
            thresholds = np.where(self._is_on, self._offsets, self._onsets)
            fits[i] = np.max(frame / thresholds, initial=0)
        return fits

    def _rise_score(self) -> float:
        """Return the part of the score that the level of the next frame gives."""
        if self._columns is None:
            return 0.0
        # The last frame may have fewer columns, or none: then it is like the one before.
        columns = self._columns[: self._frame_columns]
        self._columns = self._columns[self._frame_columns :]
        if len(columns):
            self._level = columns.mean(axis=0)
        if self._background is None:
            self._background = self._level
        above = self._level - self._background
        rise = float(np.sort(np.maximum(above, 0))[-self._n_bands :].mean())
        self._background = self._background + np.minimum(self._share * above, self._climb)
        return 1 / (1 + math.exp(-(rise - RISE_DB) / RISE_SCALE_DB))


def explaining_classes(spec: ModelSpec) -> NDArray[np.int64]:
    """Return the numbers of the classes that can explain a sound: all but those of ambience."""
    numbers = list(range(len(spec.labels)))
    if spec.hierarchy is not None:
        kinds = map(spec.hierarchy.kinds_of, spec.labels)
        numbers = [c for c, (kind, *_) in zip(numbers, kinds, strict=True) if kind != AMBIENCE]
    return np.asarray(numbers, np.int64)


def band_levels(log_mel: Floats, config: LogMelConfig) -> Floats:
    """Return the levels of mel bands in dB, up to a constant.

    Parameters
    ----------
    log_mel
        Shape (columns, mels).
    config
        Of the spectrogram.
    """
    unit = 1.0 if config.log == "db" else 10 / math.log(10)
    return log_mel * np.float32(config.std * unit * 2 / config.power)


def add_unknown(
    spec: ModelSpec, labels: Sequence[str], tracker: TrackerConfig, config: DetectorConfig
) -> tuple[tuple[str, ...], TrackerConfig]:
    """Return labels and post-processing with those of `UNKNOWN` behind them.

    Parameters
    ----------
    spec
        The model.
    labels
        The selected classes; there may be none.
    tracker
        Their post-processing, with one value per class.
    config
        Thresholds for all classes are for this one too.

    Raises
    ------
    UsageError
        If a class of the model has this name.
    """
    if UNKNOWN in spec.labels:
        raise UsageError(f"the model has a class {UNKNOWN!r} of its own. Leave out --unknown")
    given = config.threshold if config.onset_threshold is None else config.onset_threshold
    given = dict(config.class_thresholds).get(UNKNOWN, given)
    onset = ONSET_THRESHOLD if given is None else given
    offset = config.offset_threshold or OFFSET_RATIO * onset
    tracker = tracker.with_classes(
        len(labels),
        1,
        onset_threshold=onset,
        offset_threshold=min(offset, onset),
        median_filter_frames=1,
        decoder="hysteresis",
    )
    return (*labels, UNKNOWN), tracker
