"""Known table formats, recognised by their columns, and how each becomes clips.

=============  ====================================================================================
esc50          ``filename, fold, category``; also ``src_file`` and ``licence``
urbansound8k   ``slice_file_name, fsID, fold, class``; audio in ``audio/fold1`` and so on
birdclef       ``primary_label, filename``; also ``secondary_labels``, ``author``, ``license``
fsdkaggle2018  ``fname, label``, and ``manually_verified`` or ``usage``, which only tests have
index          ``file, label``, and all that `train.data.tables.write_index` writes
strong         ``filename, onset, offset, event_label``, or annotations beside recordings
folders        no table: a folder per class
=============  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import TableError
from sed.text import printable
from train.data.clips import Clip
from train.data.csv_rows import (
    RowErrors,
    audio_folders,
    find_audio,
    literal_list,
    read_header,
    read_rows,
    require,
)
from train.data.index_rows import Find, Row, index_clip
from train.data.strong import STRONG_COLUMNS, is_annotated, read_annotated, read_strong

_N_URBAN_FOLDS = 10
_N_NEAR = 3  # formats named in the error for an unknown table
_DETECTION_COLUMNS = ("onset", "offset", "score")  # of events as sed detect writes them


@dataclass(frozen=True)
class TableFormat:
    """A table format: the columns that identify it, and the function that reads it."""

    read: Callable[[Path], list[Clip]]
    columns: tuple[str, ...] = ()  # all required; empty: not a table
    either: tuple[str, ...] = ()  # one of them is required too
    excluded: tuple[str, ...] = ()  # a table with all of these has another meaning

    def lacks(self, header: tuple[str, ...]) -> list[str]:
        """Return the names of the columns that a header lacks."""
        missing = [column for column in self.columns if column not in header]
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
    header = read_header(path)
    if (kind := _kind(header, kinds)) is None:
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
        If it holds none of these formats or several tables, or any row is faulty.
    """
    files = _files(path)
    tables = tables_in(path, kinds)
    if len(tables) > 1 and {*tables.values()} != {"fsdkaggle2018"}:  # which has a test table too
        names = ", ".join(str(file.relative_to(path)) for file in tables)
        raise TableError(f"{printable(str(path))}: holds several tables; name one of {names}.")
    if tables:
        return [clip for file, kind in tables.items() for clip in _read(file, kind)]
    if kinds == ("strong",) or ("strong" in kinds and is_annotated(path)):
        return read_annotated(path)
    if "folders" in kinds:
        return read_folders(path)
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
    return {file: kind for file in _files(folder) if (kind := _kind(read_header(file), kinds))}


def read_folders(path: Path) -> list[Clip]:
    """Return the clips of a folder per class, each a group of its own.

    Raises
    ------
    TableError
        If there are none.
    """
    suffixes = SOUND_SUFFIXES | CONTAINER_SUFFIXES
    clips = [
        Clip(str(file), (folder.name,), str(file.relative_to(path)))
        for folder in sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in suffixes and file.name[0] != "." and file.is_file()
    ]
    if not clips:
        files = _files(path)
        seen = f" ({files[0].name}: {_nearest(read_header(files[0]))})" if files else ""
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


def _files(folder: Path) -> list[Path]:
    """Return possible tables of a folder, also those in its ``meta`` or ``metadata`` folder."""
    inner = [p for p in folder.iterdir() if p.is_dir() and p.name.endswith(("meta", "metadata"))]
    files = [file for place in (folder, *sorted(inner)) for file in sorted(place.iterdir())]
    return [file for file in files if file.suffix.lower() in (".csv", ".tsv") and file.is_file()]


def _kind(header: tuple[str, ...], kinds: tuple[str, ...]) -> str | None:
    """Return the format that has these columns; of several, the one that requires most."""
    fitting = [kind for kind in kinds if FORMATS[kind].fits(header)]
    return max(fitting, key=lambda kind: len(FORMATS[kind].columns), default=None)


def _nearest(header: tuple[str, ...], kinds: tuple[str, ...] = ()) -> str:
    """Return what a header lacks of the requested format, or of those nearest to it."""
    lacks = {kind: table.lacks(header) for kind, table in FORMATS.items() if table.columns}
    wanted = kinds[0] if len(kinds) == 1 else None
    order = sorted(lacks, key=lambda kind: (kind != wanted, len(lacks[kind])))[:_N_NEAR]
    return "; ".join(
        f"{kind} lacks {', '.join(lacks[kind])}" if lacks[kind] else f"its columns fit {kind}"
        for kind in order
    )


def _esc50(row: Row, find: Find) -> Clip:
    return Clip(
        find(row["filename"]),
        (row["category"].strip(),),
        row.get("src_file") or row["filename"],
        row["fold"].strip(),
        row.get("licence", ""),
    )


def _urbansound8k(row: Row, find: Find) -> Clip:
    """Return a slice. Its ``start`` and ``end`` are times in the source, not in its own file."""
    fold, name = row["fold"].strip(), row["slice_file_name"]
    if fold not in map(str, range(1, _N_URBAN_FOLDS + 1)):
        raise ValueError(f"unknown fold {fold!r}: expected 1 to {_N_URBAN_FOLDS}")
    return Clip(find(f"fold{fold}/{name}", name), (row["class"].strip(),), row["fsID"], fold)


def _birdclef(row: Row, find: Find) -> Clip:
    """Return a recording of birds; recordings of one author are one group."""
    label, name = row["primary_label"].strip(), row["filename"]
    return Clip(
        find(name, f"{label}/{name}"),  # the 2021 table names files without their folder
        (label,),
        row.get("author", "").strip() or name,
        licence=row.get("license", ""),
        secondary=tuple(x for x in literal_list(row.get("secondary_labels", "")) if x != label),
    )


def _fsdkaggle2018(row: Row, find: Find) -> Clip | None:
    """Return a clip, of the test set if it has a usage; None for the padding of the test set."""
    usage = row.get("usage", "").strip()
    if usage == "Ignored":
        return None
    return Clip(
        find(row["fname"]),
        (row["label"].strip(),),
        row.get("freesound_id") or row["fname"],
        "test" if usage else "",
        row.get("license", ""),
    )


def _row_by_row(
    path: Path,
    *,
    clip: Callable[[Row, Find], Clip | None],
    needs: tuple[str, ...],
    audio: tuple[str, ...],
) -> list[Clip]:
    """Return the clips of the rows; the error lists all faulty rows."""
    header, rows = read_rows(path)
    if clip is index_clip and {"begin", "seconds"} & {*header}:
        raise TableError(
            f"{printable(str(path))}: an index of version 1. Rename its columns begin and seconds "
            "to start and duration, or run sed prepare again into a new folder."
        )
    find = partial(_found, folders=audio_folders(path, audio))
    errors = RowErrors(path, len(rows))
    clips = []
    for i, cells in rows:
        row = dict(zip(header, cells, strict=True))
        with errors.row(i, row[needs[0]]):
            require(row, needs)
            clips.append(clip(row, find))
    errors.raise_if_any()
    return [clip for clip in clips if clip is not None]


def _found(*names: str, folders: list[Path]) -> str:
    return find_audio(names, folders)


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
    "esc50": _table(_esc50, "filename", "fold", "category"),
    "urbansound8k": _table(_urbansound8k, "slice_file_name", "fsID", "fold", "class"),
    "birdclef": _table(
        _birdclef, "filename", "primary_label", audio=("train_audio", "train_short_audio")
    ),
    "fsdkaggle2018": _table(
        _fsdkaggle2018,
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
    "strong": TableFormat(read_strong, STRONG_COLUMNS),
    "folders": TableFormat(read_folders),
}
