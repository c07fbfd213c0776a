"""Name the site that a recording is of by its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence


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
