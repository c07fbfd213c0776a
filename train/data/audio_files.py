"""Find the recordings that tables name: as written, or as another system spells the name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.events.reading.text_file import from_windows_1252
from sed.text import pluralize, printable, some
from train.data.clips import stem

_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def audio_folders(table: Path, names: Sequence[str] = ("audio",)) -> list[Path]:
    """Return folders that may hold the audio of a table: beside it, above it, or its own."""
    bases = table.parent, table.absolute().parent.parent
    beside = [base / name for base in bases for name in names]
    return [*(path for path in beside if os.path.isdir(path)), table.parent]


def is_sound(file: Path) -> bool:
    """Return whether the name of a file is that of a recording, and not hidden."""
    return file.suffix.lower() in SOUND_SUFFIXES | CONTAINER_SUFFIXES and file.name[:1] != "."


class AudioFinder:
    """Finds the files that a table names.

    Names are looked up as they are written first. Where there is none, spaces around a name,
    backslashes, the form of Unicode, its case, and the folders of a Windows computer may differ.

    Parameters
    ----------
    folders
        Where to look, in this order.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._below: dict[str, list[str]] | None = None
        self._example = ""
        self._n_respelled = 0

    @property
    def assumed(self) -> tuple[str, ...]:
        """How names differ from those of the files, in words; nothing if they do not."""
        if not self._n_respelled:
            return ()
        names = pluralize(self._n_respelled, "file name")
        return (f"{names} spelled otherwise ({self._example})",)

    def find(self, *names: str) -> str:
        """Return the path of the first file with one of these names, in the first folder with one.

        Raises
        ------
        ValueError
            If no folder has one.
        """
        for folder in self._folders:
            for name in names:
                if os.path.isfile(folder / name):
                    return str(folder / name)
        for name in names:
            for parts in _spellings(name):
                for folder in self._folders:
                    if (found := self._resolved(folder, parts)) is not None:
                        self._note(name, found)
                        return str(found)
        raise ValueError(f"no such file in {printable(str(self._folders[0]))}")

    def find_anywhere(self, *names: str) -> str:
        """Return the path of a file as `find` does, or of the only one of its name in any folder.

        Parameters
        ----------
        names
            With or without the ending of a sound.

        Raises
        ------
        ValueError
            If there is none, or several.
        """
        try:
            return self.find(*names)
        except ValueError:
            if self._below is None:
                self._below = _by_name(self._folders)
            for name in names:
                base = _parts(name)[-1:]
                found = self._below.get(_folded(base[0]), []) if base else []
                if len(found) > 1:
                    raise ValueError(
                        f"several recordings have this name: {some(found, 3)}"
                    ) from None
                if found:
                    return found[0]
            raise

    def _resolved(self, folder: Path, parts: Sequence[str]) -> Path | None:
        """Return the file at a path whose parts may be spelled otherwise; none if there is none."""
        here = folder
        for part in parts:
            if part == "..":
                here = here.parent
            elif part != ".":
                same = self._listing(here).get(_folded(part), [])
                exact = [name for name in same if _composed(name) == _composed(part)]
                if len(exact or same) != 1:
                    return None
                here = here / (exact or same)[0]
        return here if parts and os.path.isfile(here) else None

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            entries: dict[str, list[str]] = {}
            try:
                for name in sorted(os.listdir(folder)):
                    entries.setdefault(_folded(name), []).append(name)
            except OSError:  # no such folder, or not a folder
                pass
            self._listings[folder] = entries
        return self._listings[folder]

    def _note(self, name: str, found: Path) -> None:
        self._n_respelled += 1
        self._example = self._example or f"{name!a} is {printable(str(found))}"


def _spellings(name: str) -> Iterator[Sequence[str]]:
    """Yield the parts of a path: with slashes, with backslashes, and without leading folders."""
    plain = from_windows_1252(name).strip()
    yield _parts(plain, windows=False)
    if "\\" in plain:
        yield _parts(plain)
    if _OF_WINDOWS.match(plain):
        parts = _parts(plain)
        yield from (parts[i:] for i in range(1, len(parts)))


def _parts(name: str, *, windows: bool = True) -> Sequence[str]:
    """Return the parts of a path without the root of a drive."""
    path = PureWindowsPath(name) if windows else PurePosixPath(name)
    return path.parts[1:] if path.anchor else path.parts


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", from_windows_1252(name))


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _by_name(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return the sounds in folders and below, by their names with and without ending."""
    found: dict[str, list[str]] = {}
    for file in sorted({file for folder in folders for file in folder.rglob("*")}):
        if is_sound(file) and os.path.isfile(file):
            for name in {file.name, stem(file.name)}:
                found.setdefault(_folded(name), []).append(str(file))
    return found
