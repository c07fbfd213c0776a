"""Measure how good models are at naming and finding sounds that they were not trained on.

    python -m benchmarks.quality.figures [--model NAME|FILE ...] [--quick]

Without --model the shipped models and their teachers are measured and saved as
docs/results/quality.json; results of other models are printed as Markdown. Every part is kept in
runs/figures, with the recordings that were built for it, and is not measured again. --quick prints
what compares checkpoints: events of quiet scenes, and clips of three collections. Needs the data
folder beside the repository (or $SED_SHARED).
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from benchmarks.quality.figures import events, page
from benchmarks.quality.figures.matching import Tally
from benchmarks.quality.figures.parts import measured
from benchmarks.quality.figures.scene_sets import scene_set
from benchmarks.quality.figures.subjects import SedSubject, Subject
from benchmarks.quality.figures.teachers import teachers
from benchmarks.quality.figures.zero_shot import COLLECTIONS, zero_shot
from benchmarks.store import machine, save
from sed.models.registry import list_models

N_QUICK_SCENES = 12


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.figures")
    parser.add_argument("--model", action="append", help="name or path of a checkpoint")
    parser.add_argument("--quick", action="store_true", help="print a short comparison")
    arguments = parser.parse_args()
    shipped = [entry.name for entry in list_models() if entry.is_shipped]
    subjects = (SedSubject(model) for model in arguments.model or shipped)
    if arguments.quick:
        for subject in subjects:
            begin = time.perf_counter()
            print(comparison(subject), flush=True)
            print(f"({time.perf_counter() - begin:.0f} s)\n", flush=True)
        return
    results = [measured(subject, report) for subject in subjects]
    if arguments.model:
        print(page.tables({"models": results, "machine": machine()}))
        return
    results += [measured(teacher, report) for teacher in teachers()]
    save("quality", {"models": results})
    print("now: python -m benchmarks.pages")


def report(part: str) -> None:
    """Show which part is measured."""
    print(f"{time.strftime('%H:%M:%S')} {part}", file=sys.stderr, flush=True)


def comparison(subject: Subject) -> str:
    """Return found and false events of quiet scenes and three mean average precisions."""
    lines = [
        f"{subject.name}: {len(subject.vocabulary.labels)} classes, "
        f"frames of {subject.frame_seconds * 1000:.0f} ms"
    ]
    scenes = scene_set("quiet", None, N_QUICK_SCENES)
    results = events.measure(subject, scenes)
    own, swept = results.tally, results.tallies
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
        f"median onset error {tally.median_onset_error:.3f} s "
        f"({np.median(tally.onset_errors or [np.nan]):+.3f} with its sign)"
    )


def words(tally: Tally, which: str) -> str:
    """Return the most frequent false or missed classes."""
    counts = events.summary(tally)[which]
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


if __name__ == "__main__":
    main()
