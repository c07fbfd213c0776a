"""Write events as a table that Kaleidoscope opens, and programs that read its tables.

::

    INDIR, FOLDER, IN FILE              the recording: the searched folder, that in it, its name
    CHANNEL                             from 0
    OFFSET, DURATION                    seconds
    DATE, TIME, HOUR                    of the onset, as a clock at the place showed it; or empty
    DATE-12, TIME-12, HOUR-12           the same twelve hours earlier: a night has one date
    AUTO ID                             the label
    confidence                          the score
    MANUAL ID                           empty, for people

They are those columns of Kaleidoscope's ``id.csv`` that a detector can fill, in their order. The
score is named as in the tables that BirdNET-Analyzer writes for Kaleidoscope.
"""

from __future__ import annotations

import os
from datetime import timedelta

from sed.events.sites import parent_folder
from sed.events.tracker import Event
from sed.events.writing.writers import LineWriter, csv_line

HALF_A_DAY = timedelta(hours=12)


class KaleidoscopeWriter(LineWriter):
    """A table as Kaleidoscope's ``id.csv``: one row for each event."""

    extension = ".kaleidoscope.csv"
    is_appendable = False  # it is about files
    columns = (
        *("INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "DATE", "TIME", "HOUR"),
        *("DATE-12", "TIME-12", "HOUR-12", "AUTO ID", "confidence", "MANUAL ID"),
    )

    def _header(self) -> str:
        return csv_line(self.columns, ",")

    def _line(self, event: Event) -> str:
        cells = [
            *self._place(event.file),
            str(self._channel - 1),
            f"{event.onset:.3f}",
            f"{event.offset - event.onset:.3f}",
            *_clock(event, timedelta()),
            *_clock(event, HALF_A_DAY),
            event.label,
            f"{event.score:.4f}",
            "",
        ]
        return self._row(cells, ",")

    def _place(self, file: str) -> tuple[str, str, str]:
        """Return the searched folder, the folder of a recording in it, and its name."""
        folder, above = parent_folder(file), os.path.join(self._root, "")
        if not self._root:
            return ("", *os.path.split(file))
        if folder == self._root:
            return folder, "", os.path.basename(file)
        if folder.startswith(above):
            return self._root, folder[len(above) :], os.path.basename(file)
        return folder, "", os.path.basename(file)


def _clock(event: Event, earlier: timedelta) -> tuple[str, str, str]:
    """Return date, time and hour of an onset; empty if they are not known."""
    if event.time is None:
        return "", "", ""
    time = event.time.replace(tzinfo=None) - earlier
    return f"{time:%Y-%m-%d}", f"{time:%H:%M:%S}", str(time.hour)
