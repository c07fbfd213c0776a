"""Find the data to train on where none is named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import UsageError
from sed.events.reading.annotation_files import is_annotated
from sed.events.reading.audio_files import is_hidden
from sed.text import printable, some
from train.data.formats import tables_in

VARIABLE = "SED_DATA"


def find_data(
    folder: str | os.PathLike[str] = ".", environment: Mapping[str, str] = os.environ
) -> tuple[Path, str]:
    """Return the data to train on, and where it was found, in words.

    The first of these that holds clips: the folder ``data`` in `folder`; a table of clips in
    `folder`; two folders with sounds, one per class, in `folder`; and what the environment variable
    ``SED_DATA`` names.

    Parameters
    ----------
    folder
        Where to look; the current directory if not given.
    environment
        Environment variables.

    Raises
    ------
    UsageError
        If there is none; the message shows how to provide some.
    """
    here = Path(folder)
    data = here / "data"
    if os.path.isdir(data) and holds_clips(data):
        return data, "the folder data"
    if tables := tables_in(here):
        names = ", ".join(printable(path.name) for path in tables)
        path = next(iter(tables)) if len(tables) == 1 else here
        return path, f"the table {names} in this folder"
    if n_folders := _n_class_folders(here):
        return here, f"the {n_folders} folders with sounds in this folder, one per class"
    named = environment.get(VARIABLE, "")
    if named:
        return Path(named), f"${VARIABLE}"
    found = "there is no folder data"
    if os.path.isdir(data):
        held = [f"{path.name}{'/' * os.path.isdir(path)}" for path in sorted(data.iterdir())]
        found = (
            f"the folder data holds only {some(held)}: no table of clips, no annotated "
            "recordings, and not two or more folders with sounds"
            if held
            else "the folder data is empty"
        )
    raise UsageError(
        f"no data to train on: {found}; there is no table of clips or folder per class here, "
        f"and {VARIABLE} is not set. Each of these lines works:\n"
        "  sed train --data TABLE_OR_FOLDER\n"
        "  mkdir -p data && cp -r CLASS_FOLDERS data/ && sed train\n"
        f"  export {VARIABLE}=TABLE_OR_FOLDER && sed train"
    )


def holds_clips(folder: Path) -> bool:
    """Return whether a folder holds a table of clips, annotated recordings or class folders."""
    return bool(tables_in(folder)) or is_annotated(folder) or _n_class_folders(folder) > 0


def _n_class_folders(folder: Path) -> int:
    """Return the number of folders with sounds in a folder; 0 for one, which is no choice."""
    suffixes = SOUND_SUFFIXES | CONTAINER_SUFFIXES
    n_folders = sum(
        any(file.suffix.lower() in suffixes and not is_hidden(file.name) for file in path.iterdir())
        for path in folder.iterdir()
        if os.path.isdir(path) and not is_hidden(path.name) and os.access(path, os.R_OK)
    )
    return n_folders if n_folders > 1 else 0
