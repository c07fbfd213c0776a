import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import CheckpointError
from streaming.export.onnx_file import describe_onnx, extract_subgraph


def test_what_branches_and_loops_use_of_the_graph_around_them_is_kept(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, flt = onnx.helper, onnx.TensorProto.FLOAT
    value = helper.make_tensor_value_info
    doubled = helper.make_graph(
        [helper.make_node("Mul", ["sum", "two"], ["doubled"])],
        "yes",
        [],
        [value("doubled", 1, None)],
    )
    same = helper.make_graph(
        [helper.make_node("Identity", ["sum"], ["same"])], "no", [], [value("same", 1, None)]
    )
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["samples", "two"], ["log_mel"]),
            helper.make_node("Add", ["log_mel", "log_mel"], ["sum"]),
            helper.make_node("If", ["yes"], ["frame_probs"], then_branch=doubled, else_branch=same),
        ],
        "graph",
        [value("samples", flt, ["n"])],
        [value("frame_probs", flt, ["n"]), value("log_mel", flt, ["n"])],
        [
            onnx.numpy_helper.from_array(np.float32([2.0]), "two"),
            onnx.numpy_helper.from_array(np.bool_(True), "yes"),
        ],
    )
    path = tmp_path / "branches.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    part = onnx.load_from_string(extract_subgraph(path, ["frame_probs"]))
    assert [node.op_type for node in part.graph.node] == ["Add", "If"]
    assert {weight.name for weight in part.graph.initializer} == {"two", "yes"}
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(part.SerializeToString())
    assert session.run(None, {"log_mel": np.float32([1.5])})[0].tolist() == [6.0]


@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_graph_are_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as ONNX"):
        describe_onnx(path)


@given(n_bytes=st.integers(0, 172_000), at=st.integers(0, 172_000), value=st.integers(0, 255))
def test_damaged_graphs_are_read_or_refused(n_bytes, at, value, tmp_path_factory):
    from sed.models.registry import SHIPPED_FOLDER

    content = bytearray((SHIPPED_FOLDER / "everyday.onnx").read_bytes()[:n_bytes])
    content[at : at + 1] = bytes([value]) * (at < n_bytes)
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    for read in (describe_onnx, extract_subgraph):
        try:
            read(path)
        except CheckpointError:
            continue
