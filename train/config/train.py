"""Settings of a whole training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from sed.features.log_mel import LogMelConfig
from sed.models.backbone import ModelConfig
from sed.timeline import Timeline
from train.config.augment import MixingConfig, SpectrogramConfig, WaveformConfig
from train.config.data import DataConfig, PostProcessingConfig
from train.config.optim import CheckpointConfig, LossConfig, OptimConfig


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run: each field is a table of the recipe.

    Attributes
    ----------
    data
        Clips, windows, folds and targets.
    waveform
        Augmentation of samples.
    mixing
        Mixing of clips.
    spectrogram
        Augmentation of log-mel spectrograms.
    optim
        Optimizer, schedule and batches.
    loss
        Loss function.
    checkpoint
        Initial weights, and the epoch that is kept.
    model
        Architecture of the network.
    log_mel
        Parameters of the log-mel spectrogram.
    post_processing
        Thresholds and durations of the finished model.
    seed
        Seed of all random numbers: folds, initial weights, order of clips and augmentation.
    """

    data: DataConfig = field(default_factory=DataConfig)
    waveform: WaveformConfig = field(default_factory=WaveformConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    log_mel: LogMelConfig = field(default_factory=LogMelConfig)
    post_processing: PostProcessingConfig = field(default_factory=PostProcessingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings of different tables that contradict each other."""
        if self.seed < 0:
            raise ValueError(f"expected a seed of 0 or more, got {self.seed}")
        if self.optim.batch_norm == "frozen" and self.checkpoint.init_weights == "none":
            raise ValueError(
                "frozen batch norms need weights to start from: give --init-weights FILE (or "
                "default, or timm), or set batch_norm to train"
            )
        if self.loss.distill_embeddings and not self.mixing.is_convex:
            raise ValueError(
                "distillation needs convex mixtures, since a teacher's embedding of any other "
                "mixture is unknown: with distill_embeddings set mixup_targets to convex, "
                "max_recordings to 1 and soundscape_probability to 0"
            )
        if self.loss.distill_yamnet and not self.keeps_samples:
            raise ValueError(
                "distillation needs the samples of every mixture: with distill_yamnet set domain "
                "to waveform, and cutmix_probability and shuffle_probability to 0"
            )
        if self.mixing.disguise_probability and not self.loss.distill_yamnet:
            raise ValueError(
                "disguised clips have no labels, only what a teacher says of them: with "
                "disguise_probability set distill_yamnet"
            )
        if self.spectrogram.albumentations and self.model.in_channels != 3:
            raise ValueError("albumentations need three-channel spectrograms: set in_channels to 3")
        log_mel = self.log_mel
        Timeline(log_mel.sample_rate, log_mel.hop_length, 1).columns_from_seconds(
            self.data.window_seconds
        )

    @property
    def keeps_samples(self) -> bool:
        """Whether the network's input is the spectrogram of known samples, masks aside."""
        mixing, spectrogram = self.mixing, self.spectrogram
        is_mel = mixing.domain == "mel-power" and mixing.max_recordings > 1
        gammas = spectrogram.gamma_probability, spectrogram.gamma_mixed_probability
        moved = mixing.cutmix_probability, spectrogram.shuffle_probability
        return not (is_mel or any(gammas) or any(moved))
