"""What `pip install sed-engine` does without any extra; `make test-lean` runs it where none is."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sed
from sed.errors import CheckpointError, MissingExtraError, check_extra
from sed.models.registry import SHIPPED, SHIPPED_FOLDER
from streaming.engines.exported import linked_metadata
from streaming.engines.select import open_engine
from tests.conftest import ROOT

EXAMPLE = ROOT / "examples" / "village.ogg"
EXTRAS = (
    *(
        "albumentations",
        "av",
        "colorednoise",
        "matplotlib",
        "onnx",
        "openvino",
        "paho",
        "pandas",
        "pyarrow",
    ),
    *("sklearn", "starlette", "tensorboardX", "timm", "torch", "torchlibrosa", "transformers"),
    "usearch",
)
# A program in which no package of an extra can be imported.
PRELUDE = f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\n"
COMMAND = PRELUDE + "from sed.cli import run\nsys.exit(run(sys.argv[1:]))\n"


def run_lean(*arguments, stdin=None):
    """Run a command where no extra is installed."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        input=stdin,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


@pytest.mark.parametrize("name", SHIPPED)
def test_the_graph_that_ships_belongs_to_its_weights(name):
    weights = SHIPPED_FOLDER / f"{name}.safetensors"
    assert linked_metadata(weights, weights.with_suffix(".json")) is not None
    assert weights.with_suffix(".onnx").stat().st_size < 250_000


@pytest.mark.parametrize("name", SHIPPED)
def test_it_computes_what_the_checkpoint_computes(name):
    pytest.importorskip("torch")
    graph = open_engine(name, engine="onnx", n_streams=1, layer="features")
    torch = open_engine(name, engine="torch", device="cpu", precision="fp32", layer="features")
    assert (graph.spec, graph.receptive_field) == (torch.spec, torch.receptive_field)
    shape = (2, graph.spec.window_columns, graph.spec.log_mel.n_mels)
    log_mel = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found, expected = graph.infer(log_mel), torch.infer(log_mel)
    for part in ("frame_probs", "head_probs", "head_weights", "embeddings"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), abs=3e-5), part


def test_a_graph_beside_other_weights_is_not_used(tmp_path):
    for suffix in (".onnx", ".json", ".safetensors"):
        shutil.copy(SHIPPED_FOLDER / f"everyday{suffix}", tmp_path)
    mine = tmp_path / "everyday.safetensors"
    assert linked_metadata(mine, mine.with_suffix(".json")) is not None
    metadata = mine.with_suffix(".json")
    checksum = sed.models.metadata.sha256_of(mine)
    metadata.write_text(metadata.read_text().replace(checksum, "0" * 64))
    assert linked_metadata(mine, metadata) is None
    mine.with_suffix(".onnx").write_bytes(b"no graph")
    assert linked_metadata(mine, metadata) is None


def test_a_linked_graph_is_run_with_its_own_weights_only(tmp_path):
    graph = shutil.copy(SHIPPED_FOLDER / "everyday.onnx", tmp_path)
    missing = r"everyday.onnx: everyday.safetensors, which has the weights .* Keep both files"
    with pytest.raises(CheckpointError, match=missing):
        open_engine(graph, engine="onnx")
    weights = bytearray((SHIPPED_FOLDER / "everyday.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "everyday.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="has other weights than this graph was made with"):
        open_engine(graph, engine="onnx")


def test_a_renamed_checkpoint_is_not_run_by_a_graph_that_names_another_file(tmp_path):
    for suffix in (".onnx", ".json", ".safetensors"):
        shutil.copy(SHIPPED_FOLDER / f"everyday{suffix}", tmp_path / f"mine{suffix}")
    mine = tmp_path / "mine.safetensors"
    assert linked_metadata(mine, mine.with_suffix(".json")) is None


def test_a_graph_that_the_runtime_refuses_is_an_error_of_the_model(tmp_path):
    content = (SHIPPED_FOLDER / "everyday.onnx").read_bytes()
    graph = tmp_path / "everyday.onnx"
    graph.write_bytes(content.replace(b"Sigmoid", b"Sigmoit"))
    shutil.copy(SHIPPED_FOLDER / "everyday.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match="ONNX Runtime does not take this graph"):
        open_engine(graph, engine="onnx")


def test_the_events_of_the_example_are_found(tmp_path):
    output = tmp_path / "found.csv"
    done = run_lean("detect", EXAMPLE, "--output", output)
    assert done.returncode == 0, done.stderr
    score = sed.match_events(
        sed.read_events(EXAMPLE.with_suffix(".tsv"), "tsv"), sed.read_events(output, "csv")
    )
    assert score.recall >= 0.8
    assert score.n_false / (196 / 60) <= 1.0
    done = run_lean("score", EXAMPLE.with_suffix(".tsv"), output, "--json")
    assert '"psds1"' in done.stdout, done.stderr


@pytest.mark.slow  # at real speed
def test_live_sound_is_tagged():
    samples = sed.read_recording(EXAMPLE, 16_000)[: 10 * 16_000]
    raw = (samples * 32_767).astype("<i2").tobytes()
    options = "--input - --raw-rate 16000 --classes rooster --format csv"
    done = run_lean("listen", *options.split(), stdin=raw)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rooster") == 1


def test_an_exported_graph_runs(tmp_path):
    graph = Path(os.environ.get("SED_EXPORTED_GRAPH", tmp_path / "mine.onnx"))
    if not graph.exists():
        pytest.importorskip("torch")
        sed.export(sed.load_model(), graph)
    copied = shutil.copy(graph, tmp_path / "copy.onnx")
    expected = run_lean("detect", EXAMPLE, "--classes", "rooster,dog,siren")
    done = run_lean("detect", EXAMPLE, "--classes", "rooster,dog,siren", "--model", copied)
    assert done.stdout == expected.stdout, done.stderr
    assert done.stdout.count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "what", "extra"),
    [
        ("train --data clips", "sed train", "train"),
        ("evaluate run --data clips", "sed evaluate", "train"),
        ("prepare clips -o prepared", "sed prepare", "train"),
        ("fit clips -o mine", "sed fit", "train"),
        ("export", "sed export", "torch"),
        ("detect {example} --engine torch", "the engine torch", "torch"),
        ("detect {example} --device cuda", "the device cuda", "torch"),
        ("detect {example} --precision bf16", "precision bf16", "openvino"),
        ("detect {example} --engine openvino", "the engine openvino", "openvino"),
        ("detect {example} --plot", "--plot", "plot"),
        ("detect {example} --format parquet -o x.parquet", "the format parquet", "parquet"),
        ("score {truth} {truth} -o scores", "sed score --output", "plot"),
        ("summary {truth} --audio missing -o summary", "sed summary", "plot"),
        ("review {truth}", "the page", "web"),
        ("listen --input {example} --web", "--web", "web"),
        ("listen --input {example} --mqtt mqtt://host/topic", "--mqtt", "mqtt"),
        ("embed {example} -o store", "store: a store of embeddings", "parquet"),
    ],
)
def test_what_needs_an_extra_names_it_in_one_line(arguments, what, extra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips" / "dog").mkdir(parents=True)
    arguments = arguments.format(example=EXAMPLE, truth=EXAMPLE.with_suffix(".tsv"))
    done = run_lean(*arguments.split())
    assert (done.returncode, done.stdout) == (1, "")
    line = f"{what} needs an extra: pip install 'sed-engine[{extra}]'"
    assert done.stderr.endswith(line + "\n"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_checkpoint_of_ones_own_says_how_it_runs_here(tmp_path):
    for suffix in (".json", ".safetensors"):
        shutil.copy(SHIPPED_FOLDER / f"everyday{suffix}", tmp_path / f"mine{suffix}")
    done = run_lean("detect", EXAMPLE, "--model", tmp_path / "mine.safetensors")
    assert done.returncode == 1
    assert (
        "pip install 'sed-engine[torch]'. Or, where that is installed, `sed export" in done.stderr
    )


NAMES = {
    "sed.train": ("sed.train", "train"),
    "sed.load_model": ("sed.load_model", "torch"),
    "sed.open_engine(engine='torch')": ("the engine torch", "torch"),
    "sed.open_engine(device='cuda')": ("the device cuda", "torch"),
    "sed.open_engine(layer='hidden')": ("a layer other than features", "torch"),
    "sed.open_engine('hf:a/b', layer='last')": ("an encoder of Hugging Face", "hf"),
}


def test_a_python_name_says_which_extra_it_needs():
    program = PRELUDE + "import sed\n"
    for expression in NAMES:
        program += f"try: {expression}\nexcept sed.MissingExtraError as e: print(e)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    expected = [
        f"{what} needs an extra: pip install 'sed-engine[{extra}]'"
        for what, extra in NAMES.values()
    ]
    assert done.stdout.splitlines() == expected, done.stderr


def test_the_versions_and_the_default_model_are_shown():
    done = run_lean("info")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout.splitlines()[1]
    assert "everyday.safetensors: a checkpoint" in done.stdout


def test_an_exported_graph_is_not_taken_for_one_of_others(tmp_path):
    graph = shutil.copy(SHIPPED_FOLDER / "everyday.onnx", tmp_path)
    done = run_lean("models", "add", graph, "mine")
    assert done.returncode == 2
    assert "sed export wrote this graph" in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MissingExtraError("pictures", "plot"),
        sed.OutputError("x.csv", OSError(28, "No space left on device")),
        sed.DamagedRecordingError("x.wav", 2.0, "it ends early"),
    ],
)
def test_errors_come_back_from_workers(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert vars(again).keys() == vars(error).keys()


def test_a_gpu_that_torch_would_use_is_mentioned_once(monkeypatch, caplog):
    from sed.models import devices

    monkeypatch.setattr(devices, "has_torch", lambda: False)
    monkeypatch.setattr(devices.os.path, "exists", lambda path: True)
    devices._log_unused_gpu.cache_clear()
    assert [devices.has_gpu() for _ in range(3)] == [False] * 3
    expected = "this machine has a GPU, and torch would use it: pip install 'sed-engine[gpu]'"
    assert caplog.messages == [expected]


def test_a_missing_package_is_an_error_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pictures needs an extra: .*\[plot\]"):
        check_extra("matplotlib", "pictures")
