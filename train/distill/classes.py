"""The 521 classes of AudioSet that the general model has, and the labels of collections in them.

Their order, display names and ids are those of YAMNet's class map; the short names and the small
hierarchy are our own, after AudioSet's ontology (Gemmeke et al., "Audio Set: an ontology and
human-labeled dataset for audio events", ICASSP 2017).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy

CLASSES = Path(__file__).with_name("audioset_classes.csv")
LABEL_MAPS = Path(__file__).with_name("label_maps.csv")

# The kind whose classes (rooms, noise, radio) may be in any clip, whatever its label is.
BACKGROUND = "ambience"


@dataclass(frozen=True)
class AudioSetClass:
    """One class of AudioSet.

    Attributes
    ----------
    name
        The short name, such as `dog` or `car_horn`.
    audioset_name
        The display name in AudioSet, such as "Vehicle horn, car horn, honking".
    audioset_id
        The id in AudioSet, such as /m/0912c9.
    parents
        The names of the classes or kinds that it belongs to directly, the main one first; none if
        it is itself a kind.
    """

    name: str
    audioset_name: str
    audioset_id: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class MappedLabel:
    """What a label of a collection says about the classes of AudioSet.

    A clip with this label has its class, and nothing that is neither this class nor `related`.

    Attributes
    ----------
    label
        The label in the collection.
    name
        The class that fits best; None where no class fits.
    related
        The classes about which the label says nothing: ancestors and descendants of the class,
        those that sound alike or are often present too, and all of the background (rooms, noise).
    """

    label: str
    name: str | None
    related: frozenset[str]


@cache
def read_classes() -> tuple[AudioSetClass, ...]:
    """Return all classes, in the order of YAMNet's outputs."""
    return tuple(
        AudioSetClass(
            row["name"], row["audioset_name"], row["audioset_id"], tuple(row["parents"].split())
        )
        for row in _rows(CLASSES)
    )


@cache
def class_hierarchy() -> Hierarchy:
    """Return which class belongs to which."""
    classes = read_classes()
    return Hierarchy(tuple(c.name for c in classes), tuple(c.parents for c in classes))


def names_and_ids() -> dict[str, dict[str, str]]:
    """Return AudioSet's name and id of each class, as a checkpoint's metadata has them."""
    return {c.name: {"name": c.audioset_name, "id": c.audioset_id} for c in read_classes()}


@cache
def ancestors(name: str) -> frozenset[str]:
    """Return the classes and kinds above a class: parents, their parents, and so on."""
    return frozenset(class_hierarchy().ancestors(name))


@cache
def descendants(name: str) -> frozenset[str]:
    """Return the classes below a class or kind."""
    return frozenset(class_hierarchy().descendants(name))


def read_label_map(collection: str) -> Mapping[str, MappedLabel]:
    """Return what each label of a collection says.

    Parameters
    ----------
    collection
        `esc50`, `kitchen20`, `sesa` or `drone`.

    Raises
    ------
    UsageError
        If there is no map of that collection.
    """
    rows = [row for row in _rows(LABEL_MAPS) if row["collection"] == collection]
    if not rows:
        known = ", ".join(sorted({row["collection"] for row in _rows(LABEL_MAPS)}))
        raise UsageError(f"There is no map of the labels of {collection!r}; there are: {known}.")
    mapped = frozenset(row["name"] for row in rows if row["name"])
    return {
        row["label"]: MappedLabel(
            row["label"], row["name"] or None, _related(row["name"], row["related"], mapped)
        )
        for row in rows
    }


def _related(name: str, words: str, mapped: frozenset[str]) -> frozenset[str]:
    """Return the classes about which a label says nothing.

    Parameters
    ----------
    name
        The label's class, or "".
    words
        Names separated by spaces; `engine*` means `engine` and all below it, `*` all classes.
    mapped
        The classes of all labels of the collection. Those of other labels, and what is below them,
        are left out unless they are named or above the class: who chose one label decided against
        the others.
    """
    listed = {word for word in words.split() if not word.endswith("*")}
    above = ancestors(name)
    implied = {*descendants(name), *descendants(BACKGROUND)}
    for word in (word.removesuffix("*") for word in words.split() if word.endswith("*")):
        implied |= {word, *descendants(word)} if word else {*class_hierarchy().labels}
    for other in mapped - above - {name}:
        implied -= {other, *descendants(other)}
    return frozenset((listed | implied | (above & {*class_hierarchy().labels})) - {name})


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
