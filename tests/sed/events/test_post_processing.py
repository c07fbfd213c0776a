import dataclasses
import tomllib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sed.errors import SedError, UsageError
from sed.events.post_processing import (
    ClassPostProcessing,
    PostProcessing,
    read_post_processing,
    write_post_processing,
)
from sed.events.tracking.calibration import Isotonic, Platt, calibrate
from sed.events.tracking.config import TrackerConfig

LABELS = ("dog", "frog", "rain")
MODEL = TrackerConfig((0.5, 0.6, 0.7), 0.2, 3, 0.0, 1.0)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a text as a file."""

    def read_text(text):
        (tmp_path / "tuned.toml").write_text(text, "utf-8")
        return read_post_processing(tmp_path / "tuned.toml")

    return read_text


def test_a_file_changes_the_classes_that_it_names(read):
    found = read(
        """
        [class.dog]
        onset_threshold = 0.4
        min_gap_seconds = 2
        [class."frog"]
        decoder = "change_detection"
        merge_threshold_absolute = 0.25
        calibration = { slope = 2, intercept = -0.5 }
        """
    )
    assert found.apply(MODEL, LABELS) == TrackerConfig(
        (0.4, 0.6, 0.7),
        0.2,
        3,
        0.0,
        (2.0, 1.0, 1.0),
        decoder=("hysteresis", "change_detection", "hysteresis"),
        merge_threshold_absolute=(0.1, 0.25, 0.1),
    )
    assert found.resolve(LABELS, tuple)[1].calibration == Platt(2, -0.5)


def test_names_are_those_that_the_model_resolves(read):
    found = read("[class.hund]\nonset_threshold = 0.3")
    names = {"hund": ["dog", "rain"]}
    changed = found.apply(MODEL, LABELS, lambda asked: names[asked[0]])
    assert changed.onset_threshold == (0.3, 0.6, 0.3)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
shares = st.floats(0, 1).map(lambda v: round(v, 4))


@st.composite
def all_set(draw):
    onset = draw(st.floats(0.001, 1))
    values = {
        "onset_threshold": onset,
        "offset_threshold": onset * draw(st.floats(0.01, 1)),
        "median_filter_frames": 1 + 2 * draw(st.integers(0, 50)),
        "min_duration_seconds": draw(st.floats(0, 100)),
        "min_gap_seconds": draw(st.floats(0, 100)),
        "decoder": draw(st.sampled_from(["hysteresis", "change_detection"])),
        "step_filter_seconds": draw(st.floats(0, 60)),
        "merge_threshold_absolute": draw(shares),
        "merge_threshold_relative": draw(shares),
        "event_score": draw(st.sampled_from(["mean", "max"])),
    }
    knots = sorted(draw(st.sets(shares, min_size=1, max_size=4)))
    calibration = draw(
        st.none()
        | st.builds(Platt, st.floats(0.01, 1e6), st.floats(-1e6, 1e6))
        | st.just(Isotonic(tuple(knots), tuple(np.sqrt(knots).tolist())))
    )
    return ClassPostProcessing(tuple(sorted(values.items())), calibration)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, all_set(), max_size=2), names)
def test_what_is_written_is_read(tmp_path, classes, comment):
    path = tmp_path / "tuned.toml"
    before = PostProcessing(tuple(classes.items()), str(path))
    write_post_processing(path, before, [comment])
    assert read_post_processing(path) == before


def test_the_file_is_one_that_people_read(tmp_path):
    config = dataclasses.replace(MODEL, decoder=("hysteresis", "change_detection", "hysteresis"))
    tuned = PostProcessing.from_config(config, LABELS, {"dog": Isotonic((0.1, 0.5), (0.0, 0.75))})
    write_post_processing(tmp_path / "a.toml", tuned, ["model: garden", "made on a Tuesday"])
    text = (tmp_path / "a.toml").read_text("utf-8")
    assert text.startswith(
        "# Post-processing of sed-engine, class by class.\n"
        "# model: garden\n"
        "# made on a Tuesday\n"
        "\n"
        '[class."dog"]\n'
        "onset_threshold = 0.5\n"
        "offset_threshold = 0.2\n"
        "median_filter_frames = 3\n"
        "min_duration_seconds = 0.0\n"
        "min_gap_seconds = 1.0\n"
        'decoder = "hysteresis"\n'
        "\n"
        '[class."dog".calibration]\n'
        "scores = [0.1, 0.5]\n"
        "probabilities = [0.0, 0.75]\n"
        "\n"
        '[class."frog"]\n'
    )
    frog = tomllib.loads(text)["class"]["frog"]
    assert frog["step_filter_seconds"] == 0.5
    assert read_post_processing(tmp_path / "a.toml").apply(TrackerConfig(), LABELS) == (
        dataclasses.replace(
            config,
            offset_threshold=(0.2,) * 3,
            median_filter_frames=(3,) * 3,
            min_duration_seconds=(0.0,) * 3,
            min_gap_seconds=(1.0,) * 3,
            step_filter_seconds=(0.5,) * 3,
            merge_threshold_absolute=(0.1,) * 3,
            merge_threshold_relative=(0.3,) * 3,
            event_score=("mean",) * 3,
        )
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[clas.dog]", "unknown key 'clas'. Did you mean class"),
        ("class = 3", "expected a table per class"),
        ("[class]\ndog = 3", "expected a table per class"),
        ("[class.dog]\nonset = 1", "unknown key 'onset' of 'dog'. Did you mean onset_threshold"),
        ("[class.dog]\nonset_threshold = '1'", "dog.onset_threshold as a number, got '1'"),
        ("[class.dog]\nonset_threshold = true", "dog.onset_threshold as a number, got True"),
        ("[class.dog]\nonset_threshold = nan", "dog.onset_threshold is nan, expected 0 to 1"),
        ("[class.dog]\nonset_threshold = 0.1\noffset_threshold = 0.2", "dog: expected 0 < offset"),
        ("[class.dog]\noffset_threshold = 0", "dog: expected 0 < offset_threshold"),
        ("[class.dog]\nmedian_filter_frames = 2", "expected odd median_filter_frames"),
        ("[class.dog]\nmedian_filter_frames = 1.0", "median_filter_frames as a whole number"),
        ("[class.dog]\nmin_gap_seconds = 1e9", "min_gap_seconds is 1000000000.0, expected 0 to"),
        ("[class.dog]\ndecoder = 'magic'", "decoder as hysteresis or change_detection, got 'mag"),
        ("[class.dog]\ndecoder = 1", "expected dog.decoder as text, got 1"),
        ("[class.dog.calibration]\nslop = 1", "unknown key 'slop' of dog.calibration. Did you me"),
        ("[class.dog.calibration]\nslope = 1", "expected slope and intercept, or scores and"),
        ("[class.dog.calibration]\nslope = -1\nintercept = 0", "expected a slope above 0"),
        ("[class.dog.calibration]\nslope = [1]\nintercept = 0", "calibration.slope as numbers"),
        ("[class.dog.calibration]\nscores = [1, 0]\nprobabilities = [0, 1]", "scores that rise"),
        ("[class.dog]\ncalibration = 1", "expected a table for dog.calibration"),
        ("file,onset\n", "is no file of thresholds, which is TOML, as `sed tune` writes it: "),
    ],
)
def test_a_wrong_file_is_refused(read, text, message):
    with pytest.raises(UsageError, match=message) as error:
        read(text)
    assert "tuned.toml: " in str(error.value)


def test_what_does_not_fit_the_model_is_refused(read):
    with pytest.raises(UsageError, match=r"tuned.toml: the model has no class 'dgo'. Did you mean"):
        read("[class.dgo]\nonset_threshold = 0.4").apply(MODEL, LABELS)
    with pytest.raises(UsageError, match=r"of 'rain' is 0\.1, below its offset threshold of 0\.2"):
        read("[class.rain]\nonset_threshold = 0.1").apply(MODEL, LABELS)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SedError, match=r"none.toml: cannot read the thresholds: No such file"):
        read_post_processing(tmp_path / "none.toml")


def test_calibrations_are_the_maps_that_they_say():
    probs = np.array([[0.0, 0.2], [0.5, 0.5], [0.9, 1.0]], np.float32)
    found = calibrate(probs, {0: Platt(2.0, 0.0), 1: Isotonic((0.2, 0.4, 0.6), (0.1, 0.1, 0.3))})
    np.testing.assert_allclose(found, [[1e-14, 0.1], [0.5, 0.2], [81 / 82, 0.3]], atol=1e-6)
    assert found.dtype == np.float32
    assert calibrate(probs, {}) is probs


@given(st.floats(0.01, 1e6), st.floats(-1e6, 1e6))
def test_platts_map_never_falls(slope, intercept):
    found = Platt(slope, intercept)(np.linspace(0, 1, 50, dtype=np.float32))
    assert (np.diff(found) >= 0).all()
    assert 0 <= found[0] <= found[-1] <= 1
