"""Who may import whom, read from the source."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sed
from tests.conftest import ROOT

PACKAGES = ("sed", "streaming", "train")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOOR = {"sed/__init__.py", "sed/cli.py"}

# One library, one door.
DOORS = {
    "timm": {"sed/models/network.py", "train/loop/optimizer.py", "train/loop/schedule.py"},
    "soundfile": {"sed/audio/libsndfile.py", "sed/audio/flac.py"},
    "sounddevice": {"streaming/live/microphone.py"},
    "onnx": {"streaming/export/onnx.py"},
    "onnxruntime": {"streaming/engines/onnx.py"},
    "openvino": {"streaming/export/openvino.py"},
    "scipy": {"sed/features/log_mel.py"},
    # The two users catch its exceptions; only the first of the three opens a database.
    "sqlite3": {
        "sed/events/sqlite.py",
        "streaming/sinks/database.py",
        "streaming/offline/journal.py",
    },
    "starlette": {"streaming/web/routes.py"},
    "uvicorn": {"streaming/web/server.py"},
    "prometheus_client": {"streaming/web/routes.py"},
    "websockets": {"streaming/web/server.py"},
    "paho": {"streaming/sinks/mqtt.py"},
    "soxr": {"sed/audio/resample.py"},
    "av": {"sed/audio/ffmpeg.py", "sed/audio/vorbis.py"},
    "pyarrow": {"sed/events/parquet.py"},
    "typer": {
        "sed/cli.py",
        "streaming/cli/bench.py",
        "streaming/cli/detect.py",
        "streaming/cli/devices.py",
        "streaming/cli/listen.py",
        "streaming/cli/export.py",
        "streaming/cli/info.py",
        "streaming/cli/options.py",
        "train/cli/train.py",
        "train/cli/prepare.py",
        "train/cli/options.py",
        "train/cli/evaluate.py",
        "train/cli/plot.py",
        "train/cli/predict.py",
    },
    "rich": {
        "streaming/cli/bench.py",
        "streaming/cli/progress.py",
        "streaming/terminal/spectrogram.py",
        "streaming/terminal/meter.py",
        "streaming/terminal/panels.py",
        "streaming/terminal/view.py",
        "train/cli/bars.py",
        "train/cli/train.py",
        "train/cli/prepare.py",
        "train/cli/options.py",
        "train/cli/evaluate.py",
    },
    "fsspec": {"sed/audio/remote.py"},
    "ray": {"streaming/offline/cluster.py"},
    "matplotlib": {"sed/events/plots.py", "train/evaluate/plots.py"},
    "torchlibrosa": {"train/augment/spectrogram.py"},
    "albumentations": {"train/augment/images.py"},
    "colorednoise": {"train/augment/noise.py"},
    "tensorboardX": {"train/run/directory.py"},
    "sklearn": {"train/data/folds.py"},
}


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


def test_importing_the_package_imports_nothing_heavy():
    program = "import sed, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "pandas", "typer", "streaming"}


def test_every_public_name_is_there_and_documented():
    assert dir(sed) == sorted(["__version__", *sed._MODULE_OF])
    assert re.fullmatch(r"\d+\.\d+.*", sed.__version__)
    for name, module in sed._MODULE_OF.items():
        assert getattr(sed, name).__doc__, name
        assert getattr(importlib.import_module(module), name) is getattr(sed, name)
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
