import csv
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import sed
from sed.cli import run
from sed.errors import TableError, UsageError
from sed.events.post_processing import read_post_processing
from sed.events.tracker import TrackerConfig
from sed.events.writing.npz import FramesWriter
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from sed.timeline import Timeline
from train.tune.choose import TargetConfig
from train.tune.labelled import Stretch, Truth, TuningData, folds_of
from train.tune.tune import tune, tune_data

TIMELINE = Timeline(8_000, 80, 10)  # frames of 0.1 s
STEP = TIMELINE.frame_seconds
# The model is far from sure of the first class, and too sure of the second.
SPEC = SimpleNamespace(
    labels=("dog", "frog", "rain"), post_processing=TrackerConfig(0.5, 0.25, 1, 0.0, 0.0)
)


@pytest.fixture(autouse=True)
def few_settings(monkeypatch):
    """Compare few settings, which takes less time; `test_signals` has all."""
    few = {
        "RATIOS": (0.4,), "MEDIAN_SECONDS": (0.0,), "GAP_SECONDS": (0.0, 1.0),
        "DURATION_SECONDS": (0.0, 0.3), "STEP_SECONDS": (),
    }  # fmt: skip
    for name, values in few.items():
        monkeypatch.setattr(f"train.tune.settings.{name}", values)


def stretch(number, levels, false_levels, n_frames=600, *, has_times=True):
    """Return a recording with an event of each class every 100 frames, and false peaks between."""
    generator = np.random.default_rng(number)
    probs = np.full((n_frames, 3), 0.01, np.float32)
    rows = []
    for start in range(20, n_frames - 50, 100):
        for c, level in enumerate(levels):
            at = start + 3 * c
            probs[at : at + 20, c] = level * generator.uniform(0.9, 1.1)
            rows.append((c, at * STEP, (at + 20) * STEP))
        for c, level in enumerate(false_levels):
            at = start + 50 + 3 * c
            probs[at : at + 20, c] = level * generator.uniform(0.9, 1.1)
    if not has_times:
        rows = [(c, 0.0, n_frames * STEP) for c in sorted({c for c, _, _ in rows})]
    table = np.array(rows, np.float64).reshape(-1, 3)
    truth = Truth(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])
    return Stretch(f"recording {number}", n_frames * STEP, probs, truth)


def data_of(levels, false_levels, n=5):
    stretches = tuple(stretch(i, levels, false_levels) for i in range(n))
    return TuningData(SPEC.labels, TIMELINE, stretches, is_strong=True)


@pytest.mark.parametrize("metric", ["event_f1", "segment_f1", "psds1"])
def test_thresholds_move_to_where_events_are(metric):
    # Of dog, events are at 0.3 and false ones at 0.1; of frog at 0.85 and 0.65.
    data = data_of((0.3, 0.85), (0.1, 0.65))
    result = tune_data(data, SPEC, TargetConfig(metric))
    dog, frog, rain = result.classes
    assert dog.model == 0
    assert dog.tuned > 0.9
    assert frog.tuned > 0.9
    assert (dog.n_true, frog.n_true) == ((60, 90) if metric == "segment_f1" else (30, 30))
    if metric != "psds1":  # which takes all thresholds, so that frog is right already
        assert frog.model < 0.9
        assert 0.11 < dog.setting.onset_threshold < 0.27
        assert 0.7 < frog.setting.onset_threshold < 0.8
        assert result.gain > 0.3
    # No event says anything about rain.
    assert (rain.source, rain.n_true) == ("model", 0)
    changed = [label for label, _ in result.post_processing.classes]
    assert changed == (["dog"] if metric == "psds1" else ["dog", "frog"])


def test_gaps_and_durations_are_found():
    # Each event is in two parts, and there are false peaks of two frames.
    data = data_of((0.9,), ())
    for one in data.stretches:
        for start in range(20, 550, 100):
            one.probs[start + 8 : start + 12, 0] = 0.01
            one.probs[start + 60 : start + 62, 0] = 0.9
    row = tune_data(data, SPEC, TargetConfig()).classes[0]
    assert row.model == 0
    assert row.tuned == 1


def test_a_model_that_is_right_keeps_its_settings():
    result = tune_data(data_of((0.9, 0.9), (0.1, 0.1)), SPEC, TargetConfig())
    assert result.post_processing.classes == ()
    assert (result.model, result.tuned, result.spread) == (1, 1, 0)


def test_a_limit_holds_on_the_data():
    # Of each recording three false peaks are above the events, the others below.
    data = data_of((0.6,), (0.4,), n=10)
    for one in data.stretches[:4]:
        one.probs[75:90, 0] = 0.95
        one.probs[175:190, 0] = 0.95
    n_false = 8
    precise = tune_data(data, SPEC, TargetConfig(min_precision=0.85)).classes[0]
    assert precise.source == "model"  # 60 of 68 are right already
    strict = tune_data(data, SPEC, TargetConfig(min_precision=0.99))
    assert strict.classes[0].model == pytest.approx(60 / 68 - 0.99)
    # The model's setting cannot stay, although nothing better was found: only silence is precise.
    ((_, one),) = strict.post_processing.classes
    assert dict(one.values)["onset_threshold"] > 0.6
    hours = data.hours
    loose = TrackerConfig(0.2, 0.1, 1, 0.0, 0.0)
    spec = SimpleNamespace(labels=SPEC.labels, post_processing=loose)
    row = tune_data(data, spec, TargetConfig(max_false_per_hour=1.5 * n_false / hours)).classes[0]
    assert row.model < 0 < row.tuned
    assert 0.45 < row.setting.onset_threshold < 0.55


def test_a_rare_class_is_tuned_like_all_others():
    data = data_of((0.3, 0.3), (0.1, 0.1))
    few = []
    for i, one in enumerate(data.stretches):
        kept = (one.truth.label != 1) | (np.arange(len(one.truth.label)) == 1) & (i < 3)
        one.probs[:, 1] = np.where(one.probs[:, 1] > 0.2, 0.01, one.probs[:, 1])
        if i < 3:
            one.probs[23:43, 1] = 0.3
        few.append(Stretch(one.group, one.seconds, one.probs, Truth(*(x[kept] for x in one.truth))))
    data = TuningData(SPEC.labels, TIMELINE, tuple(few), is_strong=True)
    dog, frog, _ = tune_data(data, SPEC, TargetConfig()).classes
    assert frog.n_true == 3
    assert dog.source != "model"
    assert frog.source == "shared"


def test_clips_without_times_get_thresholds_only():
    stretches = [stretch(i, (0.3,) * (i % 2), (0.1,), has_times=False) for i in range(12)]
    data = TuningData(SPEC.labels, TIMELINE, tuple(stretches), is_strong=False)
    result = tune_data(data, SPEC, TargetConfig())
    dog = result.classes[0]
    assert (dog.n_true, dog.model, dog.tuned) == (6, 0, 1)
    assert 0.1 < dog.setting.onset_threshold <= 0.3
    assert dog.setting.median_filter_frames == 1
    assert result.metric == "clip_f1"


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_lowers_the_error_on_held_out_parts(method):
    data = data_of((0.3,), (0.1,))
    result = tune_data(data, SPEC, TargetConfig(), calibration=method)
    found = result.calibration
    assert found.after.error < 0.01 < found.before.error
    ((label, one),) = result.post_processing.classes
    assert label == "dog"
    low, high = one.calibration(np.array([0.1, 0.3], np.float32))
    assert low < 0.1
    assert high > 0.9
    # Thresholds are of calibrated probabilities.
    assert result.classes[0].tuned > 0.9


def test_folds_keep_sources_together():
    stretches = [stretch(i // 2, (0.5,), ()) for i in range(10)]
    folds = folds_of(stretches, 5, seed=1)
    assert sorted(np.bincount(folds)) == [2] * 5
    assert (folds[::2] == folds[1::2]).all()


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_checkpoint):
    """Return a folder with a model, recordings, their labels and frame probabilities."""
    folder = tmp_path_factory.mktemp("place")
    save_checkpoint(tiny_checkpoint, folder / "model.safetensors")
    labels, step = tiny_checkpoint.labels, tiny_checkpoint.timeline.frame_seconds
    n_frames = round(60 / step)
    (folder / "scores").mkdir()
    with open(folder / "labels.tsv", "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(("filename", "onset", "offset", "event_label"))
        for i in range(5):
            sound = np.random.default_rng(i).normal(0, 0.01, 60 * 8_000)
            soundfile.write(folder / f"{i}.wav", sound, 8_000)
            probs = np.full((n_frames, len(labels)), 0.01, np.float32)
            for k in range(3, 57, 9):
                first, last = round((k + 0.1 * i) / step), round((k + 2 + 0.1 * i) / step)
                probs[first:last, 0] = 0.3
                rows.writerow((f"{i}.wav", first * step, last * step, labels[0]))
                rows.writerow((f"{i}.wav", first * step, last * step, "no such class"))
            npz = folder / "scores" / f"{i}.wav.npz"
            with FramesWriter(npz, labels, step, 1.0, f"far/{i}.wav") as writer:
                writer.write(probs, probs[:0])
    return folder


def test_the_command_writes_thresholds_that_detect_takes(place, tmp_path, capsys, tiny_checkpoint):
    model, output = str(place / "model.safetensors"), tmp_path / "tuned.toml"
    arguments = ["tune", model, "--data", str(place / "labels.tsv"), "-o", str(output)]
    assert run([*arguments, "--scores", str(place / "scores")]) == 0
    printed = capsys.readouterr().err
    assert "left out: no such class" in printed
    assert "0.000 with the settings of the model, 1.000 tuned" in printed
    head = output.read_text().splitlines()
    assert head[2].startswith("# chosen for the highest event_f1, on 5 recordings, 0.08 h")
    label = tiny_checkpoint.labels[0]
    found = read_post_processing(output)
    values = dict(dict(found.classes)[label].values)
    assert len(found.classes) == 1
    assert values["onset_threshold"] <= 0.3
    config = found.apply(tiny_checkpoint.post_processing, tiny_checkpoint.labels)
    assert config.onset_threshold[0] == values["onset_threshold"]
    assert run(["detect", str(place / "0.wav"), "--model", model, "--thresholds", str(output)]) == 0


def test_two_targets_are_refused_before_anything_is_read(capsys):
    arguments = ["tune", "none", "--data", "none", "-o", "t.toml", "--maximise"]
    assert run([*arguments, "psds1", "--min-precision", "0.9"]) == 2
    assert "give one target: --maximise, or a limit" in capsys.readouterr().err
    assert run([*arguments, "psds"]) == 2
    assert "cannot maximise 'psds'. Did you mean psds1" in capsys.readouterr().err


def test_a_copy_of_the_checkpoint_gets_the_settings(place, tmp_path):
    model = place / "model.safetensors"
    update, scores = tmp_path / "mine.safetensors", place / "scores"
    result = tune(model, place / "labels.tsv", update=update, scores=scores)
    label = result.classes[0].label
    checkpoint = load_checkpoint(update)
    number = checkpoint.labels.index(label)
    stored = checkpoint.post_processing.values("onset_threshold", 3)[number]
    assert stored == result.classes[0].setting.onset_threshold


def test_probabilities_are_computed_once_into_a_cache(place, tmp_path, monkeypatch):
    arguments = (place / "model.safetensors", place / "labels.tsv", tmp_path / "tuned.toml")
    sizes = []
    first = sed.tune(
        *arguments, cache=tmp_path / "cache", on_progress=lambda *both: sizes.append(both)
    )
    assert first.n_recordings == 5
    assert "alike" not in "".join(first.comments(""))
    assert sizes[-1][0] == sizes[-1][1] > 0
    files = sorted((tmp_path / "cache").rglob("*.npz"))
    assert len(files) == 5
    written = [file.stat().st_mtime_ns for file in files]
    assert sed.tune(*arguments, cache=tmp_path / "cache") == first
    assert [file.stat().st_mtime_ns for file in files] == written


def test_one_recording_is_cut_into_stretches(place, tmp_path):
    lines = (place / "labels.tsv").read_text().splitlines()
    one = place / "one.tsv"
    one.write_text("\n".join([lines[0], *(line for line in lines if line.startswith("0.wav"))]))
    result = tune(place / "model.safetensors", one, scores=place / "scores")
    assert (result.n_recordings, result.n_folds) == (1, 5)
    lines = result.comments("")
    assert ", on 1 recording, " in lines[1]
    assert "stretches of the same recordings, which are alike" in lines[3]


def test_without_enough_events_nothing_is_drawn_and_the_settings_are_kept(place, tmp_path, caplog):
    few, output = place / "few.tsv", tmp_path / "tuned.toml"
    rows = (place / "labels.tsv").read_text().splitlines()
    few.write_text("\n".join(rows[:3]))
    options = {"calibration": "platt", "plot": tmp_path / "a.png", "scores": place / "scores"}
    tune(place / "model.safetensors", few, output, **options)
    assert "a.png: not drawn: no class has 5 labelled events" in caplog.messages[-1]
    assert output.exists()
    assert not (tmp_path / "a.png").exists()


def test_arguments_that_do_not_fit_are_refused(place, tmp_path):
    model, table = place / "model.safetensors", place / "labels.tsv"
    with pytest.raises(UsageError, match="one target"):
        tune(model, table, max_false_per_hour=1, min_precision=0.9)
    with pytest.raises(UsageError, match="Did you mean event_f1"):
        tune(model, table, maximise="event_f")
    with pytest.raises(UsageError, match="give --calibrate"):
        tune(model, table, plot=tmp_path / "a.png")
    with pytest.raises(UsageError, match="holds no calibration"):
        tune(model, table, update=tmp_path / "a", calibration="platt")
    with pytest.raises(UsageError, match="is the model itself"):
        tune(model, table, update=model)
    with pytest.raises(TableError, match="no such folder"):
        tune(model, table, scores=tmp_path / "none")
    (tmp_path / "other.tsv").write_text(
        f"filename\tonset\toffset\tevent_label\n{place}/0.wav\t1\t2\tyeti\n"
    )
    with pytest.raises(UsageError, match="none of the labels is a class of the model"):
        tune(model, tmp_path / "other.tsv")
