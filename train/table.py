"""Tables of labelled clips.

Two kinds so far: a table like ESC-50's (``filename, fold, category`` and, where they are known,
``src_file`` and ``licence``), and a folder that holds one folder per class.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sed.audio import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import TableError, printable

_MOST_ROWS_SHOWN = 20


@dataclass(frozen=True)
class Clip:
    """A labelled piece of audio."""

    path: str
    labels: tuple[str, ...]
    group: str  # clips of one source share it, and are never on both sides of a split
    fold: str = ""  # official fold, if the table has one
    licence: str = ""


def read_table(source: str | os.PathLike[str]) -> list[Clip]:
    """Return the clips of a table, of a folder that holds one, or of a folder per class.

    Raises
    ------
    TableError
        If there is nothing of the kind, or any row is faulty; all faulty rows are listed.
    """
    path = Path(source)
    name = printable(str(path))
    if path.is_dir():
        tables = sorted(p for p in path.glob("*.csv") if _is_esc50(p))
        if len(tables) > 1:
            raise TableError(f"{name}: holds several tables; name one of {_names(tables)}.")
        return _read_esc50(tables[0]) if tables else _read_folders(path)
    if not path.is_file():
        raise TableError(f"{name}: no such table or folder. Check --data.")
    if not _is_esc50(path):
        raise TableError(
            f"{name}: expected the columns filename, fold and category (ESC-50). For a folder "
            "per class give the folder that holds them."
        )
    return _read_esc50(path)


def _is_esc50(path: Path) -> bool:
    try:
        columns = pd.read_csv(path, nrows=0).columns
    except (OSError, ValueError):
        return False
    return {"filename", "fold", "category"} <= set(columns)


def _read_esc50(path: Path) -> list[Clip]:
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    folder = path.parent / "audio" if (path.parent / "audio").is_dir() else path.parent
    clips, faults = [], []
    for line, row in enumerate(rows.to_dict("records"), start=2):  # line 1 holds the names
        file = folder / row["filename"]
        empty = [column for column in ("filename", "fold", "category") if not row[column].strip()]
        if empty:
            faults.append(f"row {line}: {row['filename'] or '?'}: no {' and no '.join(empty)}")
        elif not file.is_file():
            faults.append(f"row {line}: {row['filename']}: no such file in {folder}")
        else:
            clips.append(
                Clip(
                    str(file),
                    (row["category"],),
                    row.get("src_file") or row["filename"],
                    row["fold"],
                    row.get("licence", ""),
                )
            )
    if faults:
        shown = "\n  ".join(faults[:_MOST_ROWS_SHOWN])
        more = f"\n  … and {len(faults) - _MOST_ROWS_SHOWN} more" * (len(faults) > _MOST_ROWS_SHOWN)
        raise TableError(
            f"{printable(str(path))}: {len(faults)} faulty rows of {len(rows)}; mend or remove "
            f"them:\n  {shown}{more}"
        )
    if not clips:
        raise TableError(f"{printable(str(path))}: holds no rows.")
    return clips


def _read_folders(path: Path) -> list[Clip]:
    suffixes = SOUND_SUFFIXES | CONTAINER_SUFFIXES
    clips = [
        Clip(str(file), (folder.name,), str(file.relative_to(path)))
        for folder in sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in suffixes and file.name[0] != "." and file.is_file()
    ]
    if not clips:
        raise TableError(
            f"{printable(str(path))}: neither a table (filename, fold, category) nor folders "
            "with sounds in them, one per class. Check --data."
        )
    return clips


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)
