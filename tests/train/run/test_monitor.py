"""Metrics of events while training: where labels have times, and refused where not."""

import csv

import numpy as np
import pytest
import soundfile

from sed.errors import UsageError
from sed.models.checkpoint import load_checkpoint
from tests.train.conftest import PITCHES
from train.config.optim import EVENT_METRICS, METRIC_NAMES
from train.data.clips import Clip
from train.run.start import check_monitor
from train.run.train import train


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """Return a table of beeps of three pitches with their times."""
    folder = tmp_path_factory.mktemp("timed")
    generator = np.random.default_rng(0)
    rows = ["filename\tonset\toffset\tevent_label"]
    for label, hz in PITCHES.items():
        for i in range(6):
            seconds = np.arange(8_000) / 8_000
            beep = 0.3 * np.sin(2 * np.pi * hz * seconds) * ((seconds > 0.3) & (seconds < 0.8))
            samples = beep + 0.02 * generator.standard_normal(8_000)
            soundfile.write(folder / f"{label}{i}.wav", samples, 8_000)
            rows.append(f"{label}{i}.wav\t0.3\t0.8\t{label}")
    (folder / "strong.tsv").write_text("\n".join(rows) + "\n")
    return folder / "strong.tsv"


def test_the_best_epoch_is_chosen_by_events(timed, tiny, tmp_path, undrawn):
    train(
        timed, 0, recipe=tiny, epochs=2, output=tmp_path, device="cpu",
        overrides=["checkpoint.monitor=segment_f1"],
    )  # fmt: skip
    with open(tmp_path / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    values = [float(row["segment_f1"]) for row in history]
    assert len(values) == 2
    assert all(0 <= float(row[name]) <= 1 for row in history for name in EVENT_METRICS)
    best = load_checkpoint(tmp_path / "best.safetensors").metrics["validation"]
    assert best["segment_f1"] == max(values)
    assert best["epoch"] == 1 + values.index(max(values))


def test_metrics_that_clips_do_not_define_are_refused_at_the_start(sounds, tiny, tmp_path):
    with pytest.raises(UsageError, match="cannot monitor event_f1: the labels of the validation"):
        train(
            sounds, 0, recipe=tiny, output=tmp_path / "run", device="cpu",
            overrides=["checkpoint.monitor=event_f1"],
        )  # fmt: skip
    assert not (tmp_path / "run" / "history.csv").exists()
    several = [Clip("a.wav", ("a", "b"), "a")]
    with pytest.raises(UsageError, match="cannot monitor accuracy: validation clips have several"):
        check_monitor("accuracy", several)
    for metric in {*METRIC_NAMES} - {*EVENT_METRICS, "accuracy"}:
        check_monitor(metric, several)
