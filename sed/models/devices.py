"""Choose the device and the precision that a model runs in."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
from typing import TYPE_CHECKING

from sed.errors import MissingExtraError, SedError, UsageError
from sed.text import near

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_log = logging.getLogger("sed.engines")


class DeviceError(SedError):
    """A requested device is not available."""


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    UsageError
        If the name is another one.
    DeviceError
        If a GPU is requested and torch finds none.
    """
    import torch  # heavy

    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and (kind != "cuda" or not index.isdigit())):
        raise UsageError(f"unknown device {name!r}: expected one of {', '.join(DEVICES)}, cuda:N")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and not (
        torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count()
    ):
        raise DeviceError(
            f"{name}: torch sees {torch.cuda.device_count()} CUDA devices. Choose auto or cpu, or "
            "check the driver with nvidia-smi."
        )
    return torch.device(name)


def check_precision(name: str, *, on_gpu: bool) -> None:
    """Check the name of a precision.

    Raises
    ------
    UsageError
        If the name is not one of `PRECISIONS`, or fp16 is requested on a CPU.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}. {near(name, PRECISIONS)}")
    if name == "fp16" and not on_gpu:
        raise UsageError("precision fp16 needs a GPU, and this is a CPU: choose bf16 or fp32")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of the network; ``auto`` is bf16 where the device supports it natively.

    Raises
    ------
    UsageError
        If the name is not one of `PRECISIONS`, or fp16 is requested on a CPU.
    """
    import torch  # heavy

    check_precision(name, on_gpu=device.type == "cuda")
    if name == "auto":
        name = "bf16" if _has_bf16(device) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def _has_bf16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def n_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_torch() -> bool:
    """Return whether torch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


def check_torch(model: str) -> None:
    """Make sure that a checkpoint can be loaded.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    """
    if not has_torch():
        raise MissingExtraError(
            f"{model}: a checkpoint of your own",
            "torch",
            f". Or, where that is installed, `sed export {model}` writes a graph (.onnx), which "
            "needs no extra here",
        )


def has_gpu() -> bool:
    """Return whether torch finds a GPU; torch is imported only if there are signs of one.

    Where torch is not installed, the log says once that it would use the GPU.
    """
    signs = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    is_windows = sys.platform == "win32"  # which has no such signs
    if not is_windows and not any(map(os.path.exists, signs)):
        return False
    if is_windows and not has_torch():
        return False
    if not has_torch():
        _log_unused_gpu()
        return False
    import torch

    return torch.cuda.is_available()


@functools.cache
def _log_unused_gpu() -> None:
    _log.warning("this machine has a GPU, and torch would use it: pip install 'sed-engine[gpu]'")
