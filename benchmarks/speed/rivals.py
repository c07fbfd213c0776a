"""Run other programs than `sed detect`, each from a file to its scores.

    python -m benchmarks.speed.rivals birdclef-notebook RECORDING
    python -m benchmarks.speed.rivals birdnet RECORDING --model MODEL.tflite

Prints one line of JSON. The networks are untrained, which does not change their cost. Wall time
starts after imports, loading the model and a first window. This file imports nothing of this
project, so that the Python of another environment can run it: BirdNET needs one of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    Windows = list[np.ndarray]

RATE = 32_000
WINDOW_SECONDS, BATCH, N_CLASSES = 5, 32, 264  # of BirdCLEF 2023
CLIP_SECONDS, CLIP_BATCH, N_SOUNDS = 10, 8, 527  # of AudioSet
BIRDNET_WORKERS = 2


class RivalRun(NamedTuple):
    """Cost of a program."""

    audio_seconds: float
    wall_seconds: float
    description: str  # with the versions of its libraries


def birdclef_notebook(path: str, model: str | None = None) -> RivalRun:
    """Run the pipeline of BirdCLEF-2023 notebooks: librosa's mels as three-channel images."""
    import librosa
    import numpy as np
    import torch

    def image(samples: np.ndarray) -> np.ndarray:
        mel = librosa.feature.melspectrogram(
            y=samples, sr=RATE, n_fft=2048, hop_length=512, n_mels=224, fmin=20, fmax=16_000
        )
        db = librosa.power_to_db(mel, ref=np.max)
        db = (db - db.mean()) / (db.std() + 1e-6)
        grey = (db - db.min()) / max(1e-6, float(db.max() - db.min()))
        return np.stack([grey, grey, grey]).astype(np.float32)

    network = _notebook_network(in_channels=3)

    def scores(batch: Windows) -> Tensor:
        return network(torch.from_numpy(np.stack([image(window) for window in batch])))

    return RivalRun(
        *_timed(scores, path, WINDOW_SECONDS, BATCH),
        "BirdCLEF-2023 notebook: librosa mel 224 × 313, three channels, tf_efficientnet_b0 with "
        f"attention head, fp32, batch {BATCH}; " + _versions("librosa", "timm", "torch"),
    )


def torchlibrosa(path: str, model: str | None = None) -> RivalRun:
    """Run the same network behind torchlibrosa's front end, on one channel."""
    import numpy as np
    import torch
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    spectrogram = Spectrogram(n_fft=2048, hop_length=512)
    log_mel = LogmelFilterBank(sr=RATE, n_fft=2048, n_mels=224, fmin=20, fmax=16_000)
    network = _notebook_network(in_channels=1)

    def scores(batch: Windows) -> Tensor:
        columns = log_mel(spectrogram(torch.from_numpy(np.stack(batch))))
        return network(columns.transpose(2, 3))

    return RivalRun(
        *_timed(scores, path, WINDOW_SECONDS, BATCH),
        "the same network, one channel, behind torchlibrosa's Spectrogram and LogmelFilterBank, "
        f"fp32, batch {BATCH}; " + _versions("torchlibrosa", "timm", "torch"),
    )


def panns(path: str, model: str | None = None) -> RivalRun:
    """Run the framewise model of PANNs, Cnn14_DecisionLevelMax, on clips of ten seconds."""
    import numpy as np
    import torch

    network = _cnn14_decision_level_max()

    def scores(batch: Windows) -> Tensor:
        return network(torch.from_numpy(np.stack(batch)))

    return RivalRun(
        *_timed(scores, path, CLIP_SECONDS, CLIP_BATCH),
        "PANNs Cnn14_DecisionLevelMax after its paper, clips of 10 s, fp32, batch "
        f"{CLIP_BATCH}; " + _versions("torchlibrosa", "torch"),
    )


def birdnet(path: str, model: str | None = None) -> RivalRun:
    """Run BirdNET 2.4 through its library; the labels lie beside its model."""
    import birdnet as library
    import soundfile

    assert model is not None
    (labels,) = Path(model).parent.glob("BirdNET*Labels.txt")
    loaded = library.load_custom("acoustic", "2.4", "tf", model, labels, library="litert")
    with tempfile.TemporaryDirectory() as folder:
        silence = Path(folder) / "silence.wav"
        with wave.open(str(silence), "wb") as file:
            file.setparams((1, 2, 48_000, 0, "NONE", ""))
            file.writeframes(bytes(2 * 48_000 * 6))
        with loaded.predict_session(n_workers=BIRDNET_WORKERS) as session:
            session.run(str(silence))  # the workers load the model
            started = time.perf_counter()
            session.run(path)
            wall_seconds = time.perf_counter() - started
    return RivalRun(
        soundfile.info(path).duration,
        wall_seconds,
        f"BirdNET 2.4 through birdnet, {BIRDNET_WORKERS} workers; "
        + _versions("birdnet", "ai-edge-litert"),
    )


RIVALS: dict[str, Callable[[str, str | None], RivalRun]] = {
    "birdclef-notebook": birdclef_notebook,
    "torchlibrosa": torchlibrosa,
    "panns": panns,
    "birdnet": birdnet,
}
NEEDS = {
    "birdclef-notebook": ("librosa", "timm", "torch"),
    "torchlibrosa": ("torchlibrosa", "timm", "torch"),
    "panns": ("torchlibrosa", "torch"),
    "birdnet": ("birdnet",),
}


def measure(
    name: str, path: Path, *, python: str | None = None, model: str | None = None
) -> RivalRun:
    """Run a program in a process of its own.

    Raises
    ------
    NotMeasuredError
        If it cannot be run on this machine.
    """
    if name == "birdnet" and (python is None or model is None):
        raise NotMeasuredError("give --birdnet-python PYTHON and --birdnet-model TFLITE")
    command = [python or sys.executable, __file__, name, str(path)]
    if model is not None:
        command += ["--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise NotMeasuredError(last)
    return RivalRun(**json.loads(done.stdout.splitlines()[-1]))


class NotMeasuredError(Exception):
    """A program cannot be measured on this machine."""


def _notebook_network(in_channels: int) -> nn.Module:
    """Return tf_efficientnet_b0 with the attention head that the notebooks share."""
    import timm
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalise = nn.BatchNorm2d(224)
            self.backbone = timm.create_model(
                "tf_efficientnet_b0", in_chans=in_channels, num_classes=0, global_pool=""
            )
            width = self.backbone.num_features
            self.hidden = nn.Linear(width, width)
            self.attention = nn.Conv1d(width, N_CLASSES, 1)
            self.classes = nn.Conv1d(width, N_CLASSES, 1)

        def forward(self, image: Tensor) -> Tensor:
            """Map (batch, channels, mels, columns) to probabilities, (batch, classes)."""
            x = self.normalise(image.transpose(1, 2)).transpose(1, 2)
            x = self.backbone(x).mean(dim=2)  # over the bands
            x = F.max_pool1d(x, 3, 1, 1) + F.avg_pool1d(x, 3, 1, 1)
            x = F.relu(self.hidden(x.transpose(1, 2))).transpose(1, 2)
            weight = torch.softmax(torch.tanh(self.attention(x)), dim=-1)
            frames = torch.sigmoid(self.classes(x))
            return (weight * frames).sum(dim=2)

    return Network().eval()


def _cnn14_decision_level_max() -> nn.Module:
    """Return the network of Kong et al., 2020, arXiv:1912.10211, with an output per frame."""
    from torch import nn
    from torch.nn import functional as F
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    widths = (1, 64, 128, 256, 512, 1024, 2048)

    def block(n_in: int, n_out: int, pool: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(pool),
        )

    class Cnn14(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spectrogram = Spectrogram(n_fft=1024, hop_length=320)
            self.log_mel = LogmelFilterBank(sr=RATE, n_fft=1024, n_mels=64, fmin=50, fmax=14_000)
            self.normalise = nn.BatchNorm2d(64)
            pools = (2, 2, 2, 2, 2, 1)
            self.blocks = nn.Sequential(
                *(block(*shape) for shape in zip(widths[:-1], widths[1:], pools, strict=True))
            )
            self.hidden = nn.Linear(widths[-1], widths[-1])
            self.classes = nn.Linear(widths[-1], N_SOUNDS)

        def forward(self, samples: Tensor) -> Tensor:
            """Map (batch, samples) to probabilities, (batch, columns, classes)."""
            x = self.log_mel(self.spectrogram(samples))  # (batch, 1, columns, mels)
            x = self.normalise(x.transpose(1, 3)).transpose(1, 3)
            x = self.blocks(x).mean(dim=3)
            x = F.max_pool1d(x, 3, 1, 1) + F.avg_pool1d(x, 3, 1, 1)
            frames = self.classes(F.relu(self.hidden(x.transpose(1, 2)))).sigmoid()
            return frames.repeat_interleave(32, dim=1)

    return Cnn14().eval()


def _timed(
    scores: Callable[[Windows], Tensor], path: str, window_seconds: int, batch_size: int
) -> tuple[float, float]:
    """Return the length of a recording, and the time from the file to its scores, in seconds."""
    import numpy as np
    import torch

    n = window_seconds * RATE
    with torch.inference_mode():
        scores([np.zeros(n, np.float32)])
        started = time.perf_counter()
        samples = _loaded(path)
        windows = [samples[start : start + n] for start in range(0, len(samples), n)]
        windows[-1] = np.pad(windows[-1], (0, n - len(windows[-1])))
        for start in range(0, len(windows), batch_size):
            scores(windows[start : start + batch_size]).numpy()
        return len(samples) / RATE, time.perf_counter() - started


def _loaded(path: str) -> np.ndarray:
    """Return a whole recording, mono, at `RATE`."""
    import librosa
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return mono if rate == RATE else librosa.resample(mono, orig_sr=rate, target_sr=RATE)


def _versions(*names: str) -> str:
    versions = [f"{name} {metadata.version(name)}" for name in names]
    return ", ".join([*versions, f"python {platform.python_version()}"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one rival on one recording.")
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("recording")
    parser.add_argument("--model", help="the model of BirdNET")
    options: Any = parser.parse_args()
    for package in NEEDS[options.name]:
        if util.find_spec(package) is None:
            raise SystemExit(f"{package} is not installed in {Path(sys.prefix).name}")
    print(json.dumps(RIVALS[options.name](options.recording, options.model)._asdict()))


if __name__ == "__main__":
    main()
