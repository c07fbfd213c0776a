"""Compare checkpoints in two minutes."""

from __future__ import annotations

from benchmarks.quality.figures import events
from benchmarks.quality.figures.matching import Tally
from benchmarks.quality.figures.scene_sets import scene_set
from benchmarks.quality.figures.subjects import Subject
from benchmarks.quality.figures.zero_shot import COLLECTIONS, zero_shot

N_SCENES = 20


def report(subject: Subject) -> str:
    """Return found and false events of quiet scenes and three mean average precisions."""
    lines = [
        f"{subject.name}: {len(subject.vocabulary.labels)} classes, "
        f"frames of {subject.frame_seconds * 1000:.0f} ms"
    ]
    scenes = scene_set("quiet", None, N_SCENES)
    runs = [subject.run(scene.samples) for scene in scenes]
    own = events.compare(subject, scenes, runs)
    swept = events.sweep(subject, scenes, runs)
    threshold = events.best_threshold(swept)
    curve = (f"{t:g} {x.found:.2f} {x.false_per_minute:.1f}" for t, x in swept.items())
    lines += [
        f"quiet scenes: {own.n_true} events in {own.seconds / 60:.0f} minutes",
        f"  own settings    {figures(own)}",
        f"  threshold {threshold:4.2f}  {figures(swept[threshold])}",
        f"  threshold, found, false a minute: {', '.join(curve)}",
        f"  false, own settings: {words(own, 'false')}",
        f"  missed, own settings: {words(own, 'missed')}",
    ]
    for name in COLLECTIONS:
        result = zero_shot(subject, name)
        if result is None:
            lines.append(f"{name}: none of its classes")
            continue
        worst = sorted(result["each"].items(), key=lambda item: item[1])[:6]
        lines.append(
            f"{name}: mAP {result['highest']:.4f} highest frame, {result['mean']:.4f} mean of "
            f"frames, {result['clip']:.4f} whole clip ({result['classes']} classes, "
            f"{result['clips']} clips); lowest "
            + ", ".join(f"{category} {value:.2f}" for category, value in worst)
        )
    return "\n".join(lines)


def figures(tally: Tally) -> str:
    """Return what a line shows of some counts."""
    return (
        f"found {tally.found:.3f} (by kind {tally.found_by_kind:.3f}), "
        f"{tally.false_per_minute:.2f} false a minute "
        f"({tally.n_excused / tally.seconds * 60:.2f} more of related classes), F1 {tally.f1:.3f}, "
        f"median onset error {tally.median_onset_error:.3f} s"
    )


def words(tally: Tally, which: str) -> str:
    """Return the most frequent false or missed classes."""
    counts = events.summary(tally)[which]
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
