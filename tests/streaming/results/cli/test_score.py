import json

import pytest

from sed.cli import run

TRUTH = "filename\tonset\toffset\tevent_label\na.wav\t1\t2\tdog\na.wav\t5\t7\towl\nb.wav\t\t\t\n"
FOUND = "file,onset,offset,label,score\na.wav,1.1,2.1,dog,0.9\na.wav,3,4,owl,0.6\n"


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truth.tsv").write_text(TRUTH)
    (tmp_path / "found.csv").write_text(FOUND)
    (tmp_path / "d.csv").write_text("filename,duration\na.wav,1800\nb.wav,1800\n")
    return ["score", "truth.tsv", "found.csv"]


def figures(arguments, capsys):
    assert run([*arguments, "--json", "-q"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_as_json(tables, capsys):
    found = figures([*tables, "--durations", "d.csv"], capsys)
    assert found["event_f1"] == {"micro": 0.5, "macro": 0.5, "classes": {"dog": 1.0, "owl": 0.0}}
    assert found["error_rate"]["micro"] == 1.0
    assert (found["error_rate"]["deletion"], found["error_rate"]["insertion"]) == (0.5, 0.5)
    assert found["segment_f1"]["classes"] == {"dog": pytest.approx(2 / 3), "owl": 0.0}
    assert found["intersection_f1"] == 0.5
    assert found["false_per_hour"] == {"all": 1.0, "classes": {"dog": 0.0, "owl": 1.0}}
    assert found["onset_error_seconds"]["mean"] == pytest.approx(0.1)
    # One of two classes is found, without a false positive: their mean less the deviation is 0.
    assert (found["psds1"], found["hours"]) == (0.0, 1.0)
    plain = figures([*tables, "--durations", "d.csv", "--alpha-st", "0"], capsys)
    assert plain["psds1"] == 0.5


def test_options(tables, tmp_path, capsys):
    (tmp_path / "map.csv").write_text("label,to\ndog,animal\nowl,animal\n")
    found = figures([*tables, "--durations", "d.csv", "--map", "map.csv"], capsys)
    assert found["event_f1"]["classes"] == {"animal": 0.5}
    found = figures([*tables, "--durations", "d.csv", "--classes", "dog"], capsys)
    assert (found["event_f1"]["micro"], found["n_true"]) == (1.0, 1)
    assert figures([*tables, "--collar", "0.05", "--offset-collar", "0.05"], capsys)["event_f1"][
        "micro"
    ] == 0.0  # fmt: skip
    assert figures([*tables, "--threshold", "0.7"], capsys)["n_found"] == 1
    assert run([*tables, "--classes", "dgo"]) == 2
    assert run([*tables, "--threshold", "0"]) == 2


def test_without_durations_the_last_event_ends_a_recording_with_a_warning(tables, capsys):
    assert run([*tables, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["hours"] == 7 / 3600
    assert (
        "the lengths of recordings are unknown: each is taken to end with its last event. Give "
        "--audio DIR or --durations FILE. (a.wav: no such file in " in err
    )


def test_tables_and_a_folder_for_people(tables, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run([*tables, "--durations", "d.csv", "--output", "out", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scores.json", "classes.csv", "classes.png", "psd_roc_1.csv", "psd_roc_1.png",
        "psd_roc_2.csv", "psd_roc_2.png",
    }  # fmt: skip
    lines = (tmp_path / "out" / "classes.csv").read_text().splitlines()
    assert lines[1].startswith("dog,1,1,1,1.0000,1.0000,1.0000,0.0000,1.0000,")
    assert run([*tables, "--durations", "d.csv"]) == 0
    shown = capsys.readouterr().out
    assert "event-based, micro" in shown
    assert "2 reference events · 2 detections · 1.00 h · 1.0 false events an hour" in shown


def test_figures_that_others_published(shared, capsys):
    reference = shared / "reference" / "desed_student"
    base = ["score", str(reference / "ground_truth.tsv")]
    durations = ["--durations", str(reference / "durations.tsv")]
    found = figures([*base, str(reference / "predictions_0.5.csv"), *durations], capsys)
    assert round(found["segment_f1"]["micro"], 4) == 0.7547
    assert round(found["segment_f1"]["macro"], 4) == 0.6935
    assert round(found["segment_error_rate"]["micro"], 2) == 0.38
    assert round(found["intersection_f1"], 4) == 0.6374
    published = {
        "Electric_shaver_toothbrush": 43.7, "Dog": 24.4, "Cat": 42.6, "Frying": 37.0,
        "Speech": 50.2, "Vacuum_cleaner": 53.5, "Dishes": 22.3, "Blender": 45.2,
        "Alarm_bell_ringing": 42.4, "Running_water": 36.9,
    }  # fmt: skip
    per_class = {k: round(100 * v, 1) for k, v in found["event_f1"]["classes"].items()}
    assert per_class == published
    assert round(found["event_f1"]["micro"], 4) == 0.4092
    assert round(found["event_f1"]["macro"], 4) == 0.3983
    assert round(found["error_rate"]["micro"], 2) == 1.03
    assert round(found["error_rate"]["macro"], 2) == 1.19
    parts = [found["error_rate"][name] for name in ("substitution", "deletion", "insertion")]
    assert [round(part, 2) for part in parts] == [0.02, 0.61, 0.39]
    points = sorted(map(str, reference.glob("predictions_th_*.tsv")))
    found = figures([*base, *points, *durations], capsys)
    assert (round(found["psds1"], 3), round(found["psds2"], 3)) == (0.334, 0.533)


def test_the_example_of_psds_eval(shared, capsys):
    folder = shared / "reference" / "psds_eval"
    points = sorted(map(str, folder.glob("baseline_*.csv")))
    options = ["--durations", str(folder / "dcase2019t4_meta.csv"), "--dtc", "0.5", "--gtc", "0.5"]
    options += ["--alpha-ct", "0", "--alpha-st", "0"]
    found = figures(["score", str(folder / "dcase2019t4_gt.csv"), *points, *options], capsys)
    assert round(found["psds1"], 5) == 0.40813
