"""The hierarchy of the classes of a model: a dog is an animal, a siren is an alarm."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sed.errors import SedError, UsageError
from sed.files import parse_json
from sed.text import near, printable


@dataclass(frozen=True)
class Hierarchy:
    """Which classes of a model belong to which.

    Attributes
    ----------
    labels
        Names of the classes of the model, in its order.
    parents
        Of each class the names of its direct parents, the main one first. A parent is another
        class of the model, or a kind: a name that is no class and has no parents itself, such as
        ``animal``.

    Raises
    ------
    ValueError
        If a class is among its own ancestors.
    """

    labels: tuple[str, ...]
    parents: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        """Refuse circles."""
        for label in self.labels:
            if label in self.ancestors(label):
                raise ValueError(f"the class {label!r} is among its own ancestors")

    @classmethod
    def from_dict(cls, labels: Iterable[str], parents: Mapping[str, Any]) -> Hierarchy:
        """Return the hierarchy of these classes.

        Parameters
        ----------
        labels
            Names of the classes of the model, in its order.
        parents
            Names of the direct parents, a list or a single name, by class; classes without
            parents may be left out.

        Raises
        ------
        ValueError
            If `parents` names a class that the model does not have, or has a circle.
        """
        labels = tuple(labels)
        for name in parents:
            if name not in labels:
                raise ValueError(
                    f"the hierarchy gives parents to {name!r}, which is no class of the model. "
                    f"{near(name, labels)}"
                )
        return cls(labels, tuple(_names(parents.get(label, ()), label) for label in labels))

    def as_dict(self) -> dict[str, list[str]]:
        """Return the parents of the classes that have any, as plain values for JSON."""
        pairs = zip(self.labels, self.parents, strict=True)
        return {label: list(parents) for label, parents in pairs if parents}

    def with_labels(self, labels: Iterable[str]) -> Hierarchy:
        """Return the hierarchy of a model with other classes; new ones have no parents."""
        labels = tuple(labels)
        return Hierarchy(labels, tuple(self._parents.get(label, ()) for label in labels))

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return the classes and kinds above a class: its parents, their parents, and so on."""
        found: dict[str, None] = {}
        new = list(self._parents.get(name, ()))
        while new:
            parent = new.pop(0)
            if parent not in found:
                found[parent] = None
                new += self._parents.get(parent, ())
        return tuple(found)

    def descendants(self, name: str) -> tuple[str, ...]:
        """Return the classes below a class or a kind, in the order of the model."""
        return self._descendants.get(name, ())

    def kinds_of(self, label: str) -> tuple[str, ...]:
        """Return the ancestors of a class that have no parents; the class itself if it has none."""
        found = tuple(name for name in self.ancestors(label) if not self._parents.get(name))
        return found or (label,)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """All that has no parents: kinds, and classes that belong to none."""
        return tuple(dict.fromkeys(kind for label in self.labels for kind in self.kinds_of(label)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What can be selected: classes, then kinds that are no classes."""
        return tuple(dict.fromkeys([*self.labels, *self.kinds]))

    def branch(self, name: str) -> tuple[str, ...]:
        """Return a class with all its descendants, or the descendants of a kind."""
        return (*(name,) * (name in self._parents), *self.descendants(name))

    def ancestor_numbers(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        """Return of each of these labels the places of its ancestors among them."""
        place = {label: number for number, label in enumerate(labels)}
        return [
            tuple(place[name] for name in self.ancestors(label) if name in place)
            for label in labels
        ]

    @cached_property
    def _parents(self) -> dict[str, tuple[str, ...]]:
        return dict(zip(self.labels, self.parents, strict=True))

    @cached_property
    def _descendants(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for label in self.labels:
            for name in self.ancestors(label):
                found.setdefault(name, []).append(label)
        return {name: tuple(labels) for name, labels in found.items()}


def read_hierarchy(path: str, labels: Iterable[str]) -> Hierarchy | None:
    """Read the hierarchy of a model from a file.

    Parameters
    ----------
    path
        JSON or TOML with the parents by class: ``dog = ["pet", "animal"]`` or ``dog = "animal"``.
        Empty for none.
    labels
        Names of the classes of the model, in its order.

    Raises
    ------
    SedError
        If the file cannot be read.
    UsageError
        If it is no such table, names a class that the model does not have, or has a circle.
    """
    if not path:
        return None
    name = printable(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise SedError(f"{name}: cannot read the hierarchy: {error.strerror}.") from error
    try:
        values = tomllib.loads(raw.decode()) if path.endswith(".toml") else parse_json(raw)
        if not isinstance(values, dict):
            raise ValueError('expected a table such as {"dog": ["animal"]}')
        return Hierarchy.from_dict(labels, values)
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def choose_classes(
    labels: Sequence[str], names: Sequence[str], hierarchy: Hierarchy | None = None
) -> list[int]:
    """Return the numbers of the requested classes; of all classes if none is requested.

    Parameters
    ----------
    labels
        Names of the classes of the model.
    names
        Classes, each of which stands for itself and its descendants, and kinds.
    hierarchy
        That of the model, None if it has none.

    Raises
    ------
    UsageError
        If the model has no such class or kind.
    """
    known = labels if hierarchy is None else hierarchy.names
    place = {label: number for number, label in enumerate(labels)}
    chosen: dict[int, None] = {}
    for name in names:
        if name not in known:
            raise UsageError(f"the model has no class {name!r}. {near(name, known)}")
        branch = (name,) if hierarchy is None else hierarchy.branch(name)
        chosen |= dict.fromkeys(place[label] for label in branch)
    return list(chosen) or list(range(len(labels)))


def _names(value: Any, label: str) -> tuple[str, ...]:
    """Return the parents of a class, given as a list or as one name."""
    names = (value,) if isinstance(value, str) else tuple(_strings(value, label))
    return tuple(dict.fromkeys(names))


def _strings(value: Any, label: str) -> Iterator[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"the parents of {label!r}: expected a list of names, got {value!r}")
    yield from value
