"""Finding recordings, and naming what is written about them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sed.audio import CONTAINER_SUFFIXES, SOUND_SUFFIXES
from sed.errors import RecordingError


@dataclass(frozen=True)
class Recording:
    """A recording to be listened to."""

    path: str  # as the caller named it, or as found below the folder he named
    name: str  # where results about it go, relative to the output folder
    n_bytes: int = 0  # size of the file, 0 if unknown


def find_recordings(
    sources: Iterable[str | os.PathLike[str]],
) -> tuple[list[Recording], list[RecordingError]]:
    """Return the recordings that files and folders name, and what is wrong with the others.

    Folders are searched whole, without hidden files, in the order of their names; what counts is
    the ending of the name, in any case. Files are taken whatever they are called. A recording
    named twice is taken once.
    """
    found: dict[str, str] = {}  # path, and name relative to where it was found
    errors: list[RecordingError] = []
    for source in (os.fspath(s) for s in sources):
        if not os.path.isdir(source):
            found.setdefault(source, "stdin" if source == "-" else os.path.basename(source))
            continue
        before = len(found)
        n_errors = len(errors)
        for path in _sounds_below(Path(source), errors):
            found.setdefault(str(path), str(path.relative_to(source)))
        if len(found) == before and len(errors) == n_errors:
            errors.append(
                RecordingError(
                    source,
                    "this folder holds no recordings (.wav, .flac, .ogg, .opus, .mp3, .aiff, …). "
                    "Check the name.",
                )
            )
    return [Recording(p, n, _size(p)) for p, n in _distinct(found).items()], errors


def _sounds_below(folder: Path, errors: list[RecordingError]) -> Iterator[Path]:
    suffixes = SOUND_SUFFIXES | CONTAINER_SUFFIXES

    def on_error(error: OSError) -> None:
        errors.append(RecordingError(error.filename, f"cannot look inside: {error.strerror}."))

    for parent, folders, files in os.walk(folder, onerror=on_error, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(parent, name)


def _distinct(found: dict[str, str]) -> dict[str, str]:
    """Give recordings of one name from several places the names of their folders too."""
    counts = Counter(found.values())
    if all(n == 1 for n in counts.values()):
        return found
    paths = {path: os.path.abspath(path) for path in found}
    common = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    return {path: os.path.relpath(absolute, common) for path, absolute in paths.items()}


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # what is wrong with it is said when it is opened


def output_path(folder: Path, recording: Recording, extension: str) -> Path:
    """Return where a result about a recording goes: its name with one more ending.

    The ending of the recording stays, so that dawn.wav and dawn.flac do not meet.
    """
    return folder / (recording.name + extension)


def all_written(folder: Path, recording: Recording, extensions: Sequence[str]) -> bool:
    """Return whether every result about a recording is there already."""
    return all(output_path(folder, recording, e).exists() for e in extensions)
