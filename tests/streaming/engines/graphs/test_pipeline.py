"""The whole pipeline runs registered graphs: each window is one frame, as long as the hop."""

import csv
import dataclasses
import json
import sqlite3
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import sed
from sed.cli import app
from sed.errors import CheckpointError, UsageError
from sed.events.reading.events import read_events
from sed.events.writing.parquet import read_parquet_events
from sed.models.spec import ModelSpec
from streaming.engines.graph_model import (
    GraphModelEngine,
    engines_of_graph,
    probabilities,
    spec_of_graph,
)
from streaming.engines.graphs.register import add_graph
from streaming.engines.graphs.runtime import GraphRuntime
from streaming.engines.identity import model_identity
from streaming.engines.select import open_engine
from streaming.export.onnx_file import GraphTensor
from streaming.live.listener import LIVE, Listener, live_config
from streaming.messages import AudioBlock, EventEnded
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.decoder import Detection
from streaming.pipeline.detector import Detector
from streaming.sinks.database import EventDatabase
from tests.streaming.engines.graphs.tiny import (
    LABELS,
    RATE,
    SPECIES,
    describe,
    levels,
    logits,
    register,
    sigmoid,
    write_onnx,
)
from tests.streaming.live.scripts import Script


class Means(GraphRuntime):
    """The graph of `tiny` in NumPy."""

    inputs = (GraphTensor("samples", (None, RATE), True),)
    outputs = (GraphTensor("scores", (None, 3), True),)

    def run(self, values, outputs):
        return [logits(values).astype(np.float32)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("graph") / "owls.onnx")


@pytest.fixture(scope="module")
def model(graph):
    return register(graph)


@pytest.fixture
def recording(tmp_path):
    """Return six seconds of sound: nothing, two of the first class, nothing, the second one."""
    path = tmp_path / "night.wav"
    soundfile.write(path, levels(0.0, 0.5, 0.5, 0.0, -0.5, 0.0), RATE, "FLOAT")
    return path


def engine_of(graph, **options):
    return GraphModelEngine(describe(graph, **options), Means())


def detect(*arguments):
    return CliRunner().invoke(app(), ["detect", *map(str, arguments)])


def test_events_are_whole_windows(model, recording):
    events = list(sed.detect(recording, model))
    assert [(e.onset, e.offset, e.label) for e in events] == [
        (1.0, 3.0, "Tawny Owl"),
        (4.0, 5.0, "Eagle Owl"),
    ]
    assert [e.score for e in events] == pytest.approx([sigmoid(np.array(5.0))] * 2, abs=1e-6)


def test_one_threshold_is_for_start_and_end_of_events(graph):
    """The score of a window says nothing of its parts: half of the threshold ends no event."""
    samples = levels(0.0, 0.27, 0.35, 0.27, 0.0)  # scores of 0.6, 0.88 and 0.6
    found = {}
    for options in (
        {"threshold": 0.8},
        {"onset_threshold": 0.8},
        {"threshold": 0.8, "offset": 0.4},
    ):
        offset = {"offset_threshold": options.pop("offset")} if "offset" in options else {}
        detector = Detector(engine_of(graph), DetectorConfig(**options, **offset))
        events = [*detector.push(samples).events, *detector.flush().events]
        found[len(found)] = [(e.onset, e.offset) for e in events if e.label == "Tawny Owl"]
    assert found[0] == found[1] == [(2.0, 3.0)]
    assert found[2] == [(1.0, 4.0)]


def test_overlapping_windows_are_averaged_in_frames_as_long_as_the_hop(graph):
    detector = Detector(engine_of(graph), DetectorConfig(hop_seconds=0.5))
    assert detector.timeline.frame_seconds == detector.hop_seconds == 0.5
    sound = levels(0.0, 0.5, 0.0, 0.0)
    detections = [detector.push(sound), detector.flush()]
    frames = np.concatenate([d.frame_probs for d in detections])[:, 0]
    clips = np.concatenate([d.clip_probs for d in detections])[:, 0]
    starts = range(0, 3 * RATE + 1, RATE // 2)
    expected = [sigmoid(logits(sound[None, s : s + RATE]))[0, 0] for s in starts]
    np.testing.assert_allclose(clips, expected, atol=1e-6)
    # Two windows lie over a frame; both have their middle at its edge, so they weigh the same.
    means = [expected[0], *((a + b) / 2 for a, b in pairwise(expected))]
    np.testing.assert_allclose(frames[:-1], means, atol=1e-6)
    assert len(frames) == 8


def test_without_overlap_a_frame_is_the_score_of_its_window(graph):
    detector = Detector(engine_of(graph))
    assert detector.hop_seconds == detector.timeline.frame_seconds == 1.0
    sound = levels(0.3, -0.1, 0.7)
    detection = Detection.concat([detector.push(sound), detector.flush()], 3, 160)
    expected = sigmoid(logits(sound.reshape(3, -1)))
    np.testing.assert_allclose(detection.frame_probs, expected, rtol=1e-6)
    np.testing.assert_allclose(detection.frame_probs, detection.clip_probs, rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(
    n_samples=st.integers(1, 30_000),
    cuts=st.lists(st.integers(0, 30_000), max_size=6),
    hop=st.sampled_from([0.1, 0.2, 0.5, 1.0]),
)
def test_any_cut_of_the_samples_gives_the_same_frames(graph, n_samples, cuts, hop):
    samples = np.random.default_rng(4).standard_normal(n_samples).astype(np.float32)
    detector = Detector(engine_of(graph), DetectorConfig(hop_seconds=hop))
    whole = [detector.push(samples), detector.flush()]
    parts = [detector.push(part) for part in np.split(samples, sorted(cuts))] + [detector.flush()]
    for name in ("frame_probs", "clip_probs", "log_mel"):
        first, second = (
            np.concatenate([getattr(d, name) for d in detections]) for detections in (whole, parts)
        )
        np.testing.assert_array_equal(first, second)
    assert len(np.concatenate([d.frame_probs for d in whole])) == -(-n_samples // round(hop * RATE))


def test_softmax_and_none():
    scores = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]], np.float32)
    powers = np.exp([1.0, 2.0, 3.0])
    softmax = probabilities(scores, "softmax")
    np.testing.assert_allclose(softmax[0], powers / powers.sum(), rtol=1e-6)
    np.testing.assert_array_equal(softmax[1], [1.0, 0.0, 0.0])
    assert probabilities(scores, "none") is scores
    np.testing.assert_allclose(probabilities(scores, "sigmoid")[1], [1.0, 0.5, 0.0], atol=1e-30)


@pytest.mark.parametrize(
    "classes", ["Eagle Owl", "Bubo bubo", "Bubo bubo_Eagle Owl", "Bubo bubo,Noise"]
)
def test_classes_by_either_name(model, recording, classes):
    done = detect(recording, "--model", model, "--classes", classes, "-q")
    assert done.exit_code == 0, done.stderr
    assert [row["label"] for row in csv.DictReader(done.stdout.splitlines())] == ["Eagle Owl"]


def test_a_list_of_species(model, recording, tmp_path):
    path = tmp_path / "species.txt"
    path.write_text("# owls here\nBubo bubo_Eagle Owl\n")
    done = detect(recording, "--model", model, "--species-list", path, "-q")
    assert [row["label"] for row in csv.DictReader(done.stdout.splitlines())] == ["Eagle Owl"]
    done = detect(recording, "--model", model, "--species-list", path, "--classes", "Noise")
    assert isinstance(done.exception, UsageError)
    assert "--classes and --species-list both choose classes" in str(done.exception)
    path.write_text("Bubo buba\n")
    done = detect(recording, "--model", model, "--species-list", path)
    assert "the model has no class 'Bubo buba'" in str(done.exception)


def test_names_of_species_in_each_format(model, recording, tmp_path):
    done = detect(
        recording,
        "--model",
        model,
        "-q",
        "-o",
        f"{tmp_path}/out/",
        "--format",
        "csv,jsonl,raven,tsv",
    )
    assert done.exit_code == 0, done.stderr
    files = {path.suffixes[-1]: path for path in (tmp_path / "out").iterdir()}
    lines = {ending: path.read_text().splitlines() for ending, path in files.items()}
    assert lines[".csv"][0] == "file,onset,offset,label,score,scientific_name,common_name"
    assert lines[".csv"][1].endswith(",Tawny Owl,0.9933,Strix aluco,Tawny Owl")
    assert json.loads(lines[".jsonl"][1])["scientific_name"] == "Bubo bubo"
    assert lines[".txt"][0].endswith("\tScore\tScientific Name\tCommon Name")
    assert lines[".txt"][2].endswith("\tEagle Owl\t0.9933\tBubo bubo\tEagle Owl")
    assert lines[".tsv"][0] == "filename\tonset\toffset\tevent_label"
    for ending, format in ((".csv", "csv"), (".jsonl", "jsonl"), (".txt", "raven")):
        events = read_events(files[ending], format)
        assert [(e.onset, e.label) for e in events] == [(1.0, "Tawny Owl"), (4.0, "Eagle Owl")]


def test_names_of_species_in_parquet(model, recording, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "events.parquet"
    assert detect(recording, "--model", model, "-q", "-o", path).exit_code == 0
    table = parquet.read_table(path).to_pydict()
    assert table["scientific_name"] == ["Strix aluco", "Bubo bubo"]
    assert table["common_name"] == table["label"] == ["Tawny Owl", "Eagle Owl"]
    assert [e.label for e in read_parquet_events(path)] == ["Tawny Owl", "Eagle Owl"]


def test_workers_need_not_load_the_model_to_know_the_species(model, tmp_path):
    spec = spec_of_graph(model)
    assert spec == open_engine(model).spec
    assert spec_of_graph(tmp_path / "none.json") is spec_of_graph(None) is None
    with OutputConfig(output=tmp_path / "e.csv").open_shared(spec) as writer:
        assert writer is not None
    assert (tmp_path / "e.csv").read_text().strip().endswith("scientific_name,common_name")


def test_a_spec_is_read_back_from_its_dictionary(model):
    spec = open_engine(model).spec
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    assert spec.resolve(["Strix aluco", "Noise_Noise", "Eagle Owl", "wren"]) == (
        "Tawny Owl",
        "Noise",
        "Eagle Owl",
        "wren",
    )


def test_a_common_name_of_several_species_stands_for_all(model):
    species = (("Strix aluco", "Owl"), ("Bubo bubo", "Owl"), ("Noise", "Noise"))
    labels = ("Owl (Strix aluco)", "Owl (Bubo bubo)", "Noise")
    spec = dataclasses.replace(open_engine(model).spec, labels=labels, species=species)
    assert spec.resolve(["Noise", "Owl"]) == ("Noise", *labels[:2])
    assert spec.resolve(["Bubo bubo"]) == labels[1:2]


def test_listening(model):
    engine = open_engine(model, n_streams=1)
    script = Script(levels(0.0, 0.5, 0.5, 0.0, 0.0, 0.0))
    script.sample_rate = RATE
    config = live_config(DetectorConfig(lookahead_seconds=1.0), engine.spec)
    messages = list(Listener([script], engine, config).messages())
    events = [m.event for m in messages if isinstance(m, EventEnded)]
    assert [(e.onset, e.offset, e.label) for e in events] == [(1.0, 3.0, "Tawny Owl")]
    shown = np.concatenate([m.log_mel for m in messages if isinstance(m, AudioBlock)])
    config = engine.spec.spectrogram
    assert shown.shape == (6 * 50, config.n_mels)
    # A step of the level has all frequencies, silence none.
    assert shown[:49].max() == pytest.approx(config.silence_value)
    assert shown[51:149].max() > config.silence_value + 1


def test_the_hop_of_live_sound(model, tiny_checkpoint):
    assert live_config(DetectorConfig(), tiny_checkpoint.spec).hop_seconds == LIVE.hop_seconds
    spec = open_engine(model).spec
    assert live_config(DetectorConfig(), spec).hop_seconds is None
    assert live_config(DetectorConfig(hop_seconds=0.2), spec).hop_seconds == 0.2


def test_the_database_has_a_table_of_species(tmp_path):
    names = dict(zip(LABELS.names, SPECIES, strict=True))
    EventDatabase(tmp_path / "owls.db", species=names).close()
    EventDatabase(tmp_path / "owls.db", species=names).close()
    EventDatabase(tmp_path / "plain.db").close()
    tables = "SELECT name FROM sqlite_master WHERE name = 'species'"
    with closing(sqlite3.connect(tmp_path / "plain.db")) as connection, connection:
        assert connection.execute(tables).fetchall() == []
    with closing(sqlite3.connect(tmp_path / "owls.db")) as connection, connection:
        rows = connection.execute("SELECT * FROM species ORDER BY label").fetchall()
    assert rows[0] == ("Eagle Owl", "Bubo bubo", "Eagle Owl")
    assert len(rows) == 3


def test_a_name_in_the_folder_of_models(graph, recording, tmp_path, monkeypatch):
    monkeypatch.setenv("SED_MODELS", str(tmp_path / "models"))
    described = describe(graph, licence="CC0")
    path = add_graph(graph, "owls", described)
    assert path == tmp_path / "models" / "owls.json"
    assert json.loads(path.read_text())["data"] == {"licence": "CC0"}
    assert [e.label for e in sed.detect(recording, "owls")] == ["Tawny Owl", "Eagle Owl"]
    identity = model_identity("owls")
    assert identity == model_identity(path)
    assert spec_of_graph("owls") == described.spec
    assert engines_of_graph("owls") == ("openvino", "onnx")
    assert engines_of_graph("default") == ()
    with pytest.raises(UsageError, match="there is a model of this name"):
        add_graph(graph, "owls", described)
    add_graph(graph, "owls", describe(graph, threshold=0.9), replace=True)
    assert model_identity("owls") != identity
    with pytest.raises(CheckpointError, match=r"a graph that `sed models add` registered, not a"):
        sed.load_model("owls")


def test_a_graph_that_needs_other_files(tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = write_onnx(tmp_path / "owls.onnx")
    loaded = onnx.load(graph)
    onnx.save(loaded, graph, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(UsageError, match=r"so it needs files beside it. Save it as one file"):
        add_graph(graph, "owls", describe(graph))
