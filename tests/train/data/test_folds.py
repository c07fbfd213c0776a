"""Folds and splits: sources stay together, rare classes are trained on, official folds are kept."""

import os
from collections import Counter
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import TableError, UsageError
from train.config.data import DataConfig
from train.data.clips import Clip, PseudoLabels
from train.data.folds import (
    EXCLUDED,
    TRAIN_ONLY,
    assign_folds,
    balance_report,
    load_folds,
    read_folds,
    save_folds,
    split_clips,
)

SOFT = PseudoLabels(("a",), np.ones(1, np.float32), np.ones((1, 1), np.float32))


def some_clips(n=60, classes=3, folds=0, per_source=2):
    return [
        Clip(
            f"{i}.wav",
            (f"class {i % classes}",),
            f"source {i % classes}.{i // classes // per_source}",
            str(i % folds + 1) if folds else "",
            ("CC0", "CC-BY-NC")[i % 2],
        )
        for i in range(n)
    ]


@st.composite
def any_clips(draw, *, most_labels=3):
    labels = st.lists(st.sampled_from("abcdef"), max_size=most_labels, unique=True).map(tuple)
    groups = st.integers(0, 25).map(str)
    rows = draw(st.lists(st.tuples(labels, groups), min_size=1, max_size=60))
    return [Clip(f"{i}.wav", *row) for i, row in enumerate(rows)]


def sides_of_groups(clips, sides):
    found = {}
    for clip, side in zip(clips, sides, strict=True):
        found.setdefault(clip.group, set()).add(side)
    return found


def test_official_folds_are_kept_in_the_order_of_their_names():
    clips = some_clips(60, folds=12)
    assert assign_folds(clips, DataConfig(), seed=0) == [i % 12 for i in range(60)]


def test_train_val_and_test_are_folds_with_a_meaning():
    names = ["train", "val", "test", "", "val"]
    clips = [Clip(f"{i}.wav", ("x",), str(i), name) for i, name in enumerate(names)]
    folds = [TRAIN_ONLY, 0, EXCLUDED, TRAIN_ONLY, 0]
    assert assign_folds(clips, DataConfig(), seed=0) == folds
    held_out = DataConfig(hold_out=("val",))
    assert set(assign_folds(clips[:3], held_out, seed=0)) == {TRAIN_ONLY, EXCLUDED}
    assert assign_folds(clips[2:3], DataConfig(), seed=0) == [EXCLUDED]


def test_a_test_set_and_soft_labels_are_kept_out_of_folds_of_our_own():
    clips = some_clips(60)
    more = [
        Clip("t.wav", ("class 0",), "t", "test"),
        Clip("s.wav", (), "s", "train", pseudo=SOFT),
        Clip("k.wav", ("class 0",), "source 1.0", "train"),  # the source of clips 1 and 4
    ]
    folds = assign_folds(clips + more, DataConfig(), seed=0)
    assert folds[-3:] == [EXCLUDED, TRAIN_ONLY, TRAIN_ONLY]
    assert {i for i in range(60) if folds[i] < 0} == {1, 4}
    again = assign_folds(clips + more, DataConfig(remake_folds=True), seed=0)
    assert again[-3:-1] == [EXCLUDED, TRAIN_ONLY]
    assert again[-1] == again[1] == again[4] >= 0


def test_folds_of_our_own_keep_sources_together_and_classes_even():
    clips = some_clips(90)
    folds = assign_folds(clips, DataConfig(n_folds=5), seed=1)
    assert folds == assign_folds(clips, DataConfig(n_folds=5), seed=1)
    assert folds != assign_folds(clips, DataConfig(n_folds=5), seed=2)
    assert all(len(folds) == 1 for folds in sides_of_groups(clips, folds).values())
    table = pd.crosstab([c.labels[0] for c in clips], folds)
    assert table.shape == (3, 5)
    assert table.to_numpy().min() >= 4
    assert table.to_numpy().max() <= 8


@given(any_clips(), st.integers(2, 5), st.integers(0, 9))
def test_for_any_table_no_source_is_in_two_folds_and_no_rare_class_is_validated(clips, n, seed):
    with suppress(TableError):
        check_folds(clips, assign_folds(clips, DataConfig(n_folds=n), seed=seed), n)
    more = [Clip(f"{i}.ogg", ("g",), f"more {i}") for i in range(n)]  # so that folds can be made
    check_folds(clips + more, assign_folds(clips + more, DataConfig(n_folds=n), seed=seed), n)


def check_folds(clips, folds, n):
    assert all(len(folds) == 1 for folds in sides_of_groups(clips, folds).values())
    sources = {(label, clip.group) for clip in clips for label in clip.labels}
    n_sources = Counter(label for label, _ in sources)
    for clip, fold in zip(clips, folds, strict=True):
        assert fold == TRAIN_ONLY or min([n_sources[x] for x in clip.labels], default=n) >= n
    assert 0 <= max(folds) < n


def test_rare_classes_are_always_trained_on():
    clips = [*some_clips(60), Clip("rare.wav", ("class 0", "rare"), "r")]
    folds = assign_folds(clips, DataConfig(n_folds=5), seed=0)
    assert folds[-1] == TRAIN_ONLY
    assert min(folds[:-1]) == 0


def test_held_out_folds_and_other_licences_are_never_touched():
    clips = some_clips(60, folds=5)
    config = DataConfig(hold_out=("1",), licences=("CC0",), remake_folds=True, n_folds=4)
    folds = assign_folds(clips, config, seed=0)
    for clip, fold in zip(clips, folds, strict=True):
        assert (fold == EXCLUDED) == (clip.fold == "1" or clip.licence != "CC0")


def test_folds_are_written_and_read_again(tmp_path):
    clips = [Clip("long.wav", ("x",), "g", start_seconds=i / 3) for i in range(4)]
    clips += some_clips(30)
    folds = [0, 1, TRAIN_ONLY, EXCLUDED, *(i % 5 for i in range(30))]
    save_folds(tmp_path / "folds.csv", clips, folds)
    assert load_folds(tmp_path / "folds.csv", clips) == folds
    assert load_folds(tmp_path / "folds.csv", clips[::-1]) == folds[::-1]
    for new in (Clip("new.wav", ("x",), "y"), Clip("long.wav", ("x",), "g", start_seconds=0.3)):
        with pytest.raises(TableError, match=r"folds\.csv: has no row for 1 clips"):
            load_folds(tmp_path / "folds.csv", [*clips, new])


def test_folds_that_a_spreadsheet_saved_and_names_that_are_no_unicode_are_kept(tmp_path):
    rows = b"file;start;fold\r\ncaf\xe9.wav;0,5;1\r\n"
    (tmp_path / "folds.csv").write_bytes(rows)
    assert read_folds(tmp_path / "folds.csv") == [(os.fsdecode(b"caf\xe9.wav"), 0.5, 1)]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "file,start,fold\nx.wav,0,some\n"])
def test_what_is_no_table_of_folds_is_refused(tmp_path, text):
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(TableError, match=r"folds\.csv: is not a table of folds"):
        load_folds(tmp_path / "folds.csv", some_clips(4))


def test_folds_that_cannot_be_are_refused():
    with pytest.raises(TableError, match="no class has 9 sources"):
        assign_folds(some_clips(12), DataConfig(n_folds=9), seed=0)
    with pytest.raises(TableError, match="no fold 7 to hold out"):
        assign_folds(some_clips(12, folds=2), DataConfig(hold_out=("7",)), seed=0)


def test_a_split_reaches_its_shares_in_every_class():
    clips = some_clips(600, classes=3, per_source=2)
    splits = split_clips(clips, seed=0)
    assert splits == split_clips(clips, seed=0)
    assert splits != split_clips(clips, seed=1)
    table = pd.crosstab([c.labels[0] for c in clips], splits)
    np.testing.assert_array_equal(table[["train", "val", "test"]], [[140, 30, 30]] * 3)


def test_classes_of_three_sources_still_come_to_the_shares_together():
    clips = [Clip(f"{i}.wav", (f"class {i // 3}",), str(i)) for i in range(120)]
    counts = Counter(split_clips(clips, (0.7, 0.2, 0.1), seed=0))
    assert counts["train"] == pytest.approx(84, abs=2)
    assert counts["val"] == pytest.approx(24, abs=2)
    assert counts["test"] == pytest.approx(12, abs=2)


SHARES = st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.9, 0.1, 0), (0.1, 0.2, 0.7)])


@given(any_clips(), SHARES, st.integers(0, 9))
def test_for_any_table_no_source_is_in_two_splits_and_every_class_is_trained_on(
    clips, shares, seed
):
    splits = split_clips(clips, shares, seed=seed)
    assert all(len(sides) == 1 for sides in sides_of_groups(clips, splits).values())
    trained = {
        x for c, side in zip(clips, splits, strict=True) if side == "train" for x in c.labels
    }
    assert trained == {x for clip in clips for x in clip.labels}
    assert shares[2] or "test" not in splits


@given(any_clips(most_labels=1), SHARES, st.integers(0, 9))
def test_each_class_misses_its_shares_by_a_few_sources_at_most(clips, shares, seed):
    clips = [Clip(c.path, c.labels or ("z",), f"{c.labels} {c.group}") for c in clips]
    splits = split_clips(clips, shares, seed=seed)
    for label in {clip.labels for clip in clips}:
        members = [i for i, clip in enumerate(clips) if clip.labels == label]
        largest = max(Counter(clips[i].group for i in members).values())
        counts = Counter(splits[i] for i in members)
        for side, share in zip(("train", "val", "test"), shares, strict=True):
            assert abs(counts[side] - share * len(members)) <= 3 * largest


def test_shares_that_are_none_are_refused():
    for shares in ((0.7, 0.3), (0.7, 0.2, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1)):
        with pytest.raises(UsageError, match="three shares that add up to 1"):
            split_clips(some_clips(9), shares, seed=0)


def test_the_balance_of_a_split_is_reported():
    clips = [
        Clip("0.wav", ("dog",), "x"),
        Clip("1.wav", ("dog",), "x"),
        Clip("2.wav", ("dog", "cat"), "y"),
        Clip("3.wav", (), "z"),
    ]
    report = balance_report(clips, ["val", "val", "train", "test"])
    assert [line.split() for line in report.splitlines()] == [
        ["train", "val", "test", "clips", "sources", "share"],
        ["(no", "label)", "0", "0", "1", "1", "1", "25.0%"],
        ["cat", "1", "0", "0", "1", "1", "25.0%"],
        ["dog", "1", "2", "0", "3", "2", "75.0%"],
        ["all", "clips", "1", "2", "1", "4", "3", "100.0%"],
        ["share", "25.0%", "50.0%", "25.0%", "100.0%"],
    ]
    header = balance_report(clips, [1, 0, TRAIN_ONLY, EXCLUDED]).splitlines()[0]
    assert " ".join(header.split()) == ("fold 0 fold 1 train only excluded clips sources share")


def test_folds_that_a_spreadsheet_wrote(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("file,start,fold\na.wav,0.0,1.0\nb.wav,0.0,-1.0\n")
    assert read_folds(path) == [("a.wav", 0.0, 1), ("b.wav", 0.0, -1)]
    path.write_text("file,start,fold\na.wav,0.0,1.5\n")
    with pytest.raises(TableError, match=r"is not a table of folds \(.*1\.5"):
        read_folds(path)
