"""Torch on a GPU: one batch is copied while another is computed, and nothing waits for launches.

::

    a thread:  pinned memory ─ copy ─▶ columns ─ CUDA graph: network, heads ─▶ copy ─▶ pinned memory
    another:                            pinned memory ─ copy ─▶ columns ─ …

Each graph has a stream and buffers of its own, and there are as many as calls at once. The front
end runs on the GPU too, in fp32, on a minute of sound at once.
"""

from __future__ import annotations

import hashlib
import math
import queue
import threading
import time
import warnings
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sed.models.checkpoint import Checkpoint
from sed.models.devices import DeviceError, choose_device, choose_precision
from sed.models.head import HeadOutput
from sed.types import Floats
from streaming.engines.base import FrameOutput, Shape
from streaming.engines.cache import cache_folder, cached_json
from streaming.engines.pytorch import TorchEngine, translate_oom

WARM_UP = 3  # times, before a capture: libraries choose their kernels
BUDGET = 0.5  # of the memory that is free, for what batches need
SMALLEST, LARGEST = 16, 256  # windows in a batch; each recording under way has some waiting
WORTH_IT = 1.05  # × faster, for a batch to be twice as large
MEASURED_BATCHES = 8


class CudaEngine(TorchEngine):
    """A checkpoint on a GPU.

    Parameters
    ----------
    checkpoint, device, precision, n_streams, compiled
        See `TorchEngine`; where the GPU does not multiply in bf16, ``auto`` is fp16.
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
    ) -> None:
        if precision == "auto" and choose_precision("auto", choose_device(device)) == torch.float32:
            precision = "fp16"
        self._captures = not compiled  # what is compiled may hold things that cannot be captured
        self._capturing = threading.Lock()
        self._usual: Shape | None = None  # of batches, the one that there are graphs for
        self._graphs: queue.SimpleQueue[_CudaGraph] = queue.SimpleQueue()  # those that are free
        super().__init__(checkpoint, device, precision, n_streams=n_streams, compiled=compiled)
        self._reading = threading.Lock()
        self._reading_stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    @property
    def _place(self) -> str:
        return f"{self.device} ({torch.cuda.get_device_name(self.device)})"

    @cached_property
    def batch_size(self) -> int:  # type: ignore[override]  # never set
        """Windows that go through fastest together, measured once per GPU and network."""
        n_free, _ = torch.cuda.mem_get_info(self.device)
        budget = BUDGET * n_free / self.n_streams
        facts = (
            str(self),
            repr(self.model),
            self._shape_of(1),
            torch.cuda.get_device_properties(self.device),
            round(math.log2(budget)),
        )
        key = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
        kept = cached_json(
            cache_folder() / f"batch-{key}.json",
            lambda: {"batch_size": fastest_batch(self._measured, budget)},
        )
        return int(kept["batch_size"])

    @torch.inference_mode()
    def warmup(self, shape: Shape) -> None:
        """Capture batches of a shape, (batch, columns, mels); others may come as well."""
        with self._capturing:
            if shape == self._usual or not self._captures:
                return
            self._usual, self._graphs = shape, queue.SimpleQueue()
            stream = torch.cuda.current_stream(self.device)
            try:
                for _ in range(self.n_streams):
                    self._graphs.put(_CudaGraph(self._answer, shape, self.device))
            except RuntimeError as error:
                torch.cuda.set_stream(stream)  # a capture that fails leaves its own behind
                self._captures, self._graphs = False, queue.SimpleQueue()
                reason = " ".join(str(error).split())[:200]
                warnings.warn(f"{self.device}: slower without CUDA graphs: {reason}", stacklevel=2)

    def init_thread(self) -> None:
        """Prepare a thread that is going to call `hear`."""
        torch.cuda.set_stream(torch.cuda.Stream(self.device))  # type: ignore[no-untyped-call]

    def restore_threads(self) -> None:
        """Nothing is left to undo: streams end with their threads."""

    @torch.inference_mode()
    def extract_features(self, samples: Floats) -> Floats:
        """Return the log-mel columns, shape (columns, mels), of samples, shape (samples,).

        Raises
        ------
        DeviceError
            If the GPU has no memory for it.
        """
        remedy = "in the front end. End what else runs on it, or use --device cpu"
        with (
            self._reading,
            torch.cuda.stream(self._reading_stream),
            translate_oom(self.device, remedy),
        ):
            pinned = torch.from_numpy(samples).pin_memory()
            columns: Tensor = self.model.log_mel(pinned.to(self.device, non_blocking=True))
            return columns.cpu().numpy()

    def _infer(self, columns: Floats) -> FrameOutput:
        with self._capturing:
            is_usual = self._captures and columns.shape == self._usual
            graphs = self._graphs
        if not is_usual:
            return super()._infer(columns)
        graph = graphs.get()
        try:
            return graph.replay(columns)
        finally:
            graphs.put(graph)

    def _shape_of(self, n_windows: int) -> Shape:
        return n_windows, self.spec.window_columns, self.spec.log_mel.n_mels

    def _measured(self, n_windows: int) -> tuple[float, int]:
        """Return the windows a second of batches of so many, and the bytes that one needs.

        They are 0 where there is no room.
        """
        batch = np.zeros(self._shape_of(n_windows), np.float32)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        try:
            self.infer(batch)
            n_bytes = torch.cuda.max_memory_allocated(self.device) - before
            began = time.perf_counter()
            for _ in range(MEASURED_BATCHES):
                self.infer(batch)
        except DeviceError:
            return 0.0, 0
        return MEASURED_BATCHES * n_windows / (time.perf_counter() - began), n_bytes


class _CudaGraph:
    """What a function does to batches of one shape, captured once and replayed at one launch.

    One thread at a time may replay it.
    """

    def __init__(
        self, answer: Callable[[Tensor], HeadOutput], shape: Shape, device: torch.device
    ) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._from = torch.zeros(shape).pin_memory()
        with torch.cuda.stream(self._stream):
            self._columns = torch.zeros(shape, device=device)
            for _ in range(WARM_UP):
                answer(self._columns)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads go on with their own streams meanwhile.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._answer = answer(self._columns)
        self._to = [torch.empty_like(part, device="cpu").pin_memory() for part in self._answer]
        self._is_there = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def replay(self, columns: Floats) -> FrameOutput:
        """Return the answer to a batch."""
        self._from.numpy()[:] = columns
        with torch.cuda.stream(self._stream):
            self._columns.copy_(self._from, non_blocking=True)
            self._graph.replay()
            for to, part in zip(self._to, self._answer, strict=True):
                to.copy_(part, non_blocking=True)
            self._is_there.record()
        self._is_there.synchronize()
        return FrameOutput(*(to.numpy().copy() for to in self._to))


def fastest_batch(measure: Callable[[int], tuple[float, int]], budget: float) -> int:
    """Return the size of batches that is fastest, doubled as long as that is worth it.

    Parameters
    ----------
    measure
        Returns the speed with batches of a size, and the bytes that one needs.
    budget
        Bytes that a batch may need.
    """
    size = SMALLEST
    speed, n_bytes = measure(size)
    while 2 * size <= LARGEST and 2 * n_bytes <= budget:
        faster, n_bytes = measure(2 * size)
        if faster <= WORTH_IT * speed:
            break
        size, speed = 2 * size, faster
    return size
