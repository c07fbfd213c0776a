"""Name the site that a recording is of by its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache


def site_names(files: Sequence[str]) -> list[str]:
    """Return the site of each recording: its first folder below the one that all are in.

    Where recordings lie in that common folder itself, it has the name of the folder. An input of
    live sound, which has no folder, is a site of its own name.

    >>> site_names(["rec/north/05-01/a.wav", "rec/north/05-02/a.wav", "rec/south/a.wav"])
    ['north', 'north', 'south']
    """
    folders = [file.replace("\\", "/").split("/")[:-1] for file in files]
    common = os.path.commonprefix([folder for folder in folders if folder])
    return [
        folder[len(common)] if len(folder) > len(common) else (folder or [file])[-1]
        for file, folder in zip(files, folders, strict=True)
    ]


@lru_cache(maxsize=16)  # the events of a recording follow one another
def site_name(file: str, root: str) -> str:
    """Return the site of one recording: its first folder below the one that was searched.

    That of a recording in the searched folder itself, or outside of it, is its own folder. Standard
    input has none.

    Parameters
    ----------
    file
        Path or address of the recording.
    root
        Absolute path or address of the folder that was searched.

    >>> site_name("/rec/north/05-01/a.wav", "/rec"), site_name("/rec/a.wav", "/rec")
    ('north', 'rec')
    """
    folder = parent_folder(file)
    above = os.path.join(root, "")
    if root and folder.startswith(above):
        return re.split(r"[\\/]", folder[len(above) :])[0]
    return os.path.basename(folder)


def parent_folder(file: str) -> str:
    """Return the absolute path or address of a recording's folder; nothing for standard input."""
    if file == "-":
        return ""
    return os.path.dirname(file if "://" in file else os.path.abspath(file))
