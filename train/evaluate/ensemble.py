"""Predict windows of sound with an ensemble of models.

A recording is cut into consecutive windows. Each goes through every model, several times with
test-time augmentation, and the probabilities are blended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from sed.errors import SedError, UsageError
from sed.models.checkpoint import Checkpoint
from sed.models.devices import choose_device
from sed.text import near, pluralize, printable, some
from sed.timeline import samples_from_seconds, seconds_from_samples
from sed.types import Floats
from train.augment.waveform import fit_length

_logger = logging.getLogger("sed.predict")

BLENDS = ("arithmetic", "geometric")
MIN_WINDOW_RATIO = 0.1  # a shorter rest after whole windows is left out
_MIN_PROBABILITY = 1e-7  # under the logarithm


@dataclass(frozen=True)
class WindowInput:
    """A section of a recording, padded to the length of a window."""

    source: int  # index of its recording
    start_seconds: float  # where in the recording it starts
    duration_seconds: float  # how much of the window is recording
    lead_seconds: float  # padding before that
    samples: Mapping[int, Floats]  # the window at each sample rate, shape (window_samples,)


@dataclass(frozen=True)
class WindowPrediction:
    """Probabilities of an ensemble for a window."""

    source: int  # index of its recording
    start_seconds: float  # where in the recording the window starts
    duration_seconds: float  # how much of the window is recording
    clip_probs: Floats  # (classes,)
    frame_probs: Floats  # (frames, classes), without the frames of the padding
    frame_edges: NDArray[np.float64]  # (frames + 1,) in seconds of the recording


def blend_probs(probs: Sequence[Floats], blend: str) -> Floats:
    """Return the arithmetic or geometric mean of probability arrays of the same shape."""
    stacked = np.stack(probs)
    if blend == "arithmetic":
        return np.asarray(stacked.mean(axis=0), np.float32)
    mean = np.log(np.maximum(stacked, _MIN_PROBABILITY)).mean(axis=0)
    return np.asarray(np.exp(mean), np.float32)


class Ensemble:
    """Models of one class list and one window length whose predictions are blended.

    Parameters
    ----------
    checkpoints
        The models. They may differ in everything else, including sample rate and frames.
    tta
        Passes per window: unchanged, and shifted circularly by 1/tta, 2/tta, … of its length.
        Frames are shifted back.
    blend
        Mean over passes and models: arithmetic or geometric.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Windows per batch.

    Raises
    ------
    UsageError
        If the models differ in classes or window length, or another argument is invalid.
    """

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        *,
        tta: int = 1,
        blend: str = "arithmetic",
        device: str = "auto",
        batch_size: int = 32,
    ) -> None:
        if not checkpoints:
            raise UsageError("expected at least one checkpoint")
        if blend not in BLENDS:
            raise UsageError(f"unknown blend {blend!r}. {near(blend, BLENDS)}")
        if tta < 1 or batch_size < 1:
            raise UsageError(f"expected tta and batch size of 1 or more, got {tta}, {batch_size}")
        _check_compatible(checkpoints)
        self.labels = checkpoints[0].labels
        self.window_seconds = checkpoints[0].window_seconds
        self.rates = sorted({_rate(checkpoint) for checkpoint in checkpoints})
        self._pad_mode = _pad_mode(checkpoints[0])
        self._checkpoints = checkpoints
        self._shifts = [i / tta for i in range(tta)]  # of a window
        self._blend = blend
        self._batch_size = batch_size
        self._device = choose_device(device)
        for checkpoint in checkpoints:
            checkpoint.model.to(self._device).eval()
        _logger.info(
            "%s on %s, windows of %g s at %s Hz, %s each",
            pluralize(len(checkpoints), "model"),
            self._device,
            self.window_seconds,
            ", ".join(map(str, self.rates)),
            "1 pass" if tta == 1 else f"{tta} passes",
        )

    def frame_edges(self, i: int = 0) -> NDArray[np.float64]:
        """Return the edges of the frames of model `i`, as shares of the window, (frames + 1,)."""
        checkpoint = self._checkpoints[i]
        columns = checkpoint.window_columns
        return checkpoint.model.frame_edges(columns) / columns

    def n_windows(self, seconds: float) -> int:
        """Return how many windows `windows` yields for a recording of this duration."""
        n_whole, rest = divmod(seconds, self.window_seconds)
        return max(1, int(n_whole) + (rest >= MIN_WINDOW_RATIO * self.window_seconds))

    def windows(self, source: int, blocks: Mapping[int, Iterable[Floats]]) -> Iterator[WindowInput]:
        """Yield the consecutive windows of a recording.

        A recording shorter than a window is padded as in training. The rest after the last whole
        window is padded with silence, unless it is shorter than `MIN_WINDOW_RATIO` of a window:
        then it is left out.

        Parameters
        ----------
        source
            Index of the recording.
        blocks
            Its samples in blocks of shape (samples,), at each of `rates`.

        Raises
        ------
        SedError
            After the last window, if the recording cannot be read to its end.
        """
        cuts = [
            _windows(blocks[rate], samples_from_seconds(self.window_seconds, rate), self._pad_mode)
            for rate in self.rates
        ]
        rate = self.rates[0]
        for i, windows in enumerate(zip(*cuts, strict=False)):  # rests differ by a sample
            _, length, lead = windows[0]
            yield WindowInput(
                source,
                i * self.window_seconds,
                seconds_from_samples(length, rate),
                seconds_from_samples(lead, rate),
                {r: samples for r, (samples, *_) in zip(self.rates, windows, strict=True)},
            )

    def predict(self, windows: Iterable[WindowInput]) -> Iterator[WindowPrediction]:
        """Yield the prediction for each window, in their order."""
        remaining = iter(windows)
        while batch := list(islice(remaining, self._batch_size)):
            clip_probs, frame_probs = self._probabilities(batch)
            edges = self.frame_edges() * self.window_seconds
            for i, window in enumerate(batch):
                frames = self._frames_of(window)
                own = edges[frames.start : frames.stop + 1] - window.lead_seconds
                yield WindowPrediction(
                    window.source,
                    window.start_seconds,
                    window.duration_seconds,
                    clip_probs[i],
                    frame_probs[i, frames],
                    window.start_seconds + own,
                )

    def _probabilities(self, batch: Sequence[WindowInput]) -> tuple[Floats, Floats]:
        """Return blended probabilities (batch, classes) and (batch, frames, classes)."""
        clip_parts, frame_parts = [], []
        for i, checkpoint in enumerate(self._checkpoints):
            samples = np.stack([window.samples[_rate(checkpoint)] for window in batch])
            for shift in self._shifts:
                rolled = np.roll(samples, round(shift * samples.shape[1]), axis=1)
                with torch.inference_mode():
                    output = checkpoint.model(torch.from_numpy(rolled).to(self._device))
                clip_parts.append(output.clip_probs.float().cpu().numpy())
                frames = output.frame_probs.float().cpu().numpy()
                frame_parts.append(frames[:, self._frames_in(i, shift)])
        return blend_probs(clip_parts, self._blend), blend_probs(frame_parts, self._blend)

    def _frames_in(self, i: int, shift: float) -> NDArray[np.int64]:
        """Return the frames of model `i` in a shifted window at the frames of the first model."""
        edges = self.frame_edges()
        middles = ((edges[1:] + edges[:-1]) / 2 + shift) % 1.0
        return np.searchsorted(self.frame_edges(i), middles, side="right") - 1

    def _frames_of(self, window: WindowInput) -> slice:
        """Return the frames whose centres are in the recording, at least one."""
        edges = self.frame_edges()
        middles = (edges[1:] + edges[:-1]) / 2 * self.window_seconds
        first, end = np.searchsorted(
            middles, [window.lead_seconds, window.lead_seconds + window.duration_seconds]
        )
        first = min(int(first), len(middles) - 1)
        return slice(first, max(int(end), first + 1))


def _windows(
    blocks: Iterable[Floats], window_samples: int, pad_mode: str
) -> Iterator[tuple[Floats, int, int]]:
    """Yield windows, how many of their samples are recording, and the padding before these."""
    held = np.empty(0, np.float32)
    has_whole = False
    error: SedError | None = None
    try:
        for block in blocks:
            held = np.concatenate([held, block])
            while len(held) >= window_samples:
                has_whole = True
                yield held[:window_samples], window_samples, 0
                held = held[window_samples:]
    except SedError as caught:  # raised after the samples before it are used
        error = caught
    spare = window_samples - len(held)
    if has_whole and len(held) >= MIN_WINDOW_RATIO * window_samples:
        yield np.pad(held, (0, spare)), len(held), 0
    elif not has_whole and len(held):
        padded, _ = fit_length(held, [], window_samples, pad_mode, None)
        yield padded, len(held), spare // 2 if pad_mode == "pad" else 0
    if error is not None:
        raise error


def _pad_mode(checkpoint: Checkpoint) -> str:
    """Return how short clips were padded in training, see `train.config.data.DataConfig`."""
    return str(checkpoint.data.get("pad_mode", "pad"))


def _rate(checkpoint: Checkpoint) -> int:
    return checkpoint.model.log_mel.config.sample_rate


def _check_compatible(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse models that cannot be blended; list all that differ from the first."""
    first = checkpoints[0]
    differences = []
    for i, other in enumerate(checkpoints[1:], start=2):
        name = printable(other.path or f"model {i}")
        if other.labels != first.labels:
            lacks = [label for label in first.labels if label not in other.labels]
            more = [label for label in other.labels if label not in first.labels]
            differences.append(
                f"{name}: {_listed('lacks', lacks)}{_listed('also has', more)}"
                f"{'has its classes in another order; ' * (not lacks and not more)}"
            )
        if other.window_seconds != first.window_seconds:
            differences.append(
                f"{name}: has windows of {other.window_seconds:g} s, not {first.window_seconds:g}"
            )
        if _pad_mode(other) != _pad_mode(first):
            differences.append(
                f"{name}: pads short clips with {_pad_mode(other)}, not {_pad_mode(first)}"
            )
    if differences:
        lines = "\n  ".join(text.removesuffix("; ") for text in differences)
        raise UsageError(
            "only models of one class list and window length can be blended; beside "
            f"{printable(first.path or 'model 1')}\n  {lines}\nLeave these out, or train them on "
            "the same classes."
        )


def _listed(what: str, labels: Sequence[str]) -> str:
    """Return a clause about labels, the first ten of them, or nothing."""
    if not labels:
        return ""
    return f"{what} {some(labels)}; "
