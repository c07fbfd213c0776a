"""Tune the post-processing of a model on labelled recordings."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed.errors import SedError, TableError, UsageError
from sed.events.post_processing import ClassPostProcessing, PostProcessing, write_post_processing
from sed.events.scoring.collar import CollarConfig
from sed.events.scoring.intersection import IntersectionConfig
from sed.events.scoring.psds import SCENARIO_1
from sed.events.tracking.calibration import Calibration
from sed.models.checkpoint import Checkpoint, load_model, save_checkpoint
from sed.models.metadata import checkpoint_files
from sed.models.registry import DEFAULT_ALIAS, find_model, model_name
from sed.models.spec import ModelSpec
from sed.text import lines, printable
from train.data.clips import Clip
from train.data.tables import read_table
from train.tune.calibration import CalibrationResult, calibrated, fit_calibrations
from train.tune.choose import MODEL, Chooser, TargetConfig
from train.tune.counts import Counter, Counts
from train.tune.frame_probs import OnProgress, computed_scores, stored_scores
from train.tune.labelled import TuningData, classes_of, folds_of, tuning_data
from train.tune.plots import plot_reliability
from train.tune.report import MODELS, ClassTuning, TuneResult, class_figure, figures, source_of
from train.tune.settings import Axes, Setting, levels_of, neighbours, rounded, settings_of
from train.tune.signals import ClassSignal

MIN_EVENTS = 5  # of a class that is tuned by itself
MIN_FOLDS = 2

_log = logging.getLogger("sed.tune")

OnClass = Callable[[int, int], None]  # classes searched, in all


def tune(
    model: str | os.PathLike[str] | Checkpoint | None,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    update: str | os.PathLike[str] | None = None,
    maximise: str = "event_f1",
    max_false_per_hour: float | None = None,
    min_precision: float | None = None,
    collar: CollarConfig | None = None,
    calibration: str | None = None,
    plot: str | os.PathLike[str] | None = None,
    scores: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    table_format: str = "auto",
    n_folds: int = 5,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress | None = None,
    on_class: OnClass | None = None,
    on_error: Callable[[SedError], None] | None = None,
) -> TuneResult:
    """Choose thresholds, durations and decoder of each class for labelled recordings.

    Settings are chosen by cross-validation over the sources of the recordings, for each class by
    itself, for all classes together, or in between; a class without a gain on held-out parts keeps
    those of the model, unless they are beyond the limit. Classes are looked at one by one: where a
    model reports only the most specific class of a sound, that comes later.

    Parameters
    ----------
    model
        Name, path or checkpoint; the default model if None.
    data
        Labels, as `train` reads them: with times, or of whole clips. Then only thresholds are
        chosen, for the highest probability of a clip.
    output
        The file of thresholds (TOML) to write.
    update
        A checkpoint to write: a copy of the model with what was chosen.
    maximise
        ``event_f1`` (within collars), ``segment_f1`` (of a second) or ``psds1``.
    max_false_per_hour, min_precision
        In its place: highest recall of each class within this limit. An event is then right if
        half of it lies in labelled events of its class, and a labelled event is found if half of
        it is covered.
    collar
        For event_f1, see `score`.
    calibration
        ``platt`` or ``isotonic``: also calibrate the probabilities.
    plot
        A PNG file for the reliability diagram of the calibration.
    scores
        Folder with frame probabilities that `sed detect --format npz` wrote; they are computed if
        not given.
    cache
        Folder that keeps computed frame probabilities for the next time.
    table_format
        As in `train`.
    n_folds
        Parts that are held out, one after the other.
    seed
        Of the folds.
    device
        auto, cpu, cuda or cuda:N.
    on_progress, on_class
        Called with bytes of recordings, and classes, that are done, and with those in all.
    on_error
        Called with what cannot be read; the rest is used.

    Raises
    ------
    UsageError
        If arguments do not fit together, or no label is a class of the model.
    TableError
        If the labels are faulty, or nothing can be read.
    """
    target = TargetConfig(maximise, max_false_per_hour, min_precision)
    _check(model, output, update, calibration, plot, n_folds)
    failures: list[str] = []

    def report(error: SedError) -> None:
        failures.append(str(error))
        if on_error is not None:
            on_error(error)

    sed: Any = importlib.import_module("sed")
    clips = read_table(data, table_format=table_format)
    engine: Any = sed.open_engine(model, device=device)
    spec: ModelSpec = engine.spec
    classes, left_out = classes_of(clips, spec)
    labels = sorted(set(classes.values()))
    recordings = list(dict.fromkeys(clip.path for clip in clips))
    if scores is not None:
        found = stored_scores(scores, recordings, labels)
    else:
        found = computed_scores(
            engine, model, recordings, labels,
            cache=cache, on_progress=on_progress, on_error=report,
        )  # fmt: skip
    if not found:
        raise TableError(f"no recording can be read:{lines(failures)}")
    tuning = tuning_data(clips, found, classes, spec.timeline, n_folds)
    result = tune_data(
        tuning, spec, target,
        collar=collar, calibration=calibration, n_folds=n_folds, seed=seed, on_class=on_class,
    )  # fmt: skip
    result = dataclasses.replace(result, left_out=tuple(left_out), failures=tuple(failures))
    _write(result, model, spec, clips, output, update, plot, is_strong=tuning.is_strong)
    return result


def tune_data(
    data: TuningData,
    spec: ModelSpec,
    target: TargetConfig,
    *,
    collar: CollarConfig | None = None,
    calibration: str | None = None,
    n_folds: int = 5,
    seed: int = 0,
    on_class: OnClass | None = None,
) -> TuneResult:
    """Choose the post-processing of the classes of labelled frames; see `tune`."""
    folds = folds_of(data.stretches, n_folds, seed)
    fitted: CalibrationResult | None = None
    calibrations: dict[int, Calibration] = {}
    if calibration is not None:
        fitted = fit_calibrations(data, folds, calibration, MIN_EVENTS)
        calibrations = fitted.calibrations
        data = calibrated(data, calibrations)
    seconds = np.array([one.seconds for one in data.stretches])
    hours = np.bincount(folds, seconds).astype(np.float64) / 3600
    all_settings: list[list[Setting]] = []
    counts: list[Counts] = []
    for c, label in enumerate(data.labels):
        stored = Setting.of(spec.post_processing, spec.labels.index(label), len(spec.labels))
        stored = _mapped(stored, calibrations.get(c))
        settings, own = _counts(data, c, stored, folds, target, collar)
        all_settings.append(settings)
        counts.append(own)
        if on_class is not None:
            on_class(c + 1, len(data.labels))
    beside = [neighbours(settings) for settings in all_settings]
    chooser = Chooser(counts, beside, hours, target, MIN_EVENTS)
    held_out, choices = chooser.held_out(), chooser.choose()
    rows = []
    for c, (label, choice) in enumerate(zip(data.labels, choices, strict=True)):
        model = class_figure(held_out.model[c], hours, target)
        tuned = class_figure(held_out.tuned[c], hours, target)
        gains = choice.setting != MODEL and (tuned > model or chooser.must_change(c))
        setting = all_settings[c][choice.setting if gains else MODEL]
        source = source_of(choice.variant if gains else MODEL, target)
        rows.append(ClassTuning(label, int(counts[c].n_true.sum()), model, tuned, setting, source))
    model_figure, tuned_figure, spread, rates = figures(held_out, hours, target)
    changed = tuple(
        (
            row.label,
            ClassPostProcessing(tuple(sorted(row.setting.values().items())), calibrations.get(c)),
        )
        for c, row in enumerate(rows)
        if row.source != MODELS or c in calibrations
    )
    return TuneResult(
        PostProcessing(changed),
        *_words(target, is_strong=data.is_strong),
        tuple(rows),
        model_figure,
        tuned_figure,
        spread,
        rates,
        data.n_recordings,
        data.hours,
        len(hours),
        data.is_cut,
        fitted,
    )


def _counts(
    data: TuningData,
    number: int,
    stored: Setting,
    folds: NDArray[np.int64],
    target: TargetConfig,
    collar: CollarConfig | None,
) -> tuple[list[Setting], Counts]:
    """Return the settings of a class, and what each finds."""
    peaks = np.array([*_peaks(data, number)], np.float64)
    are_curves = target.maximise == "psds1" and not target.is_limit and data.is_strong
    axes = Axes.full(data.timeline, are_curves=are_curves) if data.is_strong else Axes()
    settings = settings_of(stored, peaks, axes)
    found = ClassSignal(data.stretches, number, settings, data.timeline).find(settings)
    counter = Counter(data.stretches, number, folds, len(settings))
    if not data.is_strong:
        return settings, counter.clips(found)
    if target.is_limit:
        return settings, counter.overlaps(found, IntersectionConfig())
    if are_curves:
        levels = np.sort(levels_of(stored.onset_threshold, peaks))[::-1]
        return settings, counter.curves(found, SCENARIO_1.intersection, levels)
    if target.maximise == "segment_f1":
        return settings, counter.segments(found)
    return settings, counter.events(found, collar or CollarConfig())


def _peaks(data: TuningData, number: int) -> Iterator[float]:
    """Yield the highest probability of each labelled event."""
    step = data.timeline.frame_seconds
    for one in data.stretches:
        own = one.truth.label == number
        for onset, offset in zip(one.truth.onset[own], one.truth.offset[own], strict=True):
            first = max(0, int(onset / step))
            probs = one.probs[first : max(first + 1, round(offset / step)), number]
            if len(probs):
                yield float(probs.max())


def _mapped(stored: Setting, calibration: Calibration | None) -> Setting:
    """Return the setting of the model for calibrated probabilities."""
    if calibration is None:
        return stored
    pair = np.array([stored.onset_threshold, stored.offset_threshold], np.float32)
    onset, offset = calibration(pair).tolist()
    onset = rounded(onset)
    return stored._replace(onset_threshold=onset, offset_threshold=rounded(offset, onset))


def _words(target: TargetConfig, *, is_strong: bool) -> tuple[str, str]:
    """Return what is sought, and the name of the figures."""
    if target.max_false_per_hour is not None:
        return f"at most {target.max_false_per_hour:g} false events per hour", "mean recall"
    if target.min_precision is not None:
        return f"a precision of at least {target.min_precision:g}", "mean recall"
    metric = target.maximise if is_strong else "clip_f1"
    return f"the highest {metric}", metric


def _check(
    model: str | os.PathLike[str] | Checkpoint | None,
    output: str | os.PathLike[str] | None,
    update: str | os.PathLike[str] | None,
    calibration: str | None,
    plot: str | os.PathLike[str] | None,
    n_folds: int,
) -> None:
    """Refuse arguments that do not fit together."""
    if n_folds < MIN_FOLDS:
        raise UsageError(f"expected {MIN_FOLDS} folds or more, got {n_folds}")
    if plot is not None and calibration is None:
        raise UsageError("a reliability diagram is one of a calibration: give --calibrate too")
    for path in (output, update, plot):
        if path is not None and os.path.isdir(path):
            raise UsageError(f"{printable(os.fspath(path))} is a folder: name a file in it")
    if update is None:
        return
    if calibration is not None:
        raise UsageError(
            "a checkpoint holds no calibration: write thresholds with --output instead of --update"
        )
    if isinstance(model, Checkpoint):
        return
    own = checkpoint_files(find_model(model))
    if os.path.realpath(own[0]) == os.path.realpath(checkpoint_files(update)[0]):
        raise UsageError(
            f"--update {printable(os.fspath(update))} is the model itself: give another name"
        )


def _write(
    result: TuneResult,
    model: str | os.PathLike[str] | Checkpoint | None,
    spec: ModelSpec,
    clips: Sequence[Clip],
    output: str | os.PathLike[str] | None,
    update: str | os.PathLike[str] | None,
    plot: str | os.PathLike[str] | None,
    *,
    is_strong: bool,
) -> None:
    """Write what was asked for."""
    if update is not None:
        checkpoint = model if isinstance(model, Checkpoint) else load_model(model)
        tuned = result.post_processing.apply(spec.post_processing, spec.labels)
        path, _ = checkpoint_files(update)
        save_checkpoint(dataclasses.replace(checkpoint, post_processing=tuned), path)
    if output is not None:
        name = model.path if isinstance(model, Checkpoint) else model_name(model or DEFAULT_ALIAS)
        write_post_processing(output, result.post_processing, result.comments(name))
    found = result.calibration
    if plot is None or found is None:
        return
    if found.before is None or found.after is None:
        _log.warning(
            "%s: not drawn: no class has %d labelled events in %d clips, so that nothing was "
            "calibrated",
            printable(os.fspath(plot)), MIN_EVENTS, len(clips),
        )  # fmt: skip
        return
    unit = "frames" if is_strong else "clips"
    plot_reliability(found.before, found.after, plot, unit)
