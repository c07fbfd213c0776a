"""What tests share: synthetic sound, a tiny model, and the way to data outside the repository."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from sed.events.tracker import TrackerConfig
from sed.features.log_mel import LogMelConfig

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint

# Packages of extras that tests need: `make test-lean` runs the tests that need none.
EXTRA_PACKAGES = {
    "astral",
    "httpx",
    "librosa",
    "matplotlib",
    "onnx",
    "pandas",
    "pyarrow",
    "sklearn",
    "starlette",
    "timm",
    "torch",
}
# Folders whose fixtures need one.
FOLDERS = {"train": "torch", "streaming/encoders": "torch", "streaming/web": "httpx"}
collect_ignore = [folder for folder, name in FOLDERS.items() if not find_spec(name)]

ROOT = Path(__file__).parents[1]
TINY_LOG_MEL = LogMelConfig(
    sample_rate=8_000,
    win_length=128,
    hop_length=80,
    n_fft=128,
    n_mels=24,
    f_min=60.0,
    f_max=4_000.0,
)


class LeanModule(pytest.Module):
    """A module of tests, which is skipped if it imports what comes with an extra and is missing."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Return the tests."""
        try:
            return super().collect()
        except self.CollectError as error:
            cause = error.__cause__
            name = (cause.name or "") if isinstance(cause, ModuleNotFoundError) else ""
            if name.partition(".")[0] not in EXTRA_PACKAGES:
                raise
            pytest.skip(f"needs {name}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Return the module of a file."""
    return LeanModule.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with data and weights that are not part of the repository."""
    folder = Path(os.environ.get("SED_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("needs the data folder beside the repository (or SED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Checkpoint:
    """Return a model of three classes that is quick, knows nothing, and has strong opinions."""
    return opinionated("mobilenetv3_small_050")


@pytest.fixture(scope="session")
def dense_checkpoint() -> Checkpoint:
    """Return one whose frames do not know of the whole window."""
    return opinionated("mobilenetv2_035")


def opinionated(backbone: str) -> Checkpoint:
    """Return a random model whose logits are spread, so that events come and go."""
    torch = pytest.importorskip("torch")
    from sed.models.backbone import ModelConfig
    from sed.models.checkpoint import Checkpoint
    from sed.models.network import SedModel

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = SedModel(ModelConfig(backbone, hidden=32), TINY_LOG_MEL, 3).eval()
        sound = torch.from_numpy(rising_noise(64_000).reshape(8, 8_000))
        with torch.no_grad():
            spread = model(sound).frame_logits.std(dim=(0, 1))
            for head in model.heads:
                head.classes.weight *= 3.0 / spread[:, None]
                head.classes.bias.zero_()
            head.classes.bias -= model(sound).frame_logits.mean(dim=(0, 1))
    tracker = TrackerConfig(
        onset_threshold=0.6,
        offset_threshold=0.4,
        median_filter_frames=(1, 3, 5),
        min_gap_seconds=0.7,
    )
    return Checkpoint(model, ("beep", "a, b\t'c'", "élan"), 1.0, tracker)


@pytest.fixture
def tone() -> np.ndarray:
    """Return two seconds of 1 kHz at 16 kHz, half of full scale."""
    return 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 16_000).astype(np.float32)


@pytest.fixture
def noise_wav(tmp_path: Path) -> Path:
    """Return six seconds of noise that comes and goes, 8 kHz, as a WAV file."""
    path = tmp_path / "noise.wav"
    soundfile.write(path, rising_noise(48_000), 8_000)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return headless Chromium."""
    if (program := shutil.which("chromium")) is None:
        pytest.skip("needs chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def rising_noise(n_samples: int, seed: int = 0) -> np.ndarray:
    """Return noise whose level swings, so that a model has something to say about it."""
    generator = np.random.default_rng(seed)
    level = 0.05 + 0.4 * np.sin(np.arange(n_samples) / 1_900.0) ** 2
    return (level * generator.standard_normal(n_samples)).astype(np.float32).clip(-1, 1)


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a condition is true, and fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.002)


@contextmanager
def tiny_disk(folder: Path, kib: int) -> Iterator[None]:
    """Mount so much memory as a disk."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute in one thread: small layers are slower in two, most of all on a busy machine.

    Engines that a test opens, and processes that it starts, choose for themselves.
    """
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Leave the log as it was: a command with --quiet sets its level for the whole process."""
    logger = logging.getLogger("sed")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what is prepared once per model in a folder of this run's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SED_CACHE", str(folder))
        yield folder
