"""Small random events, and metrics of them written down as they are defined: slow and plain."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
from hypothesis import strategies as st

from sed.events.event_table import EventTable
from sed.events.scoring.reference import align

LABELS = ("dog", "cat", "owl")
SECONDS = {"a.wav": 8.0, "b.wav": 6.0}


SEEDS = st.integers(0, 2**32 - 1)


def draw_table(seed, *, grid=8, overlaps=True, labels=LABELS, max_events=5):
    """Return random events; times are multiples of 1/grid s, many of them exactly at a limit."""
    rng = np.random.default_rng(seed)
    rows = []
    for file, seconds in SECONDS.items():
        for label in labels:
            n = rng.integers(0, max_events + 1)
            edges = rng.choice(int(seconds * grid) + 1, 2 * n, replace=overlaps)
            pairs = np.sort(edges.reshape(n, 2)) if overlaps else np.sort(edges).reshape(n, 2)
            rows += [(file, label, a / grid, b / grid) for a, b in pairs.tolist() if a < b]
    order = rng.permutation(len(rows))
    score = rng.choice([0.1, 0.3, 0.5, 0.9], len(rows))
    return table_of([rows[i] for i in order], score)


def table_of(rows, score=None):
    """Return the table of rows of file, label, onset and offset."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    return EventTable.of_columns(*columns, score)


def jittered(table, seed):
    """Return events whose times have all digits, which no rounding brings to a limit."""
    rng = np.random.default_rng(seed)
    shift = rng.uniform(0.001, 0.02, (2, len(table)))
    rows = zip(table.events(), *shift, strict=True)
    return table_of([(e.file, e.label, e.onset + a, e.offset - b) for e, a, b in rows], table.score)


def with_points(table, seed):
    """Return events, some of which end where they begin."""
    is_point = np.random.default_rng(seed).random(len(table)) < 0.1
    return dataclasses.replace(table, offset=np.where(is_point, table.onset, table.offset))


def aligned(truth, *predictions):
    """Return the reference and the detections of tables."""
    reference, found = align(truth, predictions, SECONDS)
    return reference, *found


def by_group(events):
    """Return the numbers of the events of each recording and class."""
    groups = {}
    for i, key in enumerate(zip(events.file.tolist(), events.label.tolist(), strict=True)):
        groups.setdefault(key, []).append(i)
    return groups


def largest_matching(fits):
    """Return the size of the largest matching of a table of booleans, by trying all."""
    if not len(fits):
        return 0
    best = largest_matching(fits[1:])
    for j in np.flatnonzero(fits[0]):
        best = max(best, 1 + largest_matching(np.delete(fits[1:], j, axis=1)))
    return best


def shared(a, b):
    """Return how many seconds two events, each an onset and an offset, have in common."""
    return max(Fraction(0), min(a[1], b[1]) - max(a[0], b[0]))


def intersection_counts(reference, found, config):
    """Return true and false positives of each class and its cross-triggers, by the definitions."""
    n = len(reference.labels)
    hits, false, cross = np.zeros(n, int), np.zeros(n, int), np.zeros((n, n), int)
    true, detected = spans(reference.events), spans(found)
    relevant = []
    # Fractions, since many shares are exactly at a limit.
    for file, label, span in detected:
        length = span[1] - span[0]
        inside = [Fraction(0)] * n
        for other_file, other, event in true:
            if file == other_file:
                inside[other] += shared(span, event) / length
        if inside[label] >= config.dtc:
            relevant.append((file, label, span))
            continue
        false[label] += 1
        for other in set(range(n)) - {label}:
            cross[label, other] += inside[other] >= config.cttc
    for file, label, event in true:
        covered = sum(
            shared(event, span) for other, own, span in relevant if (other, own) == (file, label)
        )
        hits[label] += covered / (event[1] - event[0]) >= config.gtc
    return hits, false, cross


def spans(events):
    """Return the recording, the class, and onset and offset of each event."""
    columns = events.file, events.label, events.onset, events.offset
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(file, label, (Fraction(a), Fraction(b))) for file, label, a, b in rows]


def sed_eval():
    """Return the package of that name, without the one that it imports and does not need."""
    if importlib.util.find_spec("sed_eval") is None:
        pytest.skip("needs sed_eval: pip install --no-deps sed_eval")
    if "dcase_util" not in sys.modules and importlib.util.find_spec("dcase_util") is None:
        sys.modules["dcase_util"] = _containers()
    return importlib.import_module("sed_eval")


class _Rows(list):
    """What sed_eval takes of a `MetaDataContainer`."""

    @property
    def unique_files(self):
        return sorted({row["filename"] for row in self})

    @property
    def max_offset(self):
        return max((row["offset"] for row in self), default=0)

    def filter(self, event_label):
        return _Rows(row for row in self if row["event_label"] == event_label)


def _containers():
    module, ui = ModuleType("dcase_util"), ModuleType("ui")
    module.containers, module.ui = ModuleType("containers"), ui
    module.containers.MetaDataContainer = _Rows
    ui.FancyStringifier = object
    return module


def rows_of(table, file):
    """Return the events of a recording as sed_eval takes them."""
    return [
        {"filename": file, "onset": e.onset, "offset": e.offset, "event_label": e.label}
        for e in table.events()
        if e.file == file
    ]
