"""What is written about predictions, and how runs are compared."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import train.evaluate.compare
from sed.cli import app
from sed.errors import TableError, UsageError
from sed.models.metrics import padded_cmap
from train.data.clips import ClipPredictions
from train.evaluate.compare import plot_runs
from train.evaluate.plots import _plot_folds, plot_confusion
from train.evaluate.report import overall_metrics, write_report

LABELS = ("crow", "dog, big", "élan")
TARGETS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0.3, 0]], np.float32)
PROBS = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.4, 0.1], [0.9, 0.95, 0]], np.float32)


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def size_of(path):
    plot = path.read_bytes()
    assert plot.startswith(b"\x89PNG")
    return [int.from_bytes(plot[i : i + 4], "big") for i in (16, 20)]


def test_a_report_says_how_each_clip_and_each_class_did(tmp_path):
    files = ["a.wav", "b, c.wav", "b, c.wav", "d.wav"]
    write_report(
        tmp_path / "run",
        LABELS,
        ClipPredictions(TARGETS, PROBS),
        files=files,
        starts=[0, 0, 2.5, 0],
        facts={"data": "here"},
    )
    header, *rows = rows_of(tmp_path / "run" / "predictions.csv")
    assert header == ["file", "start", "true", "predicted", "probability", *LABELS]
    assert [row[:5] for row in rows] == [
        ["a.wav", "0.000", "crow", "crow", "0.800000"],
        ["b, c.wav", "0.000", "dog, big", "dog, big", "0.700000"],
        ["b, c.wav", "2.500", "dog, big", "crow", "0.600000"],
        ["d.wav", "0.000", "crow", "dog, big", "0.950000"],  # a secondary label is not true
    ]
    np.testing.assert_allclose(np.array([row[5:] for row in rows], float), PROBS, atol=1e-6)
    header, *rows = rows_of(tmp_path / "run" / "per_class.csv")
    assert header == [
        "label", "average_precision", "auc", "precision", "recall", "f1", "support",
    ]  # fmt: skip
    assert rows[0] == ["crow", "1.000000", "1.000000", "0.500000", "0.500000", "0.500000", "2"]
    assert rows[1] == ["dog, big", "0.583333", "0.500000", *["0.500000"] * 3, "2"]
    assert rows[2] == ["élan", "", "", "", "", "", "0"]  # NaN
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert list(report)[:2] == ["data", "n_clips"]
    assert (report["n_clips"], report["accuracy"], report["map"]) == (
        4,
        0.5,
        pytest.approx(19 / 24),
    )
    assert report["macro"] == report["weighted"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert min(size_of(tmp_path / "run" / "confusion.png")) > 400


def test_nan_becomes_null(tmp_path):
    write_report(tmp_path, LABELS, ClipPredictions(0 * TARGETS, PROBS), files=["x.wav"] * 4)
    text = (tmp_path / "report.json").read_text("utf-8")
    assert "NaN" not in text
    assert json.loads(text)["accuracy"] is None


def test_classes_that_cannot_occur_are_not_in_the_padded_cmap():
    present = np.array([True, True, False])
    figures = overall_metrics(ClipPredictions(TARGETS, PROBS), classes=present)
    for padding in (3, 5):
        expected = padded_cmap(TARGETS[:, :2], PROBS[:, :2], padding=padding)
        assert figures[f"padded_cmap_{padding}"] == expected
        assert expected < overall_metrics(ClipPredictions(TARGETS, PROBS))[f"padded_cmap_{padding}"]


def test_shapes_that_do_not_fit():
    with pytest.raises(UsageError, match="4 clips and 3 classes and as many starts"):
        write_report("nowhere", LABELS, ClipPredictions(TARGETS[:3], PROBS), files=["x"] * 4)


@pytest.mark.parametrize("n_classes", [1, 3, 30, 101])
def test_a_confusion_plot_has_room_for_its_classes(tmp_path, n_classes):
    confusion = 8 * np.eye(n_classes, dtype=np.int64)
    path = tmp_path / "confusion.png"
    plot_confusion(confusion, [f"a $class_{i}" for i in range(n_classes)], path)
    width, height = size_of(path)
    least = 20 if n_classes <= 100 else 9  # pixels for a cell: two digits fit, or only colour
    assert least * n_classes < width < 4_000
    assert abs(width - height) <= 1


# -------------------------------------------------------------------------------------------- runs


def make_run(folder, metric="padded_cmap_5", monitor="padded_cmap_5", values=(0.2, 0.6, 0.5)):
    folder.mkdir(parents=True)
    columns = {"epoch": [1, 2, 3][: len(values)], "loss": [3.0, 2.0, 1.5][: len(values)]}
    pd.DataFrame(columns | {metric: values}).to_csv(folder / "history.csv", index=False)
    (folder / "config.json").write_text(json.dumps({"checkpoint": {"monitor": monitor}}))
    return folder


@pytest.fixture
def drawn(monkeypatch):
    calls = []
    monkeypatch.setattr(
        train.evaluate.compare, "plot_run_curves", lambda *arguments: calls.append(arguments)
    )
    return calls


def test_runs_and_folds_are_read_with_what_they_were_monitored_by(tmp_path, drawn):
    single = make_run(tmp_path / "single", "map_at_3", "map_at_3")
    for i in range(2):
        make_run(tmp_path / "all" / f"fold{i}", "map_at_3", "map_at_3", (0.1 * i, 0.2, 0.3))
    assert plot_runs([single, tmp_path / "all"], "x.png") == "map_at_3"
    (curves, metric, path), *_ = drawn
    assert (metric, path) == ("MAP@3", "x.png")
    assert [run.name for run in curves] == ["single", "all"]
    assert curves[0].metric == [[0.2, 0.6, 0.5]]
    assert curves[1].metric == [[0.0, 0.2, 0.3], [0.1, 0.2, 0.3]]
    assert curves[1].loss == [[3.0, 2.0, 1.5]] * 2


def test_runs_that_were_monitored_by_different_things_are_drawn_by_one(tmp_path, drawn):
    one = make_run(tmp_path / "a" / "run")
    other = make_run(tmp_path / "b" / "run", monitor="accuracy")
    assert plot_runs([one, other]) == "padded_cmap_5"
    assert [run.name for run in drawn[0][0]] == ["a/run", "b/run"]


def test_runs_that_cannot_be_drawn_are_all_listed(tmp_path):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "other", "accuracy")
    make_run(tmp_path / "new", values=())
    with pytest.raises(TableError) as caught:
        plot_runs([tmp_path / name for name in ("empty", "other", "new")])
    message = str(caught.value)
    assert "empty: holds no history.csv, nor folders fold0" in message
    assert "history.csv: has no column 'padded_cmap_5'" in message
    assert "history.csv: holds no epoch yet" in message
    with pytest.raises(
        UsageError, match=r"unknown metric 'padded_cmap'\. Did you mean padded_cmap_5"
    ):
        plot_runs([tmp_path / "other"], metric="padded_cmap")


def test_the_mean_of_folds_counts_each_as_long_as_it_lasted():
    axes = Figure().subplots()
    mean = _plot_folds(axes, [[0.2, 0.4, 0.9], [0.4, 0.8]], "black")
    assert mean == pytest.approx([0.3, 0.6, 0.9])
    band = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.round(6).tolist()} >= {
        (1, 0.2), (1, 0.4), (2, 0.4), (2, 0.8), (3, 0.9),
    }  # fmt: skip


def test_the_command_draws_a_plot(tmp_path):
    make_run(tmp_path / "one")
    for i in range(3):
        make_run(tmp_path / "many" / f"fold{i}", values=(0.1 * i, 0.4))
    out = tmp_path / "runs.png"
    arguments = [str(tmp_path / "one"), str(tmp_path / "many"), "--output", str(out)]
    done = CliRunner().invoke(app(), ["plot", *arguments])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    width, height = size_of(out)
    assert width > 1_500
    assert height > 600
