"""Files that are not as they should be, in any way, are read or refused with an error of ours.

Each reader gets files that this package wrote, with bytes changed, removed, doubled and put in. An
error has to be a `SedError` or a `UsageError`: all others would end a scan with a traceback.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from sed.audio.find import Recording
from sed.errors import SedError, UsageError
from sed.events.embedding_store.store import (
    EmbeddingStore,
    StoreConfig,
    create_store,
    recording_written_whole,
)
from sed.events.hierarchy import read_hierarchy
from sed.events.reading.events import read_events
from sed.events.tracker import Event
from sed.events.writing.formats import TEXT_WRITERS, open_writer
from streaming.engines.graphs.description import GraphModel, graph_metadata, read_graph_model
from streaming.engines.graphs.labels import read_labels
from streaming.offline.job import JobResult
from streaming.offline.journal import Journal
from streaming.search.index import read_state
from streaming.sinks.event_file import EventFileSink
from train.config.recipe import load_recipe
from train.config.train import TrainConfig
from train.data.clips import Clip
from train.data.folds import load_folds, save_folds
from train.data.pseudo_labels import read_pseudo_labels, write_pseudo_labels
from train.prepare.download_files import Download, finished_path, load_download, save_download
from train.prepare.manifest import Manifest, StoredRecording, is_stored, load_manifest
from train.run.directory import check_same_run

EVENTS = [Event(n / 3, n / 3 + 0.2, "väl, \t1", 0.5 + n / 9, f"{n}.wav") for n in range(3)]
CLIPS = [Clip(f"/x/{n}.wav", ("a",), f"g{n}", start_seconds=n / 2) for n in range(4)]
BITS = (
    b"9" * 400,
    b"[" * 3_000,
    b"null",
    b"-",
    b"\0",
    b"\xff",
    b'"',
    b"\n",
    b",,,",
    b"1e999",
    b"{}",
)


def events_case(format):
    def write(folder):
        path = folder / f"events{TEXT_WRITERS[format].extension}"
        with open_writer(path, format) as writer:
            for event in EVENTS:
                writer.write(event)

    def read(folder):
        read_events(folder / f"events{TEXT_WRITERS[format].extension}", format)

    return write, read


def journal_case():
    recordings = [Recording(f"/x/{n}.wav", f"{n}.wav", 9) for n in range(3)]

    def write(folder):
        with Journal(folder / "journal") as journal:
            journal.begin({"hop": "1.0"}, "/x", resume=False)
            journal.plan(recordings)
            for recording in recordings:
                journal.finish(recording, JobResult(tuple(EVENTS), 1.0))

    def read(folder):
        with Journal(folder / "journal") as journal:
            journal.begin({"hop": "1.0"}, "/x", resume=True)
            journal.plan(recordings)
            list(journal.waiting()), journal.started(), journal.totals()
            list(journal.events()), list(journal.problems())

    return write, read


def store_case():
    pytest.importorskip("pyarrow")

    def write(folder):
        create_store(folder, StoreConfig("m", "1", "features", ("mean",), 4, "events", {}))
        with recording_written_whole(folder, "/x/a.wav", 4) as writer:
            writer.write(EVENTS, np.ones((3, 4)))
        (folder / "index.json").write_text(json.dumps({"format_version": 1, "bytes": 0}))

    def read(folder):
        store = EmbeddingStore(folder)
        store.events(np.arange(store.n_rows)), store.vectors(np.arange(store.n_rows))
        read_state(store)

    return write, read


def description_case():
    graph = GraphModel("g.onnx", "0", "in", "out", "sigmoid", ("a", "b"), 8_000, 1.0, 0.5)

    def read(folder):
        _ = read_graph_model(folder / "g.json").spec

    return lambda folder: (folder / "g.json").write_bytes(graph_metadata(graph)), read


def manifest_case():
    stored = StoredRecording(9, 9, [[0.0, None]], 9, 9, 0, [[0, 0, 9]], 0, 0)

    def read(folder):
        manifest = load_manifest(folder)
        for name, facts in manifest.files.items():
            is_stored(folder, name, facts)

    files = {"a.wav": stored}
    return lambda folder: Manifest("/x", {"bits": 16}, files).save(folder), read


def download_case():
    url = "https://example.org/a.wav"

    def read(folder):
        finished_path(folder, load_download(folder, url))

    return lambda folder: save_download(folder, Download(url, "a.wav", 9, "tag")), read


def pseudo_case():
    probs = np.full((2, 3), 0.5, np.float32)
    frames = np.full((2, 5, 3), 0.5, np.float32)

    def write(folder):
        names = [str(folder / "0.wav"), str(folder / "1.wav")]
        for name in names:
            Path(name).write_bytes(b"RIFF")
        table = folder / "soft.csv"
        write_pseudo_labels(table, names, [0.0] * 2, [5.0] * 2, ["a", "b", "c"], probs, frames)

    return write, lambda folder: read_pseudo_labels(folder / "soft.csv", min_prob=0.1)


def run_case():
    facts = asdict(TrainConfig()) | {"format_version": 2}

    def write(folder):
        (folder / "config.json").write_text(json.dumps(facts))
        (folder / "history.csv").write_text("epoch,loss,padded_cmap_5\n1,0.5,0.2\n")

    def read(folder):
        check_same_run(folder, facts)

    return write, read


def recipe_case():
    text = "seed = 3\n[optim]\nepochs = 2\nlearning_rate = 1e-3\n[model]\nbackbone = 'resnet18'\n"
    return (
        lambda folder: (folder / "r.toml").write_text(text),
        lambda folder: load_recipe(folder / "r.toml"),
    )


def hierarchy_case(name, text):
    def read(folder):
        read_hierarchy(str(folder / name), ("dog", "cat"))

    return lambda folder: (folder / name).write_text(text), read


CASES = {
    **{f"events as {format}": lambda format=format: events_case(format) for format in TEXT_WRITERS},
    "journal": journal_case,
    "store of embeddings": store_case,
    "description of a graph": description_case,
    "record of prepare": manifest_case,
    "facts of a download": download_case,
    "pseudo-labels": pseudo_case,
    "folds": lambda: (
        lambda folder: save_folds(folder / "folds.csv", CLIPS, [0, 1, 2, 0]),
        lambda folder: load_folds(folder / "folds.csv", CLIPS),
    ),
    "run": run_case,
    "recipe": recipe_case,
    "hierarchy in TOML": lambda: hierarchy_case("h.toml", "dog = ['pet', 'animal']\ncat = 'pet'\n"),
    "hierarchy in JSON": lambda: hierarchy_case("h.json", '{"dog": ["pet"], "cat": "pet"}'),
    "labels": lambda: (
        lambda folder: (folder / "labels.txt").write_text("Erithacus rubecula_Robin\nParus_Tit\n"),
        lambda folder: read_labels(folder / "labels.txt"),
    ),
    "file of live events": lambda: (
        events_case("jsonl")[0],
        lambda folder: EventFileSink(folder / "events.jsonl").close(),
    ),
}


def mutate(content, generator):
    damaged = bytearray(content)
    for _ in range(generator.integers(1, 5)):
        place, n = int(generator.integers(len(damaged) + 1)), int(generator.integers(1, 40))
        match generator.integers(7):
            case 0:
                damaged[place : place + 1] = bytes([generator.integers(256)])
            case 1:
                del damaged[place : place + n]
            case 2 | 3:
                damaged[place:place] = BITS[generator.integers(len(BITS))]
            case 4:
                damaged[place:place] = damaged[place : place + n]
            case 5:
                damaged[place : place + n] = bytes(n)
            case 6:
                del damaged[place:]
    return bytes(damaged)


@pytest.mark.parametrize("n_cases", [40, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_read_or_refused(tmp_path, name, n_cases):
    """In the suite 40 mutations of each of 18 kinds of files, and 1,000 of each with `-m slow`."""
    write, read = CASES[name]()
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    write(whole)
    read(whole)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    files = [path for path in files if path.suffix != ".wav"]
    generator = np.random.default_rng(sorted(CASES).index(name))
    for _ in range(n_cases):
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        path = files[generator.integers(len(files))]
        (damaged / path).write_bytes(content := mutate((whole / path).read_bytes(), generator))
        try:
            read(damaged)
        except (SedError, UsageError):
            continue
        except BaseException:
            Path(tmp_path, "culprit").write_bytes(content)
            raise
