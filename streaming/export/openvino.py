"""Write and read graphs in OpenVINO's own format. The only module that imports `openvino`."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sed.errors import CheckpointError, MissingExtraError
from sed.files import written_whole
from sed.text import message_of, printable
from streaming.export.onnx import write_onnx
from streaming.export.onnx_file import INPUT_NAME, parse_graph_metadata

if TYPE_CHECKING:
    import torch

    from streaming.export.graph import ExportableModel

METADATA_KEY = ["sed-engine", "metadata"]  # in the runtime information of a graph


def write_openvino(
    graph: ExportableModel, samples: torch.Tensor, metadata: dict[str, Any], path: Path
) -> None:
    """Trace a model and write it with its metadata, an .xml and a .bin.

    Parameters
    ----------
    graph
        The model.
    samples
        Input to trace with, shape (batch, samples). Both axes are free in the graph.
    metadata
        Plain values for JSON.
    path
        The .xml file; the .bin lies beside it.

    Raises
    ------
    MissingExtraError
        If the packages `openvino` and `onnx` are not installed.
    OutputError
        If a file cannot be written.
    """
    openvino = _import_openvino()
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder, "graph.onnx")
        write_onnx(graph, samples, metadata, traced)
        model = openvino_core().read_model(traced)
        model.set_rt_info(json.dumps(metadata), METADATA_KEY)
        saved = Path(folder, "graph.xml")
        openvino.save_model(model, saved, compress_to_fp16=False)
        # The .xml names the .bin, so it comes last.
        for suffix in (".bin", ".xml"):
            with written_whole(path.with_suffix(suffix)) as part:
                part.write_bytes(saved.with_suffix(suffix).read_bytes())


def read_openvino_graph(path: Path) -> Any:
    """Return the graph in a file, OpenVINO's or ONNX, as an `openvino.Model`.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    MissingExtraError
        If the package `openvino` is not installed.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{printable(str(path))}: no such file. Check --model.")
    try:
        return openvino_core().read_model(path)
    except RuntimeError as error:
        raise CheckpointError(
            f"{printable(str(path))}: cannot be read as a graph "
            f"({message_of(error)}). Export it again."
        ) from error


def read_openvino_metadata(graph: Any, path: Path) -> dict[str, Any]:
    """Return the metadata of a graph that `write_openvino` wrote to a path.

    Raises
    ------
    CheckpointError
        If it has none, or they are damaged.
    """
    if graph.has_rt_info(METADATA_KEY):
        return parse_graph_metadata(graph.get_rt_info(METADATA_KEY).astype(str), path)
    if graph.has_rt_info(METADATA_KEY[:1]):
        raise CheckpointError(
            f"{printable(str(path))}: exported by an older version: export again with `sed export`."
        )
    raise CheckpointError(
        f"{printable(str(path))}: the metadata is missing: this graph was not written by "
        "`sed export`. Export it from its checkpoint."
    )


def extract_openvino_subgraph(graph: Any, n_mels: int, names: Sequence[str]) -> Any:
    """Return the sub-graph from log-mel, shape (batch, columns, n_mels), to tensors of some names.

    Out: an `openvino.Model` that shares its nodes with the graph, which is changed.
    """
    openvino = _import_openvino()
    results = [graph.output(name).get_node() for name in names]
    inputs = {parameter.friendly_name: parameter for parameter in graph.get_parameters()}
    if INPUT_NAME in inputs:
        return openvino.Model(results, [inputs[INPUT_NAME]], "network")
    source = graph.output(INPUT_NAME).get_node().input_value(0)
    log_mel = openvino.opset13.parameter([-1, -1, n_mels], np.float32, name=INPUT_NAME)
    for target in source.get_target_inputs():
        if target.get_node().get_type_name() != "Result":
            target.replace_source_output(log_mel.output(0))
    return openvino.Model(results, [log_mel], "network")


@functools.cache
def openvino_core() -> Any:
    """Return the `openvino.Core` of this process; it is never dropped.

    OpenVINO's CPU plugin installs a signal stack in the thread that loads it, and frees it in the
    thread that drops the last core. If that is another thread, the next signal of the first one
    (Ctrl-C, for example) ends the process with a segmentation fault.

    Raises
    ------
    MissingExtraError
        If the package `openvino` is not installed.
    """
    return _import_openvino().Core()


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("the engine openvino", "openvino") from error
    return openvino
