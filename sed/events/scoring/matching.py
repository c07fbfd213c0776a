"""Match events one to one, with as many pairs as there can be, and those that `sed_eval` takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sed.events.scoring.overlaps import Pairs
from sed.events.scoring.reference import Ints


def one_to_one(pairs: Pairs) -> Pairs:
    """Return as many pairs as can be in which each event occurs once (Hopcroft and Karp, 1973).

    There are often several such matchings. This is the one of `sed_eval`, which decides what is
    left over for substitutions: it looks at events in the order of their rows.
    """
    order = np.lexsort((pairs.found, pairs.true))
    found, true = pairs.found[order], pairs.true[order]
    n_of_found, n_of_true = _occurrences(found), _occurrences(true)
    # Most events need no search: they fit one other, or are all that several others fit.
    around_true = _all_alone(true, n_of_found)
    around_found = _all_alone(found, n_of_true) & ~around_true
    easy = np.zeros(len(found), bool)
    easy[_first_of_each(true, around_true)] = True
    easy[_first_of_each(found, around_found)] = True
    hard = ~(around_true | around_found)
    rest = _matching(found[hard].tolist(), true[hard].tolist())
    return Pairs(
        np.concatenate([found[easy], np.array([*rest.values()], np.int64)]),
        np.concatenate([true[easy], np.array([*rest], np.int64)]),
    )


def _occurrences(numbers: Ints) -> Ints:
    """Return how often each number occurs."""
    counts: Ints = np.bincount(numbers)[numbers] if len(numbers) else numbers
    return counts


def _all_alone(centre: Ints, n_of_partner: Ints) -> NDArray[np.bool_]:
    """Return the pairs of events all of whose partners have no other one."""
    if not len(centre):
        return np.zeros(0, bool)
    n_shared = np.bincount(centre, n_of_partner > 1)
    alone: NDArray[np.bool_] = n_shared[centre] == 0
    return alone


def _first_of_each(numbers: Ints, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the place of the first of the chosen pairs of each number."""
    places = np.flatnonzero(chosen)
    return places[np.unique(numbers[places], return_index=True)[1]]


def _matching(found: list[int], true: list[int]) -> dict[int, int]:
    """Return the detection of each matched reference event."""
    graph: dict[int, list[int]] = {}
    for detection, event in zip(found, true, strict=True):
        graph.setdefault(detection, []).append(event)
    matching: dict[int, int] = {}
    for detection, events in graph.items():
        free = next((event for event in events if event not in matching), None)
        if free is not None:
            matching[free] = detection
    while _augment(graph, matching):
        pass
    return matching


def _augment(graph: dict[int, list[int]], matching: dict[int, int]) -> bool:
    """Lengthen a matching along the shortest alternating paths; return whether there were any."""
    matched = {*matching.values()}
    # The event through which each detection was reached; None for those without a partner.
    before: dict[int, int | None] = {found: None for found in graph if found not in matched}
    reached: dict[int, list[int]] = {}
    layer = [*before]
    ends: list[int] = []
    while layer and not ends:
        new: dict[int, list[int]] = {}
        for found in layer:
            for true in graph[found]:
                if true not in reached:
                    new.setdefault(true, []).append(found)
        reached |= new
        layer = [matching[true] for true in new if true in matching]
        before |= {matching[true]: true for true in new if true in matching}
        ends = [true for true in new if true not in matching]
    for end in ends:
        _follow(end, matching, before, reached)
    return bool(ends)


def _follow(
    end: int,
    matching: dict[int, int],
    before: dict[int, int | None],
    reached: dict[int, list[int]],
) -> None:
    """Match an event along a path back to a detection without a partner, if one is left."""
    path: list[tuple[int, int]] = []
    # A stack, since paths may be longer than Python's.
    open_ends: list[tuple[int, Iterator[int]]] = [(end, iter(reached.pop(end, ())))]
    while open_ends:
        true, detections = open_ends[-1]
        found = next((found for found in detections if found in before), None)
        if found is None:
            open_ends.pop()
            if path:
                path.pop()
            continue
        path.append((true, found))
        previous = before.pop(found)
        if previous is None:
            matching.update(path)
            return
        open_ends.append((previous, iter(reached.pop(previous, ()))))
