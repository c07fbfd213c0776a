"""Name the labels of a collection by the classes of AudioSet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sed.errors import TableError
from sed.text import near
from train.data.clips import Clip
from train.distill.classes import MappedLabel, read_label_map


def map_labels(clips: Sequence[Clip], collection: str) -> list[Clip]:
    """Return clips with the names of classes as labels.

    Each knows the classes about which its labels say nothing. A label that no class fits is left
    out.

    Parameters
    ----------
    clips
        Clips with the labels of the collection.
    collection
        See `read_label_map`.

    Raises
    ------
    UsageError
        If there is no map of that collection.
    TableError
        If a clip has a label that the map does not have.
    """
    labels = read_label_map(collection)
    return [_mapped(clip, labels) for clip in clips]


def _mapped(clip: Clip, labels: Mapping[str, MappedLabel]) -> Clip:
    events = clip.events
    for label in (*clip.labels, *clip.secondary, *(event.label for event in events or ())):
        if label not in labels:
            raise TableError(
                f"{clip.path}: the map of labels has no {label!r}. {near(label, list(labels))}"
            )
    named = [labels[label] for label in clip.labels]
    if events is not None:
        named += [labels[event.label] for event in events]
        events = tuple(
            dataclasses.replace(event, label=name)
            for event in events
            if (name := labels[event.label].name)
        )
    secondary = [labels[label] for label in clip.secondary]
    return dataclasses.replace(
        clip,
        labels=tuple(one.name for one in named[: len(clip.labels)] if one.name),
        secondary=tuple(one.name for one in secondary if one.name),
        events=events,
        unknown=tuple(sorted({name for one in named + secondary for name in one.related})),
    )
