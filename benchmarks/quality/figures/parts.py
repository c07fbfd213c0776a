"""Measure a model in parts, each of which is kept, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.quality.figures import alone, events, scene_sets
from benchmarks.quality.figures.clips import CACHE
from benchmarks.quality.figures.subjects import Subject
from benchmarks.quality.figures.zero_shot import COLLECTIONS, zero_shot
from sed.files import written_whole

N_SCENES = 8  # of each background and level
N_QUIET_SCENES = 20
VERSION = 1  # raised when something is measured in another way
BACKGROUNDS = ("rain", "street", "music")

Results = dict[str, Any]


def parts(subject: Subject) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each part, and what measures it."""
    for name in COLLECTIONS:
        yield f"clips {name}", partial(zero_shot, subject, name)
    if not subject.has_events:
        return
    yield "scenes quiet", partial(scenes, subject, "quiet", None)
    if subject.is_teacher:
        return
    for background in BACKGROUNDS:
        for snr_db in scene_sets.SNRS_DB:
            yield f"scenes {background} {snr_db}", partial(scenes, subject, background, snr_db)
    for sound in alone.SOUNDS:
        yield f"alone {sound}", partial(alone.alone, subject, sound)


def scenes(subject: Subject, background: str, snr_db: int | None) -> Results:
    """Return the figures of scenes of one background and level."""
    n_scenes = N_QUIET_SCENES if snr_db is None else N_SCENES
    made = scene_sets.scene_set(background, snr_db, n_scenes)
    return events.measure(subject, made).as_dict()


def measured(subject: Subject, report: Callable[[str], None]) -> Results:
    """Return the figures of all parts of a model, from the cache where they were measured before.

    Parameters
    ----------
    subject
        The model.
    report
        Called with the name of each part before it is measured.
    """
    text = json.dumps([VERSION, scene_sets.VERSION, subject.identity], sort_keys=True)
    folder = CACHE / "results" / hashlib.sha256(text.encode()).hexdigest()[:16]
    results: Results = {}
    for name, measure in parts(subject):
        path = folder / f"{name.replace(' ', '-')}.json"
        if not path.exists():
            report(name)
            text = json.dumps(measure())
            with written_whole(path) as part:
                part.write_text(text, "utf-8")
        results[name] = json.loads(path.read_text("utf-8"))
    return {
        "name": subject.name,
        "classes": len(subject.vocabulary.labels),
        "frame_seconds": subject.frame_seconds,
        "is_teacher": subject.is_teacher,
        "parts": results,
    }
