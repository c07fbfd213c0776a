"""Every engine and every inference mode detects the same events."""

import importlib.util
import json
import subprocess
import sys
import threading
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

import sed
from sed.errors import CheckpointError, MissingExtraError, SedError, UsageError
from sed.models.checkpoint import save_checkpoint
from streaming.engines import select
from streaming.engines.base import benchmark_in_child
from streaming.engines.cache import cached_json
from streaming.engines.pytorch import TorchEngine
from streaming.engines.select import open_engine
from streaming.export import export
from streaming.export import openvino as openvino_graphs
from streaming.offline.detect import detect
from tests.conftest import ROOT, rising_noise

EXAMPLE = ROOT / "examples" / "village.ogg"
OTHERS = ("onnx", "openvino")
MODES = {
    "half a window": {},
    "no overlap": {"hop_seconds": 5.0},
    "fully_convolutional": {"hop_seconds": 0.5},
}
# The largest difference of a frame's probability from fp32 in torch, on the example.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.06}


def needs(engine):
    for package in {"openvino": ["openvino", "onnx"], "onnx": ["onnxruntime", "onnx"]}[engine]:
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def expected_of():
    """Return what gives frames and events of the example from torch in fp32, by inference mode."""
    engine = open_engine(engine="torch", device="cpu", precision="fp32")
    return cache(lambda name: frames_and_events(engine, MODES[name]))


def frames_and_events(engine, mode):
    detector = sed.Detector(engine, sed.DetectorConfig(batch_size=16, **mode), sample_rate=32_000)
    samples = sed.read_recording(EXAMPLE, 32_000)
    parts = [detector.push(samples), detector.flush()]
    frames = np.concatenate([part.frame_probs for part in parts])
    return frames, [event for part in parts for event in part.events]


QUICK = (  # each engine, each precision and each mode once; the others in make test-all
    ("torch", "bf16", "half a window"),
    ("onnx", "fp32", "half a window"),
    ("openvino", "fp32", "half a window"),
    ("openvino", "fp32", "fully_convolutional"),
    ("openvino", "bf16", "no overlap"),
)


@pytest.mark.parametrize(
    ("kind", "precision", "mode"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in product(("torch", *OTHERS), ("fp32", "bf16"), MODES)
        if case[:2] != ("onnx", "bf16")  # it computes in fp32
    ],
)
def test_no_event_of_the_example_appears_or_disappears(expected_of, kind, precision, mode):
    if kind != "torch":
        needs(kind)
    engine = open_engine(engine=kind, device="cpu", precision=precision)
    frames, events = frames_and_events(engine, MODES[mode])
    assert sed.Detector(engine, sed.DetectorConfig(**MODES[mode])).mode == (
        "fully_convolutional" if mode == "fully_convolutional" else "sliding_window"
    )
    expected_frames, expected = expected_of(mode)
    assert np.abs(frames - expected_frames).max() <= TOLERANCE[precision]
    assert [event.label for event in events] == [event.label for event in expected]
    for event, other in zip(events, expected, strict=True):
        assert event.onset == pytest.approx(other.onset, abs=0.33)  # a frame
        assert event.offset == pytest.approx(other.offset, abs=0.65)
        assert event.score == pytest.approx(other.score, abs=TOLERANCE[precision])


def test_fully_convolutional_probabilities_are_close_to_those_of_windows(expected_of):
    windows, dense = expected_of("half a window")[0], expected_of("fully_convolutional")[0]
    assert np.corrcoef(windows.ravel(), dense.ravel())[0, 1] > 0.95


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_checkpoint):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


def export_to(folder, checkpoint, to):
    needs(to)
    return sed.export(checkpoint, folder / "tiny", to)


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory):
    """Return what gives the tiny model as a graph of a format, which is exported once."""
    return cache(lambda to: export_to(tmp_path_factory.mktemp("exported"), tiny_checkpoint, to))


@pytest.mark.parametrize("n_clips", [1, 3])
@pytest.mark.parametrize("n_samples", [8_000, 12_345])
def test_an_onnx_file_equals_the_model_for_any_batch_and_length(
    exported, tiny_checkpoint, n_clips, n_samples
):
    path = exported("onnx")
    import onnxruntime

    samples = rising_noise(n_clips * n_samples).reshape(n_clips, n_samples)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    frames, clips = session.run(["frame_probs", "clip_probs"], {"samples": samples})
    with torch.inference_mode():
        expected = tiny_checkpoint.model(torch.from_numpy(samples))
    np.testing.assert_allclose(frames, expected.frame_probs.numpy(), atol=1e-4)
    np.testing.assert_allclose(clips, expected.clip_probs.numpy(), atol=1e-4)


@pytest.mark.parametrize("n_samples", [8_000, 12_345])
def test_an_openvino_file_equals_the_model(exported, tiny_checkpoint, n_samples):
    path = exported("openvino")
    import openvino

    samples = rising_noise(2 * n_samples).reshape(2, n_samples)
    model = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = model(samples)
    with torch.inference_mode():
        expected = tiny_checkpoint.model(torch.from_numpy(samples))
    np.testing.assert_allclose(outputs["frame_probs"], expected.frame_probs, atol=1e-4)
    np.testing.assert_allclose(outputs["clip_probs"], expected.clip_probs, atol=1e-4)


def test_values_are_kept_if_they_are_valid(tmp_path):
    path = tmp_path / "kept" / "speeds.json"
    assert cached_json(path, lambda: {"a": 0.0}, lambda speeds: any(speeds.values())) == {"a": 0.0}
    assert not path.exists()
    assert cached_json(path, lambda: {"a": 1.0}, lambda speeds: any(speeds.values())) == {"a": 1.0}
    assert cached_json(path, lambda: {"a": 2.0}) == {"a": 1.0}


DROP = """
import gc, os, signal, sys, threading
from pathlib import Path
from streaming.engines.openvino import OpenVinoEngine

def drop(engines):
    engines.clear()
    gc.collect()

engines = [OpenVinoEngine(Path(sys.argv[1]))]
thread = threading.Thread(target=drop, args=[engines])
thread.start()
thread.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_works_after_another_thread_dropped_openvino(exported):
    path = exported("openvino")
    done = subprocess.run([sys.executable, "-c", DROP, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.fixture(scope="module")
def torch_export(dense_checkpoint, tmp_path_factory):
    path = sed.export(dense_checkpoint, tmp_path_factory.mktemp("graph") / "m", "torch-export")
    return torch.export.load(path).module()


@pytest.mark.slow  # torch.export takes five seconds
@pytest.mark.parametrize("n_frames", [0, 1, 5])
def test_a_torch_export_equals_the_model_for_windows_and_frames_more(
    dense_checkpoint, torch_export, n_frames
):
    samples = torch.from_numpy(rising_noise(8_000 + n_frames * 32 * 80)[None])
    with torch.no_grad():
        frames, clips, *_ = torch_export(samples)
        expected = dense_checkpoint.model(samples)
    torch.testing.assert_close(frames, expected.frame_probs, atol=1e-4, rtol=0)
    torch.testing.assert_close(clips, expected.clip_probs, atol=1e-4, rtol=0)


def test_an_exported_file_runs_without_this_package_and_without_torch(exported):
    path = exported("onnx")
    program = f"""
import sys
import threading
sys.modules["sed"] = sys.modules["torch"] = None
import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(path)!r})
print(*(a.shape for a in session.run(["frame_probs", "clip_probs"],
      {{"samples": numpy.zeros((2, 8000), "f4")}})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "(2, 4, 3) (2, 3)\n", done.stderr


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_detect_takes_what_was_exported(exported, saved, noise_wav, to):
    path = exported(to)
    options = {"hop_seconds": 0.5, "precision": "fp32", "device": "cpu"}
    found = list(detect(noise_wav, path, **options))
    expected = list(detect(noise_wav, saved, engine="torch", **options))
    assert [(e.onset, e.label) for e in found] == [(e.onset, e.label) for e in expected]
    assert len(found) > 2


def test_detecting_with_an_exported_graph_needs_no_torch(saved, noise_wav):
    needs("openvino")
    list(detect(noise_wav, saved, engine="openvino"))  # exports it
    program = f"""
import sys
import threading
from streaming.offline.detect import detect
print(len(list(detect({str(noise_wav)!r}, {str(saved)!r}, engine="openvino", device="cpu"))) > 0)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\nFalse\n", done.stderr


def test_the_fastest_engine_is_measured_once_and_failures_are_logged(saved, monkeypatch, caplog):
    needs("openvino")
    caplog.set_level("INFO", "sed.engines")

    def benchmark(path, engine, **options):
        if engine == "openvino":
            raise RuntimeError("no such instruction")
        return {"onnx": 10.0, "torch": 20.0}[engine]

    monkeypatch.setattr(select, "benchmark_in_child", benchmark)
    monkeypatch.setattr(select, "_machine_key", lambda *_: "a machine of this test")
    engine = open_engine(saved, device="cpu")
    assert "OpenVINO" not in str(engine)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "the engine openvino does not work here: no such instruction"
    ]
    assert "measuring engines, once" in caplog.messages
    assert "openvino fails" in caplog.messages[-1]
    caplog.clear()
    again = open_engine(saved, device="cpu")
    assert str(again) == str(engine)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("engine: ")


@pytest.mark.slow
def test_measuring_engines_loads_none_but_the_fastest(saved):
    """Else torch would stay in the memory of `sed listen` for a year."""
    program = f"""
import sys
from streaming.engines import select
select._machine_key = lambda *_: "another machine of this test"
print(type(select.open_engine({str(saved)!r}, device="cpu")).__name__, "torch" in sys.modules)
"""
    needs("openvino")
    list(select._Source(str(saved), None).exported())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    name, has_torch = done.stdout.split()
    assert has_torch == str(name == "TorchEngine"), done.stderr


def test_an_engine_that_does_not_work_in_a_child_gives_its_reason(tmp_path):
    with pytest.raises(SedError, match=r"CheckpointError: .*none\.safetensors"):
        benchmark_in_child(tmp_path / "none.safetensors", engine="onnx")


def test_without_other_engines_torch_is_chosen_and_the_remedy_is_logged(saved, monkeypatch, caplog):
    find_spec = importlib.util.find_spec
    hidden = set(select.PACKAGES.values())
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )
    engine = open_engine(saved, device="cpu")
    assert isinstance(engine, TorchEngine)
    assert "pip install 'sed-engine[openvino]'" in caplog.messages[0]


@pytest.mark.parametrize(("name", "extra"), [("openvino", "openvino"), ("onnx", "torch")])
def test_an_engine_that_is_not_installed_names_its_extra(saved, monkeypatch, name, extra, tmp_path):
    monkeypatch.setenv("SED_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'sed-engine\[{extra}\]'"):
        open_engine(saved, engine=name, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "opnvino"}, "unknown engine 'opnvino'. Did you mean openvino"),
        ({"engine": "openvino", "device": "cuda"}, "runs on the CPU: leave out --device cuda"),
        ({"engine": "compile", "device": "tpu"}, "unknown device 'tpu'"),
        ({"engine": "onnx", "precision": "bf16"}, "computes in fp32, not in bf16"),
        ({"engine": "torch", "precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_an_engine_cannot_be_is_refused(saved, options, message):
    with pytest.raises(UsageError, match=message):
        open_engine(saved, **({"device": "cpu"} | options))


def test_a_graph_is_not_for_a_gpu(tmp_path):
    with pytest.raises(UsageError, match="graphs run on the CPU: leave out --device cuda"):
        open_engine(tmp_path / "model.onnx", device="cuda")


def test_without_a_folder_for_graphs_torch_is_chosen_and_that_is_logged(
    saved, tmp_path, monkeypatch, caplog
):
    needs("openvino")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SED_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert isinstance(open_engine(saved, device="cpu"), TorchEngine)
    assert "engine: torch, since the model cannot be exported for others" in caplog.messages[-1]


def test_a_loaded_checkpoint_stays_in_torch(tiny_checkpoint):
    assert isinstance(open_engine(tiny_checkpoint, device="cpu"), TorchEngine)
    with pytest.raises(UsageError, match="give its path for another engine"):
        open_engine(tiny_checkpoint, engine="openvino", device="cpu")


def test_a_graph_of_another_program_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(n, 1, [1]) for n in "xy")
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), path)
    with pytest.raises(CheckpointError, match="was not written by `sed export`"):
        open_engine(path)
    path.write_bytes(b"no graph")
    with pytest.raises(SedError, match="cannot be read as ONNX"):
        open_engine(path)
    with pytest.raises(SedError, match="no such file"):
        open_engine(tmp_path / "none.onnx")


@pytest.mark.parametrize("to", OTHERS)
def test_a_graph_of_an_older_version_is_refused(tiny_checkpoint, tmp_path, monkeypatch, to):
    monkeypatch.setattr(export, "graph_metadata", lambda *_: {"spec": {}, "context": None})
    with monkeypatch.context() as patch:
        if to == "openvino":
            patch.setattr(openvino_graphs, "METADATA_KEY", ["sed-engine", "about"])
        path = export_to(tmp_path, tiny_checkpoint, to)
    with pytest.raises(CheckpointError, match="exported by an older version: export again"):
        open_engine(path, engine=to)


def test_the_metadata_in_a_file_are_those_of_the_model(exported, tiny_checkpoint):
    path = exported("onnx")
    spec = open_engine(path).spec
    assert spec == tiny_checkpoint.spec
    json.dumps(spec.as_dict())


@pytest.mark.slow
def test_torch_compile_detects_the_same(expected_of):
    try:
        engine = open_engine(engine="compile", device="cpu", precision="fp32")
        frames, _ = frames_and_events(engine, MODES["no overlap"])
    except SedError as error:
        pytest.skip(str(error))
    assert np.abs(frames - expected_of("no overlap")[0]).max() <= TOLERANCE["fp32"]


def test_torch_has_as_many_threads_afterwards_as_before(tiny_checkpoint, noise_wav):
    before = torch.get_num_threads()
    engine = TorchEngine(tiny_checkpoint, "cpu", n_streams=2)
    list(detect(noise_wav, engine, hop_seconds=0.5))
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == before == seen[0]
