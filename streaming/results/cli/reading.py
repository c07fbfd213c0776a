"""Read the tables that the commands are given, and show the progress of their work."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from sed.errors import SedError, UsageError
from sed.events.event_table import EventTable
from sed.events.reading.event_tables import read_event_tables
from sed.text import near, split_names


def read_events(paths: Sequence[Path], classes: str = "") -> EventTable:
    """Return the events of some classes in tables and folders; of all if none is named.

    Raises
    ------
    SedError
        If a table cannot be read.
    UsageError
        If no event has such a class.
    """
    table = read_event_tables(paths)
    names = split_names(classes)
    for name in names:
        if name not in table.labels:
            raise UsageError(f"no event of the class {name!r}. {near(name, table.labels)}")
    if not names:
        return table
    return table.take(np.isin(table.label, [table.labels.index(name) for name in names]))


def table_folders(paths: Sequence[Path]) -> list[Path]:
    """Return the folders of tables, which names of recordings may begin at."""
    return [*dict.fromkeys(path if path.is_dir() else path.parent for path in paths)]


def with_paths(table: EventTable, paths: Sequence[Path]) -> EventTable:
    """Return events with paths of their recordings that hold from here.

    Names that lead to no file from here, but from the folder of a table, get that folder.
    """
    folders = table_folders(paths)

    def place(name: str) -> str:
        found = (str(folder / name) for folder in folders if (folder / name).is_file())
        return name if Path(name).is_file() else next(found, name)

    names = [*map(place, table.files)]
    return table if names == [*table.files] else table.renamed(files=names)


def folders_of(table: EventTable) -> list[Path]:
    """Return the folders of recordings that are there, without those below others."""
    folders = {Path(file).parent for file in table.files if Path(file).is_file()}
    return sorted(folder for folder in folders if not {*folder.parents} & folders)


class Bar:
    """A progress bar on standard error, or none.

    Parameters
    ----------
    shown
        Where it is drawn; nothing is drawn if None.
    task
        What it shows.
    """

    def __init__(self, shown: Progress | None, task: TaskID | None) -> None:
        self._shown = shown
        self._task = task

    def update(self, n_done: int, n_all: int) -> None:
        """Move the bar."""
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, completed=n_done, total=n_all)

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        if self._shown is None:
            print(text, file=sys.stderr)
        else:
            self._shown.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(what: str, *, shown: bool) -> Iterator[Bar]:
    """Show a progress bar while the context lasts, where standard error is a terminal."""
    if not (shown and sys.stderr.isatty()):
        yield Bar(None, None)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield Bar(drawn, drawn.add_task(what, total=None))


def print_error(error: SedError, bar: Bar) -> None:
    """Print an error that does not end a command."""
    bar.print(f"sed: {error}")
