"""Write the tables of accuracy for docs/performance.md and the README."""

from __future__ import annotations

from typing import Any

from benchmarks.store import NOT_MEASURED, Results, read
from sed.models.registry import DEFAULT_MODEL

NO_DATA = "not measured: no data folder"


def report() -> str:
    """Return the tables of clips and events."""
    results = read("accuracy")
    return NOT_MEASURED if results is None else tables(results)


def tables(results: Results) -> str:
    """Return the tables of clips and events of some models."""
    lines = [
        "| model | clips of fold 1 | accuracy | padded cmAP (5) | padded cmAP (3) |",
        "|---|---|---|---|---|",
    ]
    for model in results["models"]:
        clips = model["clips"]
        cells = f"{NO_DATA} | | | " if clips is None else clip_cells(clips)
        lines.append(f"| {model['name']} | {cells} |")
    lines += [
        "",
        "An event is found if its label is right and its onset within one second; each event "
        "counts once. Detections of related classes do not count; see [quality](quality.md). Of a "
        "model of AudioSet's classes, clips and events count that it has a class for.",
        "",
        "| model | recording | events | found | false per minute | F1 |",
        "|---|---|---|---|---|---|",
    ]
    for model in results["models"]:
        for row in model["recordings"]:
            lines.append(f"| {model['name']} | {row['name']} | {event_cells(row)} |")
    return "\n".join([*lines, "", results["machine"]])


def modes_report() -> str:
    """Return the table of inference modes."""
    results = read("accuracy")
    if results is None:
        return NOT_MEASURED
    modes = results["modes"]
    lines = [
        f"The default model, {modes['engine']}; {modes['n_scenes']} random scenes of fold 1. "
        "Agreement: the correlation of all frame probabilities of the example with those of "
        "windows a second apart.",
        "",
        "| mode | events | found | false per minute | F1 | agreement |",
        "|---|---|---|---|---|---|",
    ]
    for row in modes["rows"]:
        cells = event_cells(row) if "recall" in row else f"{NO_DATA} | | | "
        lines.append(f"| {row['name']} | {cells} | {row['agreement']:.4f} |")
    return "\n".join([*lines, "", results["machine"]])


def clip_cells(clips: dict[str, float]) -> str:
    """Return the cells of a table about clips."""
    names = ("accuracy", "padded_cmap_5", "padded_cmap_3")
    values = " | ".join(f"{clips[name]:.4f}" for name in names)
    return f"{clips['clips']} | {values}"


def event_cells(row: dict[str, Any]) -> str:
    """Return the cells of a table about events."""
    values = f"{row['recall']:.0%} | {row['false_per_minute']:.2f} | {row['f1']:.2f}"
    return f"{row['n_events']} | {values}"


def readme_rows() -> list[tuple[str, str]]:
    """Return the rows for the table in the README."""
    results = read("accuracy")
    if results is None:
        return []
    # Results of before the models had names call the default model default.
    named = {model["name"]: model for model in results["models"]}
    model = named.get(DEFAULT_MODEL) or results["models"][0]
    rows = []
    if clips := model["clips"]:
        what = f"default model, {clips['clips']} clips of ESC-50 that it was not trained on"
        values = f"accuracy {clips['accuracy']:.3f}, padded cmAP {clips['padded_cmap_5']:.3f}"
        rows.append((what, values))
        scenes = model["recordings"][-1]
        what = f"{scenes['n_events']} events of {scenes['name']}"
        values = (
            f"{scenes['recall']:.0%} found (label right, onset within 1 s), "
            f"{scenes['false_per_minute']:.2f} false per minute"
        )
        rows.append((what, values))
    return rows
