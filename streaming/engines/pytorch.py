"""Run a checkpoint in PyTorch, on any device. On a GPU, `streaming.engines.cuda` is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sed.features.log_mel import NumpyLogMel
from sed.models.checkpoint import Checkpoint
from sed.models.devices import DeviceError, choose_device, choose_precision
from sed.models.fork import refuse_forked
from sed.models.inference.fusion import fuse_conv_bn
from sed.models.inference.layers import LayerNetwork
from sed.models.inference.receptive_field import receptive_field
from sed.models.network import SedModel
from sed.models.spec import ReceptiveField
from sed.text import message_of
from sed.types import Floats
from streaming.engines.base import SUB_BATCH, Engine, FrameOutput, concat, sub_batches

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class TorchEngine(Engine):
    """A checkpoint on a device, in a precision.

    The front end and the heads always run in fp32, and outputs are fp32.

    Parameters
    ----------
    checkpoint
        The model, which stays as it is.
    device
        auto, cpu, cuda or cuda:N.
    precision
        Precision of the network: auto, fp32, bf16 or, on a GPU, fp16. ``auto`` is bf16 where the
        device multiplies in it.
    n_streams
        Calls of `infer` that may run at once.
    n_threads
        Cores for each of them, on a CPU.
    compiled
        Compile the network with torch.compile, once for each shape that occurs. That takes a
        minute, and on a CPU a C++ compiler.
    layer
        Layer whose output to give as embeddings; none if None. See `sed.models.inference.layers`.

    Raises
    ------
    UsageError
        If the device, the precision or the layer is unknown.
    DeviceError
        If the device is missing, or torch.compile does not work.
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
        layer: str | None = None,
    ) -> None:
        self.spec = checkpoint.spec
        self.n_streams = n_streams
        self.n_threads = n_threads
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        # fuse_conv_bn returns a copy, so the caller's model stays where it is.
        self.model = fuse_conv_bn(checkpoint.model).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self._n_threads_before = torch.get_num_threads()
        self._numpy_log_mel = NumpyLogMel(self.spec.log_mel)
        self.layer = layer
        self._network: Callable[[Tensor], tuple[Tensor, Tensor | None]]
        if layer is None:
            self._network = _without_embeddings(self.model)
        else:
            self._network = LayerNetwork(self.model, layer)
            self.n_features = self._network.n_features
        self.is_compiled = compiled
        if compiled:
            # Freezing allows the compiler to choose the memory layout of the weights.
            self._network = torch.compile(self._network, dynamic=False, options={"freezing": True})
            # Compile both sizes of sub-batches now, so that the first call of infer is fast.
            for n_windows in (SUB_BATCH, 1):
                shape = (n_windows, self.spec.window_columns, self.spec.log_mel.n_mels)
                self.infer(np.zeros(shape, np.float32))

    def __str__(self) -> str:
        kind = "torch.compile" if self.is_compiled else "torch"
        precision = NAMES[self.precision]
        return f"{kind} {torch.__version__.split('+')[0]} on {self._device_name}, {precision}"

    @property
    def _device_name(self) -> str:
        n = self.n_streams * self.n_threads
        return f"{self.device}, {n} thread{'s' * (n != 1)}"

    @cached_property
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of a frame of the network; None if it is the whole window."""
        return receptive_field(self.model, self.spec.window_columns)

    def init_thread(self) -> None:
        """Prepare a thread that will call `infer`."""
        # This sets the number for this thread and for those that start later.
        torch.set_num_threads(self.n_threads)

    def restore_threads(self) -> None:
        """Undo what `init_thread` changed in the process."""
        torch.set_num_threads(self._n_threads_before)

    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,)."""
        return self._numpy_log_mel(samples)

    @torch.inference_mode()
    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the frame-wise output for a batch of log-mels, shape (batch, columns, mels).

        Raises
        ------
        DeviceError
            If the device has too little memory for the batch, or torch.compile does not work.
        """
        refuse_forked()
        if self.is_compiled:
            return concat(self._infer(part) for part in sub_batches(log_mel))[: len(log_mel)]
        return self._infer(log_mel)

    def _infer(self, log_mel: Floats) -> FrameOutput:
        remedy = f"with {len(log_mel)} windows at once. Lower --batch-size"
        try:
            with translate_oom(self.device, remedy):
                output = self._forward(torch.from_numpy(log_mel).to(self.device))
                return FrameOutput(*(tensor.cpu().numpy() for tensor in output))
        except RuntimeError as error:
            if not self.is_compiled:
                raise
            raise DeviceError(
                f"torch.compile does not work here ({message_of(error)}). "
                "Install a C++ compiler, or choose another --engine."
            ) from error

    def _forward(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of a `FrameOutput` for a batch that lies on the device."""
        is_lower = self.precision != torch.float32
        # The cache of autocast would keep casts that were made while a CUDA graph was captured, and
        # these are valid in that graph only.
        with torch.autocast(
            self.device.type, self.precision if is_lower else None, is_lower, cache_enabled=False
        ):
            features, embeddings = self._network(log_mel)
        # The heads are small: fp32 is faster there, and more precise.
        output = self.model.frame_outputs(features.float())
        return output if embeddings is None else (*output, embeddings.float())


def _without_embeddings(model: SedModel) -> Callable[[Tensor], tuple[Tensor, None]]:
    return lambda log_mel: (model.frame_features(log_mel), None)


@contextmanager
def translate_oom(device: torch.device, remedy: str) -> Iterator[None]:
    """Raise a `DeviceError` with a remedy in place of torch's error for memory that ran out.

    Raises
    ------
    DeviceError
        If the device runs out of memory within the context.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device}: out of memory {remedy}.") from error
