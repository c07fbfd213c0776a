"""Relate the classes of a model to the categories of a collection of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality.figures.clips import same_sound

# AudioSet's classes for where something was recorded, and for sounds in general. They describe a
# whole recording and not an event in it, so that they are neither right nor false.
ENVIRONMENT = (
    "Inside, small room",
    "Inside, large room or hall",
    "Inside, public space",
    "Outside, urban or manmade",
    "Outside, rural or natural",
    "Reverberation",
    "Echo",
    "Environmental noise",
    "Field recording",
    "Sound effect",
)


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a model.

    Attributes
    ----------
    labels
        Names of the classes, in the order of the outputs.
    displayed
        Label of each AudioSet name; empty for a model of ESC-50's categories.
    parents
        Names of the direct parents of a class or kind, if the model has a hierarchy.
    """

    labels: tuple[str, ...]
    displayed: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of_checkpoint(cls, metadata: Mapping[str, Any]) -> Vocabulary:
        """Return the vocabulary of a checkpoint from its metadata."""
        audioset = metadata.get("audioset") or {}
        displayed = {entry["name"]: label for label, entry in audioset.items()}
        return cls(tuple(metadata["labels"]), displayed, metadata.get("hierarchy") or {})

    def label(self, collection: str, category: str) -> str | None:
        """Return the class with the meaning of a category; None if the model has none."""
        if self.displayed:
            return self.displayed.get(same_sound(collection).get(category, ""))
        return category if category in self.labels else None

    def ancestors(self, label: str) -> set[str]:
        """Return the parents of a class, and theirs."""
        found: set[str] = set()
        rest = list(self.parents.get(label, ()))
        while rest:
            name = rest.pop()
            if name not in found:
                found.add(name)
                rest += self.parents.get(name, ())
        return found

    def is_under(self, label: str, other: str) -> bool:
        """Return whether a class is another one or a kind of it."""
        return label == other or other in self.ancestors(label)

    def in_branch(self, label: str, other: str) -> bool:
        """Return whether one of two classes is the other or an ancestor of it."""
        return self.is_under(label, other) or self.is_under(other, label)

    def environment(self) -> set[str]:
        """Return the classes that describe a recording as a whole."""
        return {self.displayed[name] for name in ENVIRONMENT if name in self.displayed}

    def kinds(self, label: str) -> set[str]:
        """Return the kinds that a class belongs to: its ancestors without parents."""
        return {name for name in self.ancestors(label) if not self.parents.get(name)}
