"""Encoders of Hugging Face give what `transformers` gives, frame by frame."""

import numpy as np
import pytest
import torch

from sed.errors import CheckpointError, MissingExtraError, UsageError
from sed.timeline import Timeline
from streaming.engines.identity import model_identity
from streaming.engines.select import open_engine
from tests.streaming.encoders.tiny import LAYERS, SAMPLE_RATE, noise, save, waveform_model

transformers = pytest.importorskip("transformers")

N_FRAMES = 50  # of a window of a second
SECOND = {"precision": "fp32", "window_seconds": 1.0}


@pytest.fixture(scope="module", autouse=True)
def _offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    """Return a model and its name; its feature extractor asks for attention masks."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    return waveform_model("wav2vec2", folder, masks=True), f"hf:{folder}"


def embed(engine, samples):
    """Return the embeddings of windows, shape (batch, samples)."""
    return engine.infer(np.stack([engine.extract_features(row) for row in samples])).embeddings


def reference(model, samples, layer="last"):
    """Return what transformers gives for windows that are padded by 40 samples on each side."""
    extractor = transformers.Wav2Vec2FeatureExtractor()
    values = extractor(list(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        output = model(torch.nn.functional.pad(values, (40, 40)), output_hidden_states=True)
    if layer == "last":
        return output.last_hidden_state.numpy()
    if layer == "mean":
        return torch.stack(output.hidden_states).mean(dim=0).numpy()
    return output.hidden_states[int(layer)].numpy()


@pytest.mark.parametrize("layer", ["last", "2", "0", "3", "mean"])
def test_each_layer_equals_that_of_transformers(wav2vec2, layer):
    model, name = wav2vec2
    engine = open_engine(name, layer=layer, **SECOND)
    samples = noise(2, SAMPLE_RATE)
    embeddings = embed(engine, samples)
    assert embeddings.shape == (2, N_FRAMES, 16)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, reference(model, samples, layer), atol=1e-5)
    assert engine.n_features == 16
    assert engine.layer == layer


@pytest.mark.parametrize(
    "name", ["wavlm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("hubert", "data2vec"))]
)
def test_relatives_of_wav2vec2_equal_transformers(tmp_path, name):
    model = waveform_model(name, tmp_path)
    samples = noise(2, SAMPLE_RATE)
    embeddings = embed(open_engine(f"hf:{tmp_path}", layer="last", **SECOND), samples)
    np.testing.assert_allclose(embeddings, reference(model, samples), atol=1e-5)
    embeddings = embed(open_engine(f"hf:{tmp_path}", layer="1", **SECOND), samples)
    np.testing.assert_allclose(embeddings, reference(model, samples, "1"), atol=1e-5)


def test_the_grid_is_that_of_the_strides(wav2vec2):
    spec = open_engine(wav2vec2[1], layer="last", precision="fp32").spec
    assert spec.timeline == Timeline(sample_rate=16_000, hop_length=320, frame_columns=1)
    assert (spec.window_seconds, spec.n_frames, spec.labels) == (5.0, 250, ())
    assert spec.log_mel.left_padding == spec.log_mel.right_padding == 0
    assert spec.log_mel.silence_value == 0.0


def test_padding_at_the_end_counts_as_little_as_in_transformers(wav2vec2):
    model, name = wav2vec2
    samples = noise(2, SAMPLE_RATE)
    samples[1, 9_600:] = 0.0
    embeddings = embed(open_engine(name, layer="last", **SECOND), samples)
    whole, short = reference(model, samples[:1]), reference(model, samples[1:, :9_600])
    np.testing.assert_allclose(embeddings[:1], whole, atol=1e-5)
    np.testing.assert_allclose(embeddings[1:, :30], short, atol=1e-5)


def test_silence_has_embeddings(wav2vec2):
    silence = np.zeros((1, SAMPLE_RATE), np.float32)
    embeddings = embed(open_engine(wav2vec2[1], layer="last", **SECOND), silence)
    assert np.isfinite(embeddings).all()


@pytest.mark.slow
def test_the_hidden_layers_of_sew_are_brought_to_its_frames(tmp_path):
    model = waveform_model("sew", tmp_path)
    samples = noise(1, SAMPLE_RATE)
    embeddings = embed(open_engine(f"hf:{tmp_path}", layer="1", **SECOND), samples)
    halves = reference(model, samples, "1")
    np.testing.assert_allclose(embeddings[:, ::2], halves, atol=1e-5)
    np.testing.assert_array_equal(embeddings[:, ::2], embeddings[:, 1::2])


@pytest.mark.parametrize("has_extractor", [True, False])
def test_patches_of_ast_are_averaged_over_frequency(tmp_path, has_extractor):
    config = transformers.ASTConfig(**LAYERS, max_length=64)
    model = transformers.ASTModel(config).eval()
    extractor = transformers.ASTFeatureExtractor(max_length=64)
    save(model, extractor if has_extractor else None, tmp_path)
    engine = open_engine(f"hf:{tmp_path}", layer="last", precision="fp32")
    assert engine.spec.window_seconds == 0.64
    assert engine.spec.timeline.frame_seconds == 0.1
    assert engine.spec.frame_edges.tolist() == [0, 10, 20, 30, 40, 64]

    samples = noise(2, 10_240)
    values = extractor(list(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        tokens = model(values).last_hidden_state[:, 2:].numpy()
    frames = tokens.reshape(2, 12, 5, 16).mean(axis=1)
    np.testing.assert_allclose(embed(engine, samples), frames, atol=1e-5)
    with pytest.raises(UsageError, match="this encoder has a window of its own"):
        open_engine(f"hf:{tmp_path}", layer="last", **SECOND)


@pytest.mark.slow
def test_tokens_of_whisper_are_frames_and_others_one_frame(tmp_path):
    config = transformers.WhisperConfig(
        **{f"{kind}_{key}": 2 for kind in ("encoder", "decoder") for key in ("layers", "ffn_dim")},
        **{f"{kind}_attention_heads": 2 for kind in ("encoder", "decoder")},
        d_model=16,
    )
    extractor = transformers.WhisperFeatureExtractor()
    save(transformers.WhisperModel(config), extractor, tmp_path / "whisper")
    engine = open_engine(f"hf:{tmp_path / 'whisper'}", layer="last", precision="fp32")
    assert engine.spec.window_seconds == 30.0
    assert embed(engine, noise(1, 480_000)).shape == (1, 1_500, 16)

    config = transformers.Wav2Vec2BertConfig(**LAYERS)
    extractor = transformers.SeamlessM4TFeatureExtractor()
    model = transformers.Wav2Vec2BertModel(config).eval()
    save(model, extractor, tmp_path / "bert")
    engine = open_engine(f"hf:{tmp_path / 'bert'}", layer="last", **SECOND)
    samples = noise(1, SAMPLE_RATE)
    values = extractor(list(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    with torch.inference_mode():
        mean = model(**values).last_hidden_state.mean(dim=1, keepdim=True).numpy()
    np.testing.assert_allclose(embed(engine, samples), mean, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "4"}, "unknown layer '4': expected last, mean or a number from 0 to 3"),
        ({"layer": "top"}, "unknown layer 'top'"),
        ({"layer": None}, "an encoder has no classes, so it cannot detect events: use `sed embed`"),
        ({"engine": "openvino"}, "the engine openvino does not run it: leave out --engine"),
        ({"window_seconds": 0.001}, "expected a window of 0.02 s"),
        ({"sample_rate": 8_000}, "its sample rate is 16000, not 8000"),
    ],
)
def test_misuse_is_named(wav2vec2, options, message):
    with pytest.raises(UsageError, match=message):
        open_engine(wav2vec2[1], **{"layer": "last", **options})


def test_missing_models_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: no such folder\. Check the name"):
        open_engine(f"hf:{tmp_path}/nowhere", layer="last")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        open_engine(f"hf:{tmp_path}", layer="last")
    with pytest.raises(
        CheckpointError,
        match=r"hf:nobody-at-all/nothing: cannot be loaded .*Check the name and the network",
    ):
        open_engine("hf:nobody-at-all/nothing", layer="last")
    with pytest.raises(CheckpointError, match="a name is missing"):
        open_engine("hf:", layer="last")


def test_models_in_the_cache_of_the_hub_are_found_by_name_and_commit(tmp_path, monkeypatch):
    cache = tmp_path / "models--some--encoder"
    for commit, branch in (("a" * 40, "main"), ("b" * 40, "other")):
        waveform_model("hubert", cache / "snapshots" / commit)
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / branch).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    engine = open_engine("hf:some/encoder", layer="last", **SECOND)
    assert embed(engine, noise(1, SAMPLE_RATE)).shape == (1, N_FRAMES, 16)
    names = ("hf:some/encoder", "hf:some/encoder@other", f"hf:some/encoder@{'a' * 40}")
    main, other, by_commit = (model_identity(name) for name in names)
    assert main == by_commit != other
    with pytest.raises(CheckpointError, match="hf:some/encoder@third: cannot be loaded"):
        open_engine("hf:some/encoder@third", layer="last")


def test_pickled_weights_are_refused(tmp_path):
    model = transformers.Wav2Vec2Config(**LAYERS)
    model.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(CheckpointError, match="weights that are pickled are never loaded"):
        open_engine(f"hf:{tmp_path}", layer="last")


def test_models_without_sound_and_damaged_weights_are_refused(tmp_path, wav2vec2):
    config = transformers.BertConfig(**LAYERS)
    save(transformers.BertModel(config), None, tmp_path)
    with pytest.raises(CheckpointError, match=r"type bert takes no sound.*Supported are WavLM"):
        open_engine(f"hf:{tmp_path}", layer="last")

    wav2vec2[0].config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="weights are missing, the first is"):
        open_engine(f"hf:{tmp_path}", layer="last")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_engine(f"hf:{tmp_path}", layer="last")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"sed-engine\[hf\]"):
        open_engine("hf:microsoft/wavlm-large", layer="last")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_within_its_precision(wav2vec2):
    model, name = wav2vec2
    samples = noise(2, SAMPLE_RATE)
    expected = reference(model, samples)
    for precision, error in (("fp32", 1e-3), ("fp16", 0.05), ("bf16", 0.2)):
        engine = open_engine(
            name, layer="last", device="cuda", precision=precision, window_seconds=1.0
        )
        np.testing.assert_allclose(embed(engine, samples), expected, atol=error)
