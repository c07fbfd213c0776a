"""Run a checkpoint on a GPU: copies and computations of several batches overlap.

::

    thread 1:  pinned memory ─ copy ─▶ log-mel ─ CUDA graph: network, heads ─▶ copy ─▶ pinned memory
    thread 2:                           pinned memory ─ copy ─▶ log-mel ─ …

Each CUDA graph has a stream and buffers of its own, and there is one per concurrent call and batch
size. A graph is launched as a whole, so the GPU does not wait for the launches of single kernels.
The front end runs on the GPU too, in fp32, on a minute of sound at once; several threads may call
it, each with a stream and buffers of its own.
"""

from __future__ import annotations

import hashlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sed.models.checkpoint import Checkpoint
from sed.models.devices import DeviceError, choose_device, choose_precision
from sed.text import message_of
from sed.types import Floats
from streaming.engines.base import FrameOutput, Shape
from streaming.engines.cache import cache_folder, cached_json
from streaming.engines.pytorch import TorchEngine, translate_oom

N_WARMUPS = 3  # before a capture: libraries choose their kernels
MEMORY_SHARE = 0.5  # of the free memory, for batches
N_FRONT_ENDS = 4  # calls of extract_features at once
SMALLEST, LARGEST = 16, 256  # windows in a batch; each open recording keeps some in a queue
GRAPH_RATIO = 4  # from one batch size with CUDA graphs to the next
MIN_SPEEDUP = 1.05  # for a batch to be twice as large
N_MEASURED = 8  # batches

_log = logging.getLogger("sed.engines")


class CudaEngine(TorchEngine):
    """A checkpoint on a GPU.

    Parameters
    ----------
    checkpoint, device, precision, n_streams, compiled, layer
        See `TorchEngine`; where the GPU does not multiply in bf16, ``auto`` is fp16.

    Raises
    ------
    UsageError
        If the device, the precision or the layer is unknown.
    DeviceError
        If the device is missing, or torch.compile does not work.
    """

    chunk_seconds = 60.0

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cuda",
        precision: str = "auto",
        *,
        n_streams: int = 2,
        compiled: bool = False,
        layer: str | None = None,
    ) -> None:
        if precision == "auto" and choose_precision("auto", choose_device(device)) == torch.float32:
            precision = "fp16"
        # Compiled code may allocate in ways that a capture does not allow.
        self._use_graphs = not compiled
        self._capturing = threading.Lock()
        self._full_shape: Shape | None = None  # of the largest batches with CUDA graphs
        self._free_graphs: dict[int, queue.SimpleQueue[_CudaGraph]] = {}  # by their batch size
        super().__init__(
            checkpoint, device, precision, n_streams=n_streams, compiled=compiled, layer=layer
        )
        if self.precision == torch.float32:
            # TF32 would round the inputs of convolutions to 10 bits. This is set for the process.
            torch.backends.cudnn.allow_tf32 = False
        self._free_front_ends: queue.SimpleQueue[_FrontEnd] = queue.SimpleQueue()
        for _ in range(N_FRONT_ENDS):
            self._free_front_ends.put(_FrontEnd(self.model.log_mel, self.device))

    @property
    def _device_name(self) -> str:
        return f"{self.device} ({torch.cuda.get_device_name(self.device)})"

    @cached_property
    def batch_size(self) -> int:  # type: ignore[override]  # never set
        """Windows per batch with the highest throughput, measured once per GPU and network."""
        n_free, _ = torch.cuda.mem_get_info(self.device)
        budget = MEMORY_SHARE * n_free / self.n_streams
        facts = (
            str(self),
            repr(self.model),
            self._shape(1),
            self.layer,
            torch.cuda.get_device_properties(self.device),
            round(math.log2(budget)),
        )
        key = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
        kept = cached_json(
            cache_folder() / f"batch-{key}.json",
            lambda: {"batch_size": _fastest_batch(self._measure_batch, budget)},
        )
        return int(kept["batch_size"])

    @torch.inference_mode()
    def warmup(self, shape: Shape) -> None:
        """Capture CUDA graphs for a shape, (batch, columns, mels).

        Smaller batches use graphs too; larger ones, and other windows, work without.
        """
        with self._capturing:
            if shape != self._full_shape:
                self._full_shape, self._free_graphs = shape, {}
                self._graphs(shape)

    def _graphs(self, shape: Shape) -> queue.SimpleQueue[_CudaGraph] | None:
        """Return the free graphs for a shape, captured at the first call; None if that fails.

        The caller holds the lock `_capturing`.
        """
        if self._use_graphs and shape[0] not in self._free_graphs:
            graphs: queue.SimpleQueue[_CudaGraph] = queue.SimpleQueue()
            stream = torch.cuda.current_stream(self.device)
            try:
                for _ in range(self.n_streams):
                    graphs.put(_CudaGraph(self._forward, shape, self.device))
                self._free_graphs[shape[0]] = graphs
            except RuntimeError as error:
                # A capture that fails leaves its own stream as the current one.
                torch.cuda.set_stream(stream)
                self._use_graphs, self._free_graphs = False, {}
                reason = message_of(error)
                _log.warning("%s: slower without CUDA graphs: %s", self.device, reason)
        return self._free_graphs.get(shape[0])

    def _graphs_for(self, log_mel: Floats) -> queue.SimpleQueue[_CudaGraph] | None:
        """Return the free graphs of the smallest captured batch size that a batch fits into.

        A batch of another size, such as the last one of a recording, is computed as part of a
        larger one: for a size that is new to them, the libraries need a second.
        """
        n_windows, window = len(log_mel), log_mel.shape[1:]
        with self._capturing:
            full = self._full_shape
            if full is None or window != full[1:] or not 0 < n_windows <= full[0]:
                return None
            size = full[0]
            while n_windows <= size // GRAPH_RATIO:
                size //= GRAPH_RATIO
            return self._graphs((size, *full[1:]))

    def init_thread(self) -> None:
        """Prepare a thread that will call `infer`."""
        torch.cuda.set_stream(torch.cuda.Stream(self.device))  # type: ignore[no-untyped-call]

    def restore_threads(self) -> None:
        """Do nothing: streams end with their threads."""

    @torch.inference_mode()
    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,).

        Raises
        ------
        DeviceError
            If the GPU has too little memory.
        """
        remedy = "in the front end. End other programs that use it, or use --device cpu"
        front_end = self._free_front_ends.get()
        try:
            with translate_oom(self.device, remedy):
                return front_end.extract(samples)
        finally:
            self._free_front_ends.put(front_end)

    def _infer(self, log_mel: Floats) -> FrameOutput:
        graphs = self._graphs_for(log_mel)
        if graphs is None:
            return super()._infer(log_mel)
        graph = graphs.get()
        try:
            return graph.replay(log_mel)
        finally:
            graphs.put(graph)

    def _shape(self, n_windows: int) -> Shape:
        return n_windows, self.spec.window_columns, self.spec.log_mel.n_mels

    def _measure_batch(self, n_windows: int) -> tuple[float, int]:
        """Return the windows per second with batches of a size, and the bytes that a batch needs.

        Both are 0 if the memory is too small.
        """
        batch = np.zeros(self._shape(n_windows), np.float32)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        try:
            self.infer(batch)
            n_bytes = torch.cuda.max_memory_allocated(self.device) - before
            start = time.perf_counter()
            for _ in range(N_MEASURED):
                self.infer(batch)
        except DeviceError:
            return 0.0, 0
        return N_MEASURED * n_windows / (time.perf_counter() - start), n_bytes


class _FrontEnd:
    """The front end on a stream of its own, with pinned buffers that grow to the largest input.

    One thread at a time may call it.
    """

    def __init__(self, log_mel: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._log_mel, self._device = log_mel, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pinned_input = self._pinned_output = torch.empty(0)

    def extract(self, samples: Floats) -> Floats:
        """Return the log-mel spectrogram, shape (columns, mels), of samples, shape (samples,)."""
        self._pinned_input = _at_least(self._pinned_input, len(samples))
        pinned = self._pinned_input[: len(samples)]
        # NumPy copies here, because torch would start a pool of threads in each thread that calls.
        pinned.numpy()[:] = samples
        with torch.cuda.stream(self._stream):
            log_mel = self._log_mel(pinned.to(self._device, non_blocking=True))
            self._pinned_output = _at_least(self._pinned_output, log_mel.numel())
            output = self._pinned_output[: log_mel.numel()].view_as(log_mel)
            output.copy_(log_mel, non_blocking=True)
        self._stream.synchronize()
        return output.numpy().copy()


def _at_least(buffer: Tensor, size: int) -> Tensor:
    """Return a pinned buffer of at least `size` values: the given one if it is large enough."""
    return buffer if len(buffer) >= size else torch.empty(size, pin_memory=True)


class _CudaGraph:
    """A forward pass for batches of one shape, captured once and replayed with one launch.

    One thread at a time may replay it.
    """

    def __init__(
        self, forward: Callable[[Tensor], tuple[Tensor, ...]], shape: Shape, device: torch.device
    ) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pinned_input = torch.zeros(shape).pin_memory()
        with torch.cuda.stream(self._stream):
            self._input = torch.zeros(shape, device=device)
            for _ in range(N_WARMUPS):
                forward(self._input)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: other threads use their own streams meanwhile.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._output = forward(self._input)
        self._pinned_output = [
            torch.empty_like(tensor, device="cpu").pin_memory() for tensor in self._output
        ]
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def replay(self, log_mel: Floats) -> FrameOutput:
        """Return the output for a batch, which may have fewer windows than the shape."""
        # The other windows keep old values, and their output is dropped.
        n_windows = len(log_mel)
        self._pinned_input.numpy()[:n_windows] = log_mel
        with torch.cuda.stream(self._stream):
            self._input.copy_(self._pinned_input, non_blocking=True)
            self._graph.replay()
            for pinned, tensor in zip(self._pinned_output, self._output, strict=True):
                pinned.copy_(tensor, non_blocking=True)
            self._done.record()
        self._done.synchronize()
        return FrameOutput(*(pinned.numpy()[:n_windows].copy() for pinned in self._pinned_output))


def _fastest_batch(measure: Callable[[int], tuple[float, int]], budget: float) -> int:
    """Return the batch size with the highest throughput: doubled while that is faster.

    Parameters
    ----------
    measure
        Returns the throughput with batches of a size, and the bytes that a batch needs.
    budget
        Bytes that a batch may need.
    """
    size = SMALLEST
    speed, n_bytes = measure(size)
    while 2 * size <= LARGEST and 2 * n_bytes <= budget:
        faster, n_bytes = measure(2 * size)
        if faster <= MIN_SPEEDUP * speed:
            break
        size, speed = 2 * size, faster
    return size
