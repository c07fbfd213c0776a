"""Run encoders, which have no classes, in the interface of engines."""

from __future__ import annotations

import os

import numpy as np

from sed.errors import UsageError, check_extra
from sed.models.devices import check_precision, has_gpu, n_cores
from sed.models.fork import refuse_forked
from sed.models.spec import ReceptiveField
from sed.text import printable
from sed.types import Floats
from streaming.encoders.base import AudioEncoder
from streaming.encoders.hub import is_hub_name, load_pretrained, parse_hub_name
from streaming.engines.base import Engine, FrameOutput, blocks_of_samples
from streaming.export.onnx_file import is_exported_onnx


class EncoderEngine(Engine):
    """An encoder as an engine: its columns are blocks of samples, its output embeddings alone.

    Parameters
    ----------
    encoder
        The encoder.
    layer
        The layer whose output it gives.
    """

    def __init__(self, encoder: AudioEncoder, layer: str) -> None:
        self.encoder = encoder
        self.layer = layer
        self.spec = encoder.spec
        self.n_streams, self.n_threads = encoder.n_streams, encoder.n_threads
        self.n_features = encoder.n_features
        self.batch_size = encoder.batch_size

    def __str__(self) -> str:
        return str(self.encoder)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """None: a frame depends on the whole window."""
        return None

    def init_thread(self) -> None:
        """Prepare a thread that will call `infer`."""
        self.encoder.init_thread()

    def restore_threads(self) -> None:
        """Undo what `init_thread` changed in the process."""
        self.encoder.restore_threads()

    def extract_features(self, samples: Floats) -> Floats:
        """Return samples, shape (samples,), as blocks of shape (columns, samples of a block)."""
        return blocks_of_samples(samples, self.spec.log_mel.hop_length)

    def infer(self, log_mel: Floats) -> FrameOutput:
        """Return the embeddings of windows of blocks, shape (batch, columns, samples of a block).

        The output has no classes: ``frame_probs`` has the shape (batch, frames, 0).
        """
        refuse_forked()
        embeddings = self.encoder.encode(log_mel.reshape(len(log_mel), -1))
        nothing = np.empty((*embeddings.shape[:2], 0), np.float32)
        return FrameOutput(nothing, nothing[:, :, None], nothing[:, :, None], embeddings)


def is_encoder(model: object, layer: str | None) -> bool:
    """Return whether a model is an encoder: ``hf:NAME``, or a graph that takes samples.

    A graph without the metadata of `sed export` is one if a layer is requested.
    """
    if is_hub_name(model):
        return True
    if layer is None or not isinstance(model, str | os.PathLike):
        return False
    path = os.fspath(model)
    return path.endswith(".onnx") and not is_exported_onnx(path)


def open_encoder(
    model: str | os.PathLike[str],
    layer: str | None,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    n_streams: int | None = None,
    n_threads: int = 1,
    sample_rate: int | None = None,
    window_seconds: float | None = None,
) -> EncoderEngine:
    """Return an engine for an encoder; see `streaming.engines.select.open_engine`.

    On a CPU without `n_streams` it is one stream on all cores: encoders are large, and several
    streams would take that many times the memory.

    Raises
    ------
    UsageError
        If no layer is requested, or an option does not fit the encoder.
    CheckpointError
        If the encoder cannot be loaded.
    MissingExtraError
        If a package is not installed.
    DeviceError
        If the requested device is missing.
    """
    name = printable(os.fspath(model))
    if layer is None:
        raise UsageError(
            f"{name}: an encoder has no classes, so it cannot detect events: use `sed embed`"
        )
    is_hub = is_hub_name(model)
    engines = ("auto", "torch") if is_hub else ("auto", "onnx")
    if engine not in engines:
        raise UsageError(f"{name}: the engine {engine} does not run it: leave out --engine")
    if not is_hub and device not in ("auto", "cpu"):
        raise UsageError(f"graphs run on the CPU: leave out --device {device}")
    on_gpu = is_hub and (has_gpu() if device == "auto" else device != "cpu")
    check_precision(precision, on_gpu=on_gpu)
    if n_streams is None and not on_gpu:
        n_streams, n_threads = 1, n_cores()
    counts = {"n_streams": 2 if on_gpu else n_streams or 1, "n_threads": n_threads}
    open_ = _open_hub if is_hub else _open_graph
    encoder = open_(model, layer, device, precision, counts, sample_rate, window_seconds)
    return EncoderEngine(encoder, layer)


def _open_hub(
    model: str | os.PathLike[str],
    layer: str,
    device: str,
    precision: str,
    counts: dict[str, int],
    sample_rate: int | None,
    window_seconds: float | None,
) -> AudioEncoder:
    # The first one's extra brings both.
    for package in ("transformers", "torch"):
        check_extra(package, "an encoder of Hugging Face")
    from streaming.encoders.hugging_face import HuggingFaceEncoder

    encoder = HuggingFaceEncoder(
        load_pretrained(parse_hub_name(model)),
        layer,
        device,
        precision,
        **counts,
        window_seconds=window_seconds,
    )
    rate = encoder.spec.log_mel.sample_rate
    if sample_rate not in (None, rate):
        raise UsageError(
            f"{printable(os.fspath(model))}: its sample rate is {rate}, not {sample_rate}: leave "
            "out the sample rate. Recordings of any rate are resampled"
        )
    return encoder


def _open_graph(
    model: str | os.PathLike[str],
    layer: str,
    device: str,
    precision: str,
    counts: dict[str, int],
    sample_rate: int | None,
    window_seconds: float | None,
) -> AudioEncoder:
    from streaming.encoders.onnx import OnnxEncoder

    return OnnxEncoder(
        model, layer, precision, **counts, sample_rate=sample_rate, window_seconds=window_seconds
    )
