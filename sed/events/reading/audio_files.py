"""Find the recordings that tables name, or that annotations are about by their own names.

Names count as written, or as another system spells them.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.events.reading.table import log_once
from sed.events.reading.text_file import from_windows_1252
from sed.text import pluralize, printable, some

_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")

ANNOTATION_SUFFIXES = (".txt", ".csv", ".tsv", ".textgrid", ".svl")
# Words that programs put between the name of a recording and the ending of its annotation.
_WORDS = {
    *("table", "selection", "selections", "raven", "label", "labels", "audacity", "annotation"),
    *("annotations", "birdnet", "result", "results", "kaleidoscope", "r"),
}
# Folders that systems and programs make for themselves, besides those with a dot.
_OF_SYSTEMS = {
    *("__macosx", "$recycle.bin", "recycler", "#recycle", "system volume information"),
    *("@eadir", "lost+found", "#snapshot", "@recycle"),
}
_LAST_WORD = re.compile(r"(.+)([._ -])([^._ -]+)")


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below, sorted, without what is hidden.

    Folders that are links are read like others, except for those that are reached anyway. A folder
    that cannot be read is left out with a warning.
    """

    def leave_out(error: OSError) -> None:
        log_once(error.filename, f"left out, since it cannot be read: {error.strerror}")

    done = {os.path.realpath(folder)}  # the folder, and where links lead
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=leave_out, followlinks=True):
        own = []
        for name in sorted(name for name in folders if not is_hidden(name)):
            path = os.path.join(place, name)
            real_path = os.path.realpath(path)
            if os.path.islink(path):
                if any(_is_below(real_path, other) for other in done):
                    continue
                done.add(real_path)
            elif real_path in done:
                continue
            own.append(name)
        folders[:] = own
        found += [Path(place, name) for name in names if not is_hidden(name)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or of the system and not of users."""
    return name.startswith(".") or name.casefold() in _OF_SYSTEMS


def _is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder, or below it and not in a hidden one."""
    if path == folder:
        return True
    start = os.path.join(folder, "")
    return path.startswith(start) and not any(map(is_hidden, path[len(start) :].split(os.sep)))


def is_sound(file: Path) -> bool:
    """Return whether the name of a file is that of a recording, and not hidden."""
    return file.suffix.lower() in SOUND_SUFFIXES | CONTAINER_SUFFIXES and file.name[:1] != "."


def stem(path: str) -> str:
    """Return the name of a file without folder and audio suffixes; prepared files have two.

    >>> stem("audio/1-100032-A-0.ogg.wav")
    '1-100032-A-0'
    """
    name = os.path.basename(path)
    while (ending := os.path.splitext(name)[1].lower()) in SOUND_SUFFIXES | CONTAINER_SUFFIXES:
        name = name[: -len(ending)]
    return name


class Recordings:
    """The recordings among files, by the names that annotations use: with and without ending.

    Parameters
    ----------
    files
        Of one or several folders; what is no recording is passed over.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = [file for file in sorted(files) if is_sound(file)]
        self._folders = {file.parent for file in self.files}
        self._named: dict[str, list[Path]] = {}
        for file in self.files:
            for name in dict.fromkeys((_folded(file.name), _folded(file.stem))):
                self._named.setdefault(name, []).append(file)

    def beside(self, annotation: Path) -> list[Path]:
        """Return the recordings in the folder of an annotation that have its name."""
        for name in _subjects(annotation):
            own = [file for file in self._of(name) if file.parent == annotation.parent]
            if own:
                return own
        return []

    def about(self, annotation: Path) -> list[Path]:
        """Return the recordings beside an annotation that have its name, or that elsewhere.

        Annotations in a folder without recordings are of the only recording of their name, or of
        the only one in a folder that is called like theirs.
        """
        if annotation.parent in self._folders:
            return self.beside(annotation)
        for name in _subjects(annotation):
            found = self._of(name)
            same = [file for file in found if file.parent.name == annotation.parent.name]
            for only in (found, same):
                if len(only) == 1:
                    return only
        return []

    def _of(self, name: str) -> list[Path]:
        """Return recordings of a name; where some differ from it in case, those that do not."""
        same = self._named.get(_folded(name), [])
        exact = [file for file in same if _composed(name) in map(_composed, (file.name, file.stem))]
        return exact or same


def words_of(annotation: Path) -> set[str]:
    """Return the words of programs in the name of an annotation."""
    return {*re.split("[._ -]", annotation.stem.casefold())[1:]} & _WORDS


def recording_name(annotation: Path) -> str:
    """Return the name of the recording of an annotation, without the words of programs.

    >>> recording_name(Path("dawn_1.Table.1.selections.txt"))
    'dawn_1'
    """
    return [annotation.stem, *_subjects(annotation)][-1]


def _subjects(annotation: Path) -> Iterator[str]:
    """Yield the names that the recording of an annotation may have."""
    if annotation.suffix.lower() not in ANNOTATION_SUFFIXES:
        return
    name = annotation.stem
    while True:
        yield name
        parts = _LAST_WORD.fullmatch(name)
        if parts is None:
            return
        name, separator, word = parts.groups()
        # Numbers behind other signs than a dot are part of the name of a recording.
        if word.casefold() not in _WORDS and not (separator == "." and word.isdigit()):
            return


class AudioFinder:
    """Finds the files that a table names.

    Names are looked up as they are written first. Where there is none, spaces around a name,
    backslashes, the form of Unicode, its case, and the folders of a Windows computer may differ.
    All names of one file give one path, that which was found first.

    Parameters
    ----------
    folders
        Where to look, in this order.
    below
        Folders that are searched at any depth for what is in none of them; `folders` if None.
    """

    def __init__(self, folders: Sequence[Path], below: Sequence[Path] | None = None) -> None:
        self._folders = folders
        self._searched = folders if below is None else below
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._below: dict[str, list[str]] | None = None
        self._paths: dict[tuple[int, int], str] = {}  # by device and number of the file
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
                    return self._first_path(str(folder / name))
        for name in names:
            for parts in _spellings(name):
                for folder in self._folders:
                    if (found := self._resolved(folder, parts)) is not None:
                        self._note(name, found)
                        return self._first_path(str(found))
        raise ValueError(f"no such file in {printable(str(self._folders[0]))}")

    def find_anywhere(self, *names: str) -> str:
        """Return the path of a file as `find` does, or of the only one of its name in any folder.

        Of several files of its name, it is the one in folders that are called most like its own.

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
                self._below = _by_name(self._searched)
            for name in names:
                base = _parts(name)[-1:]
                found = _nearest(name, self._below.get(_folded(base[0]), []) if base else [])
                if len(found) > 1:
                    raise ValueError(
                        f"several recordings have this name: {some(found, 3)}"
                    ) from None
                if found:
                    return self._first_path(found[0])
            raise

    def _first_path(self, path: str) -> str:
        """Return the path under which a file was found first."""
        status = os.stat(path)
        # Some file systems have no numbers of files.
        own = (status.st_dev, status.st_ino)
        return self._paths.setdefault(own, path) if status.st_ino else path

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


def table_finder(table: Path, names: Sequence[str] = ("audio",)) -> AudioFinder:
    """Return what finds the files that a table names: around the table, or else from here.

    `names` are those of folders beside the table, or above it, that may hold them.
    """
    bases = table.parent, table.absolute().parent.parent
    beside = [base / name for base in bases for name in names]
    folders = [*(path for path in beside if os.path.isdir(path)), table.parent]
    return AudioFinder([*folders, Path()], below=folders)


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


def _nearest(name: str, found: list[str]) -> list[str]:
    """Return the files with most folders, from the last to the first, in common with a name."""
    own = [*map(_folded, _parts(name)[-2::-1])]
    counts = []
    for file in found:
        folders = map(_folded, Path(file).parts[-2::-1])
        same = takewhile(lambda pair: pair[0] == pair[1], zip(own, folders, strict=False))
        counts.append(sum(1 for _ in same))
    return [file for file, n in zip(found, counts, strict=True) if n == max(counts, default=0)]


def _by_name(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return the sounds in folders and below, by their names with and without ending."""
    found: dict[str, list[str]] = {}
    # Folders may lie in one another.
    files = {os.path.abspath(file): file for folder in folders for file in files_below(folder)}
    for file in sorted(files.values()):
        if is_sound(file) and os.path.isfile(file):
            for name in {file.name, stem(file.name)}:
                found.setdefault(_folded(name), []).append(str(file))
    return found
