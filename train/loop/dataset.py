"""Clips as the model takes them: windows of samples, with what is in them and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sed.errors import SedError
from sed.timeline import samples_from_seconds
from sed.types import Floats
from train.augment.mix import place_events
from train.augment.waveform import (
    SHIFTS,
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
from train.config import TrainConfig
from train.data.audio import n_samples, read_clip
from train.data.clips import Clip, SoftLabels
from train.data.loudness import active_frames, active_part

Key = tuple[
    int, int, int
]  # epoch, place in it, clip: all that the randomness of a sample depends on

SAMPLES, ORDER, STEP = 1, 2, 3  # which random numbers: each use has a stream of its own


class Sample(NamedTuple):
    """A window of a clip and what is known of it; batches have one more axis in front."""

    samples: Tensor  # (window_samples,)
    targets: Tensor  # (classes,)
    frame_targets: Tensor  # (frames, classes): as labelled, or when the clip is loud
    weight: Tensor  # (): of its loss
    number: Tensor  # (): which clip it is


class ClipDataset(Dataset[Sample | SedError]):
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
        self.sample_rate = config.log_mel.sample_rate
        self.window_samples = samples_from_seconds(config.data.window_seconds, self.sample_rate)
        self._class_of = {label: i for i, label in enumerate(labels)}
        waveform = config.waveform
        behind = training and waveform.background_probability > 0
        self._backgrounds = sound_files(waveform.background) if behind else []

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> Sample | SedError:
        """Return the window of a clip at its place in an epoch, or why it cannot be read.

        As a value: a worker process would lose the message of an error that it raises.
        """
        epoch, place, i = key
        generator = np.random.default_rng((self.config.seed, SAMPLES, epoch, place))
        try:
            return self._sample(i, generator if self.training else None)
        except SedError as error:
            return error

    def _sample(self, i: int, generator: np.random.Generator | None) -> Sample:
        clip = self.clips[i]
        weight = 1.0
        if clip.soft is not None:
            samples = read_clip(clip, self.sample_rate, length=self.window_samples)
            samples = np.pad(samples, (0, self.window_samples - len(samples)))
            frames, targets = self._soft_frames(clip, clip.soft), self._soft_targets(clip.soft)
            weight = self.config.data.soft_weight
            if generator is not None:
                samples = gain(samples, self.config.waveform.gain_db, generator)
        elif generator is not None and generator.random() < self.config.mixing.place_probability:
            samples, frames, targets = self._scene(i, generator)
        else:
            samples, spans = self._window(clip, generator)
            frames, targets = self._targets(clip, samples, spans)
        if generator is not None:  # after the loudness that frame targets are guessed from
            samples = self._with_noise(samples, generator)
        return Sample(
            torch.from_numpy(np.ascontiguousarray(samples, np.float32)),
            torch.from_numpy(targets),
            torch.from_numpy(frames),
            torch.tensor(weight),
            torch.tensor(i),
        )

    # ------------------------------------------------------------------------------------- samples

    def _window(self, clip: Clip, generator: np.random.Generator | None) -> tuple[Floats, Spans]:
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
    ) -> tuple[Floats, Spans]:
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

    def _scene(
        self, i: int, generator: np.random.Generator
    ) -> tuple[Floats, NDArray[np.float32], NDArray[np.float32]]:
        """Place this clip and some others at times of their own in one window."""
        n_others = int(generator.integers(self.config.mixing.place_most))
        chosen = [i, *map(int, generator.integers(len(self.clips), size=n_others))]
        clips = [self.clips[j] for j in chosen if self.clips[j].soft is None]
        pieces = [piece for clip in clips for piece in self._event_of(clip, generator)]
        samples, spans = place_events(self.window_samples, pieces, generator)
        frames = self._frames_of(spans)
        targets = self._clip_targets(clips, frames.max(axis=0) > 0)
        return samples, frames, targets

    def _event_of(
        self, clip: Clip, generator: np.random.Generator
    ) -> list[tuple[Floats, list[int]]]:
        """Return one event of a clip, and what it is: all that sounds, or one of those labelled."""
        samples, spans = self._read(clip, self.window_samples, generator)
        samples = gain(samples, self.config.waveform.gain_db, generator)
        if clip.events is None:
            return [(active_part(samples, self.sample_rate), self._classes(clip.labels))]
        if not spans:
            return []
        first, last, _ = spans[int(generator.integers(len(spans)))]
        # What else is labelled within sounds along.
        there = {c for begin, end, c in spans if begin < last and end > first}
        return [(samples[first:last], sorted(there))]

    def _with_noise(self, samples: Floats, generator: np.random.Generator) -> Floats:
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

    def _classes(self, labels: Sequence[str]) -> list[int]:
        return [self._class_of[label] for label in labels if label in self._class_of]

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

    def _targets(
        self, clip: Clip, samples: Floats, spans: Spans
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return frame and clip targets: of the events in a window, or of the labels of its clip.

        Where nobody has said when labels sound, they do when the window is loud.
        """
        if clip.events is not None:
            frames = self._frames_of(spans)
            return frames, self._clip_targets([clip], frames.max(axis=0) > 0)
        present = np.zeros(len(self.labels), np.bool_)
        present[self._classes(clip.labels)] = True
        targets = self._clip_targets([clip], present)
        active = active_frames(samples, self.sample_rate, self.frame_edges)
        return np.outer(active, targets).astype(np.float32), targets

    def _clip_targets(
        self, clips: Sequence[Clip], present: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        data = self.config.data
        targets = np.full(len(self.labels), data.absent, np.float32)
        for clip in clips:
            targets[self._classes(clip.secondary)] = data.secondary
        targets[present] = data.present
        return targets

    def _frames_of(self, spans: Spans) -> NDArray[np.float32]:
        """Return which frames the spans touch, shape (frames, classes)."""
        frames = np.zeros((len(self.frame_edges) - 1, len(self.labels)), np.float32)
        for first, last, c in spans:
            begin, end = np.searchsorted(self.frame_edges, (first, last - 1), side="right") - 1
            frames[max(0, begin) : end + 1, c] = 1.0
        return frames

    def _soft_frames(self, clip: Clip, soft: SoftLabels) -> NDArray[np.float32]:
        """Return a teacher's frame probabilities at the frames of ours; zero behind the clip."""
        seconds = clip.seconds or self.config.data.window_seconds
        centres = (self.frame_edges[:-1] + self.frame_edges[1:]) / 2 / self.sample_rate
        at = centres / seconds * len(soft.frame_probs) - 0.5
        frames = np.zeros((len(centres), len(self.labels)), np.float32)
        for column, label in enumerate(soft.labels):
            if label in self._class_of:
                probs = soft.frame_probs[:, column].astype(np.float64)
                frames[:, self._class_of[label]] = np.interp(at, np.arange(len(probs)), probs)
        frames[centres >= seconds] = 0.0
        return frames

    def _soft_targets(self, soft: SoftLabels) -> NDArray[np.float32]:
        targets = np.zeros(len(self.labels), np.float32)
        for label, probability in zip(soft.labels, soft.clip_probs, strict=True):
            if label in self._class_of:
                targets[self._class_of[label]] = probability
        return targets


def _drawn(generator: np.random.Generator, bounds: Sequence[float]) -> float:
    return float(generator.uniform(bounds[0], bounds[1]))
