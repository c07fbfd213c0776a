"""Networks trained on AudioSet that a model is distilled from: YAMNet and EfficientAT's mn04.

Both take samples at the model's sample rate and are not trained further. Their classes are in the
order of YAMNet's list, `train.distill.classes`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from safetensors import SafetensorError
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from sed.errors import CheckpointError
from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from sed.text import message_of, printable
from train.distill.classes import read_classes
from train.distill.inference import frozen

PATCH_COLUMNS = 96  # of YAMNet: 0.96 s
SAMPLE_RATE = 16_000  # of YAMNet, and of the models that are distilled

MN04_RATE = 32_000
MN04_WIN, MN04_HOP, MN04_FFT, MN04_MELS = 800, 320, 1024, 128
PREEMPHASIS = 0.97
# Beside its weights:
MN04_MEL_FILE, MN04_CLASSES_FILE = "mn04_mel_128x513.npy", "audioset_labels_527.txt"
MN04_BLOCKS = """
ds_r1_k3_s1_e1_c8_nre ir_r1_k3_s2_e3.000000_c16_nre ir_r1_k3_s1_e2.000000_c16_nre
ir_r1_k5_s2_e2.000000_c16_se0.250000_nre ir_r1_k5_s1_e3.000000_c16_se0.333333_nre
ir_r1_k5_s1_e3.000000_c16_se0.333333_nre ir_r1_k3_s2_e6.000000_c32 ir_r1_k3_s1_e2.500000_c32
ir_r1_k3_s1_e2.250000_c32 ir_r1_k3_s1_e2.250000_c32 ir_r1_k3_s1_e6.000000_c48_se0.250000
ir_r1_k3_s1_e5.666667_c48_se0.264706 ir_r1_k5_s2_e5.666667_c64_se0.264706
ir_r1_k5_s1_e6.000000_c64_se0.250000 ir_r1_k5_s1_e6.000000_c64_se0.250000 cn_r1_k1_s1_c384
"""

YAMNET_LOG_MEL = LogMelConfig(
    sample_rate=SAMPLE_RATE,
    win_length=400,
    hop_length=160,
    n_fft=512,
    n_mels=64,
    f_min=125.0,
    f_max=7500.0,
    power=1,
    log="offset",
    log_offset=0.001,
)


class YamnetTeacher(nn.Module):
    """YAMNet as it was trained, on patches of 96 columns.

    Parameters
    ----------
    path
        Its weights with timm's names.

    Raises
    ------
    CheckpointError
        If the file cannot be read or holds another network.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.log_mel = LogMel(YAMNET_LOG_MEL)
        network = timm.create_model("mobilenetv1_100", in_chans=1, num_classes=521, pad_type="same")
        _load(network, path)
        example = torch.zeros(2, 1, PATCH_COLUMNS, YAMNET_LOG_MEL.n_mels)
        self._infer = frozen(_FeaturesAndLogits(network), example)

    @torch.no_grad()
    def forward(
        self, samples: Tensor, first_column: int = 0, step_columns: int = 48
    ) -> tuple[Tensor, Tensor]:
        """Return what it finds in patches of clips.

        Parameters
        ----------
        samples
            At 16 kHz, shape (batch, samples), 0.96 s or longer.
        first_column
            First column of the first patch.
        step_columns
            Columns from one patch to the next; 48 is YAMNet's own.

        Returns
        -------
        tuple
            Features, (batch, patches, 1024), and logits, (batch, patches, 521).
        """
        columns = self.log_mel.forward_padded(samples)[:, first_column:]
        patches = columns.unfold(1, PATCH_COLUMNS, step_columns)  # (batch, patches, mels, 96)
        batch, n_patches = patches.shape[:2]
        x = patches.transpose(2, 3).reshape(batch * n_patches, 1, PATCH_COLUMNS, -1)
        features, logits = self._infer(x)
        return features.view(batch, n_patches, -1), logits.view(batch, n_patches, -1)


class Mn04Teacher(nn.Module):
    """EfficientAT's mn04 (Schmid et al., 2023, arXiv:2211.04772) on whole clips.

    Parameters
    ----------
    path
        Its weights with timm's names; the mel bank and the list of its classes are beside it.

    Raises
    ------
    CheckpointError
        If a file is missing, cannot be read or holds another network.
    """

    window: Tensor
    filters: Tensor
    order: Tensor

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        network = mn04()
        _load(network, path)
        self._infer = frozen(_Single(network), torch.zeros(2, 1, MN04_MELS, 501))
        filters, order = _mn04_files(Path(path).parent)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(MN04_WIN, periodic=False))
        self.register_buffer("order", order)

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Return logits, (batch, 521), of clips at 16 kHz, (batch, samples)."""
        (logits,) = self._infer(self.mel(upsample(samples)))
        return logits[:, self.order]

    def mel(self, samples: Tensor) -> Tensor:
        """Return its input, (batch, 1, mels, columns), for samples at 32 kHz, (batch, samples)."""
        emphasised = samples[:, 1:] - PREEMPHASIS * samples[:, :-1]
        spectrum = torch.stft(
            emphasised,
            MN04_FFT,
            MN04_HOP,
            MN04_WIN,
            self.window,
            center=True,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        mel = (power.transpose(1, 2) @ self.filters).transpose(1, 2)
        return ((mel + 1e-5).log() + 4.5)[:, None] / 5


def mn04() -> nn.Module:
    """Return the network of mn04 with random weights: 527 classes, 128 mel bands."""
    return MobileNetV3(
        decode_arch_def([[block] for block in MN04_BLOCKS.split()]),  # type: ignore[no-untyped-call]
        num_classes=527,
        in_chans=1,
        stem_size=8,
        num_features=512,
        round_chs_fn=partial(round_channels, multiplier=1.0),
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
        act_layer=nn.Hardswish,
        se_layer=partial(
            SqueezeExcite,
            gate_layer=nn.Sigmoid,
            force_act_layer=nn.ReLU,
            rd_round_fn=round_channels,
        ),
    )


def upsample(samples: Tensor) -> Tensor:
    """Return clips at twice their sample rate, (batch, 2 · samples), without new frequencies."""
    doubled: Tensor = torch.fft.irfft(torch.fft.rfft(samples), n=2 * samples.shape[-1])
    return 2 * doubled


class _FeaturesAndLogits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.forward_features(x).mean(dim=(2, 3))  # type: ignore[operator]
        return features, self.network.get_classifier()(features)  # type: ignore[operator]


class _Single(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.network(x),)


def teacher_logits(patch_logits: Tensor, clip_logits: Tensor | None) -> Tensor:
    """Return the mean logits of both teachers for clips, (batch, classes).

    Parameters
    ----------
    patch_logits
        Of YAMNet, (batch, patches, classes); the probability of a clip is the mean of its patches.
    clip_logits
        Of mn04, (batch, classes); None without it.
    """
    yamnet = patch_logits.sigmoid().mean(dim=1).logit(eps=1e-6)
    return yamnet if clip_logits is None else 0.5 * (yamnet + clip_logits)


def _mn04_files(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the mel bank, (bins, mels), and the place of each of our classes among its classes."""
    bank, names = folder / MN04_MEL_FILE, folder / MN04_CLASSES_FILE
    try:
        filters = torch.from_numpy(np.load(bank, allow_pickle=False)).float().T.contiguous()
        known = names.read_text("utf-8").splitlines()
        order = [known.index(c.audioset_name) for c in read_classes()]
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{printable(str(folder))}: mn04 needs its mel bank, {MN04_MEL_FILE}, and the list of "
            f"its classes, {MN04_CLASSES_FILE}, beside its weights ({message_of(error)})."
        ) from error
    return filters, torch.tensor(order)


def _load(network: nn.Module, path: str | os.PathLike[str]) -> None:
    name = printable(os.fspath(path))
    if not os.path.exists(path):
        raise CheckpointError(f"{name}: no such file. Give the weights of a teacher.")
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{name}: not the weights of this teacher ({type(error).__name__}). Give the files of "
            "YAMNet and mn04 with timm's names."
        ) from error
