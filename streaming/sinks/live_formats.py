"""The formats of live events: which there are, and their lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from typing import TextIO

from sed.errors import UsageError
from sed.events.tracker import Event
from sed.events.writing.formats import LIVE_FORMATS, format_of, open_writer
from sed.events.writing.writers import GAP, EventWriter, LineWriter
from sed.files import parse_json
from sed.text import near
from streaming.messages import EventEnded, Gap, Message
from streaming.sinks.payload import Payload, event_payload, gap_payload


def live_format(path: str | os.PathLike[str] | None, format: str | None) -> str:
    """Return the format of live events: the given one, or that of the ending of a file.

    Raises
    ------
    UsageError
        If it is none of `LIVE_FORMATS`.
    """
    if format is None and path is not None:
        return format_of(path, LIVE_FORMATS)
    if format not in LIVE_FORMATS:
        hint = near(str(format), LIVE_FORMATS)
        raise UsageError(f"live events cannot be written as {format!r}. {hint}")
    return format


class PayloadWriter(LineWriter):
    """Writes JSON Lines of live events and gaps; see `streaming.sinks.payload`.

    With species ``scientific_name`` and ``common_name`` follow.
    """

    extension = ".jsonl"

    def write_payload(self, payload: Payload) -> None:
        """Write the line of a payload."""
        self._write_line(json.dumps(payload, ensure_ascii=False) + "\n")

    def _line(self, event: Event) -> str:
        names = dict(zip(self._name_columns, self._names(event), strict=True))
        return json.dumps(event_payload(event) | names, ensure_ascii=False) + "\n"


def open_live_writer(
    out: TextIO,
    format: str,
    species: Mapping[str, tuple[str, str]] | None,
    *,
    continued: bool = False,
    spreadsheet_safe: bool = False,
) -> EventWriter:
    """Return a writer of live events, all of which have a time of day."""
    if format == "jsonl":
        return PayloadWriter(out, species=species)
    return open_writer(
        out,
        format,
        dated=True,
        continued=continued,
        species=species,
        spreadsheet_safe=spreadsheet_safe,
    )


def write_message(writer: EventWriter, message: Message) -> None:
    """Write the line of an event that is complete, or of a gap; nothing for other messages."""
    match message:
        case EventEnded(event):
            writer.write(event)
        case Gap():
            if isinstance(writer, PayloadWriter):
                writer.write_payload(gap_payload(message))
            else:
                gap = Event(message.onset, message.offset, GAP, 0.0, message.source, message.time)
                writer.write(gap)


def is_first_line(line: bytes, format: str, species: Mapping[str, tuple[str, str]] | None) -> bool:
    """Return whether the first line of a file is that of a format."""
    if header := header_of(format, species):
        return line + b"\n" == header.encode()
    with suppress(ValueError):
        first = parse_json(line)
        # Earlier releases named the input "file".
        return isinstance(first, dict) and any(
            {name, "onset", "offset"} <= set(first) for name in ("source", "file")
        )
    return False


def header_of(format: str, species: Mapping[str, tuple[str, str]] | None) -> str:
    """Return the line that comes before the first event; empty if the format has none."""
    header = StringIO()
    open_live_writer(header, format, species)
    return header.getvalue()
