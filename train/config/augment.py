"""Settings of augmentation: `[waveform]`, `[mixing]` and `[spectrogram]` in a recipe.

Validation clips are never augmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from train.config.checks import check_choice, check_ranges, check_shares


@dataclass(frozen=True)
class WaveformConfig:
    """Augmentation of the samples of each clip, see `train.augment.waveform`.

    Attributes
    ----------
    shift
        How a clip is moved in time: circularly, into silence, or not at all.
    gain_db
        The random gain lies between minus and plus this many dB.
    time_stretch_probability
        Share of clips that are played slower or faster at the same pitch.
    time_stretch_rate
        Lowest and highest speed of time stretching.
    pitch_shift_probability
        Share of clips that are moved in pitch at the same duration.
    pitch_shift_semitones
        Lowest and highest pitch shift in semitones.
    room_probability
        Share of clips, or of the events of a soundscape, that sound as in a room.
    room_rt60_seconds
        Shortest and longest reverberation time of a room in seconds.
    noise_probability
        Share of clips that noise is added to.
    noise
        Kinds of noise to draw from: white, pink, band.
    noise_snr_db
        Lowest and highest level of the clip over the noise in dB.
    background
        Folder of recordings without events, which are added to clips.
    background_probability
        Share of clips that a background recording is added to.
    background_snr_db
        Lowest and highest level of the clip over the background in dB.
    """

    shift: Literal["roll", "shift", "none"] = "roll"
    gain_db: float = 6.0
    time_stretch_probability: float = 0.0
    time_stretch_rate: tuple[float, ...] = (0.9, 1.1)
    pitch_shift_probability: float = 0.0
    pitch_shift_semitones: tuple[float, ...] = (-2.0, 2.0)
    room_probability: float = 0.0
    room_rt60_seconds: tuple[float, ...] = (0.1, 1.0)
    noise_probability: float = 0.0
    noise: tuple[str, ...] = ("white", "pink", "band")
    noise_snr_db: tuple[float, ...] = (3.0, 30.0)
    background: str = ""
    background_probability: float = 0.0
    background_snr_db: tuple[float, ...] = (3.0, 30.0)

    def __post_init__(self) -> None:
        """Refuse impossible probabilities and ranges."""
        check_shares(
            self,
            "time_stretch_probability",
            "pitch_shift_probability",
            "room_probability",
            "noise_probability",
            "background_probability",
        )
        check_ranges(
            self,
            "time_stretch_rate",
            "pitch_shift_semitones",
            "room_rt60_seconds",
            "noise_snr_db",
            "background_snr_db",
        )
        check_choice("shift", self.shift, ("roll", "shift", "none"))
        for kind in self.noise:
            check_choice("noise", kind, ("white", "pink", "band"))
        if self.gain_db < 0 or min(self.time_stretch_rate[0], self.room_rt60_seconds[0]) <= 0:
            raise ValueError(
                "expected gain_db >= 0, and time_stretch_rate and room_rt60_seconds > 0"
            )
        if self.background_probability and not self.background:
            raise ValueError("background_probability needs a folder: set background")
        if self.noise_probability and not self.noise:
            raise ValueError("noise_probability needs kinds of noise: set noise")


@dataclass(frozen=True)
class MixingConfig:
    """How clips of a batch are mixed with one another, see `train.augment.mix`.

    Attributes
    ----------
    max_recordings
        Up to this many recordings are summed, each at a random gain.
    stop_probability
        Probability, after each recording, that no further one is added.
    domain
        Sum recordings as waveforms or as mel power.
    gain_db
        Lowest and highest gain of the added recordings in dB.
    mixup_probability
        Share of batches whose clips are mixed in pairs.
    mixup_alpha
        Parameter of the beta distribution of the mixing weights.
    mixup_targets
        Targets of a mixed pair: their weighted mean (convex), or their maximum (or).
    cutmix_probability
        Share of batches whose clips get a section of another clip.
    cutmix_alpha
        Parameter of the beta distribution of the section's length.
    soundscape_probability
        Share of clips that are made of several events at random times.
    soundscape_max_events
        Largest number of events in such a clip.
    disguise_probability
        Share of clips that are made of several clips at other speeds and backwards, whose labels
        are unknown: only teachers say what they are, see `train.distill`.
    synthetic_probability
        Share of the parts of such a clip that are random sounds instead of clips.
    """

    max_recordings: int = 1
    stop_probability: float = 0.3
    domain: Literal["waveform", "mel-power"] = "waveform"
    gain_db: tuple[float, ...] = (-12.0, 0.0)
    mixup_probability: float = 0.5
    mixup_alpha: float = 1.0
    mixup_targets: Literal["convex", "or"] = "convex"
    cutmix_probability: float = 0.0
    cutmix_alpha: float = 1.0
    soundscape_probability: float = 0.0
    soundscape_max_events: int = 3
    disguise_probability: float = 0.0
    synthetic_probability: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible probabilities."""
        check_shares(
            self,
            "stop_probability",
            "mixup_probability",
            "cutmix_probability",
            "soundscape_probability",
            "disguise_probability",
            "synthetic_probability",
        )
        check_ranges(self, "gain_db")
        check_choice("domain", self.domain, ("waveform", "mel-power"))
        check_choice("mixup_targets", self.mixup_targets, ("convex", "or"))
        if self.mixup_alpha <= 0 or self.cutmix_alpha <= 0:
            raise ValueError("expected mixup_alpha and cutmix_alpha above 0")
        if self.max_recordings < 1 or self.soundscape_max_events < 1:
            raise ValueError("expected max_recordings and soundscape_max_events of 1 or more")

    @property
    def is_convex(self) -> bool:
        """Whether every mixed clip is a weighted mean of clips, and its targets too."""
        mixup_is_convex = self.mixup_targets == "convex" or self.mixup_probability == 0
        return mixup_is_convex and self.max_recordings == 1 and self.soundscape_probability == 0


@dataclass(frozen=True)
class SpectrogramConfig:
    """Augmentation of the log-mel spectrograms of a batch, see `train.augment.spectrogram`.

    Attributes
    ----------
    gamma_probability
        Share of spectrograms with random contrast, before mixing.
    gamma_mixed_probability
        Share of spectrograms with random contrast, after mixing.
    gamma
        Lowest and highest exponent of the random contrast.
    low_pass_probability
        Share of spectrograms with attenuated high frequencies.
    low_pass_db
        Largest attenuation of the highest band in dB.
    filter_augment_probability
        Share of spectrograms with a random frequency response.
    filter_augment_db
        The gains of the frequency response lie between minus and plus this many dB.
    shuffle_probability
        Share of spectrograms whose segments change places in time.
    shuffle_max_segments
        Largest number of segments.
    spec_augment_probability
        Share of batches with masks in time and frequency.
    time_mask_columns
        Width of the widest mask in time, in columns.
    n_time_masks
        Number of masks in time.
    freq_mask_bands
        Width of the widest mask in frequency, in mel bands.
    n_freq_masks
        Number of masks in frequency.
    albumentations
        Name of a pipeline of albumentations, which runs on the CPU; none if empty.
    """

    gamma_probability: float = 0.0
    gamma_mixed_probability: float = 0.0
    gamma: tuple[float, ...] = (0.5, 2.0)
    low_pass_probability: float = 0.0
    low_pass_db: float = 20.0
    filter_augment_probability: float = 0.0
    filter_augment_db: float = 6.0
    shuffle_probability: float = 0.0
    shuffle_max_segments: int = 4
    spec_augment_probability: float = 0.5
    time_mask_columns: int = 40
    n_time_masks: int = 2
    freq_mask_bands: int = 8
    n_freq_masks: int = 2
    albumentations: str = ""

    def __post_init__(self) -> None:
        """Refuse impossible probabilities and ranges."""
        check_shares(
            self,
            "gamma_probability",
            "gamma_mixed_probability",
            "low_pass_probability",
            "filter_augment_probability",
            "shuffle_probability",
            "spec_augment_probability",
        )
        check_ranges(self, "gamma")
        if self.gamma[0] <= 0 or self.low_pass_db < 0 or self.filter_augment_db < 0:
            raise ValueError("expected gamma > 0, low_pass_db >= 0 and filter_augment_db >= 0")
        if self.shuffle_max_segments < 2:
            raise ValueError(
                f"expected shuffle_max_segments of 2 or more, got {self.shuffle_max_segments}"
            )
