"""Judging models by labelled clips."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import TableError, UsageError
from sed.models.checkpoint import save_checkpoint
from sed.models.metrics import padded_cmap
from tests.conftest import rising_noise
from train.data.clips import Clip
from train.data.folds import EXCLUDED, save_folds
from train.evaluate.evaluate import choose_clips, evaluate, predict_clips

LABELS = ("beep", "a, b\t'c'", "élan")


def clip_of(path, *labels, **known):
    return Clip(str(path), labels, str(path), **known)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    soundfile.write(path, rising_noise(24_000), 8_000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return a table of eight clips of two of the model's classes, in two folds."""
    folder = tmp_path_factory.mktemp("table")
    rows = ["filename,fold,category"]
    for i in range(8):
        soundfile.write(folder / f"{i}.wav", rising_noise(8_000, i), 8_000, subtype="FLOAT")
        rows.append(f"{i}.wav,{1 + i // 4},{('beep', 'élan')[i % 2]}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def run(tiny_checkpoint, tmp_path_factory):
    """Return a run directory whose model held out fold 1."""
    folder = tmp_path_factory.mktemp("run")
    held_out = replace(tiny_checkpoint, metrics={"validation": {"fold": 1}})
    save_checkpoint(held_out, folder / "best.safetensors")
    return folder


def test_all_windows_of_a_clip_are_predicted_and_the_highest_counts(tiny_checkpoint, recording):
    clips = [
        clip_of(recording, "beep", secondary=("élan",)),
        clip_of(recording, "élan", LABELS[1], start_seconds=1.0, duration_seconds=1.0),
    ]
    progress = []
    targets, clip_probs = predict_clips(
        [tiny_checkpoint],
        clips,
        device="cpu",
        batch_size=3,
        on_progress=lambda *done: progress.append(done),
    )
    windows = torch.from_numpy(soundfile.read(recording, dtype="float32")[0].reshape(3, 8_000))
    with torch.inference_mode():
        expected = tiny_checkpoint.model(windows)
    assert targets.tolist() == [[1, 0, 0], [0, 1, 1]]  # what is only secondary is not expected
    np.testing.assert_allclose(clip_probs[0], expected.clip_probs.amax(0), atol=1e-5)
    np.testing.assert_allclose(clip_probs[1], expected.clip_probs[1], atol=1e-5)
    assert progress == [(1, 2), (1, 2), (1, 2), (2, 2)]


def test_classes_that_the_model_lacks_are_reported_before_anything_is_read(tiny_checkpoint):
    clips = [clip_of("missing.wav", "owl", "beep"), clip_of("missing.wav", "bat")]
    with pytest.raises(TableError) as caught:
        predict_clips([tiny_checkpoint], clips)
    assert str(caught.value).startswith("the model does not have these classes of the table.")
    assert str(caught.value).splitlines()[1:] == ["  bat", "  owl"]


def test_clips_that_cannot_be_read_are_all_reported(tiny_checkpoint, recording, tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    clips = [
        clip_of(recording, "beep"),
        clip_of(tmp_path / "missing.wav", "beep"),
        clip_of(tmp_path / "empty.wav", "beep"),
        clip_of(recording, "beep", start_seconds=4.0),
    ]
    with pytest.raises(TableError) as caught:
        predict_clips([tiny_checkpoint], clips)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("3 of 4 clips cannot be read")
    assert [re.search(r"(\w+)\.wav: (.*?)[.(]", line).groups() for line in lines] == [
        ("missing", "no such file"),
        ("empty", "is empty "),
        ("long", "holds no sound from 4 s on"),
    ]


def test_figures_are_those_of_the_predictions(run, table):
    evaluation = evaluate([run], table, fold="all", device="cpu")
    targets, clip_probs = evaluation.predictions
    assert evaluation.labels == LABELS
    assert targets[:, 0].tolist() == [1, 0] * 4
    figures, per_class = evaluation.metrics, evaluation.per_class
    for c in (0, 2):
        expected = average_precision_score(targets[:, c], clip_probs[:, c])
        assert per_class[c].average_precision == pytest.approx(expected, abs=1e-12)
    assert np.isnan(per_class[1].average_precision)  # the model has it, and the table does not
    assert [row.support for row in per_class] == [4, 0, 4]
    # A class that cannot occur would count as one.
    only = padded_cmap(targets[:, [0, 2]], clip_probs[:, [0, 2]])
    assert figures["padded_cmap_5"] == only < padded_cmap(targets, clip_probs)


def test_several_models_and_turns_reach_the_ensemble(run, table, tiny_checkpoint, tmp_path):
    torch.manual_seed(0)
    other = replace(tiny_checkpoint, model=type(tiny_checkpoint.model)(
        tiny_checkpoint.model.config, tiny_checkpoint.model.log_mel.config, 3
    ))  # fmt: skip
    save_checkpoint(other, tmp_path / "other.safetensors")

    def probs(*paths, **options):
        return evaluate(paths, table, fold="all", device="cpu", **options).predictions.clip_probs

    one, two = probs(run), probs(tmp_path / "other.safetensors")
    both = run, tmp_path / "other.safetensors"
    np.testing.assert_allclose(probs(*both), (one + two) / 2, atol=1e-5)
    np.testing.assert_allclose(probs(*both, blend="geometric"), np.sqrt(one * two), atol=1e-5)
    assert np.abs(probs(run, tta=3) - one).max() > 1e-3


# ------------------------------------------------------------------------------------------- folds


def in_folds(*folds):
    return [clip_of(f"{i}.wav", "beep", fold=fold) for i, fold in enumerate(folds)]


def held_out(checkpoint, fold, path=""):
    return replace(checkpoint, metrics={"validation": {"fold": fold}}, path=str(path))


def test_without_a_fold_it_is_the_one_that_the_models_held_out(tiny_checkpoint):
    clips = in_folds("1", "2", "2", "3")
    chosen, description = choose_clips([held_out(tiny_checkpoint, 1)], clips)
    assert (chosen, description) == (clips[1:3], "fold 1 of the table")
    assert choose_clips([tiny_checkpoint], clips) == (clips, "all clips")
    several = [held_out(tiny_checkpoint, fold) for fold in (0, 2)]
    with pytest.raises(
        UsageError, match="held out folds 0, 2, so some of them were trained on each clip"
    ):
        choose_clips(several, clips)
    chosen, description = choose_clips(several, clips, "2")
    assert (chosen, description) == (
        clips[3:],
        "fold 2 of the table, which not all models held out",
    )
    assert choose_clips(several, clips, "all")[1] == "all clips, including training clips"
    without = in_folds("", "")  # nothing that a fold could be of
    assert choose_clips([held_out(tiny_checkpoint, 1)], without) == (without, "all clips")


def test_the_folds_of_the_run_are_used_if_they_are_about_these_clips(tiny_checkpoint, tmp_path):
    clips = in_folds("", "", "")
    path = tmp_path / "folds.csv"
    save_folds(path, clips, [0, 1, EXCLUDED])
    checkpoint = held_out(tiny_checkpoint, 1, tmp_path / "best.safetensors")
    assert choose_clips([checkpoint], clips) == ([clips[1]], f"fold 1 of {path}")
    assert choose_clips([checkpoint], clips, "0")[0] == [clips[0]]
    assert choose_clips([checkpoint], clips, "test")[0] == [clips[2]]
    others = [replace(clip, path=f"other-{clip.path}") for clip in in_folds("1", "2", "3")]
    assert choose_clips([checkpoint], others) == ([others[1]], "fold 1 of the table")
    path.write_text("nonsense")
    assert choose_clips([checkpoint], in_folds("1", "2", "3"))[1] == "fold 1 of the table"


def test_training_clips_under_another_name_are_reported(tiny_checkpoint, tmp_path):
    trained = [Clip(f"raw/{x}.ogg", ("beep",), x) for x in "abc"]
    save_folds(tmp_path / "folds.csv", trained, [0, 1, 1])
    checkpoint = held_out(tiny_checkpoint, 0, str(tmp_path / "best.safetensors"))
    prepared = [Clip(f"audio/{x}.ogg.wav", ("beep",), x, fold="val") for x in "abcd"]
    _, description = choose_clips([checkpoint], prepared, "0")
    assert description.endswith("WARNING: 2 of them have the names of training files")


def test_a_fold_that_is_not_there(tiny_checkpoint):
    for fold in ("7", "-1", "x"):
        with pytest.raises(UsageError, match=f"no fold {fold}: expected all, test or one of 0, 1"):
            choose_clips([tiny_checkpoint], in_folds("1", "2"), fold)
    with pytest.raises(UsageError, match="no fold val: expected all, test or one of 0, 1"):
        choose_clips([tiny_checkpoint], in_folds("1", "2"), "val")
    tested = in_folds("test", "train", "test")
    chosen, description = choose_clips([tiny_checkpoint], tested, "test")
    assert (chosen, description) == (tested[::2], "clips kept for testing")
    assert choose_clips([tiny_checkpoint], tested)[0] == tested
    with pytest.raises(UsageError, match="no clip is kept for testing"):
        choose_clips([tiny_checkpoint], in_folds("1", "2"), "test")


# ------------------------------------------------------------------------------------- the command


def sed(*arguments):
    return CliRunner().invoke(app(), [str(a) for a in arguments], env={"COLUMNS": "100"})


def test_the_command_tells_shows_and_writes_the_same(run, table, tmp_path):
    out = tmp_path / "out"
    done = sed("evaluate", run, "--data", table, "--output", out, "--json", "--tta", "2")
    assert done.exit_code == 0, done.output
    printed, written = json.loads(done.stdout), json.loads((out / "report.json").read_text("utf-8"))
    assert printed["clips"] == "fold 1 of the table"
    assert written["checkpoints"] == [str(run)]
    assert written["tta"] == 2
    for name in (
        "n_clips",
        "accuracy",
        "padded_cmap_5",
        "padded_cmap_3",
        "map",
        "map_at_3",
        "auc",
        "macro",
    ):
        assert printed[name] == written[name], name
    with open(out / "per_class.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(LABELS)
    for row, expected in zip(rows, printed["per_class"], strict=True):
        shown = "" if expected["average_precision"] is None else expected["average_precision"]
        assert row["average_precision"] == (shown and f"{shown:.6f}")
    assert "4 clips: fold 1 of the table" in done.stderr
    shown = rf"\n *{printed['padded_cmap_5']:.4f} +{printed['padded_cmap_3']:.4f} "
    assert re.search(shown, done.stderr)
    assert re.search(
        rf"élan +{printed['per_class'][2]['average_precision']:.4f} .* 2\n", done.stderr
    )
    quiet = sed("evaluate", run, "--data", table, "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_the_command_says_what_is_wrong(run, table, tmp_path):
    strange = tmp_path / "owls.csv"
    rows = table.read_text("utf-8").replace("élan", "owl")
    strange.write_text(re.sub(r"(?m)^(?=\d)", f"{table.parent}/", rows), "utf-8")
    failed = sed("evaluate", run, "--data", strange, "--output", tmp_path / "out")
    assert isinstance(failed.exception, TableError)
    assert "does not have these classes of the table" in str(failed.exception)
    assert not (tmp_path / "out").exists()
