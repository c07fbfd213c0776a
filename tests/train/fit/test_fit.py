import csv
import json

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import sed
from sed.cli import app
from sed.errors import CheckpointError, RecordingError, TableError, UsageError
from sed.models import registry
from sed.models.backbone import ModelConfig
from sed.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sed.models.network import SedModel
from tests.conftest import TINY_LOG_MEL
from train.evaluate.evaluate import evaluate
from train.fit.fit import fit
from train.fit.fitted import is_fitted, load_fitted
from train.fit.predict import predict_fitted

RATE = 8_000


def tone(hertz, seconds, seed, level=0.3):
    generator = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    sound = level * np.sin(2 * np.pi * hertz * (1 + 0.02 * generator.random()) * t)
    return sound + 0.02 * generator.standard_normal(len(t))


def noise(seconds, seed):
    generator = np.random.default_rng(seed)
    return 10 ** generator.uniform(-2, -0.7) * generator.standard_normal(round(seconds * RATE))


@pytest.fixture(scope="module")
def base(tiny_checkpoint, tmp_path_factory):
    """Return the path of a saved model, since a fitted head names its encoder."""
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Return a folder with clips of a whistle, background, and a recording with a whistle in it."""
    folder = tmp_path_factory.mktemp("sounds")
    for name in ("whistle", "background"):
        (folder / name).mkdir()
    for i in range(6):
        soundfile.write(folder / "whistle" / f"{i}.wav", tone(1_000, 1.0, i), RATE)
    for i in range(3):
        soundfile.write(folder / "background" / f"{i}.wav", noise(8.0, i), RATE)
    scene = noise(9.0, 7) * 0.1
    scene[4 * RATE : 6 * RATE] += tone(1_000, 2.0, 9)
    soundfile.write(folder / "scene.wav", scene.clip(-1, 1), RATE)
    return folder


def test_a_class_is_added_and_found_and_the_old_ones_stay(sounds, base, tmp_path):
    against = {"background": [sounds / "background"]}
    result = fit(sounds / "whistle", tmp_path / "mine", add_to=base, head="linear", **against)
    assert (result.labels, result.n_clips, result.n_background) == (("whistle",), 6, 24)
    assert result.metrics["average_precision"]["whistle"] > 0.9
    old, new = load_checkpoint(base), load_checkpoint(result.path)
    assert new.labels == (*old.labels, "whistle")
    assert new.post_processing.onset_threshold[:3] == (0.6, 0.6, 0.6)
    assert new.post_processing.median_filter_frames[:3] == (1, 3, 5)
    samples = torch.from_numpy(noise(2.0, 3).astype(np.float32))[None]
    with torch.inference_mode():
        assert torch.equal(
            old.model(samples).frame_logits, new.model(samples).frame_logits[..., :3]
        )
    events = [e for e in sed.detect(sounds / "scene.wav", new) if e.label == "whistle"]
    assert any(3.5 < e.onset < 5 < e.offset < 6.5 for e in events)
    # A second class goes behind the first.
    (sounds / "whistle").rename(sounds / "hum")
    second = fit(sounds / "hum", tmp_path / "both", add_to=result.path, head="prototype", **against)
    (sounds / "hum").rename(sounds / "whistle")
    both = load_checkpoint(second.path)
    assert both.labels == (*new.labels, "hum")
    assert both.data["added_classes"] == ["whistle", "hum"]
    assert both.metrics["fit"]["n_examples"] == {"whistle": 6, "hum": 6}
    assert set(both.metrics["fit"]["average_precision"]) == {"whistle", "hum"}
    assert both.metrics["fit"]["head"] == "prototype"
    with pytest.raises(UsageError, match="has these classes already: whistle"):
        fit(sounds / "whistle", tmp_path / "twice", add_to=result.path)


def test_a_class_is_added_to_a_named_model_without_hidden_layer(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path)
    config = ModelConfig("mobilenetv3_small_050", hidden=0, smoothing_frames=1)
    torch.manual_seed(3)
    saved = Checkpoint(SedModel(config, TINY_LOG_MEL, 2), ("siren", "wren"), 1.0)
    save_checkpoint(saved, tmp_path / "general.safetensors")
    background = [sounds / "background"]
    result = fit(
        sounds / "whistle",
        tmp_path / "mine",
        add_to="general",
        head="linear",
        background=background,
    )
    old, new = load_checkpoint("general"), load_checkpoint(result.path)
    assert new.labels == ("siren", "wren", "whistle")
    assert (new.model.config.hidden, new.model.n_own_classes) == (0, 2)
    samples = torch.from_numpy(noise(2.0, 3).astype(np.float32))[None]
    with torch.inference_mode():
        assert torch.equal(
            old.model(samples).frame_logits, new.model(samples).frame_logits[..., :2]
        )
    with pytest.raises(UsageError, match="--add-to names the model already"):
        fit(sounds / "whistle", tmp_path / "mine", add_to="general", model="everyday")


def test_a_model_of_the_new_classes_alone_is_evaluated_as_any_other(sounds, base, tmp_path):
    for name, hertz in (("low", 300), ("high", 2_500)):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for i in range(4):
            sound = tone(hertz, 1.0, i)
            soundfile.write(tmp_path / "clips" / name / f"{i}.wav", sound, RATE)
    result = fit(tmp_path / "clips", tmp_path / "two", model=base, head="linear")
    assert result.task == "classify"
    assert load_checkpoint(result.path).model.n_own_classes == 0
    assert evaluate([result.path], tmp_path / "clips", fold="all").metrics["accuracy"] == 1.0


@pytest.mark.slow
def test_without_background_noise_is_used_with_a_warning(sounds, base, tmp_path, caplog):
    result = fit(sounds / "whistle", tmp_path / "mine", add_to=base, head="linear")
    assert result.n_background == 0
    assert "fitted against noise only" in caplog.text


def scenes_table(folder, n=30):
    """Write clips whose tone is more or less loud than the noise, and a table of it."""
    with open(folder / "scenes.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "group", "snr"])
        for i in range(n):
            snr = -10 + 40 * i / n
            sound = (
                tone(700, 1.0, i) + 10 ** (-snr / 20) * 0.2 * noise(1.0, 5) / noise(1.0, 5).std()
            )
            soundfile.write(folder / f"{i}.wav", 0.1 * sound / sound.std(), RATE)
            rows.writerow([f"{i}.wav", i // 2, snr])
        rows.writerow(["gone.wav", 99, 3])
    return folder / "scenes.csv"


def test_a_number_is_fitted_and_predicted_the_same_twice(base, tmp_path):
    pytest.importorskip("lightgbm")
    table = scenes_table(tmp_path)
    results = [
        fit(table, tmp_path / name, target="snr", model=base, head="trees") for name in ("a", "b")
    ]
    metrics = results[0].metrics
    assert metrics == results[1].metrics
    assert metrics["rmse"] < 0.7 * metrics["rmse_of_mean"]
    assert results[0].n_clips == 30
    assert "gone.wav" in results[0].failures[0]
    assert is_fitted(tmp_path / "a.json")
    assert not is_fitted(base)
    with pytest.raises(CheckpointError, match=r"Use it with `sed predict .*a\.json RECORDINGS`"):
        load_checkpoint(tmp_path / "a.json")
    texts = []
    for name in ("a", "b"):
        predict_fitted(tmp_path / f"{name}.json", [tmp_path / "0.wav", tmp_path / "29.wav"],
                       output=tmp_path / f"{name}.csv")  # fmt: skip
        texts.append((tmp_path / f"{name}.csv").read_text())
    assert texts[0] == texts[1]
    header, first, last = texts[0].splitlines()
    assert header == "filename,label"
    assert float(first.split(",")[1]) < float(last.split(",")[1])
    with pytest.raises(UsageError, match="is one of the recordings"):
        predict_fitted(tmp_path / "a", [tmp_path / "0.wav"], output=tmp_path / "0.wav")
    # What was saved is text and numbers; all of it is checked on loading.
    (tmp_path / "a.trees-0.txt").write_text("tree\n")
    with pytest.raises(CheckpointError, match="is corrupt, truncated or of another model"):
        load_fitted(tmp_path / "a")
    changed = json.loads((tmp_path / "b.json").read_text("utf-8"))
    changed["encoder"]["sha256"] = "0" * 64
    (tmp_path / "b.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="fitted to another encoder"):
        load_fitted(tmp_path / "b")


def test_the_command_fits_and_predicts(base, tmp_path):
    table = scenes_table(tmp_path)
    runner, model = CliRunner(), str(tmp_path / "m.json")
    arguments = ["fit", str(table), "--target", "snr", "--head", "linear", "--model", str(base)]
    done = runner.invoke(app(), [*arguments, "-o", model])
    assert done.exit_code == 1  # a recording is missing
    assert "head: linear" in done.stderr
    assert "rmse of mean" in done.stderr
    done = runner.invoke(app(), ["predict", model, str(tmp_path / "3.wav"), "-q"])
    assert done.exit_code == 0
    assert done.stdout.startswith("filename,label\n3.wav,")
    done = runner.invoke(app(), ["predict", model, str(base), str(tmp_path / "3.wav")])
    assert isinstance(done.exception, UsageError)


@pytest.mark.parametrize("content", ["", "{}", '{"format": "sed-engine fitted head"}', "[1"])
def test_a_file_of_another_program_is_refused(tmp_path, content):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"m\.json"):
        load_fitted(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "forest"}, "unknown head 'forest'"),
        ({"target": "snr", "head": "prototype"}, "prototypes are of classes"),
        ({"target": "snr", "add_to": "default"}, "--add-to adds classes to a checkpoint"),
        ({"target": "kind", "n_trials": 3}, "leave out --search"),
        ({"target": "kind", "layer": "hidden"}, "leave out --layer"),
        ({"target": "kind", "model": "hf:x", "add_to": "hf:x"}, "adds classes to a checkpoint"),
        ({"target": "kind", "model": "hf:x", "add_to": "default"}, "leave out --model"),
        ({"target": "snr", "background": ["a.wav"]}, "leave out --background"),
    ],
)
def test_misuse_is_refused_before_anything_is_computed(tmp_path, options, message):
    soundfile.write(tmp_path / "a.wav", noise(1.0, 0), RATE)
    (tmp_path / "t.csv").write_text("file,kind,snr\na.wav,x,1\na.wav,y,2\n")
    with pytest.raises(UsageError, match=message):
        fit(tmp_path / "t.csv", tmp_path / "m", **options)


@pytest.mark.parametrize("options", [{"target": "snr"}, {"target": "kind"}])
def test_the_encoder_is_not_replaced(base, tmp_path, options):
    soundfile.write(tmp_path / "a.wav", noise(1.0, 0), RATE)
    (tmp_path / "t.csv").write_text("file,kind,snr\na.wav,x,1\na.wav,y,2\n")
    with pytest.raises(UsageError, match="is the model that it is fitted to"):
        fit(tmp_path / "t.csv", base.with_suffix(""), model=base, **options)
    load_checkpoint(base)


def test_a_class_without_a_readable_clip_is_named(base, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1.0, 0), RATE)
    (tmp_path / "b.wav").write_bytes(b"RIFFnonsense")
    (tmp_path / "t.csv").write_text("file,kind\na.wav,x\nb.wav,y\n")
    with pytest.raises(TableError, match=r"no clip can be read of y:\n.*b\.wav: is not a sound"):
        fit(tmp_path / "t.csv", tmp_path / "m", target="kind", model=base)


def test_a_background_that_cannot_be_read_is_not_replaced_by_noise(sounds, base, tmp_path):
    (tmp_path / "b.wav").write_bytes(b"RIFFnonsense")
    with pytest.raises(TableError, match=r"no recording of --background can be read:\n.*b\.wav"):
        fit(sounds / "whistle", tmp_path / "m", add_to=base, background=[tmp_path / "b.wav"])


def test_silent_clips_are_no_examples(sounds, base, tmp_path):
    (tmp_path / "hum").mkdir()
    for i in range(2):
        soundfile.write(tmp_path / "hum" / f"{i}.wav", tone(1_000, 1.0, i), RATE)
    soundfile.write(tmp_path / "hum" / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "hum" / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    result = fit(tmp_path / "hum", tmp_path / "m", model=base, head="prototype",
                 background=[sounds / "background" / "0.wav"])  # fmt: skip
    assert result.n_clips == result.metrics["n_examples"]["hum"] == 2
    assert len(result.failures) == 2


def test_a_clip_behind_the_end_leaves_the_others(base, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1.0, 0), RATE)
    rows = ["a.wav,x,0", "a.wav,x,7", "a.wav,y,0.5"]
    (tmp_path / "t.csv").write_text("\n".join(["file,kind,start", *rows]))
    result = fit(tmp_path / "t.csv", tmp_path / "m", target="kind", model=base, head="prototype")
    assert result.n_clips == 2
    assert "start behind its end" in result.failures[0]


def test_an_output_that_is_a_folder_is_refused(sounds, base):
    with pytest.raises(UsageError, match="whistle is a folder: name a file in it"):
        fit(sounds / "whistle", sounds / "whistle", model=base)


def test_targets_that_are_all_the_same_are_refused(base, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1.0, 0), RATE)
    (tmp_path / "t.csv").write_text("file,snr\na.wav,2\na.wav,2\n")
    for options, message in (
        ({"target": "snr"}, "all clips have the same snr"),
        ({"target": "snr", "task": "tag", "head": "trees"}, "every clip is of the same class"),
    ):
        with pytest.raises(UsageError, match=message):
            fit(tmp_path / "t.csv", tmp_path / "m", model=base, **options)


def test_a_table_whose_recordings_cannot_be_read_is_refused(base, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFFnonsense")
    (tmp_path / "t.csv").write_text("file,kind\na.wav,x\n")
    found = []
    with pytest.raises(TableError, match="no clip can be read"):
        fit(tmp_path / "t.csv", tmp_path / "m", target="kind", model=base, on_error=found.append)
    assert isinstance(found[0], RecordingError)
