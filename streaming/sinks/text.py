"""What is heard as plain lines, where no terminal is there to draw on, and what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from sed.errors import OutputError
from sed.events.tracker import Event
from sed.text import clock_time, iso_time, pluralize, printable
from streaming.messages import (
    EventEnded,
    EventStarted,
    FaultReporter,
    Gap,
    Message,
    Problem,
    Status,
)


class TextSink:
    """Writes a line when an event begins and another when it is complete.

    Parameters
    ----------
    out
        Where to; lines go there at once.
    gone
        Called when the reader of a pipe has left.
    """

    def __init__(self, out: TextIO, gone: Callable[[], None] = lambda: None) -> None:
        self._out = out
        self._gone = gone
        self._alarm = FaultReporter("lines are written again")

    def handle(self, message: Message) -> Sequence[Message]:
        """Write what is to be written."""
        try:
            match message:
                case EventStarted(event):
                    self._write(event, "begins")
                case EventEnded(event):
                    self._write(event, f"lasted {event.offset - event.onset:.2f} s")
                case _:
                    return ()
        except BrokenPipeError:
            redirect_to_null(self._out)
            self._gone()
        except OSError as error:
            return self._alarm.update(f"{OutputError('lines', error)} They are lost.")
        return self._alarm.update(None)

    def close(self) -> Sequence[Message]:
        """Leave the stream to its owner."""
        return ()

    def _write(self, event: Event, what: str) -> None:
        source = printable(event.file)
        label = printable(event.label)
        time = iso_time(event.time)
        print(f"{time}  {label}  {event.score:.2f}  {what}  ({source})", file=self._out, flush=True)


class ErrorSink:
    """Writes what was lost and what is wrong."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def handle(self, message: Message) -> Sequence[Message]:
        """Write what is to be written."""
        with suppress(OSError):  # there is nobody left to tell
            match message:
                case Problem(text):
                    print(f"sed: {_plain(text)}", file=self._out, flush=True)
                case Gap():
                    print(f"sed: {format_gap(message)}", file=self._out, flush=True)
        return ()

    def close(self) -> Sequence[Message]:
        """Leave the stream to its owner."""
        return ()


def redirect_to_null(out: TextIO) -> None:
    """Have what is still written to a pipe without a reader go nowhere."""
    with suppress(OSError):  # it is no file of the system
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


def format_gap(gap: Gap) -> str:
    """Return what was lost, and why, on a line."""
    lost = f"{gap.offset - gap.onset:.2f} s ({gap.n_samples:,} samples)"
    if not gap.n_samples:
        lost = "some samples"
    at = iso_time(gap.time)
    return f"{printable(gap.source)}: lost {lost} at {at}: {gap.reason}"


def format_status(status: Status) -> str:
    """Return the summary of a session on one line: what was processed, found and lost."""
    processed = sum(source.n_processed / source.sample_rate for source in status.sources)
    lost = sum(
        (source.n_dropped + source.n_missing) / source.sample_rate for source in status.sources
    )
    n_gaps, n_dropped, n_missing, n_overflows = (
        sum(getattr(source, name) for source in status.sources)
        for name in ("n_gaps", "n_dropped", "n_missing", "n_overflows")
    )
    return " · ".join(
        [
            f"{clock_time(round(processed))} processed",
            pluralize(status.n_events, "event"),
            f"{pluralize(n_gaps, 'gap')}, {lost:.1f} s lost",
            f"{n_dropped:,} samples dropped",
            f"{n_missing:,} missing",
            pluralize(n_overflows, "driver overflow"),
            f"latency {1000 * status.latency_seconds:.0f} ms",
            f"real-time factor {status.real_time_factor:.3f}",
        ]
    )


def _plain(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
