"""Relate the classes of a model to the categories of a collection of clips.

The labels of a model are AudioSet's, by the short names of `train.distill.classes`, or ESC-50's
categories. The maps of labels there say which class a category is, and about which classes, those
above it or alike, it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from train.distill import classes

read_label_map = cache(classes.read_label_map)

# Classes for where something was recorded. They describe a whole recording and not an event in it,
# so that they are neither right nor false.
PLACES = (
    *("small_room", "large_room", "public_space", "outside_urban", "outside_rural"),
    *("reverberation", "echo", "field_recording", "silence"),
)


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a model.

    Attributes
    ----------
    labels
        Names of the classes, in the order of the outputs.
    """

    labels: tuple[str, ...]

    @cached_property
    def is_audioset(self) -> bool:
        """Whether the labels are those of AudioSet."""
        return {one.name for one in classes.read_classes()}.issuperset(self.labels)

    def label(self, collection: str, category: str) -> str | None:
        """Return the class with the meaning of a category; None if the model has none."""
        mapped = read_label_map(collection)[category].name
        if not self.is_audioset:
            # ESC-50's category with the same meaning.
            same = [m.label for m in read_label_map("esc50").values() if m.name == mapped]
            names = [category] if collection == "esc50" else same if mapped else []
            return next((name for name in names if name in self.labels), None)
        return mapped if mapped in self.labels else None

    def right(self, category: str) -> set[str]:
        """Return the classes that name an event of ESC-50: its own, and those below it.

        A bark is a dog. A class below is not right if another category of ESC-50 means it.
        """
        label = self.label("esc50", category)
        if label is None or not self.is_audioset:
            return set() if label is None else {label}
        related = read_label_map("esc50")[category].related
        return {label} | (classes.descendants(label) & related & set(self.labels))

    def related(self, category: str) -> set[str]:
        """Return the classes that are neither right nor false while an event of ESC-50 lasts.

        They are above its class or alike: the label says nothing about them.
        """
        label_map = read_label_map("esc50")
        related = label_map[category].related
        if not self.is_audioset:
            related = frozenset(m.label for m in label_map.values() if m.name in related)
        return (set(related) & set(self.labels)) - self.right(category)

    def of_kind(self, category: str) -> set[str]:
        """Return the classes of the same kind, such as animal, as a category of ESC-50."""
        kinds = self._kinds(read_label_map("esc50")[category].name)
        if self.is_audioset:
            return {label for label in self.labels if kinds & self._kinds(label)}
        mapped = read_label_map("esc50").values()
        return {m.label for m in mapped if m.name and kinds & self._kinds(m.name)}

    def categories(self, label: str) -> list[str]:
        """Return the categories of ESC-50 that a class is right for."""
        mapped = read_label_map("esc50").values()
        return [m.label for m in mapped if m.name and label in self.right(m.label)]

    def ambient(self, background: Sequence[str]) -> set[str]:
        """Return the classes that fit a background, given by names of AudioSet's classes.

        They are those below and above them; and, where a category of ESC-50 has the meaning, those
        that it says nothing about.
        """
        label_map = read_label_map("esc50").values()
        by_name = {m.name: m for m in label_map if m.name}
        fitting = set(PLACES)
        for name in background:
            fitting |= {name} | classes.descendants(name) | classes.ancestors(name)
            fitting |= by_name[name].related if name in by_name else set()
        if not self.is_audioset:
            fitting = {m.label for m in label_map if m.name in fitting}
        return fitting & set(self.labels)

    @staticmethod
    def _kinds(label: str | None) -> set[str]:
        """Return the kinds of a class: it and the names above it that have none above them."""
        names = {label, *classes.ancestors(label)} if label else set()
        return {name for name in names if not classes.ancestors(name)}
