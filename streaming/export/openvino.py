"""Graphs in OpenVINO's own format: written and described. The only module that imports `openvino`."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed.errors import CheckpointError, MissingExtraError
from sed.files import written_whole
from sed.text import printable

if TYPE_CHECKING:
    import torch

    from streaming.export.graph import ExportableModel


KEY = ["sed-engine", "about"]  # of the information in a graph


ANSWERS = ("frame_probs", "head_probs", "head_weights")


def write_openvino(
    graph: ExportableModel, samples: torch.Tensor, about: dict[str, Any], path: Path
) -> None:
    """Trace a graph with samples, and write it with its description, an .xml and a .bin."""
    from streaming.export.onnx import write_onnx

    openvino = _openvino()
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder, "graph.onnx")
        write_onnx(graph, samples, about, traced)
        model = _core().read_model(traced)
        model.set_rt_info(json.dumps(about), KEY)
        whole = Path(folder, "graph.xml")
        openvino.save_model(model, whole, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):  # the one that names the other comes last
            with written_whole(path.with_suffix(suffix)) as part:
                part.write_bytes(whole.with_suffix(suffix).read_bytes())


def _about(graph: Any, path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(graph.get_rt_info(KEY).astype(str))
    except RuntimeError:
        raise CheckpointError(
            f"{printable(str(path))}: this graph was not written by `sed export`, so nobody knows "
            "what it hears. Export it from its checkpoint."
        ) from None
    return about


@functools.cache
def _core() -> Any:
    """Return OpenVINO's core: one, which lasts as long as the process.

    Its CPU plugin lays a signal stack under the thread that loads it, and frees it in the thread
    that drops the last core. If that is another, the first one's next signal (Ctrl-C, say) ends the
    process with a segmentation fault.
    """
    return _openvino().Core()


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("the engine openvino", "openvino") from error
    return openvino
