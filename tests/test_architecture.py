"""Who may import whom, read from the source."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import sed

PACKAGES = ("sed", "streaming", "train")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOOR = {"sed/__init__.py", "sed/cli.py"}

# One library, one door.
DOORS = {
    "timm": {"sed/model.py", "train/optimizer.py"},
    "soundfile": {"sed/soundfiles.py", "sed/flac.py"},
    "sounddevice": {"streaming/microphone.py"},
    "onnx": {"streaming/onnx_graph.py"},
    "onnxruntime": {"streaming/onnx_engine.py"},
    "openvino": {"streaming/openvino_engine.py"},
    "scipy": {"sed/mels.py"},
    "sqlite3": {"streaming/database.py", "streaming/journal.py"},
    "starlette": {"streaming/web_answers.py"},
    "uvicorn": {"streaming/web.py"},
    "prometheus_client": {"streaming/web_answers.py"},
    "websockets": {"streaming/web.py"},
    "paho": {"streaming/mqtt.py"},
    "soxr": {"sed/audio.py"},
    "av": {"sed/containers.py", "sed/vorbis.py"},
    "pyarrow": {"sed/parquet.py"},
    "typer": {
        "sed/cli.py",
        "streaming/bench_commands.py",
        "streaming/commands.py",
        "streaming/listen_commands.py",
        "streaming/model_commands.py",
        "streaming/options.py",
        "train/commands.py",
        "train/prepare_commands.py",
        "train/result_commands.py",
    },
    "rich": {
        "streaming/bench_commands.py",
        "streaming/detect_view.py",
        "streaming/half_blocks.py",
        "streaming/meter.py",
        "streaming/panels.py",
        "streaming/terminal.py",
        "train/bars.py",
        "train/commands.py",
        "train/prepare_commands.py",
        "train/result_commands.py",
    },
    "fsspec": {"sed/remote.py"},
    "ray": {"streaming/on_ray.py"},
    "matplotlib": {"sed/plots.py"},
    "torchlibrosa": {"train/pictures.py"},
    "albumentations": {"train/pipelines.py"},
    "colorednoise": {"train/waveforms.py"},
    "tensorboardX": {"train/run_directory.py"},
    "sklearn": {"train/folds.py"},
}

# The core from bottom to top: a module imports only from the rows above its own.
LAYERS = [
    {"errors", "timeline"},
    {"files", "configs", "devices", "mels", "remote"},
    {"features"},
    {"pcm", "containers", "events", "model", "flac"},
    {"soundfiles"},
    {"vorbis"},
    {"audio", "losses", "metrics", "writers", "plots", "parquet", "recorders"},
    {"spec", "description"},
    {"checkpoint", "context", "recordings"},
    {"cli", "__init__", "__main__"},
]


def name_of(path):
    return str(path.relative_to(ROOT))


def imports_of(path, *, at_import_time=False):
    """Return the modules that a file imports, anywhere or when it is itself imported."""
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    if at_import_time:
        nodes = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_point_only_downwards(path):
    forbidden = {
        "sed": {"streaming", "train"},
        "streaming": {"train"},
        "train": {"streaming"},
    }[path.relative_to(ROOT).parts[0]]
    at_import_time = name_of(path) in DOOR
    tops = {module.split(".")[0] for module in imports_of(path, at_import_time=at_import_time)}
    assert not tops & forbidden


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_library_has_one_door(path):
    tops = {module.split(".")[0] for module in imports_of(path)}
    assert {
        library for library in tops & set(DOORS) if name_of(path) not in DOORS[library]
    } == set()


def test_the_core_has_layers():
    level = {name: i for i, names in enumerate(LAYERS) for name in names}
    for path in FILES:
        if path.parent.name != "sed" or path.stem in LAYERS[-1]:
            continue
        below = {m.split(".")[1] for m in imports_of(path) if m.startswith("sed.")}
        for name in below:
            assert level[name] < level[path.stem], f"{path.stem} imports {name}"


def test_importing_the_package_imports_nothing_heavy():
    program = "import sed, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "pandas", "typer", "streaming"}


def test_every_public_name_is_there_and_documented():
    assert sorted(sed._HOME_OF) == sorted(sed.__all__)
    for name in sed.__all__:
        assert getattr(sed, name).__doc__, name
        assert getattr(importlib.import_module(sed._HOME_OF[name]), name) is getattr(sed, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sed.nonsense


def test_commands_are_the_same_in_the_table_and_in_the_entry():
    from sed.__main__ import OURS
    from sed.cli import COMMANDS

    assert {name for name in OURS if not name.startswith("-")} == set(COMMANDS)


def test_no_file_has_a_name_that_says_nothing():
    assert not {path.stem for path in FILES} & {"utils", "helpers", "common", "misc", "manager"}


@pytest.mark.parametrize("path", [*FILES, Path("README.md")], ids=str)
def test_nothing_of_this_machine_is_in_the_sources(path):
    text = (ROOT / path).read_text("utf-8")
    assert "/work/" not in text
    assert "/root/" not in text
