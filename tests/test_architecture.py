"""The structure of the packages, read from their source: folders, imports, sizes, names, words."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import sed
from tests.conftest import ROOT

PACKAGES = ("sed", "streaming", "train")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ENTRIES = {"sed/__init__.py", "sed/cli.py"}  # load the other packages by name, when they are called

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

MAX_ENTRIES = 15  # of a folder of code
MAX_LINES = 350  # of a file

# The folders that each folder may import from; CONTRIBUTING.md has the same table.
ARROWS = {
    "sed": "",
    "sed/audio": "sed sed/audio/decoders sed/audio/decoders/layout sed/audio/quality",
    "sed/audio/decoders": "sed sed/audio/decoders/layout",
    "sed/audio/decoders/layout": "",
    "sed/audio/quality": "sed",
    "sed/features": "sed",
    "sed/events": "sed sed/features sed/events/tracking",
    "sed/events/tracking": "sed",
    "sed/events/embedding_store": "sed sed/events sed/events/writing",
    "sed/events/reading": "sed sed/audio sed/events sed/events/writing",
    "sed/events/scoring": "sed sed/events sed/events/reading",
    "sed/events/writing": "sed sed/events",
    "sed/models": "sed sed/features sed/events sed/models/heads",
    "sed/models/heads": "",
    "sed/models/inference": "sed sed/models",
    "streaming": "sed sed/events",
    "streaming/export": "sed sed/features sed/models sed/models/inference",
    "streaming/encoders": "sed sed/models streaming/export",
    "streaming/engines": "sed sed/features sed/models sed/models/inference streaming/export "
    "streaming/encoders streaming/engines/graphs",
    "streaming/engines/graphs": "sed sed/features sed/events sed/events/reading sed/models "
    "streaming/export streaming/encoders",
    "streaming/pipeline": "sed sed/audio sed/features sed/events sed/events/tracking sed/models "
    "streaming/engines",
    "streaming/offline": "sed sed/audio sed/audio/quality sed/events sed/events/embedding_store "
    "sed/events/writing sed/models streaming/engines streaming/pipeline "
    "streaming/offline/detections",
    "streaming/offline/detections": "sed sed/events streaming/pipeline",
    "streaming/search": "sed sed/audio sed/events sed/events/embedding_store sed/models "
    "streaming/engines streaming/pipeline streaming/offline",
    "streaming/sinks": "sed sed/audio sed/events sed/events/writing streaming streaming/pipeline "
    "streaming/sinks/record streaming/sinks/storage",
    "streaming/sinks/record": "sed sed/events streaming",
    "streaming/sinks/alerts": "sed sed/events streaming streaming/sinks",
    "streaming/sinks/storage": "sed sed/events streaming streaming/sinks/record",
    "streaming/live": "sed sed/audio sed/audio/decoders sed/events sed/models streaming "
    "streaming/engines streaming/pipeline",
    "streaming/live/terminal": "sed sed/features sed/events streaming",
    "streaming/live/rules": "sed sed/events streaming",
    "streaming/web": "sed sed/features sed/events sed/events/writing streaming streaming/sinks "
    "streaming/sinks/record",
    "streaming/bench": "sed sed/audio sed/audio/decoders sed/events sed/events/writing sed/models "
    "streaming/engines streaming/pipeline streaming/offline",
    "streaming/cli": "sed sed/audio sed/events sed/events/embedding_store sed/events/reading "
    "sed/events/writing sed/models streaming/export streaming/engines streaming/engines/graphs "
    "streaming/pipeline streaming/offline streaming/offline/detections streaming/search "
    "streaming/live streaming/bench",
    "streaming/cli/live": "sed sed/events sed/models streaming streaming/engines "
    "streaming/engines/graphs streaming/pipeline streaming/sinks streaming/sinks/record "
    "streaming/sinks/alerts streaming/sinks/storage streaming/live streaming/live/terminal "
    "streaming/live/rules streaming/web streaming/cli",
    "streaming/results": "sed",
    "streaming/results/cli": "sed sed/audio sed/events sed/events/reading sed/events/scoring "
    "streaming/web streaming/results/clips streaming/results/summary streaming/results/score "
    "streaming/results/review",
    "streaming/results/clips": "sed sed/audio sed/features sed/events sed/events/reading "
    "streaming/results",
    "streaming/results/summary": "sed sed/audio sed/events streaming/results",
    "streaming/results/score": "sed sed/audio sed/events sed/events/reading sed/events/scoring "
    "streaming/results",
    "streaming/results/review": "sed sed/audio sed/features sed/events sed/events/reading "
    "sed/events/scoring streaming/web streaming/results/clips",
    "train": "",
    "train/config": "sed sed/features sed/events sed/models",
    "train/data": "sed sed/audio sed/events sed/events/reading train/config",
    "train/prepare": "sed sed/audio sed/audio/quality sed/events sed/events/reading train/data",
    "train/augment": "sed sed/audio train/config train/data",
    "train/loop": "sed sed/events sed/events/reading sed/models sed/models/heads train/config "
    "train/data train/augment train/distill",
    "train/evaluate": "sed sed/audio sed/events sed/events/reading sed/events/scoring sed/models "
    "train/config train/data train/augment",
    "train/fit": "sed sed/audio sed/events sed/events/tracking sed/events/reading sed/models "
    "sed/models/heads train/data",
    "train/distill": "sed sed/features sed/events sed/events/tracking sed/models sed/models/heads "
    "train/config train/data",
    "train/run": "sed sed/models train/config train/data train/augment train/loop train/evaluate "
    "train/distill",
    "train/cli": "sed sed/events sed/events/scoring sed/models train/config train/data "
    "train/prepare train/evaluate train/fit train/run train/tune",
    "train/tune": "sed sed/events sed/events/tracking sed/events/reading sed/events/scoring "
    "sed/models train/data",
}

# One library, one door: the only modules that import it.
DOORS = {
    "timm": {
        "sed/models/backbone.py",
        "train/distill/teachers.py",
        "train/loop/optimizer.py",
        "train/loop/schedule.py",
    },
    "soundfile": {"sed/audio/decoders/libsndfile.py", "sed/audio/sound_file.py"},
    "sounddevice": {"streaming/live/microphone.py"},
    "onnx": {"streaming/export/onnx.py"},
    "ai_edge_litert": {"streaming/engines/graphs/tflite.py"},
    "onnxruntime": {"streaming/engines/onnx.py", "streaming/encoders/onnx.py"},
    "transformers": {"streaming/encoders/hub.py"},
    "openvino": {"streaming/export/openvino.py", "train/distill/inference.py"},
    "scipy": {"sed/features/log_mel.py"},
    "astral": {"streaming/live/rules/schedule.py"},
    "sqlite3": {
        "sed/events/sqlite.py",
        "streaming/sinks/database.py",
        "streaming/sinks/record/schema.py",
        "streaming/sinks/storage/integrity.py",
        "streaming/sinks/storage/redating.py",
        "streaming/sinks/storage/retention.py",
        "streaming/sinks/storage/upkeep.py",
        "streaming/offline/journal.py",
        "streaming/results/review/store.py",
    },
    "starlette": {"streaming/web/routes.py", "streaming/results/review/routes.py"},
    "uvicorn": {"streaming/web/http_server.py"},
    "prometheus_client": {"streaming/web/metrics.py"},
    "websockets": {"streaming/web/server.py"},
    "paho": {"streaming/sinks/alerts/mqtt.py"},
    "soxr": {"sed/audio/resample.py"},
    "av": {"sed/audio/decoders/ffmpeg.py", "sed/audio/decoders/vorbis.py"},
    "pyarrow": {"sed/events/writing/parquet.py"},
    "fsspec": {"sed/audio/remote.py"},
    "aiohttp": {"sed/audio/remote_stream.py"},
    "yt_dlp": {"train/prepare/web_audio.py"},
    "ray": {"streaming/offline/cluster.py"},
    "usearch": {"streaming/search/index.py"},
    "matplotlib": {
        "sed/events/plot_axes.py",
        "sed/events/plots.py",
        "streaming/results/score/plots.py",
        "streaming/results/summary/plots.py",
        "train/evaluate/plots.py",
        "train/tune/plots.py",
    },
    "torchlibrosa": {"train/augment/spectrogram.py"},
    "albumentations": {"train/augment/images.py"},
    "colorednoise": {"train/augment/noise.py"},
    "tensorboardX": {"train/run/directory.py"},
    "sklearn": {
        "train/data/folds.py",
        "train/fit/estimators.py",
        "train/tune/calibration.py",
    },
    "lightgbm": {"train/fit/trees.py"},
    "optuna": {"train/fit/search.py"},
}
# Interfaces of commands: only in these folders, and in the entry.
COMMAND_LIBRARIES = {"typer", "rich"}
COMMAND_FOLDERS = {
    "streaming/cli",
    "streaming/cli/live",
    "streaming/live/terminal",
    "streaming/results/cli",
    "train/cli",
}


def name_of(path):
    return str(path.relative_to(ROOT))


def folder_of(path):
    return str(path.parent.relative_to(ROOT))


def modules():
    """Return the path of each module by its dotted name."""
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, FILES, strict=True)}


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
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def import_graph():
    """Return the imports between files of the packages, also those inside functions."""
    paths = modules()
    return {
        path: {paths[name] for name in imports_of(path) if name in paths and paths[name] != path}
        for path in FILES
        if name_of(path) not in ENTRIES
    }


def circle_in(graph):
    """Return a circle of a graph as a path of nodes, or none."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for following in sorted(graph.get(node, ())):
            if circle := visit(following):
                return circle
        path.pop()
        done.add(node)
        return []

    for node in sorted(graph):
        if circle := visit(node):
            return circle
    return []


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_files_import_each_other_in_a_circle():
    assert [name_of(path) for path in circle_in(import_graph())] == []


def test_folders_import_only_along_the_arrows():
    allowed = {folder: set(targets.split()) for folder, targets in ARROWS.items()}
    assert circle_in(allowed) == []
    for path, imported in import_graph().items():
        targets = {folder_of(other) for other in imported} - {folder_of(path)}
        assert targets <= allowed[folder_of(path)], name_of(path)


def test_every_arrow_is_used():
    used = {folder: set() for folder in ARROWS}
    for path, imported in import_graph().items():
        used[folder_of(path)] |= {folder_of(other) for other in imported} - {folder_of(path)}
    assert used == {folder: set(targets.split()) for folder, targets in ARROWS.items()}


def test_contributing_has_the_table_of_arrows():
    rows = re.findall(r"^\| `([\w/]+)` \| (.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    documented = {folder: set(re.findall(r"`([\w/]+)`", targets)) for folder, targets in rows}
    assert documented == {folder: set(targets.split()) for folder, targets in ARROWS.items()}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_point_only_downwards(path):
    forbidden = {"sed": {"streaming", "train"}, "streaming": {"train"}, "train": {"streaming"}}
    at_import_time = name_of(path) in ENTRIES
    tops = {module.split(".")[0] for module in imports_of(path, at_import_time=at_import_time)}
    assert not tops & forbidden[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_library_has_one_door(path):
    tops = {module.split(".")[0] for module in imports_of(path)}
    assert {lib for lib in tops & set(DOORS) if name_of(path) not in DOORS[lib]} == set()
    if folder_of(path) not in COMMAND_FOLDERS and name_of(path) != "sed/cli.py":
        assert not tops & COMMAND_LIBRARIES


def test_folders_and_files_stay_small():
    for folder in {path.parent for path in FILES}:
        entries = [entry.name for entry in folder.iterdir() if entry.name != "__pycache__"]
        assert len(entries) <= MAX_ENTRIES, (str(folder.relative_to(ROOT)), sorted(entries))
    for path in FILES:
        assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES, name_of(path)


def public_definitions(path):
    """Yield the public classes, functions and methods of a module, with their names."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("_"):
                continue
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                methods = (n for n in node.body if isinstance(n, FUNCTIONS))
                yield from ((f"{node.name}.{m.name}", m) for m in methods if m.name[0] != "_")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_everything_public_is_documented(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))
    undocumented = [name for name, node in public_definitions(path) if not ast.get_docstring(node)]
    assert undocumented == []


def test_each_public_class_name_occurs_once():
    names = Counter(
        node.name
        for path in FILES
        for _, node in public_definitions(path)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, n in names.items() if n > 1] == []


def test_importing_the_package_imports_nothing_heavy():
    program = "import sed, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "pandas", "typer", "streaming"}


def test_every_public_name_is_there_and_documented():
    pytest.importorskip("torch")
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


# Words with a standard term in the field; see docs/architecture.md. Their number is bounded, and
# each exception has its reason here.
PRIVATE_WORDS = {
    *("hear", "hears", "heard", "hearer", "ear", "ears", "told", "tell", "tells", "trouble"),
    *("troubles", "answer", "answers", "judge", "judged", "judges", "learnt", "nobody"),
    *("whoever", "somebody"),
}
EXCEPTIONS = {
    # The method of files that returns their position.
    "sed/audio/start_time.py": {"tell": 2},
}
PROSE = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/recipes/*.md",
    "streaming/web/page/*",
    "streaming/results/review/page/*",
)


def words_of(text):
    """Return the words of a text, with identifiers split at underscores and capitals."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]


def test_identifiers_are_split_into_words():
    assert words_of("n_heard, HearerSettings: told_at") == [
        *("n", "heard", "hearer", "settings", "told", "at")
    ]


def test_prose_and_names_use_the_terms_of_the_field():
    code = [*FILES, *(ROOT / "benchmarks").rglob("*.py")]
    prose = [path for pattern in PROSE for path in ROOT.glob(pattern)]
    found = {
        name_of(path): words
        for path in [*code, *prose]
        if (
            words := Counter(words_of(path.read_text("utf-8")))
            & Counter(dict.fromkeys(PRIVATE_WORDS, 1_000))
        )
    }
    assert {name: dict(words) for name, words in found.items()} == EXCEPTIONS
    assert sum(sum(words.values()) for words in EXCEPTIONS.values()) <= 15


@pytest.mark.parametrize("path", [*FILES, Path("README.md")], ids=str)
def test_nothing_of_this_machine_is_in_the_sources(path):
    text = (ROOT / path).read_text("utf-8")
    assert "/work/" not in text
    assert "/root/" not in text
