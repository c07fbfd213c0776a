"""Several models heard as one: windows of sound to blended probabilities.

All that is heard after training goes this way. A recording is cut into windows, one after the
other; each window goes through every model, several times if test-time augmentation is asked for,
and what they say is blended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from sed.errors import SedError, UsageError
from sed.models.checkpoint import Checkpoint
from sed.models.devices import choose_device
from sed.text import near, printable, some
from sed.timeline import samples_from_seconds, seconds_from_samples
from sed.types import Floats
from train.augment.waveform import fit

BLENDS = ("arithmetic", "geometric")
LEAST_SHARE = 0.1  # of a window: a shorter rest behind whole windows says too little to be heard
_LEAST_PROBABILITY = 1e-7  # under the logarithm


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording, filled up with silence to the length of a window."""

    source: int  # which recording it is from
    begin_seconds: float  # where in the recording it begins
    seconds: float  # how much of it is recording
    lead_seconds: float  # silence in front of that
    samples: Mapping[int, Floats]  # the window at each sample rate, shape (window_samples,)


@dataclass(frozen=True)
class Heard:
    """What an ensemble says about a piece."""

    source: int
    begin_seconds: float
    seconds: float
    clip_probs: Floats  # (classes,)
    frame_probs: Floats  # (frames, classes), without the frames of the silence around


def blended(probs: Sequence[Floats], blend: str) -> Floats:
    """Return the arithmetic or geometric mean of probabilities of one shape."""
    stacked = np.stack(probs)
    if blend == "arithmetic":
        return np.asarray(stacked.mean(axis=0), np.float32)
    mean = np.log(np.maximum(stacked, _LEAST_PROBABILITY)).mean(axis=0)
    return np.asarray(np.exp(mean), np.float32)


class Ensemble:
    """Models of one class list and one window length, heard as one.

    Parameters
    ----------
    checkpoints
        The models. They may differ in all else, sample rate and frames included.
    tta
        How often each window is heard: as it is, and turned by 1/tta, 2/tta, … of its length,
        what falls off its end coming in at its start. Frames are turned back.
    blend
        What is made of all passes and models: their arithmetic or geometric mean.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Windows that go through a model together.

    Raises
    ------
    UsageError
        If the models do not know the same classes or hear windows of different lengths, or
        another argument cannot be.
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
        _check_that_they_fit(checkpoints)
        self.labels = checkpoints[0].labels
        self.window_seconds = checkpoints[0].window_seconds
        self.rates = sorted({_rate(checkpoint) for checkpoint in checkpoints})
        self._short = _short(checkpoints[0])
        self._checkpoints = checkpoints
        self._shifts = [i / tta for i in range(tta)]  # of a window
        self._blend = blend
        self._batch_size = batch_size
        self._device = choose_device(device)
        for checkpoint in checkpoints:
            checkpoint.model.to(self._device).eval()

    def frame_edges(self, i: int = 0) -> NDArray[np.float64]:
        """Return where the frames of model `i` begin and end, in windows, (frames + 1,)."""
        checkpoint = self._checkpoints[i]
        columns = checkpoint.window_columns
        return checkpoint.model.frame_edges(columns) / columns

    def n_pieces(self, seconds: float) -> int:
        """Return how many pieces `cut` makes of a recording so long."""
        windows, rest = divmod(seconds, self.window_seconds)
        return max(1, int(windows) + (rest >= LEAST_SHARE * self.window_seconds))

    def cut(self, source: int, blocks: Mapping[int, Iterable[Floats]]) -> Iterator[Piece]:
        """Batch a recording, given in blocks at each of `rates`, into windows one after the other.

        A recording shorter than a window is filled up as the models learnt it, with silence around
        it if they do not say. The rest behind the last whole window is followed by silence, unless
        it is shorter than `LEAST_SHARE` of one: then it is left out.
        What is wrong with the recording is raised behind the last piece.
        """
        cuts = [
            _windows(blocks[rate], samples_from_seconds(self.window_seconds, rate), self._short)
            for rate in self.rates
        ]
        rate = self.rates[0]
        for i, windows in enumerate(zip(*cuts, strict=False)):  # rests differ by a sample
            _, length, lead = windows[0]
            yield Piece(
                source,
                i * self.window_seconds,
                seconds_from_samples(length, rate),
                seconds_from_samples(lead, rate),
                {r: samples for r, (samples, *_) in zip(self.rates, windows, strict=True)},
            )

    def hear(self, pieces: Iterable[Piece]) -> Iterator[Heard]:
        """Yield what is said about each piece, in their order."""
        remaining = iter(pieces)
        while batch := list(islice(remaining, self._batch_size)):
            clip_probs, frame_probs = self._probabilities(batch)
            for i, piece in enumerate(batch):
                yield Heard(
                    piece.source,
                    piece.begin_seconds,
                    piece.seconds,
                    clip_probs[i],
                    frame_probs[i, self._frames_of(piece)],
                )

    def _probabilities(self, batch: Sequence[Piece]) -> tuple[Floats, Floats]:
        """Return blended probabilities (batch, classes) and (batch, frames, classes)."""
        clip_parts, frame_parts = [], []
        for i, checkpoint in enumerate(self._checkpoints):
            samples = np.stack([piece.samples[_rate(checkpoint)] for piece in batch])
            for shift in self._shifts:
                turned = np.roll(samples, round(shift * samples.shape[1]), axis=1)
                with torch.inference_mode():
                    output = checkpoint.model(torch.from_numpy(turned).to(self._device))
                clip_parts.append(output.clip_probs.float().cpu().numpy())
                frames = output.frame_probs.float().cpu().numpy()
                frame_parts.append(frames[:, self._frames_in(i, shift)])
        return blended(clip_parts, self._blend), blended(frame_parts, self._blend)

    def _frames_in(self, i: int, shift: float) -> NDArray[np.int64]:
        """Return which frames of model `i`, in a turned window, hear the frames of the first."""
        edges = self.frame_edges()
        middles = ((edges[1:] + edges[:-1]) / 2 + shift) % 1.0
        return np.searchsorted(self.frame_edges(i), middles, side="right") - 1

    def _frames_of(self, piece: Piece) -> slice:
        """Return the frames whose middles are of the recording, one of them at least."""
        edges = self.frame_edges()
        middles = (edges[1:] + edges[:-1]) / 2 * self.window_seconds
        first, end = np.searchsorted(
            middles, [piece.lead_seconds, piece.lead_seconds + piece.seconds]
        )
        first = min(int(first), len(middles) - 1)
        return slice(first, max(int(end), first + 1))


def _windows(
    blocks: Iterable[Floats], window_samples: int, short: str
) -> Iterator[tuple[Floats, int, int]]:
    """Yield windows, how many of their samples are of the recording, and how many stand before."""
    held = np.empty(0, np.float32)
    any_yet = False
    trouble: SedError | None = None
    try:
        for block in blocks:
            held = np.concatenate([held, block])
            while len(held) >= window_samples:
                any_yet = True
                yield held[:window_samples], window_samples, 0
                held = held[window_samples:]
    except SedError as error:  # what came before it is heard all the same
        trouble = error
    spare = window_samples - len(held)
    if any_yet and len(held) >= LEAST_SHARE * window_samples:
        yield np.pad(held, (0, spare)), len(held), 0
    elif not any_yet and len(held):
        filled, _ = fit(held, [], window_samples, short, None)
        yield filled, len(held), spare // 2 if short == "pad" else 0
    if trouble is not None:
        raise trouble


def _short(checkpoint: Checkpoint) -> str:
    """Return what filled up short clips in training, see `train.config.DataConfig`."""
    return str(checkpoint.data.get("short", "pad"))


def _rate(checkpoint: Checkpoint) -> int:
    return checkpoint.model.log_mel.config.sample_rate


def _check_that_they_fit(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse models that cannot be heard as one; all that do not fit the first are told."""
    first = checkpoints[0]
    faults = []
    for i, other in enumerate(checkpoints[1:], start=2):
        name = printable(other.path or f"model {i}")
        if other.labels != first.labels:
            lacks = [label for label in first.labels if label not in other.labels]
            more = [label for label in other.labels if label not in first.labels]
            faults.append(
                f"{name}: {_told('lacks', lacks)}{_told('knows also', more)}"
                f"{'has its classes in another order; ' * (not lacks and not more)}"
            )
        if other.window_seconds != first.window_seconds:
            faults.append(
                f"{name}: hears windows of {other.window_seconds:g} s, not {first.window_seconds:g}"
            )
        if _short(other) != _short(first):
            faults.append(f"{name}: fills up short clips with {_short(other)}, not {_short(first)}")
    if faults:
        told = "\n  ".join(fault.removesuffix("; ") for fault in faults)
        raise UsageError(
            "only models of one class list and window length can be blended; beside "
            f"{printable(first.path or 'model 1')}\n  {told}\nLeave these out, or train them on "
            "the same classes."
        )


def _told(what: str, labels: Sequence[str]) -> str:
    """Return a clause about labels, the first ten of them, or nothing."""
    if not labels:
        return ""
    return f"{what} {some(labels)}; "
