"""Look for damage in a database without delaying detection."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from sed.events.sqlite import is_sound

MAX_BYTES_AT_ONCE = 1 << 22  # of a database that is checked before it is opened: milliseconds
MAX_SECONDS = 120.0  # of a check in the background
_INSTRUCTIONS = 20_000  # of SQLite, between two looks at the time


class BackgroundCheck:
    """Check a database as a whole in a thread of its own.

    While it reads, the log of the database cannot be emptied; therefore it ends after some time,
    and what was not read by then is not checked.

    Parameters
    ----------
    path
        The database.
    max_seconds
        When the check ends in any case.

    Attributes
    ----------
    is_damaged
        Whether damage was found so far.
    """

    def __init__(self, path: Path, *, max_seconds: float = MAX_SECONDS) -> None:
        self.is_damaged = False
        self._path, self._stop_at = path, time.monotonic() + max_seconds
        self._thread = threading.Thread(target=self._run, name="database check", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the check."""
        self._stop_at = 0.0
        self._thread.join()

    def _run(self) -> None:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        # That a check was interrupted, or the file is gone, says nothing about damage.
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.set_progress_handler(self._is_over, _INSTRUCTIONS)
            try:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()
            except sqlite3.DatabaseError as error:
                self.is_damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in (
                    sqlite3.SQLITE_CORRUPT,
                    sqlite3.SQLITE_NOTADB,
                )
            else:
                self.is_damaged = found != ("ok",)

    def _is_over(self) -> bool:
        return time.monotonic() > self._stop_at


def is_sound_at_start(path: Path) -> bool:
    """Return whether no damage is found in a database; a large one is not looked at here."""
    try:
        is_small = 0 < path.stat().st_size <= MAX_BYTES_AT_ONCE
    except OSError:
        return True
    return not is_small or is_sound(path)


def check_in_background(path: Path) -> BackgroundCheck | None:
    """Begin to check a database that is too large to be checked at the start.

    Parameters
    ----------
    path
        The database, which is open and was not checked.
    """
    if path.stat().st_size <= MAX_BYTES_AT_ONCE:
        return None
    return BackgroundCheck(path)
