"""Clips as the model takes them: windows of samples, with what is in them and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sed.timeline import samples_from_seconds
from train.activity import active_part
from train.config import TrainConfig
from train.overlay import place_events
from train.store import n_samples, read_clip
from train.table import Clip
from train.waveforms import (
    SHIFTS,
    Samples,
    Spans,
    add_at_snr,
    background,
    crop,
    fit,
    gain,
    noise,
    shift_pitch,
    sound_files,
    stretch,
)

Key = tuple[
    int, int, int
]  # epoch, place in it, clip: all that the randomness of a sample depends on

SAMPLES, ORDER, STEP = 1, 2, 3  # which random numbers: each use has a stream of its own


class Sample(NamedTuple):
    """A window of a clip and what is known of it; batches have one more axis in front."""

    samples: Tensor  # (window_samples,)
    targets: Tensor  # (classes,)
    frame_targets: Tensor  # (frames, classes); all zero where they are not known
    has_frames: Tensor  # (): 1 where the frame targets are known
    weight: Tensor  # (): of its loss
    number: Tensor  # (): which clip it is


class ClipDataset(Dataset[Sample]):
    """Labelled windows of clips.

    Parameters
    ----------
    clips
        What to read.
    labels
        The class list; a clip's labels are looked up in it, and others passed over.
    config
        Window length, sample rate, augmentation, seed.
    frame_edges
        Where the frames of a window begin and end, in samples, shape (frames + 1,).
    training
        Random place and augmentation; otherwise the middle of each clip, as it is.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Sequence[str],
        config: TrainConfig,
        frame_edges: NDArray[np.int64],
        *,
        training: bool,
    ) -> None:
        self.clips = clips
        self.labels = labels
        self.config = config
        self.training = training
        self.frame_edges = frame_edges
        self.sample_rate = config.front_end.sample_rate
        self.window_samples = samples_from_seconds(config.data.window_seconds, self.sample_rate)
        self._class_of = {label: i for i, label in enumerate(labels)}
        waveform = config.waveform
        behind = training and waveform.background_probability > 0
        self._backgrounds = sound_files(waveform.background) if behind else []

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> Sample:
        """Return the window of a clip at its place in an epoch."""
        epoch, place, i = key
        clip = self.clips[i]
        generator = np.random.default_rng((self.config.seed, SAMPLES, epoch, place))
        if clip.soft is not None:
            samples, frames = self._soft_window(clip)
            weight = self.config.data.soft_weight
            return self._sample(samples, self._soft_targets(clip), frames, True, weight, i)
        if not self.training:
            samples, spans = self._window(clip, None)
            return self._labelled(samples, clip, spans, i)
        if generator.random() < self.config.mixing.place_probability:
            samples, spans = self._scene(i, generator)
            return self._labelled(self._with_noise(samples, generator), None, spans, i)
        samples, spans = self._window(clip, generator)
        return self._labelled(self._with_noise(samples, generator), clip, spans, i)

    # ------------------------------------------------------------------------------------- samples

    def _window(self, clip: Clip, generator: np.random.Generator | None) -> tuple[Samples, Spans]:
        """Read a window of a clip: a random one, moved about, or without generator the middle."""
        waveform = self.config.waveform
        speed = 1.0
        if generator is not None and generator.random() < waveform.stretch_probability:
            speed = _drawn(generator, waveform.stretch)
        samples, spans = self._read(clip, round(self.window_samples * speed), generator)
        if speed != 1.0:
            samples, spans = stretch(samples, spans, speed)
        if generator is not None and generator.random() < waveform.pitch_probability:
            semitones = _drawn(generator, waveform.pitch_semitones)
            samples = shift_pitch(samples, self.sample_rate, semitones)
        samples, spans = fit(samples, spans, self.window_samples, self.config.data.short, generator)
        if generator is not None:
            samples, spans = SHIFTS[waveform.shift](samples, spans, generator)
            samples = gain(samples, waveform.gain_db, generator)
        return samples, spans

    def _read(
        self, clip: Clip, length: int, generator: np.random.Generator | None
    ) -> tuple[Samples, Spans]:
        """Read a clip, or no more than `length` of it where it is known to be longer."""
        there = n_samples(clip, self.sample_rate)
        spans = self._spans(clip)
        if there is None or there <= length:
            return read_clip(clip, self.sample_rate), spans
        spare = there - length
        start = spare // 2 if generator is None else int(generator.integers(spare + 1))
        samples = read_clip(clip, self.sample_rate, start=start, length=length)
        # The header may promise more than the file holds; what is there is what counts.
        return samples, crop(np.empty(there, np.float32), spans, start, len(samples))[1]

    def _scene(self, i: int, generator: np.random.Generator) -> tuple[Samples, Spans]:
        """Place this clip and some others at times of their own in one window."""
        n_others = int(generator.integers(self.config.mixing.place_most))
        others = generator.integers(len(self.clips), size=n_others)
        pieces = []
        for j in [i, *map(int, others)]:
            if self.clips[j].soft is None:
                samples, _ = self._read(self.clips[j], self.window_samples, generator)
                samples = gain(samples, self.config.waveform.gain_db, generator)
                pieces.append((active_part(samples, self.sample_rate), self._classes(j)))
        return place_events(self.window_samples, pieces, generator)

    def _with_noise(self, samples: Samples, generator: np.random.Generator) -> Samples:
        waveform, length = self.config.waveform, len(samples)
        if generator.random() < waveform.background_probability:
            bed = background(self._backgrounds, length, self.sample_rate, generator)
            samples = add_at_snr(samples, bed, _drawn(generator, waveform.background_snr_db))
        if generator.random() < waveform.noise_probability:
            kind = waveform.noise[int(generator.integers(len(waveform.noise)))]
            hiss = noise(kind, length, self.sample_rate, generator)
            samples = add_at_snr(samples, hiss, _drawn(generator, waveform.noise_snr_db))
        return samples

    # ------------------------------------------------------------------------------------- targets

    def _classes(self, i: int) -> list[int]:
        return [self._class_of[label] for label in self.clips[i].labels if label in self._class_of]

    def _spans(self, clip: Clip) -> Spans:
        """Return the strong labels of a clip, in samples from its start."""
        return [
            (
                samples_from_seconds(event.onset, self.sample_rate),
                samples_from_seconds(event.offset, self.sample_rate),
                self._class_of[event.label],
            )
            for event in clip.events or ()
            if event.label in self._class_of
        ]

    def _labelled(self, samples: Samples, clip: Clip | None, spans: Spans, i: int) -> Sample:
        """Return a window with the targets of its clip, or of the events in it where known."""
        knows_frames = clip is None or clip.events is not None
        frames = np.zeros((len(self.frame_edges) - 1, len(self.labels)), np.float32)
        for first, last, c in spans:
            begin, end = np.searchsorted(self.frame_edges, (first, last - 1), side="right") - 1
            frames[max(0, begin) : end + 1, c] = 1.0
        data = self.config.data
        targets = np.full(len(self.labels), data.absent, np.float32)
        if clip is not None:
            for label in clip.secondary:
                if label in self._class_of:
                    targets[self._class_of[label]] = data.secondary
        if knows_frames:
            targets[frames.any(axis=0)] = data.present
        else:
            targets[self._classes(i)] = data.present
        return self._sample(samples, targets, frames, knows_frames, 1.0, i)

    def _soft_window(self, clip: Clip) -> tuple[Samples, NDArray[np.float32]]:
        """Read a pseudo-labelled piece as it is: its frame probabilities belong to its times."""
        assert clip.soft is not None
        samples = read_clip(clip, self.sample_rate)
        length = self.window_samples
        samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
        there = clip.soft.frame_probs
        centres = (self.frame_edges[:-1] + self.frame_edges[1:]) / 2
        seconds = clip.seconds or length / self.sample_rate
        at = centres / self.sample_rate / seconds * len(there) - 0.5
        frames = np.zeros((len(centres), len(self.labels)), np.float32)
        for column, label in enumerate(clip.soft.labels):
            if label in self._class_of:
                probs = np.interp(at, np.arange(len(there)), there[:, column])
                frames[:, self._class_of[label]] = probs
        return samples, frames

    def _soft_targets(self, clip: Clip) -> NDArray[np.float32]:
        assert clip.soft is not None
        targets = np.zeros(len(self.labels), np.float32)
        for label, probability in zip(clip.soft.labels, clip.soft.clip_probs, strict=True):
            if label in self._class_of:
                targets[self._class_of[label]] = probability
        return targets

    def _sample(
        self,
        samples: Samples,
        targets: NDArray[np.float32],
        frames: NDArray[np.float32],
        knows_frames: bool,
        weight: float,
        i: int,
    ) -> Sample:
        return Sample(
            torch.from_numpy(np.ascontiguousarray(samples, np.float32)),
            torch.from_numpy(targets),
            torch.from_numpy(frames),
            torch.tensor(float(knows_frames)),
            torch.tensor(weight),
            torch.tensor(i),
        )


class EpochBatches(Sampler[list[Key]]):
    """The batches of an epoch, in an order that depends on seed and epoch alone.

    Parameters
    ----------
    clips
        What is drawn from.
    batch_size
        Clips per batch and process.
    seed
        Of the order.
    sampling
        ``all``: each clip once, shuffled. ``balanced``: as many draws, with replacement, each class
        as likely as the others. ``weighted``: half-way there, by the root of the class counts.
        ``in order``: each clip once, as they come, none left out.
    rank, world_size
        Which of how many processes this is. Together they draw what one process would, with a
        batch as large as all of theirs.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        batch_size: int,
        seed: int,
        *,
        sampling: str = "all",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.n_clips = len(clips)
        self.batch_size = batch_size
        self.seed = seed
        self.sampling = sampling
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_batch = 0  # those before it have been seen, in the run that is resumed
        self._shares = _shares(clips, sampling)

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        together = self.batch_size * self.world_size
        if self.sampling == "in order":
            return len(range(self.rank * self.batch_size, self.n_clips, together))
        return max(1, self.n_clips // together)

    def __iter__(self) -> Iterator[list[Key]]:
        order = self._order()
        together = self.batch_size * self.world_size
        for batch in range(self.first_batch, len(self)):
            first = batch * together + self.rank * self.batch_size
            places = range(first, min(first + self.batch_size, len(order)))
            yield [(self.epoch, place, int(order[place])) for place in places]

    def _order(self) -> NDArray[np.int64]:
        generator = np.random.default_rng((self.seed, ORDER, self.epoch))
        if self.sampling == "in order":
            return np.arange(self.n_clips)
        if self._shares is not None:
            return generator.choice(self.n_clips, self.n_clips, p=self._shares)
        order = generator.permutation(self.n_clips)
        together = self.batch_size * self.world_size
        if self.world_size > 1 and self.n_clips < together:
            return np.resize(
                order, together
            )  # clips go round again, so that every process has some
        return order


def _drawn(generator: np.random.Generator, bounds: Sequence[float]) -> float:
    return float(generator.uniform(bounds[0], bounds[1]))


def _shares(clips: Sequence[Clip], sampling: str) -> NDArray[np.float64] | None:
    """Return how likely each clip is drawn, or None where each is taken once."""
    if sampling not in ("balanced", "weighted"):
        return None
    counts = Counter(label for clip in clips for label in clip.labels)
    power = 1.0 if sampling == "balanced" else 0.5
    rarity = {label: count**-power for label, count in counts.items()}
    common = min(rarity.values(), default=1.0)
    # A clip without a label is as likely as one of the commonest class.
    each = [float(np.mean([rarity[x] for x in c.labels])) if c.labels else common for c in clips]
    shares: NDArray[np.float64] = np.asarray(each) / np.sum(each)
    return shares


def clip_loader(
    dataset: ClipDataset, batches: EpochBatches, *, device: torch.device
) -> DataLoader[Sample]:
    """Return the batches of a dataset; set ``batches.epoch`` before each pass."""
    n_workers = dataset.config.learning.n_workers
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=device.type == "cuda",
    )
