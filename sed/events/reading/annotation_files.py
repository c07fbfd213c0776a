"""Find the annotations among files: by their names, their columns and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sed.errors import TableError
from sed.events.reading.annotations import (
    Annotation,
    Annotations,
    is_annotation,
    is_empty,
    names_recordings,
    read_annotations,
)
from sed.events.reading.audio_files import (
    ANNOTATION_SUFFIXES,
    Recordings,
    files_below,
    is_hidden,
    words_of,
)
from sed.text import printable

_MULTI = {"selections", "raven", "birdnet"}  # of annotations that are never of something else


def is_annotated(folder: Path) -> bool:
    """Return whether recordings in a folder, or in folders below it, have annotations.

    Empty files alone are annotations only where there are no folders that may be classes.
    """
    files = files_below(folder)
    recordings = Recordings(files)
    found = (
        file
        for file in files
        if _is_visible(file) and _may_be_annotation(file, recordings) and is_annotation(file)
    )
    is_flat = all(file.parent == folder for file in recordings.files)
    return any(is_flat or not is_empty(file) for file in found)


def annotation_files(
    files: Sequence[Path], recordings: Recordings
) -> dict[Path, Annotations | str]:
    """Return the annotations among files: beside a recording, or of a kind that names its own.

    Where one cannot be read, the reason takes its place.
    """
    found: dict[Path, Annotations | str] = {}
    for file in filter(_is_visible, files):
        # A text beside a recording is an annotation, and a faulty one if it does not look so.
        is_text = file.suffix.lower() == ".txt" and bool(recordings.beside(file))
        if is_text or (_may_be_annotation(file, recordings) and is_annotation(file)):
            try:
                found[file] = read_annotations(file)
            except TableError as error:
                found[file] = str(error).removeprefix(f"{printable(str(file))}: ")
    return found


def choose_annotation(
    several: Mapping[Path, Sequence[Annotation]],
) -> tuple[Path, Path | None]:
    """Return which of several annotations of one recording to read, and another as good, if any.

    That of people goes before that of a program, which has a name of BirdNET or scores. Of those
    with the same events, it is the first.

    Parameters
    ----------
    several
        The rows about the recording in each file.
    """

    def rank(file: Path) -> tuple[bool, bool]:
        scores = [row.score.strip() for row in several[file]]
        return "birdnet" in words_of(file), bool(scores) and all(scores)

    first, *others = sorted(several, key=rank)
    for other in others:
        if rank(other) == rank(first) and not _are_same(several[first], several[other]):
            return first, other
    return first, None


def _are_same(rows: Sequence[Annotation], others: Sequence[Annotation]) -> bool:
    """Return whether rows have the same times and labels as others."""
    try:
        own, theirs = ({(*row.times(), row.label.strip()) for row in x} for x in (rows, others))
    except ValueError:  # which is reported when they are read
        return False
    return own == theirs


def _is_visible(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in ANNOTATION_SUFFIXES and not is_hidden(file.name) and file.is_file()


def _may_be_annotation(file: Path, recordings: Recordings) -> bool:
    """Return whether a file is about a recording by its name, or by a column of recordings."""
    return bool(recordings.about(file) or words_of(file) & _MULTI or names_recordings(file))
