"""The whole pipeline runs encoders: they have no classes, and their columns are samples."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import sed
from sed.cli import run
from sed.errors import UsageError
from sed.events.embedding_store.store import EmbeddingStore
from sed.models.registry import DEFAULT_MODEL, find_model
from sed.models.spec import ModelSpec, sample_blocks
from streaming.encoders.base import AudioEncoder, encoder_spec, sounding_lengths
from streaming.engines.encoder import EncoderEngine
from streaming.engines.identity import absolute_name, is_missing, model_identity
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from tests.streaming.encoders.tiny import noise, waveform_model

RATE = 8_000
WINDOW = 800  # samples; a frame has 100


@pytest.fixture
def one_thread(monkeypatch):
    """Run encoders on one core: starting threads takes longer than tiny networks do."""
    monkeypatch.setattr("streaming.engines.encoder.n_cores", lambda: 1)


class FrameMeans(AudioEncoder):
    """Gives the mean and the largest sample of each frame, and counts the windows."""

    n_features = 2
    n_streams = n_threads = 1
    batch_size = 4

    def __init__(self) -> None:
        self.spec = encoder_spec(RATE, 50, 2, 8, 16)
        self.n_windows = 0

    def encode(self, samples):
        self.n_windows += len(samples)
        frames = samples.reshape(len(samples), 8, 100)
        return np.stack([frames.mean(axis=2), frames.max(axis=2)], axis=2)


def frames_of(detector, parts):
    """Push parts of a recording; return the embeddings of its frames and all detections."""
    detections = [*map(detector.push, parts), detector.flush()]
    vectors = [d.frame_embeddings.vectors for d in detections if d.frame_embeddings is not None]
    return np.concatenate(vectors), detections


@settings(max_examples=25)
@given(n_samples=st.integers(1, 4_000), cuts=st.lists(st.integers(0, 4_000), max_size=6))
def test_any_cut_of_the_samples_gives_each_frame_of_the_recording_once(n_samples, cuts):
    samples = noise(n_samples)
    encoder = FrameMeans()
    detector = Detector(EncoderEngine(encoder, "last"))
    vectors, detections = frames_of(detector, np.split(samples, sorted(cuts)))

    n_frames = -(-n_samples // 100)
    padded = np.pad(samples, (0, 100 * n_frames - n_samples)).reshape(n_frames, 100)
    expected = np.stack([padded.mean(axis=1), padded.max(axis=1)], axis=1)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    # Each sample is in one window.
    assert encoder.n_windows == -(-n_samples // WINDOW)
    assert [event for d in detections for event in (*d.events, *d.started)] == []
    assert sum(len(d.clip_probs) for d in detections) == encoder.n_windows
    assert {d.frame_probs.shape[1] for d in detections} == {0}


def test_windows_overlap_on_request():
    encoder = FrameMeans()
    detector = Detector(EncoderEngine(encoder, "last"), DetectorConfig(hop_seconds=0.05))
    samples = noise(4_000)
    vectors, _ = frames_of(detector, [samples])
    assert encoder.n_windows == 9
    np.testing.assert_allclose(vectors[:, 0], samples.reshape(40, 100).mean(axis=1), atol=1e-6)


def test_columns_are_samples_and_are_copied():
    engine = EncoderEngine(FrameMeans(), "last")
    samples = noise(100)
    columns = engine.extract_features(samples)
    np.testing.assert_array_equal(columns, samples.reshape(2, 50))
    assert not np.shares_memory(columns, samples)
    assert engine.receptive_field is None
    assert (engine.n_features, engine.layer) == (2, "last")


def test_blocks_of_samples_need_no_padding_and_are_zero_in_silence():
    grid = sample_blocks(16_000, 320)
    assert (grid.left_padding, grid.right_padding, grid.silence_value) == (0, 0, 0.0)
    assert [grid.n_columns(n) for n in (319, 320, 639, 640)] == [0, 1, 1, 2]
    spec = ModelSpec((), grid, 1, 250)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec


def test_zeros_at_the_end_are_no_sound():
    samples = np.ones((4, 1_000), np.float32)
    samples[1, 500:] = samples[2, 501:] = samples[3] = 0.0
    assert sounding_lengths(samples, 100) == [1_000, 500, 600, 1_000]


def test_an_encoder_embeds_recordings_and_does_not_detect(tmp_path, one_thread):
    pytest.importorskip("transformers")
    waveform_model("wav2vec2", tmp_path / "model")
    name = f"hf:{tmp_path / 'model'}"
    soundfile.write(tmp_path / "a.wav", noise(40_000), RATE)
    options = {"precision": "fp32", "layer": "2"}
    rows = list(sed.embed(tmp_path / "a.wav", name, pool=("mean", "attention"), **options))
    assert [(row.onset, row.offset) for row, _ in rows] == [(0.0, 5.0)]
    mean, attention = np.split(rows[0][1], 2)
    assert mean.shape == (16,)
    np.testing.assert_allclose(mean, attention, atol=1e-6)
    (frames,) = [frames for _, frames in sed.embed(tmp_path / "a.wav", name, pool=(), **options)]
    assert frames.shape == (250, 16)
    np.testing.assert_allclose(frames.mean(axis=0), mean, atol=1e-5)
    with pytest.raises(UsageError, match="an encoder has no classes"):
        list(sed.detect(tmp_path / "a.wav", model=name))


def test_the_command_embeds_with_an_encoder_and_detect_refuses_it(
    tmp_path, capsys, monkeypatch, one_thread
):
    pytest.importorskip("transformers")
    waveform_model("wav2vec2", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for file in ("a.wav", "copy.wav"):
        soundfile.write(tmp_path / file, noise(24_000), RATE)
    wav, name = str(tmp_path / "a.wav"), "hf:./model"
    store = tmp_path / "store"
    options = ["--window", "1", "--layer", "1", "-o", str(store)]
    assert run(["embed", wav, "--model", name, *options]) == 0
    written = EmbeddingStore(store)
    assert (written.config.layer, written.config.dimension, written.n_rows) == ("1", 16, 3)
    assert written.config.model == f"hf:{tmp_path / 'model'}"
    options[1] = "2"
    assert run(["embed", wav, "--model", name, *options]) == 2
    assert "this store has the window (--window) 1.0, not 2.0" in capsys.readouterr().err

    # The example is cut into windows as the store was: a row of it has similarity 1.
    assert run(["search", str(store), "--like", f"{tmp_path / 'copy.wav'}:0-1", "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{wav},0.000,1.000,copy,1.0000")

    assert run(["detect", wav, "--model", name]) == 2
    assert "an encoder has no classes" in capsys.readouterr().err
    both = ["--embeddings", str(tmp_path / "other")]
    assert run(["detect", wav, "--model", name, *both]) == 2
    assert "has no classes, so it cannot detect: use `sed embed`" in capsys.readouterr().err


def test_the_identity_of_an_encoder_is_that_of_its_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    first, second = (f"hf:{tmp_path / name}" for name in ("a", "b"))
    assert model_identity(first) == model_identity(second)
    (tmp_path / "b" / "config.json").write_text('{"x": 1}')
    assert model_identity(first) != model_identity(second)
    (tmp_path / "a" / "README.md").write_text("Words.")
    assert model_identity(first) == model_identity(first + "/")
    (tmp_path / "graph.onnx").write_bytes(b"1")
    of_graph = model_identity(tmp_path / "graph.onnx")
    (tmp_path / "graph.onnx").write_bytes(b"2")
    assert of_graph != model_identity(tmp_path / "graph.onnx") != model_identity(None)


def test_the_stored_name_of_a_model_is_valid_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "everyday").mkdir()
    (tmp_path / "mine").mkdir()
    assert absolute_name("everyday") == "everyday"
    assert absolute_name("default") == DEFAULT_MODEL
    assert absolute_name("mine") == str(tmp_path / "mine")
    assert absolute_name("./everyday") == str(tmp_path / "everyday")
    assert model_identity("everyday") == model_identity(find_model("everyday"))
    assert is_missing("./gone")
    assert is_missing("gone")
    assert not is_missing("everyday")
