"""The columns of tables of annotations, by which they are recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class AnnotationColumns:
    """The columns of a table of annotations, by their keys; of several the first that is filled.

    Attributes
    ----------
    needs
        Columns that identify the table.
    labels
        Columns of labels; one has to be there.
    onset
        The column of onsets, in seconds.
    offset, duration
        The column of offsets or that of durations.
    files
        Columns of file names.
    file_offset
        The column of the onset in the file.
    scores
        Columns of scores.
    """

    needs: tuple[str, ...]
    labels: tuple[str, ...]
    onset: str
    offset: str = ""
    duration: str = ""
    files: tuple[str, ...] = ()
    file_offset: str = ""
    scores: tuple[str, ...] = ("score", "confidence")


SPECIES_LABELS = ("common_name", "scientific_name")
KALEIDOSCOPE_LABELS = ("manual_id", *SPECIES_LABELS, "auto_id", "top1match")
# Words in the names that people give to columns of labels, and columns of Raven that hold others.
_LABEL_WORDS = ("label", "annot", "species", "class", "categor", "type", "call", "code", "tag")
_NO_LABELS = ("view", "channel", "selection")
_MEASURED = ("begin_", "end_", "delta_")
RAVEN_LABELS = ("label", "annotation", "species", "common_name", "species_code")
LAYOUTS = {
    "raven": AnnotationColumns(
        ("begin_time_(s)", "end_time_(s)"), RAVEN_LABELS, "begin_time_(s)", "end_time_(s)",
        files=("begin_file", "begin_path"), file_offset="file_offset_(s)",
    ),
    "birdnet": AnnotationColumns(
        ("start_(s)", "end_(s)"), SPECIES_LABELS, "start_(s)", "end_(s)",
        files=("file", "filepath", "begin_path"),
    ),
    "birdnet_r": AnnotationColumns(
        ("filepath", "start", "end"), SPECIES_LABELS, "start", "end", files=("filepath",)
    ),
    "kaleidoscope": AnnotationColumns(
        ("in_file", "offset", "duration"), KALEIDOSCOPE_LABELS,
        "offset", duration="duration", files=("in_file",),
    ),
    "opensoundscape": AnnotationColumns(
        ("audio_file", "start_time", "end_time"), ("annotation",), "start_time", "end_time",
        files=("audio_file",),
    ),
    "start_end": AnnotationColumns(
        ("file", "start_time", "end_time"), ("label", "annotation"), "start_time", "end_time",
        files=("file",),
    ),
    "audioset": AnnotationColumns(
        ("segment_id", "start_time_seconds", "end_time_seconds"), ("label",),
        "start_time_seconds", "end_time_seconds", files=("segment_id",),
    ),
    "strong": AnnotationColumns(
        ("filename", "onset", "offset"), ("event_label",), "onset", "offset", files=("filename",)
    ),
    "events": AnnotationColumns(
        ("file", "onset", "offset"), ("label",), "onset", "offset", files=("file",)
    ),
}  # fmt: skip


def layout_of(columns: Sequence[str]) -> str | None:
    """Return which of `LAYOUTS` a table with these columns has, or none."""
    for name, layout in LAYOUTS.items():
        # The labels of Raven may be in a column of any name.
        if {*layout.needs} <= {*columns} and (name == "raven" or {*layout.labels} & {*columns}):
            return name
    return None


def label_columns(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the columns of a selection table that may hold its labels, by their keys.

    They are those of text that Raven does not write itself; if there are several, those with a name
    such as Call Type.

    Parameters
    ----------
    columns
        All columns.
    rows
        The cells of each row.
    """
    texts = [
        name
        for name in dict.fromkeys(columns)
        if name
        and not (name in _NO_LABELS or name.startswith(_MEASURED) or "(" in name)
        and any(character.isalpha() for row in rows for character in row[name])
    ]
    likely = [name for name in texts if any(word in name for word in _LABEL_WORDS)]
    return likely if likely and len(texts) > 1 else texts
