"""Write the page docs/quality.md."""

from __future__ import annotations

from benchmarks.store import NOT_MEASURED, Results, read

NOT_POSSIBLE = "–"
QUANTILES = (0.25, 0.5, 0.75, 0.9)
SCORES = ("highest", "mean")
N_EVERYDAY = 50  # a model of more classes is compared with its teachers
CLIPS = {
    "kitchen20": "Kitchen20 (clips of the 12 classes that AudioSet has)",
    "sesa": "SESA, training part (explosion, gunshot, siren; casual)",
    "esc50": "ESC-50, fold 1 (clips of the 47 categories that AudioSet has)",
}


def report() -> str:
    """Return the page."""
    results = read("quality")
    parts = [
        "# How well do the models name and find sounds?",
        "Written by `benchmarks/pages.py` from `docs/results/`; do not edit.",
        "`python -m benchmarks.quality.figures`",
        NOT_MEASURED if results is None else tables(results),
        "## ESC-50's five folds",
        "`python -m benchmarks.quality.esc50_folds`",
        esc50_folds(),
    ]
    return "\n\n".join(parts) + "\n"


def tables(results: Results) -> str:
    """Return the tables of some models."""
    models = results["models"]
    own = [model for model in models if not model["is_teacher"]]
    parts = [
        goals(models),
        clips(models),
        quiet(models),
        by_background(own),
        onsets(own),
        alone(own),
        results["machine"],
    ]
    return "\n\n".join(parts)


def row(*cells: object) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def header(*names: str) -> list[str]:
    """Return the first two lines of a table."""
    return [row(*names), "|" + "---|" * len(names)]


def number(value: float | None, digits: int = 2) -> str:
    """Return a number; a dash where there is none."""
    return NOT_POSSIBLE if value is None or value != value else f"{value:.{digits}f}"


def goals(models: list[Results]) -> str:
    """Return the table of what was wanted and what was reached."""
    lines = ["## Goals", "", *header("what", "goal", "measured", "")]
    teachers = [model for model in models if model["is_teacher"]]
    for model in models:
        if model["is_teacher"]:
            continue
        if model["classes"] > N_EVERYDAY and teachers:
            for name in ("kitchen20", "esc50"):
                best = max(average_precision(teacher, name) for teacher in teachers)
                what = f"{model['name']}: {CLIPS[name].split(',')[0].split(' (')[0]}, mAP"
                lines.append(goal(what, average_precision(model, name), best, "≥", 3))
        if has_scenes(model):
            own = model["parts"]["scenes quiet"]["own"]
            name = model["name"]
            lines += [
                goal(f"{name}: events found in quiet", own["found"], 0.85, "≥", 2),
                goal(f"{name}: false events a minute there", own["false_per_minute"], 0.7, "≤", 2),
                goal(f"{name}: median onset error, s", own["median_onset_error"], 0.12, "≤", 2),
                goal(f"{name}: frame, s", model["frame_seconds"], 0.16, "≤", 2),
            ]
    if (folds := read("esc50")) is not None:
        lines.append(goal("ESC-50, five folds: accuracy", folds["mean"]["last"], 0.94, "≥", 3))
    return "\n".join(lines)


def goal(what: str, value: float, wanted: float, sign: str, digits: int) -> str:
    """Return a row of the table of goals."""
    is_met = value >= wanted if sign == "≥" else value <= wanted
    cells = f"{sign} {wanted:.{digits}f}", f"{value:.{digits}f}", "met" if is_met else "**not met**"
    return row(what, *cells)


def average_precision(model: Results, collection: str) -> float:
    """Return the mean average precision on a collection, by the better of the two scores."""
    result = model["parts"][f"clips {collection}"]
    return max(float(result[score]) for score in SCORES)


def clips(models: list[Results]) -> str:
    """Return the table of clips."""
    lines = [
        "## Clips of collections that a model was not trained on",
        "",
        "Mean average precision over the classes of a collection that the model has, mapped by "
        "meaning (`train/distill/label_maps.csv`); clips of all its other classes are negative. "
        "The score of a clip is the highest frame, or the mean over its frames. The model of "
        "fifty classes was trained on the other folds of ESC-50; none has seen Kitchen20 or SESA.",
        "",
        *header("model", "collection", "classes", "clips", "highest frame", "mean of frames"),
    ]
    for model in models:
        for name, title in CLIPS.items():
            result = model["parts"].get(f"clips {name}")
            cells = (
                (result["classes"], result["clips"], *(number(result[k], 3) for k in SCORES))
                if result
                else ("none", *[NOT_POSSIBLE] * 3)
            )
            lines.append(row(model["name"], title, *cells))
    return "\n".join(lines)


def quiet(models: list[Results]) -> str:
    """Return the table of scenes in quiet."""
    some = next((m["parts"]["scenes quiet"]["own"] for m in models if has_scenes(m)), None)
    about = "" if some is None else f"{some['events']} events in {some['minutes']:.0f} minutes. "
    lines = [
        "## Events of scenes in quiet",
        "",
        f"{about}Scenes are built from clips of ESC-50's fold 1 that AudioSet has a class for, "
        "26 each, every fourth overlapping the one before, 26 to 36 dB above the noise of a quiet "
        "room. An event is found if a detection has its class, or one below it (a bark is a dog), "
        "and its onset within a second; found by kind if a detection of its kind, such as animal, "
        "is there. Each counts once. A detection that finds nothing is false, unless its class is "
        "above the true one or alike, so that the true label says nothing about it "
        "(`train/distill/label_maps.csv`), and that event lasts, or it describes the place "
        "(small_room). Threshold: the single one for all classes that finds most at 0.7 false "
        "events a minute or fewer.",
        "",
        *header(
            *("model", "settings", "found", "very class", "by kind", "false a minute"),
            *("related a minute", "F1", "median onset error"),
        ),
    ]
    for model in filter(has_scenes, models):
        scenes = model["parts"]["scenes quiet"]
        rows = {f"threshold {scenes['threshold']:g}": scenes["at_threshold"]}
        if not model["is_teacher"]:
            rows = {"its own": scenes["own"]} | rows
        for settings, result in rows.items():
            lines.append(row(model["name"], settings, *event_cells(result)))
    return "\n".join(lines)


def event_cells(result: Results) -> list[str]:
    """Return the cells about the events of some scenes."""
    shares = [f"{result[key]:.3f}" for key in ("found", "found_exactly", "found_by_kind")]
    return [
        *shares,
        number(result["false_per_minute"]),
        number(result["excused_per_minute"]),
        number(result["f1"], 3),
        f"{number(result['median_onset_error'])} s",
    ]


def has_scenes(model: Results) -> bool:
    """Return whether events of a model were measured."""
    return "scenes quiet" in model["parts"]


def by_background(models: list[Results]) -> str:
    """Return the table of all backgrounds."""
    lines = [
        "## Events before backgrounds",
        "",
        "With the model's own settings. Level: of the loudest tenth of a second of each clip above "
        "the mean of the background. Rain is clips of fold 1; the street is engines of fold 1 with "
        "pink noise that swells like passing cars; the music is synthetic, chords and a melody "
        "over drums, since there are no recordings of either. Classes that fit the background are "
        "not false. F1 (200 ms): the onset within 200 ms, the offset within 200 ms or a fifth of "
        "the length; F1 (onset): the onset within 0.5 s. PSDS 1 and 2 are DCASE's scenarios, "
        "from twenty single thresholds; detections of classes that are no category of "
        "ESC-50 cost nothing in them.",
        "",
        *header(
            *("model", "background", "level", "events", "found", "by kind", "false an hour"),
            *("F1 (200 ms)", "F1 (onset)", "PSDS 1", "PSDS 2", "median onset error"),
        ),
    ]
    for model in models:
        for name, scenes in model["parts"].items():
            kind, background, *level = name.split()
            if kind != "scenes":
                continue
            own = scenes["own"]
            cells = [
                *(f"{own[key]:.3f}" for key in ("found", "found_by_kind")),
                f"{own['false_per_minute'] * 60:.0f}",
                *(number(own[key], 3) for key in ("f1_collar", "f1_onset")),
                *(number(scenes.get(key), 3) for key in ("psds_1", "psds_2")),
                f"{number(own['median_onset_error'])} s",
            ]
            level_cell = f"{level[0]} dB" if level else "26 to 36 dB"
            lines.append(row(model["name"], background, level_cell, own["events"], *cells))
    return "\n".join(lines)


def onsets(models: list[Results]) -> str:
    """Return the table of onset errors."""
    lines = [
        "## Errors of onsets",
        "",
        "Of the events found in quiet scenes: how much the onset of the detection differs from the "
        "true one, and the median with its sign (negative is early).",
        "",
        *header("model", "frame", *(f"{share:.0%} within" for share in QUANTILES), "median"),
    ]
    for model in filter(has_scenes, models):
        own = model["parts"]["scenes quiet"]["own"]
        errors = own["onset_error_quantiles"] or [None] * len(QUANTILES)
        cells = [f"{number(error)} s" for error in errors]
        frame = f"{model['frame_seconds'] * 1000:.0f} ms"
        signed = own["median_signed_onset_error"]
        median = NOT_POSSIBLE if signed is None else f"{signed:+.2f} s"
        lines.append(row(model["name"], frame, *cells, median))
    return "\n".join(lines)


def alone(models: list[Results]) -> str:
    """Return the table of hours without events."""
    lines = [
        "## Hours without events",
        "",
        "False events in an hour of one sound, with the model's own settings. Silence is the noise "
        "of microphones: white, pink and brown noise at -80 to -50 dB, a quiet room, some with "
        "mains hum. Rain and wind are clips of fold 1 with cross-fades, speech is spoken digits of "
        "six voices. Classes that fit the sound are not false. Fifty-class models have no class "
        "for speech: all that they find in it is false.",
        "",
        *header("model", "sound", "false events an hour", "the most frequent"),
    ]
    for model in models:
        for name, result in model["parts"].items():
            if not name.startswith("alone"):
                continue
            frequent = [f"{label} {count}" for label, count in result["false"].items()]
            lines.append(
                row(
                    model["name"],
                    name.split()[1],
                    f"{result['false_per_hour']:.0f}",
                    ", ".join(frequent[:5]) or "none",
                )
            )
    return "\n".join(lines)


def esc50_folds() -> str:
    """Return the mean of the five folds."""
    results = read("esc50")
    if results is None:
        return NOT_MEASURED
    mean = results["mean"]
    return (
        f"The recipe `esc50`, mean of the five official folds: {mean['accuracy']:.4f} at the best "
        f"epoch, {mean['last']:.4f} at the last, {mean['tta']:.4f} and {mean['last_tta']:.4f} with "
        "four passes. Each fold is in [training](results.md)."
    )
