"""Windows of clips with clip and frame targets, for training and validation."""

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
from train.augment.disguise import disguise
from train.augment.mix import place_events
from train.augment.noise import add_at_snr, background_files, noise, random_background
from train.augment.room import reverberate
from train.augment.synthesis import synthetic
from train.augment.waveform import (
    SHIFTS,
    Spans,
    crop,
    fit_length,
    pitch_shift,
    random_gain,
    time_stretch,
)
from train.config.train import TrainConfig
from train.data.audio import n_samples, read_clip
from train.data.clips import Clip, PseudoLabels
from train.data.loudness import active_frames, active_ranges
from train.loop.frame_targets import covered_frames

SampleKey = tuple[int, int, int]  # epoch, position in it, index of the clip

# Each use of random numbers has a stream of its own, seeded by (seed, stream, epoch, position).
SAMPLES, ORDER, STEP = 1, 2, 3

# In a soundscape of clips without times, an event lasts while its clip is above this level relative
# to its loudest 20 ms, with pauses no longer than this.
EVENT_DB = -25.0
LONGEST_PAUSE_SECONDS = 0.5

SYNTHETIC_RMS = 0.05  # as loud as most clips


class Example(NamedTuple):
    """A window of a clip and its targets; a batch has one more axis in front."""

    samples: Tensor  # (window_samples,)
    targets: Tensor  # (classes,); NaN is unknown
    frame_targets: Tensor  # (frames, classes): from strong labels, or from loudness
    weight: Tensor  # (): of its loss
    clip_index: Tensor  # ()


class ClipDataset(Dataset[Example | SedError]):
    """Labelled windows of clips.

    Parameters
    ----------
    clips
        The clips to read.
    labels
        The class list; other labels of a clip are ignored.
    config
        Window length, sample rate, augmentation, seed.
    frame_edges
        Where the frames of a window start and end, in samples, shape (frames + 1,).
    labelled
        Indices of the classes that clips have as labels; targets of others are unknown.
    training
        Random position and augmentation; otherwise the middle of each clip, unchanged.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: Sequence[str],
        config: TrainConfig,
        frame_edges: NDArray[np.int64],
        labelled: Sequence[int],
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
        # A class that no clip has as a label may be in any of them.
        self._never_labelled = ~np.isin(np.arange(len(labels)), np.array(labelled, np.int64))
        waveform = config.waveform
        has_background = training and waveform.background_probability > 0
        self._backgrounds = background_files(waveform.background) if has_background else []

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: SampleKey) -> Example | SedError:
        """Return the window of a clip at a position of an epoch, or the error of its file.

        The error is returned, since a worker process would lose the message of one that it raises.
        """
        epoch, position, i = key
        generator = np.random.default_rng((self.config.seed, SAMPLES, epoch, position))
        try:
            return self._example(i, generator if self.training else None)
        except SedError as error:
            return error

    def _example(self, i: int, generator: np.random.Generator | None) -> Example:
        clip, mixing = self.clips[i], self.config.mixing
        weight = 1.0
        if clip.pseudo is not None:
            samples = read_clip(clip, self.sample_rate, length=self.window_samples)
            samples = np.pad(samples, (0, self.window_samples - len(samples)))
            frames = self._pseudo_frame_targets(clip, clip.pseudo)
            targets = self._pseudo_targets(clip.pseudo)
            weight = self.config.data.pseudo_label_weight
            if generator is not None:
                samples = random_gain(samples, self.config.waveform.gain_db, generator)
        elif generator is not None and generator.random() < mixing.disguise_probability:
            samples, frames, targets = self._disguised(i, generator)
        elif generator is not None and generator.random() < mixing.soundscape_probability:
            samples, frames, targets = self._soundscape(i, generator)
        else:
            samples, spans = self._window(clip, generator)
            frames, targets = self._targets(clip, samples, spans)
        # Noise comes last, since frame targets are derived from the loudness of the clip alone.
        if generator is not None:
            samples = self._with_noise(samples, generator)
        return Example(
            torch.from_numpy(np.ascontiguousarray(samples, np.float32)),
            torch.from_numpy(targets),
            torch.from_numpy(frames),
            torch.tensor(weight),
            torch.tensor(i),
        )

    # ------------------------------------------------------------------------------------- samples

    def _window(self, clip: Clip, generator: np.random.Generator | None) -> tuple[Floats, Spans]:
        """Read and augment a random window of a clip; without generator, the middle of it."""
        waveform = self.config.waveform
        speed = 1.0
        if generator is not None and generator.random() < waveform.time_stretch_probability:
            speed = _uniform(generator, waveform.time_stretch_rate)
        samples, spans = self._read(clip, round(self.window_samples * speed), generator)
        if speed != 1.0:
            samples, spans = time_stretch(samples, spans, speed)
        if generator is not None and generator.random() < waveform.pitch_shift_probability:
            semitones = _uniform(generator, waveform.pitch_shift_semitones)
            samples = pitch_shift(samples, self.sample_rate, semitones)
        if generator is not None:
            samples = self._in_room(samples, generator)
        pad_mode = self.config.data.pad_mode
        samples, spans = fit_length(samples, spans, self.window_samples, pad_mode, generator)
        if generator is not None:
            samples, spans = SHIFTS[waveform.shift](samples, spans, generator)
            samples = random_gain(samples, waveform.gain_db, generator)
        return samples, spans

    def _read(
        self, clip: Clip, length: int, generator: np.random.Generator | None
    ) -> tuple[Floats, Spans]:
        """Read a clip, or `length` samples of it where its header says that it is longer."""
        there = n_samples(clip, self.sample_rate)
        spans = self._spans(clip)
        if there is None or there <= length:
            return read_clip(clip, self.sample_rate), spans
        spare = there - length
        start = spare // 2 if generator is None else int(generator.integers(spare + 1))
        samples = read_clip(clip, self.sample_rate, start=start, length=length)
        # The file may hold fewer samples than its header says.
        return samples, crop(np.empty(there, np.float32), spans, start, len(samples))[1]

    def _soundscape(
        self, i: int, generator: np.random.Generator
    ) -> tuple[Floats, NDArray[np.float32], NDArray[np.float32]]:
        """Place events of this clip and of some others at random times in one window."""
        n_others = int(generator.integers(self.config.mixing.soundscape_max_events))
        chosen = [i, *map(int, generator.integers(len(self.clips), size=n_others))]
        clips = [self.clips[j] for j in chosen if self.clips[j].pseudo is None]
        events = [event for clip in clips for event in self._event_of(clip, generator)]
        samples, spans = place_events(self.window_samples, events, generator)
        present = covered_frames(spans, self.frame_edges, len(self.labels))
        return (
            samples,
            self._with_unknown(present, clips),
            self._clip_targets(clips, present.max(axis=0) > 0),
        )

    def _disguised(
        self, i: int, generator: np.random.Generator
    ) -> tuple[Floats, NDArray[np.float32], NDArray[np.float32]]:
        """Mix this clip and others, disguised or synthetic; nothing is known about the result."""
        n_others = int(generator.integers(self.config.mixing.soundscape_max_events))
        samples = np.zeros(self.window_samples, np.float32)
        for j in (i, *map(int, generator.integers(len(self.clips), size=n_others))):
            if generator.random() < self.config.mixing.synthetic_probability:
                sound = SYNTHETIC_RMS * synthetic(self.window_samples, self.sample_rate, generator)
            else:
                sound, _ = self._read(self.clips[j], self.window_samples, generator)
                sound = disguise(sound, self.sample_rate, generator)
                sound, _ = fit_length(sound, [], self.window_samples, "repeat", generator)
            samples += random_gain(sound, self.config.waveform.gain_db, generator)
        unknown = np.full((len(self.frame_edges) - 1, len(self.labels)), np.nan, np.float32)
        return samples, unknown, unknown[0].copy()

    def _event_of(self, clip: Clip, generator: np.random.Generator) -> list[tuple[Floats, Spans]]:
        """Return one event of a clip and where its classes are active, or nothing if it has none.

        Of a clip with strong labels it is a random one of them, else the clip without silence.
        """
        samples, spans = self._read(clip, self.window_samples, generator)
        samples = random_gain(samples, self.config.waveform.gain_db, generator)
        samples = self._in_room(samples, generator)
        if clip.events is None:
            ranges = active_ranges(samples, self.sample_rate, EVENT_DB, LONGEST_PAUSE_SECONDS)
            if not ranges:
                return []
            first, end = ranges[0][0], ranges[-1][1]
            spans = [
                (a - first, b - first, c) for a, b in ranges for c in self._classes(clip.labels)
            ]
            return [(samples[first:end], spans)]
        if not spans:
            return []
        first, last, _ = spans[int(generator.integers(len(spans)))]
        # The section also holds the events that overlap with it.
        return [crop(samples, spans, first, last - first)]

    def _in_room(self, samples: Floats, generator: np.random.Generator) -> Floats:
        waveform = self.config.waveform
        if generator.random() >= waveform.room_probability:
            return samples
        rt60 = _uniform(generator, waveform.room_rt60_seconds)
        return reverberate(samples, self.sample_rate, rt60, generator)

    def _with_noise(self, samples: Floats, generator: np.random.Generator) -> Floats:
        waveform, length = self.config.waveform, len(samples)
        if generator.random() < waveform.background_probability:
            other = random_background(self._backgrounds, length, self.sample_rate, generator)
            samples = add_at_snr(samples, other, _uniform(generator, waveform.background_snr_db))
        if generator.random() < waveform.noise_probability:
            kind = waveform.noise[int(generator.integers(len(waveform.noise)))]
            other = noise(kind, length, self.sample_rate, generator)
            samples = add_at_snr(samples, other, _uniform(generator, waveform.noise_snr_db))
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
        """Return frame targets, (frames, classes), and clip targets, (classes,), of a window.

        They follow from the strong labels of the clip; without any, from its labels and, frame by
        frame, its loudness.
        """
        if clip.events is not None:
            frames = covered_frames(spans, self.frame_edges, len(self.labels))
            targets = self._clip_targets([clip], frames.max(axis=0) > 0)
            return self._with_unknown(frames, [clip]), targets
        present = np.zeros(len(self.labels), np.bool_)
        present[self._classes(clip.labels)] = True
        targets = self._clip_targets([clip], present)
        active = active_frames(samples, self.sample_rate, self.frame_edges)
        frames = np.outer(active, np.nan_to_num(targets)).astype(np.float32)
        return self._with_unknown(frames, [clip]), targets

    def _clip_targets(
        self, clips: Sequence[Clip], present: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        data = self.config.data
        targets = np.full(len(self.labels), data.target_negative, np.float32)
        for clip in clips:
            targets[self._classes(clip.secondary)] = data.target_secondary
        targets[present] = data.target_positive
        self._with_unknown(targets[None], clips)
        return targets

    def _with_unknown(
        self, targets: NDArray[np.float32], clips: Sequence[Clip]
    ) -> NDArray[np.float32]:
        """Set targets, (…, classes), of absent classes that may be there to NaN; return them."""
        unknown = self._never_labelled.copy()
        for clip in clips:
            unknown[self._classes(clip.unknown)] = True
        targets[:, unknown & (targets.max(axis=0) < self.config.data.target_positive)] = np.nan
        return targets

    def _pseudo_frame_targets(self, clip: Clip, pseudo: PseudoLabels) -> NDArray[np.float32]:
        """Return frame probabilities interpolated at the frames; zero after the clip's end."""
        seconds = clip.duration_seconds or self.config.data.window_seconds
        centres = (self.frame_edges[:-1] + self.frame_edges[1:]) / 2 / self.sample_rate
        at = centres / seconds * len(pseudo.frame_probs) - 0.5
        frames = np.zeros((len(centres), len(self.labels)), np.float32)
        for column, label in enumerate(pseudo.labels):
            if label in self._class_of:
                probs = pseudo.frame_probs[:, column].astype(np.float64)
                frames[:, self._class_of[label]] = np.interp(at, np.arange(len(probs)), probs)
        frames[centres >= seconds] = 0.0
        return frames

    def _pseudo_targets(self, pseudo: PseudoLabels) -> NDArray[np.float32]:
        targets = np.zeros(len(self.labels), np.float32)
        for label, probability in zip(pseudo.labels, pseudo.clip_probs, strict=True):
            if label in self._class_of:
                targets[self._class_of[label]] = probability
        return targets


def _uniform(generator: np.random.Generator, bounds: Sequence[float]) -> float:
    return float(generator.uniform(bounds[0], bounds[1]))
