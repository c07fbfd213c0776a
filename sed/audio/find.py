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
_TYPESCRIPT = (".ts", ".mts")  # endings that sources of programs have too


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
    file name endings in `SUFFIXES`, in upper or lower case. Links are followed. A file that is
    given by its own path is accepted under any name. A recording that is found twice, also by a
    link, is returned once.
    """
    given = [os.fspath(source) for source in sources]
    found: dict[str, str] = {}  # path: name relative to the source
    real_paths: set[str] = set()
    sizes: dict[str, int] = {}  # of remote recordings
    errors: list[RecordingError] = []
    places = _Places(given)

    def add(path: str, real_path: str, name: str) -> None:
        if real_path not in real_paths:
            real_paths.add(real_path)
            found[path] = name

    for source in given:
        if is_remote(source):
            for file in _remote_sounds(source, errors):
                add(file.path, file.path, file.name)
                sizes[file.path] = file.n_bytes
            continue
        if not os.path.isdir(source):
            name = "stdin" if source == "-" else os.path.basename(source)
            add(source, os.path.realpath(source), name)
            continue
        is_empty, n_errors = True, len(errors)
        start = len(os.path.join(source, ""))
        root = os.path.realpath(source)
        for path, real_path in _sounds_below(source, root, places, errors, in_order=True):
            is_empty = False
            add(str(Path(path)), real_path, path[start:])
        if is_empty and len(errors) == n_errors:
            errors.append(_no_recordings(source))
    named = _disambiguate(found).items()
    return [Recording(p, n, sizes[p] if p in sizes else _size(p)) for p, n in named], errors


class _Places:
    """Real places that a search comes to by itself, so that a link to them is not followed.

    These are the given folders and, as they are met, targets of links outside of them: the memory
    grows with the number of such links alone.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._real = {
            os.path.realpath(source)
            for source in sources
            if not is_remote(source) and os.path.isdir(source)
        }

    def has(self, real_path: str) -> bool:
        """Return whether a file or folder is in one of the places, and not in a hidden folder."""
        above = real_path
        while True:
            if above in self._real:
                return True
            parent, name = os.path.split(above)
            if parent == above or name.startswith("."):
                return False
            above = parent

    def is_one(self, real_path: str) -> bool:
        """Return whether a file or folder is one of the places itself."""
        return real_path in self._real

    def add(self, real_path: str) -> bool:
        """Return whether a target of a link is new; it is then one of the places."""
        is_new = not self.has(real_path)
        self._real.add(real_path)
        return is_new


def common_root(sources: Iterable[str | os.PathLike[str]]) -> str:
    """Return the absolute path of the deepest folder that contains all files and folders given."""
    places = [os.path.abspath(source) for source in sources]
    return os.path.commonpath([p if os.path.isdir(p) else os.path.dirname(p) for p in places])


def searched_root(sources: Iterable[str | os.PathLike[str]]) -> str:
    """Return the path or address of the deepest folder that contains all that is searched.

    It is empty if there is none, for recordings here and elsewhere.
    """
    given = [os.fspath(source) for source in sources if os.fspath(source) != "-"]
    if not any(map(is_remote, given)):
        return common_root(given) if given else ""
    folders = [
        source.rpartition("/")[0] if _is_sound(source.rpartition("/")[2]) else source.rstrip("/")
        for source in given
    ]
    common = os.path.commonprefix([folder.split("/") for folder in folders])
    return "/".join(common) if len(common) > 2 else ""


def iter_recordings(
    sources: Iterable[str | os.PathLike[str]], root: str, errors: list[RecordingError]
) -> Iterator[Recording]:
    """Yield the recordings in files and folders while the disk is searched, in constant memory.

    They are those of `find_recordings`, but unsorted.

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
    given = [os.fspath(source) for source in sources]
    places = _Places(given)
    done: set[str] = set()  # real paths of the given files and folders
    for source in given:
        name = os.path.relpath(source, root)
        if is_remote(source):
            for file in _remote_sounds(source, errors):
                below = "" if file.path == source else file.name
                yield Recording(file.path, os.path.join(name, below).rstrip("/"), file.n_bytes)
            continue
        real_path = os.path.realpath(source)
        if real_path in done or _is_found_below(real_path, places):
            continue
        done.add(real_path)
        if not os.path.isdir(source):
            yield Recording(source, name, _size(source))
            continue
        is_empty, n_errors = True, len(errors)
        above = "" if name == os.curdir else os.path.join(name, "")
        start = len(os.path.join(source, ""))
        for path, _ in _sounds_below(source, real_path, places, errors):
            is_empty = False
            yield Recording(path, above + path[start:], _size(path))
        if is_empty and len(errors) == n_errors:
            errors.append(_no_recordings(source))


def _is_found_below(real_path: str, places: _Places) -> bool:
    """Return whether a file or folder is found in another folder that is given too."""
    folder, name = os.path.split(real_path)
    is_shown = not name.startswith(".") and (os.path.isdir(real_path) or _is_sound(name))
    return is_shown and folder != real_path and places.has(folder)


def _sounds_below(
    folder: str,
    real_folder: str,
    places: _Places,
    errors: list[RecordingError],
    *,
    in_order: bool = False,
    is_linked: bool = False,
) -> Iterator[tuple[str, str]]:
    """Yield the path and the real path of each sound file below a folder.

    Below a link (`is_linked`), places that are searched anyway are left out.
    """
    try:
        with os.scandir(folder) as scanned:
            entries: Iterable[os.DirEntry[str]] = scanned
            if in_order:  # files first
                entries = sorted(scanned, key=lambda entry: (entry.is_dir(), entry.name))
            for entry in entries:
                is_folder = entry.is_dir()
                if entry.name.startswith(".") or not (is_folder or _is_sound_file(entry)):
                    continue
                real_path = os.path.join(real_folder, entry.name)
                if is_linked and not entry.is_symlink() and places.is_one(real_path):
                    continue
                if entry.is_symlink():
                    real_path = os.path.realpath(entry.path)
                    is_shown = is_folder or _is_sound(os.path.basename(real_path))
                    is_known = os.path.exists(real_path) and not places.add(real_path)
                    if is_known and is_shown:
                        continue
                if is_folder:
                    yield from _sounds_below(
                        entry.path,
                        real_path,
                        places,
                        errors,
                        in_order=in_order,
                        is_linked=is_linked or entry.is_symlink(),
                    )
                else:
                    yield entry.path, real_path
    except OSError as error:
        errors.append(_unreadable_folder(error))


def _is_sound_file(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a recording, or a link to a missing one, which is then reported.

    Opening a pipe would wait until something is written to it, and a device is no recording.
    """
    is_file = entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    if not is_file or not _is_sound(entry.name):
        return False
    return not entry.name.lower().endswith(_TYPESCRIPT) or _is_transport_stream(entry.path)


def _is_transport_stream(path: str) -> bool:
    """Return whether a file is of MPEG-TS: packets begin with G, or behind a time of 4 bytes."""
    try:
        with open(path, "rb") as file:
            head = file.read(5)
    except OSError:
        return True  # which is reported when it is opened
    return head[:1] == b"G" or head[4:] == b"G"


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
