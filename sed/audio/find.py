"""Find recordings in files and folders, and name their results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sed.audio.decode import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.audio.remote import RemoteFile, is_remote, remote_files
from sed.errors import RecordingError

SUFFIXES = SOUND_SUFFIXES | CONTAINER_SUFFIXES


@dataclass(frozen=True)
class Recording:
    """A recording to be processed."""

    path: str  # as given by the caller, or as found below a given folder
    name: str  # path of its results, relative to the output folder
    n_bytes: int = 0  # size of the file; 0 if unknown
    version: str = ""  # of a remote file, what its listing says of its last change

    @property
    def place(self) -> str:
        """Absolute path or address, its name in a store of recordings of many folders.

        Recorders give the same file names again and again, so that `name` is not unique there.
        """
        if self.path == "-" or is_remote(self.path):
            return self.path
        return os.path.abspath(self.path)


def find_recordings(
    sources: Iterable[str | os.PathLike[str]],
) -> tuple[list[Recording], list[RecordingError]]:
    """Return the recordings in files and folders, and an error for each source without any.

    Folders are searched recursively in the order of their names, without hidden files, for the
    file name endings in `SUFFIXES`, in upper or lower case. A file that is given by its own path
    is accepted under any name. A recording given twice is returned once.
    """
    found: dict[str, str] = {}  # path: name relative to the source
    sizes: dict[str, int] = {}  # of remote recordings
    errors: list[RecordingError] = []
    for source in (os.fspath(s) for s in sources):
        if is_remote(source):
            for file in _remote_sounds(source, errors):
                found.setdefault(file.path, file.name)
                sizes[file.path] = file.n_bytes
            continue
        if not os.path.isdir(source):
            found.setdefault(source, "stdin" if source == "-" else os.path.basename(source))
            continue
        before = len(found)
        n_errors = len(errors)
        for path in _sounds_below(Path(source), errors):
            found.setdefault(str(path), str(path.relative_to(source)))
        if len(found) == before and len(errors) == n_errors:
            errors.append(_no_recordings(source))
    named = _disambiguate(found).items()
    return [Recording(p, n, sizes[p] if p in sizes else _size(p)) for p, n in named], errors


def _sounds_below(folder: Path, errors: list[RecordingError]) -> Iterator[Path]:
    def on_error(error: OSError) -> None:
        errors.append(_unreadable_folder(error))

    for parent, folders, files in os.walk(folder, onerror=on_error, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if _is_sound(name):
                yield Path(parent, name)


def common_root(sources: Iterable[str | os.PathLike[str]]) -> str:
    """Return the absolute path of the deepest folder that contains all files and folders given."""
    places = [os.path.abspath(source) for source in sources]
    return os.path.commonpath([p if os.path.isdir(p) else os.path.dirname(p) for p in places])


def iter_recordings(
    sources: Iterable[str | os.PathLike[str]], root: str, errors: list[RecordingError]
) -> Iterator[Recording]:
    """Yield the recordings in files and folders while the disk is searched, in constant memory.

    They are those of `find_recordings`, but unsorted, and as often as they are given.

    Parameters
    ----------
    sources
        Files and folders.
    root
        An absolute path above all of them, to which names are relative. The name of a recording
        then depends on its own path only.
    errors
        Errors are appended here.
    """
    for source in (os.fspath(s) for s in sources):
        name = os.path.relpath(source, root)
        if is_remote(source):
            for file in _remote_sounds(source, errors):
                below = "" if file.path == source else file.name
                result_name = os.path.join(name, below).rstrip("/")
                yield Recording(file.path, result_name, file.n_bytes, file.version)
            continue
        if not os.path.isdir(source):
            yield Recording(source, name, _size(source))
            continue
        is_empty, n_errors = True, len(errors)
        above = "" if name == os.curdir else os.path.join(name, "")
        start = len(os.path.join(source, ""))
        for entry in _sound_entries(source, errors):
            is_empty = False
            yield Recording(entry.path, above + entry.path[start:], _size(entry))
        if is_empty and len(errors) == n_errors:
            errors.append(_no_recordings(source))


def _sound_entries(folder: str, errors: list[RecordingError]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if not entry.name.startswith(".") and not _is_link_cycle(entry):
                        yield from _sound_entries(entry.path, errors)
                elif _is_sound(entry.name):
                    yield entry
    except OSError as error:
        errors.append(_unreadable_folder(error))


def _remote_sounds(source: str, errors: list[RecordingError]) -> Iterator[RemoteFile]:
    """Yield the recordings below a remote folder, or the one file that `source` names."""
    is_empty = True
    try:
        for file in remote_files(source):
            is_hidden = any(part.startswith(".") for part in file.name.split("/"))
            if file.path == source or (_is_sound(file.name) and not is_hidden):
                is_empty = False
                yield file
        if is_empty:
            errors.append(_no_recordings(source))
    except RecordingError as error:
        errors.append(error)


def _is_link_cycle(folder: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link to one of its parents; a search would not end."""
    if not folder.is_symlink():
        return False
    target = os.path.realpath(folder.path)
    parent = os.path.realpath(os.path.dirname(folder.path))
    return os.path.commonpath([target, parent]) == target


def _is_sound(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in SUFFIXES and not name.startswith(".")


def _no_recordings(folder: str) -> RecordingError:
    return RecordingError(
        folder,
        "this folder holds no recordings (.wav, .flac, .ogg, .opus, .mp3, .aiff, …). "
        "Check the name.",
    )


def _unreadable_folder(error: OSError) -> RecordingError:
    return RecordingError(error.filename, f"cannot list this folder: {error.strerror}.")


def _disambiguate(found: dict[str, str]) -> dict[str, str]:
    """Use paths below the common folder as names if recordings of several folders share a name."""
    counts = Counter(found.values())
    if all(n == 1 for n in counts.values()):
        return found
    paths = {path: os.path.abspath(path) for path in found}
    common = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    return {path: os.path.relpath(absolute, common) for path, absolute in paths.items()}


def _size(path: str | os.DirEntry[str]) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # the error is reported when the file is opened
