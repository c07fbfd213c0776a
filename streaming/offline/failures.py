"""Write a table of the recordings that failed."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from sed.files import written_whole
from sed.text import printable


def write_report(path: Path, failures: Iterable[tuple[str, str]]) -> None:
    """Write a CSV table of failures: file, what was wrong, and a remedy.

    Parameters
    ----------
    path
        The table.
    failures
        Paths and messages: the path, what was wrong, and in further sentences the remedy.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with (
        written_whole(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("file", "what", "remedy"))
        for name, message in failures:
            what, _, remedy = message.removeprefix(f"{printable(name)}: ").partition(". ")
            rows.writerow((name, what, remedy))
