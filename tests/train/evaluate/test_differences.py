"""What two runs predict for the same clips, compared class by class."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import TableError, UsageError
from sed.models.metrics import average_precision
from train.data.clips import ClipPredictions
from train.evaluate.differences import (
    MACRO,
    Difference,
    compare_predictions,
    drawn_precision,
    write_differences,
)
from train.evaluate.report import write_report

LABELS = ("crow", "dog, big", "élan", "never")
FILES = [f"{i // 2}.wav" for i in range(40)]  # two clips each
STARTS = [5.0 * (i % 2) for i in range(40)]


def targets_of(rng):
    targets = (rng.random((40, 4)) < 0.3).astype(np.float32)
    targets[:, 3] = 0
    return targets


def probs_of(rng, targets, skill):
    # Few values, so that many are equal.
    noisy = np.clip(skill * targets + (1 - skill) * rng.random(targets.shape), 0, 1)
    return noisy.round(1).astype(np.float32)


def write(folder, targets, probs, *, files=FILES, labels=LABELS, starts=STARTS):
    write_report(folder, labels, ClipPredictions(targets, probs), files=files, starts=starts)
    return folder


@pytest.fixture
def runs(tmp_path):
    rng = np.random.default_rng(1)
    targets = targets_of(rng)
    probs = [probs_of(rng, targets, skill) for skill in (0.2, 0.6)]
    folders = [write(tmp_path / str(i), targets, p) for i, p in enumerate(probs)]
    return folders, targets, probs


def test_differences_are_those_of_clips_that_are_repeated(runs):
    (one, other), targets, (before, after) = runs
    rows = compare_predictions(one, other, n_draws=60, seed=3)
    assert [row.label for row in rows] == ["crow", "dog, big", "élan", MACRO]
    # The rows of the recordings as the table sorts them: 0.wav, 1.wav, 10.wav, …
    names = sorted({*FILES})
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(60):
        files = [names[i] for i in rng.integers(0, 20, 20)]
        clips = [i for name in files for i in range(40) if FILES[i] == name]
        precisions = [average_precision(targets[clips], p[clips])[:3] for p in (before, after)]
        drawn.append(precisions[1] - precisions[0])
    drawn = np.array(drawn)
    before, after = (average_precision(targets, p)[:3] for p in (before, after))
    for c, row in enumerate(rows[:3]):
        positive = np.flatnonzero(targets[:, c])
        counts = len(positive), len({FILES[i] for i in positive})
        assert (row.clips, row.recordings) == counts
        expected = (
            before[c],
            after[c],
            after[c] - before[c],
            *np.quantile(drawn[:, c], [0.025, 0.975]),
        )
        np.testing.assert_allclose(row[3:], expected, atol=1e-12)
    means = drawn.mean(axis=1)
    expected = (
        before.mean(),
        after.mean(),
        (after - before).mean(),
        *np.quantile(means, [0.025, 0.975]),
    )
    np.testing.assert_allclose(rows[3][3:], expected, atol=1e-12)
    assert rows[3][1:3] == (40, 20)
    assert rows[3].low > 0  # a much better run


def test_the_other_way_round_differences_change_their_sign(runs):
    (one, other), *_ = runs
    there, back = compare_predictions(one, other), compare_predictions(other, one)
    assert there == compare_predictions(one, other)  # the seed is fixed
    for row, other_row in zip(there, back, strict=True):
        assert row.difference == -other_row.difference
        np.testing.assert_allclose(
            [row.low, row.high], [-other_row.high, -other_row.low], atol=1e-12
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_a_run_does_not_differ_from_itself(tmp_path_factory, seed, n, n_classes):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, n_classes)) < 0.5).astype(np.float32)
    labels = [f"class {c}" for c in range(n_classes)]
    files = [f"{i}.wav" for i in rng.integers(0, n, n)]
    run = tmp_path_factory.mktemp("run")
    probs = rng.random((n, n_classes)).astype(np.float32)
    write(run, targets, probs, files=files, labels=labels, starts=range(n))
    rows = compare_predictions(run, run, n_draws=20)
    assert len(rows) == targets.any(axis=0).sum() + 1
    if len(rows) > 1:
        assert {row[5:] for row in rows} == {(0.0, 0.0, 0.0)}
    else:
        assert np.isnan(rows[0][3:]).all()


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_the_precision_of_draws_is_that_of_repeated_clips(data):
    n = data.draw(st.integers(1, 15))
    is_true = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    is_true[data.draw(st.integers(0, n - 1))] = True
    scores = np.array(
        data.draw(st.lists(st.sampled_from([0, 0.2, 0.7, 1]), min_size=n, max_size=n))
    )
    counts = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    clips = np.repeat(np.arange(n), counts)
    expected = average_precision(is_true[clips, None], scores[clips, None])
    found = drawn_precision(is_true, scores, np.array(counts, np.int32)[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_folds_count_together_and_data_may_have_moved(runs, tmp_path):
    (one, other), targets, (before, _) = runs
    for fold, part in enumerate((slice(0, 10), slice(10, 40))):
        files = [f"/moved/to/{file}" for file in FILES[part]]
        folder = tmp_path / "all" / f"fold{fold}"
        write(folder, targets[part], before[part], files=files, starts=STARTS[part])
    assert compare_predictions(tmp_path / "all", other) == compare_predictions(one, other)


def test_classes_of_one_run_alone_are_left_out(runs, tmp_path):
    (one, _), targets, (before, _) = runs
    fewer = write(
        tmp_path / "fewer", targets[:, [2, 0]], before[:, [2, 0]], labels=["élan", "crow"]
    )
    rows = compare_predictions(one, fewer)
    assert [(row.label, row.difference) for row in rows] == [("crow", 0), ("élan", 0), (MACRO, 0)]


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    (one, _), targets, (before, _) = runs
    files = ["new.wav", *FILES[1:]]
    moved = write(tmp_path / "clips", targets, before, files=files)
    with pytest.raises(
        TableError, match=r"different clips.*sed evaluate RUN --data TABLE"
    ) as error:
        compare_predictions(one, moved)
    assert f"only in {one}: 1, as 0.wav from 0.000 s" in str(error.value)
    assert f"only in {moved}: 1, as new.wav from 0.000 s" in str(error.value)
    targets = targets.copy()
    targets[0, 0] = 1 - targets[0, 0]
    with pytest.raises(TableError, match="different labels of the same clips"):
        compare_predictions(one, write(tmp_path / "labels", targets, before))
    with pytest.raises(TableError, match=r"none: holds no predictions\.csv"):
        compare_predictions(one, tmp_path / "none")
    with pytest.raises(UsageError, match="1 or more draws, got 0"):
        compare_predictions(one, one, n_draws=0)
    text = (one / "predictions.csv").read_text("utf-8")
    for wrong, message in (
        (text.rstrip()[:-1] + "x", "could not convert"),
        (text.replace("probability", "p", 1), "no predictions"),
        (text.splitlines()[0], "no predictions"),
        (text.replace("crow", "rook", 1), "no column of crow"),
        ("", "not enough values"),
    ):
        (moved / "predictions.csv").write_text(wrong, "utf-8")
        with pytest.raises(TableError, match=f"cannot be read as predictions .*{message}"):
            compare_predictions(one, moved)


def test_a_table_has_empty_cells_for_what_is_not_defined(tmp_path):
    nan = float("nan")
    rows = [Difference("dog", 2, 1, 0.25, 0.5, 0.25, -0.125, 0.375)]
    rows.append(Difference(MACRO, 2, 1, nan, nan, nan, nan, nan))
    write_differences(tmp_path / "a.csv", rows)
    assert (tmp_path / "a.csv").read_text("utf-8").splitlines() == [
        "label,clips,recordings,first,second,difference,low,high",
        "dog,2,1,0.250000,0.500000,0.250000,-0.125000,0.375000",
        "macro,2,1,,,,,",
    ]


def test_the_command_prints_a_table_for_two_runs(runs, tmp_path):
    (one, other), targets, (before, _) = runs
    output = tmp_path / "both.png"

    def plot(*folders):
        return CliRunner().invoke(app(), ["plot", *map(str, folders), "-o", str(output)])

    done = plot(one, other)  # folders of sed evaluate: no curves
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(output.with_suffix(".csv"))]
    rows = {row.label: row for row in compare_predictions(one, other)}
    shown = next(line for line in done.stderr.splitlines() if line.startswith("mean (mAP)"))
    macro = rows[MACRO]
    figures = f"{macro.first:.4f} {macro.second:.4f} {macro.difference:+.4f}"
    assert shown.split()[2:] == [
        *figures.split(),
        f"{macro.low:+.4f}",
        "to",
        f"{macro.high:+.4f}",
        "40",
    ]
    with open(output.with_suffix(".csv"), encoding="utf-8", newline="") as table:
        assert [row["label"] for row in csv.DictReader(table)] == [*rows]
    assert not output.exists()
    for run in (one, other):
        (run / "history.csv").write_text("loss,padded_cmap_5\n0.5,0.2\n")
    assert plot(one, other).stdout.splitlines() == [str(output), str(output.with_suffix(".csv"))]
    (other / "predictions.csv").unlink()
    done = plot(one, other)
    assert done.stdout.splitlines() == [str(output)]
    assert f"no table of differences: {other} holds no predictions yet" in done.stderr
    write(other, targets[:38], before[:38], files=FILES[:38], starts=STARTS[:38])
    with pytest.raises(TableError, match="different clips"):
        CliRunner().invoke(app(), ["plot", str(one), str(other)], catch_exceptions=False)
