"""Torch as an engine, on any device; on a GPU, `streaming.engines.cuda` is faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sed.features.log_mel import NumpyLogMel
from sed.models.checkpoint import Checkpoint
from sed.models.devices import DeviceError, choose_device, choose_precision
from sed.models.fusion import fuse_conv_bn
from sed.models.head import HeadOutput
from sed.models.receptive_field import receptive_field
from sed.models.spec import ReceptiveField
from sed.types import Floats
from streaming.engines.base import SUB_BATCH, Engine, FrameOutput, concat, sub_batches

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class TorchEngine(Engine):
    """A checkpoint on a device, in a precision.

    The front end and the heads run in fp32 always; answers come in fp32.

    Parameters
    ----------
    checkpoint
        The model; it stays as it is.
    device
        auto, cpu, cuda or cuda:N.
    precision
        auto, fp32, bf16 or, on a GPU, fp16, of the network. ``auto`` is bf16 where the device
        multiplies in it.
    n_streams
        Calls of `hear` that may run at once.
    n_threads
        Cores for each of them, on a CPU.
    compiled
        Let torch.compile make one program of the network, for each shape that occurs. That takes
        a minute, and on a CPU a C++ compiler.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        precision: str = "auto",
        *,
        n_streams: int = 1,
        n_threads: int = 1,
        compiled: bool = False,
    ) -> None:
        self.spec = checkpoint.spec
        self.n_streams = n_streams
        self.n_threads = n_threads
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.model = fuse_conv_bn(checkpoint.model).to(self.device)  # a copy
        self.model.to(memory_format=torch.channels_last)
        self._n_threads_before = torch.get_num_threads()
        self._columns_on_cpu = NumpyLogMel(self.spec.log_mel)
        self._features = self.model.frame_features
        self.is_compiled = compiled
        if compiled:
            # Freezing lets the compiler lay weights out as it likes them.
            self._features = torch.compile(
                self._features, dynamic=False, options={"freezing": True}
            )
            for n_windows in (SUB_BATCH, 1):  # now, not while somebody waits for an answer
                shape = n_windows, self.spec.window_columns, self.spec.log_mel.n_mels
                self.infer(np.zeros(shape, np.float32))

    def __str__(self) -> str:
        kind = "torch.compile" if self.is_compiled else "torch"
        precision = NAMES[self.precision]
        return f"{kind} {torch.__version__.split('+')[0]} on {self._place}, {precision}"

    @property
    def _place(self) -> str:
        n = self.n_streams * self.n_threads
        return f"{self.device}, {n} thread{'s' * (n != 1)}"

    @cached_property
    def receptive_field(self) -> ReceptiveField | None:
        """How far a frame of the network looks; None if it knows of the whole window."""
        return receptive_field(self.model, self.spec.window_columns)

    def init_thread(self) -> None:
        """Prepare a thread that is going to call `hear`."""
        torch.set_num_threads(self.n_threads)  # of this thread, and of those that start from now on

    def restore_threads(self) -> None:
        """Undo what preparing threads has done to the process."""
        torch.set_num_threads(self._n_threads_before)

    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,)."""
        return self._columns_on_cpu(samples)

    @torch.inference_mode()
    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return what the model says of each frame of a batch, shape (batch, columns, mels).

        Raises
        ------
        DeviceError
            If the device has no memory for it.
        """
        if self.is_compiled:  # few shapes, since each is compiled
            return concat(self._infer(piece) for piece in sub_batches(log_mel))[: len(log_mel)]
        return self._infer(log_mel)

    def _infer(self, columns: Floats) -> FrameOutput:
        at_once = f"with {len(columns)} windows at once. Lower --batch-size"
        try:
            with translate_oom(self.device, at_once):
                answer = self._answer(torch.from_numpy(columns).to(self.device))
                return FrameOutput(*(part.cpu().numpy() for part in answer))
        except RuntimeError as error:
            if not self.is_compiled:
                raise
            raise DeviceError(
                f"torch.compile does not work here ({' '.join(str(error).split())[:200]}). "
                "Install a C++ compiler, or choose another --engine."
            ) from error

    def _answer(self, batch: Tensor) -> HeadOutput:
        """Return what the model says of a batch, which lies on the device."""
        lower = self.precision != torch.float32
        # The cache would keep casts of a CUDA graph's capture, which are good only within it.
        with torch.autocast(
            self.device.type, self.precision if lower else None, lower, cache_enabled=False
        ):
            features = self._features(batch)
        return self.model.frame_outputs(features.float())  # small: faster and finer in fp32


@contextmanager
def translate_oom(device: torch.device, remedy: str) -> Iterator[None]:
    """Say in the words of a person that a device has no memory left, and what to do about it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device}: out of memory {remedy}.") from error
