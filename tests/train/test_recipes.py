"""The reference recipes, end to end, on a little of what stands in for their data."""

import csv
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

import sed
from sed.__main__ import main
from train.data.tables import read_table

pytestmark = pytest.mark.slow

SMALL = (
    "--set", "optim.batch_size=8", "--set", "optim.n_workers=0", "--init-weights", "none",
    "--device", "cpu", "--epochs", "2",
)  # fmt: skip
N_CLIPS = 6  # of each class


@pytest.fixture(scope="module")
def stand_ins(shared):
    """Return the module that makes them."""
    from benchmarks.quality import stand_ins

    return stand_ins


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs a command, and fails the test if the command fails."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["sed", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code in (0, None)

    return command


def few(path, column, classes=3):
    """Keep a few rows of a few classes of a table."""
    rows = pd.read_csv(path)
    kept = sorted(rows[column].unique())[:classes]
    rows = rows[rows[column].isin(kept)].groupby(column).head(N_CLIPS)
    rows.to_csv(path, index=False)
    return rows


def test_birdclef2023(stand_ins, shared, run, tmp_path):
    esc50 = shared / "data" / "esc50"
    table = tmp_path / "data" / "train_metadata.csv"
    stand_ins.birdclef(esc50, ("crow", "frog", "hen"), table.parent)
    few(table, "primary_label")
    settings = ("--set", "model.backbone=tf_efficientnet_lite0", "--set", "data.n_folds=3")
    run("prepare", table, tmp_path / "prepared", "--max-seconds", "30", "--quiet")
    index = tmp_path / "prepared" / "index.csv"
    assert any(clip.secondary for clip in read_table(index))
    out = tmp_path / "run"
    run("train", "--recipe", "birdclef2023", "--data", index, "--output", out, *settings, *SMALL)
    assert {"padded_cmap_5", "padded_cmap_3"} <= set(pd.read_csv(out / "history.csv").columns)
    recording = tmp_path / "soundscape_7.wav"
    soundfile.write(recording, 0.1 * np.random.default_rng(0).standard_normal(480_000), 32_000)
    run("predict", out, recording, "--submission", "birdclef", "--output", tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row_id", "crow", "frog", "hen"]
    assert [row[0] for row in rows] == ["soundscape_7_5", "soundscape_7_10", "soundscape_7_15"]


def test_a_new_class_list_begins_where_the_old_one_ended(stand_ins, shared, run, tmp_path):
    for name, labels in (("first", ("crow", "frog", "hen")), ("second", ("frog", "cow", "cat"))):
        table = tmp_path / name / "train_metadata.csv"
        stand_ins.birdclef(shared / "data" / "esc50", labels, table.parent)
        few(table, "primary_label")
        settings = (*SMALL, "--set", "model.backbone=tf_efficientnet_lite0",
                    "--set", "data.n_folds=3")  # fmt: skip
        if name == "second":
            settings += ("--init-weights", tmp_path / "run-first" / "best.safetensors")
        run(
            "train", "--recipe", "birdclef2023", "--data", table, "--output",
            tmp_path / f"run-{name}", *settings,
        )  # fmt: skip
    model = sed.load_model(tmp_path / "run-second" / "best.safetensors")
    assert model.labels == ("cat", "cow", "frog")


def test_urban_sounds(stand_ins, shared, run, tmp_path):
    stand_ins.urban_sounds(shared / "data" / "esc50", tmp_path / "all")
    data = tmp_path / "data"
    for label in ("engine", "siren"):
        (data / label).mkdir(parents=True)
        for path in sorted((tmp_path / "all" / label).iterdir())[:N_CLIPS]:
            path.rename(data / label / path.name)
    settings = ("--set", "model.backbone=tf_efficientnet_lite0", "--set", "data.n_folds=3")
    out = tmp_path / "run"
    run("train", "--recipe", "urban-sounds", "--data", data, "--output", out, *settings, *SMALL)
    run("evaluate", out, "--data", data, "--tta", "12")
    run(
        "predict", out, data / "siren", "--submission", "urban", "--tta", "12",
        "--output", tmp_path / "s.csv",
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "s.csv")
    assert list(rows.columns) == ["ID", "Class"]
    assert len(rows) == N_CLIPS
    assert set(rows["Class"]) <= {"engine", "siren"}


def test_freesound2018_in_two_stages(stand_ins, shared, run, tmp_path):
    table = tmp_path / "data" / "train.csv"
    stand_ins.freesound(shared / "data" / "esc10_44k", table.parent)
    few(table, "label")
    index = tmp_path / "prepared" / "index.csv"
    run("prepare", table, index.parent, "--sample-rate", "44100", "--trim-db", "40", "--quiet")
    settings = (*SMALL, "--set", "model.backbone=resnet10t", "--set", "data.n_folds=3")
    runs = [tmp_path / f"fold{k}" for k in (0, 1)]
    for k, out in enumerate(runs):
        run(
            "train", "--recipe", "freesound2018", "--data", index, "--fold", k, "--output", out,
            *settings,
        )  # fmt: skip
    second = tmp_path / "second"
    run(
        "train", "--recipe", "freesound2018-second", "--data", index, "--output", second, *settings,
        "--init-weights", runs[0] / "best.safetensors",
    )  # fmt: skip
    run(
        "predict", *runs, second, table.parent / "FSDKaggle2018.audio_train", "--submission",
        "freesound", "--blend", "geometric", "--tta", "2", "--output", tmp_path / "s.csv",
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "s.csv")
    assert list(rows.columns) == ["fname", "label"]
    assert rows["label"].str.split(" ").map(len).eq(3).all()


def test_drone_car_speech_reaches_its_accuracy(stand_ins, shared, run, tmp_path):
    table = tmp_path / "data" / "index.csv"
    stand_ins.drone_car_speech(shared / "data", table.parent)
    index = tmp_path / "prepared" / "index.csv"
    run(
        "prepare", table, index.parent, "--sample-rate", "8000", "--segment-seconds", "2",
        "--split", "0.6,0.2,0.2", "--quiet",
    )  # fmt: skip
    clips = read_table(index)
    for one in ("train", "val", "test"):
        rest = {clip.group for clip in clips if clip.fold != one}
        assert not rest & {clip.group for clip in clips if clip.fold == one}
    out = tmp_path / "run"
    run(
        "train", "--recipe", "drone-car-speech", "--data", index, "--output", out, "--device", "cpu"
    )
    report = tmp_path / "test"
    run("evaluate", out, "--data", index, "--fold", "test", "--output", report)
    assert (report / "confusion.png").stat().st_size > 10_000
    predictions = pd.read_csv(report / "predictions.csv")
    assert len(predictions) == sum(clip.fold == "test" for clip in clips)
    assert (predictions["true"] == predictions["predicted"]).mean() >= 0.95
    run("prepare", "--reset", index.parent)
    assert not index.parent.exists() or not any(index.parent.iterdir())
