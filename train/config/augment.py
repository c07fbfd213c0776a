"""Settings of augmentation: `[waveform]`, `[mixing]` and `[spectrogram]` in a recipe.

Validation clips are never augmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from train.config.checks import check_choice, check_ranges, check_shares


@dataclass(frozen=True)
class WaveformConfig:
    """Augmentation of the samples of each clip, see `train.augment.waveform`."""

    shift: Literal["roll", "shift", "none"] = "roll"  # move in time: circular, or into silence
    gain_db: float = 6.0  # random gain between minus and plus this
    time_stretch_probability: float = 0.0  # share of clips played slower or faster, same pitch
    time_stretch_rate: tuple[float, ...] = (0.9, 1.1)  # lowest and highest speed
    pitch_shift_probability: float = 0.0  # share of clips moved in pitch, same duration
    pitch_shift_semitones: tuple[float, ...] = (-2.0, 2.0)  # lowest and highest shift
    noise_probability: float = 0.0  # share of clips with noise added
    noise: tuple[str, ...] = ("white", "pink", "band")  # kinds of noise to draw from
    noise_snr_db: tuple[float, ...] = (3.0, 30.0)  # lowest and highest ratio of clip to noise
    background: str = ""  # folder of recordings without events, added to clips
    background_probability: float = 0.0  # share of clips with background added
    background_snr_db: tuple[float, ...] = (3.0, 30.0)  # lowest, highest ratio of clip to it

    def __post_init__(self) -> None:
        """Refuse impossible probabilities and ranges."""
        check_shares(
            self,
            "time_stretch_probability",
            "pitch_shift_probability",
            "noise_probability",
            "background_probability",
        )
        check_ranges(
            self,
            "time_stretch_rate",
            "pitch_shift_semitones",
            "noise_snr_db",
            "background_snr_db",
        )
        check_choice("shift", self.shift, ("roll", "shift", "none"))
        for kind in self.noise:
            check_choice("noise", kind, ("white", "pink", "band"))
        if self.gain_db < 0 or self.time_stretch_rate[0] <= 0:
            raise ValueError("expected gain_db >= 0 and time_stretch_rate > 0")
        if self.background_probability and not self.background:
            raise ValueError("background_probability needs a folder: set background")
        if self.noise_probability and not self.noise:
            raise ValueError("noise_probability needs kinds of noise: set noise")


@dataclass(frozen=True)
class MixingConfig:
    """How clips of a batch are mixed with one another, see `train.augment.mix`."""

    max_recordings: int = 1  # up to this many are summed, each at a random gain
    stop_probability: float = 0.3  # after each recording, that no further one is added
    domain: Literal["waveform", "mel-power"] = "waveform"  # where they are summed
    gain_db: tuple[float, ...] = (-12.0, 0.0)  # lowest and highest gain of those added
    mixup_probability: float = 0.5  # share of batches whose clips are mixed in pairs
    mixup_alpha: float = 1.0  # of the beta distribution of the mixing weights
    mixup_targets: Literal["convex", "or"] = "convex"  # weighted mean of targets, or maximum
    cutmix_probability: float = 0.0  # share of batches whose clips get a section of another
    cutmix_alpha: float = 1.0  # of the beta distribution of the section's length
    soundscape_probability: float = 0.0  # share of clips made of several events at random times
    soundscape_max_events: int = 3  # most events in such a clip

    def __post_init__(self) -> None:
        """Refuse impossible probabilities."""
        check_shares(
            self,
            "stop_probability",
            "mixup_probability",
            "cutmix_probability",
            "soundscape_probability",
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
    """Augmentation of the log-mel spectrograms of a batch, see `train.augment.spectrogram`."""

    gamma_probability: float = 0.0  # share of spectrograms with random contrast, before mixing
    gamma_mixed_probability: float = 0.0  # the same, after mixing
    gamma: tuple[float, ...] = (0.5, 2.0)  # lowest and highest exponent
    low_pass_probability: float = 0.0  # share of spectrograms with attenuated high frequencies
    low_pass_db: float = 20.0  # largest loss of the highest band
    filter_augment_probability: float = 0.0  # share with a random frequency response
    filter_augment_db: float = 6.0  # its gains lie between minus and plus this
    shuffle_probability: float = 0.0  # share of spectrograms whose segments change places in time
    shuffle_max_segments: int = 4  # most segments
    spec_augment_probability: float = 0.5  # share of batches with masks in time and frequency
    time_mask_columns: int = 40  # widest mask in time
    n_time_masks: int = 2  # masks in time
    freq_mask_bands: int = 8  # widest mask in frequency
    n_freq_masks: int = 2  # masks in frequency
    albumentations: str = ""  # name of a pipeline of train.augment.images; runs on the CPU

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
