"""Write files atomically: complete, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sed.errors import OutputError, UsageError
from sed.text import printable


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write to a temporary file, renamed to `path` on success and removed on failure.

    Missing folders are created. The content is synced to the disk before the file is renamed.

    Yields
    ------
    Path
        The temporary file, in the folder of `path`.

    Raises
    ------
    OutputError
        If the folder cannot be written or the disk is full; `path` is then unchanged.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        with suppress(OSError):  # renamed, or never created
            part.unlink()


def refuse_to_replace(output: str | os.PathLike[str] | None, sources: Iterable[str]) -> None:
    """Make sure that the file of results is none of the recordings.

    Raises
    ------
    UsageError
        If it is one of them.
    """
    if output is None or not os.path.isfile(output):
        return
    for source in sources:
        if os.path.isfile(source) and os.path.samefile(output, source):
            raise UsageError(
                f"--output {printable(str(output))} is one of the recordings: give another name"
            )
