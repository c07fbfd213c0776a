"""Known table formats, recognised by their columns, and how each becomes clips.

===============  ==================================================================================
esc50            ``filename, fold, category``; also ``src_file`` and ``licence``
urbansound8k     ``slice_file_name, fsID, fold, class``; audio in ``audio/fold1`` and so on
birdclef         ``primary_label, filename``; also ``secondary_labels``, ``author``, ``license``
fsdkaggle2018    ``fname, label``, and ``manually_verified`` or ``usage``, which only tests have
index            ``file, label``, and all that `train.data.tables.write_index` writes
weak             ``filename, event_labels``: weak labels of DCASE, separated by commas
audioset         ``YTID, start_seconds, end_seconds, positive_labels``
audioset_strong  ``segment_id, start_time_seconds, end_time_seconds, label``
windows          ``file, start_time, end_time`` of OpenSoundscape, and a column per class
opensoundscape   its annotations: ``audio_file, start_time, end_time, annotation``
start_end        ``file, start_time, end_time, label`` (or annotation)
strong           ``filename, onset, offset, event_label``, or annotations beside recordings
events           ``file, onset, offset, label``, and no scores
raven            selection table, also that of BirdNET
birdnet          CSV of BirdNET; ``birdnet_r`` is its table for R
kaleidoscope     ``IN FILE, OFFSET, DURATION`` and ``MANUAL ID`` or ``AUTO ID``
folders          no table: a folder per class
===============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sed.errors import TableError
from sed.events.reading.annotation_files import is_annotated
from sed.events.reading.annotations import is_annotation
from sed.events.reading.audio_files import (
    Recordings,
    files_below,
    is_sound,
    table_finder,
)
from sed.events.reading.header import column_key, read_columns
from sed.events.reading.layouts import KALEIDOSCOPE_LABELS, SPECIES_LABELS
from sed.events.reading.table import log_once, read_text_table
from sed.events.reading.text_file import from_windows_1252, read_text_file
from sed.text import printable, some
from train.data.audioset import read_audioset
from train.data.clips import Clip
from train.data.csv_rows import RowErrors, refuse_errors, require
from train.data.row_formats import (
    Find,
    Row,
    birdclef_clip,
    esc50_clip,
    fsdkaggle2018_clip,
    index_clip,
    read_windows,
    urbansound8k_clip,
    weak_clip,
)
from train.data.strong import (
    STRONG_COLUMNS,
    is_beside_recording,
    read_annotated,
    read_strong,
)

_NO_HEADER = (".textgrid", ".svl")
_TABLES = (".csv", ".tsv")
_N_NEAR = 3  # formats named in the error for an unknown table
_DETECTION_COLUMNS = ("onset", "offset", "score")  # of events as sed detect writes them


@dataclass(frozen=True)
class TableFormat:
    """A table format: the columns that identify it, and the function that reads it."""

    read: Callable[[Path], list[Clip]]
    columns: tuple[str, ...] = ()  # all required; empty: not a table
    either: tuple[str, ...] = ()  # one of them is required too
    excluded: tuple[str, ...] = ()  # a table with all of these has another meaning

    @property
    def n_required(self) -> int:
        """Number of columns that it requires."""
        return len(self.columns) + bool(self.either)

    def lacks(self, header: tuple[str, ...]) -> list[str]:
        """Return the names of the columns that a header lacks."""
        missing = [column for column in self.columns if column_key(column) not in header]
        if self.either and not {*self.either} & {*header}:
            missing.append(" or ".join(self.either))
        return missing

    def fits(self, header: tuple[str, ...]) -> bool:
        """Return whether a table with this header is in this format."""
        is_excluded = bool(self.excluded) and {*self.excluded} <= {*header}
        return bool(self.columns) and not self.lacks(header) and not is_excluded


def read_file(path: Path, kinds: tuple[str, ...]) -> list[Clip]:
    """Return the clips of a table in one of these formats.

    Raises
    ------
    TableError
        If it is in none of them, or any row is faulty.
    """
    header = read_columns(path)
    if not header and path.suffix.lower() not in _NO_HEADER:
        read_text_file(path)  # which says why it cannot be read
    refuse_errors(path, header)
    if (kind := _kind(header, kinds)) is None and "strong" in kinds and is_annotation(path):
        kind = "strong"
    if kind is None:
        if {*_DETECTION_COLUMNS} <= {*header}:
            raise TableError(
                f"{printable(str(path))}: holds detected events with scores, not labels of clips. "
                "To train on them as strong labels, correct them, and rename the columns file and "
                "label to filename and event_label."
            )
        if "url" in header:
            raise TableError(
                f"{printable(str(path))}: is a table of links. Download what they name with sed "
                "prepare, and use the index.csv that it makes."
            )
        what = f"no {kinds[0]} table" if len(kinds) == 1 else "not a known table"
        raise TableError(
            f"{printable(str(path))}: {what}: {_nearest(header, kinds)}. Correct its columns or "
            "give another --table-format; for a folder per class give the folder that holds them."
        )
    return _read(path, kind)


def read_folder(path: Path, kinds: tuple[str, ...]) -> list[Clip]:
    """Return the clips of a folder: from its table, annotations, or folders per class.

    Raises
    ------
    TableError
        If it holds none of these formats, several tables, or errors, or any row is faulty.
    """
    files = _files(path)
    for file in files:
        refuse_errors(file, read_columns(file))
    tables = tables_in(path, kinds)
    if len(tables) > 1 and {*tables.values()} != {"fsdkaggle2018"}:  # which has a test table too
        names = ", ".join(str(file.relative_to(path)) for file in tables)
        raise TableError(f"{printable(str(path))}: holds several tables; name one of {names}.")
    if tables:
        return [clip for file, kind in tables.items() for clip in _read(file, kind)]
    if kinds == ("strong",) or ("strong" in kinds and is_annotated(path)):
        return read_annotated(path)
    if "folders" in kinds:
        clips = read_folders(path)
        inner = [] if len(kinds) == 1 else files_below(path)
        recordings = Recordings(inner)
        if unread := [str(f.relative_to(path)) for f in inner if _is_unread(f, kinds, recordings)]:
            log_once(path, f"names of folders taken for labels, and not read: {some(unread, 3)}")
        return clips
    # Of a single table, say what it lacks.
    if len(files) == 1:
        return read_file(files[0], kinds)
    raise TableError(
        f"{printable(str(path))}: holds no {kinds[0]} table: {_nearest((), kinds)}. Check --data."
    )


def tables_in(folder: Path, kinds: tuple[str, ...] | None = None) -> dict[Path, str]:
    """Return the tables of clips in a folder, or in its ``meta`` or ``metadata``, with formats.

    Parameters
    ----------
    folder
        Where to look.
    kinds
        Formats to look for; all if not given.
    """
    kinds = tuple(FORMATS) if kinds is None else kinds
    return {
        file: kind
        for file in _files(folder)
        if (kind := _kind(read_columns(file), kinds)) and not is_beside_recording(file)
    }


def read_folders(path: Path) -> list[Clip]:
    """Return the clips of a folder per class, each a group of its own.

    Raises
    ------
    TableError
        If there are none.
    """
    clips = [
        Clip(str(file), (from_windows_1252(inner.parts[0]).strip(),), str(inner))
        for file in files_below(path)
        if is_sound(file) and file.is_file() and len((inner := file.relative_to(path)).parts) > 1
    ]
    if not clips:
        files = _files(path)
        seen = f" ({files[0].name}: {_nearest(read_columns(files[0]))})" if files else ""
        raise TableError(
            f"{printable(str(path))}: neither a known table{seen}, nor recordings with "
            "annotations beside them, nor folders with sounds in them, one per class. Check --data."
        )
    return clips


def _read(path: Path, kind: str) -> list[Clip]:
    clips = FORMATS[kind].read(path)
    if not clips:
        raise TableError(f"{printable(str(path))}: holds no rows. Check --data.")
    return clips


def _is_unread(file: Path, kinds: tuple[str, ...], recordings: Recordings) -> bool:
    """Return whether a file below folders of classes is a table, or an empty text of a sound."""
    if file.suffix.lower() == ".txt":
        return bool(recordings.beside(file)) and is_annotation(file)
    return file.suffix.lower() in _TABLES and _kind(read_columns(file), kinds) is not None


def _files(folder: Path) -> list[Path]:
    """Return possible tables of a folder, also those in its ``meta`` or ``metadata`` folder."""
    inner = [p for p in folder.iterdir() if p.is_dir() and p.name.endswith(("meta", "metadata"))]
    files = [file for place in (folder, *sorted(inner)) for file in sorted(place.iterdir())]
    return [file for file in files if file.suffix.lower() in _TABLES and file.is_file()]


def _kind(header: tuple[str, ...], kinds: tuple[str, ...]) -> str | None:
    """Return the format that has these columns; of several, the one that requires most."""
    fitting = [kind for kind in kinds if FORMATS[kind].fits(header)]
    return max(fitting, key=lambda kind: FORMATS[kind].n_required, default=None)


def _nearest(header: tuple[str, ...], kinds: tuple[str, ...] = ()) -> str:
    """Return what a header lacks of the requested format, or of those nearest to it."""
    lacks = {kind: table.lacks(header) for kind, table in FORMATS.items() if table.columns}
    wanted = kinds[0] if len(kinds) == 1 else None
    order = sorted(lacks, key=lambda kind: (kind != wanted, len(lacks[kind])))[:_N_NEAR]
    return "; ".join(
        f"{kind} lacks {', '.join(lacks[kind])}" if lacks[kind] else f"its columns fit {kind}"
        for kind in order
    )


def _row_by_row(
    path: Path,
    *,
    clip: Callable[[Row, Find], Clip | None],
    needs: tuple[str, ...],
    audio: tuple[str, ...],
) -> list[Clip]:
    """Return the clips of the rows; the error lists all faulty rows."""
    table = read_text_table(path)
    if clip is index_clip and {"begin", "seconds"} & {*table.columns}:
        raise TableError(
            f"{printable(str(path))}: an index of version 1. Rename its columns begin and seconds "
            "to start and duration, or run sed prepare again into a new folder."
        )
    finder = table_finder(path, audio)
    errors = RowErrors(path, len(table.rows))
    clips = []
    names: dict[str, str] = {}  # of each recording, as the first row spells it
    for i, row in table.records():
        name = row[column_key(needs[0])]
        with errors.row(i, name):
            require(row, needs)
            if (one := clip(row, finder.find)) is not None:
                own = names.setdefault(one.path, name)
                clips.append(one if one.group else replace(one, group=own))
    errors.finish((*table.assumed, *finder.assumed))
    return clips


def _table(
    clip: Callable[[Row, Find], Clip | None],
    *needs: str,
    more: tuple[str, ...] = (),
    either: tuple[str, ...] = (),
    excluded: tuple[str, ...] = (),
    audio: tuple[str, ...] = ("audio",),
) -> TableFormat:
    """Return a format with a clip per row; cells of `needs`, the file first, may not be empty."""
    read = partial(_row_by_row, clip=clip, needs=needs, audio=audio)
    return TableFormat(read, (*needs, *more), either, excluded)


FORMATS = {
    "esc50": _table(esc50_clip, "filename", "fold", "category"),
    "urbansound8k": _table(urbansound8k_clip, "slice_file_name", "fsID", "fold", "class"),
    "birdclef": _table(
        birdclef_clip, "filename", "primary_label", audio=("train_audio", "train_short_audio")
    ),
    "fsdkaggle2018": _table(
        fsdkaggle2018_clip,
        "fname",
        "label",
        either=("manually_verified", "usage"),
        audio=(
            "FSDKaggle2018.audio_train",
            "audio_train",
            "FSDKaggle2018.audio_test",
            "audio_test",
        ),
    ),
    "index": _table(index_clip, "file", more=("label",), excluded=_DETECTION_COLUMNS, audio=()),
    "weak": _table(weak_clip, "filename", "event_labels"),
    "audioset": TableFormat(
        read_audioset, ("YTID", "start_seconds", "end_seconds", "positive_labels")
    ),
    "audioset_strong": TableFormat(
        read_strong, ("segment_id", "start_time_seconds", "end_time_seconds", "label")
    ),
    "windows": TableFormat(read_windows, ("file", "start_time", "end_time")),
    "opensoundscape": TableFormat(
        read_strong, ("audio_file", "start_time", "end_time"), ("annotation",)
    ),
    "start_end": TableFormat(
        read_strong, ("file", "start_time", "end_time"), ("label", "annotation")
    ),
    "strong": TableFormat(read_strong, STRONG_COLUMNS),
    "events": TableFormat(read_strong, ("file", "onset", "offset", "label"), excluded=("score",)),
    "raven": TableFormat(read_strong, ("Begin Time (s)", "End Time (s)")),
    "birdnet": TableFormat(read_strong, ("Start (s)", "End (s)"), SPECIES_LABELS),
    "birdnet_r": TableFormat(read_strong, ("filepath", "start", "end"), SPECIES_LABELS),
    "kaleidoscope": TableFormat(
        read_strong, ("IN FILE", "OFFSET", "DURATION"), KALEIDOSCOPE_LABELS
    ),
    "folders": TableFormat(read_folders),
}
