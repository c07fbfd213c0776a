"""Write live events as lines for people, and problems as lines for standard error."""

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
    """Write a line when an event starts and another when it is complete.

    Parameters
    ----------
    out
        Receives the lines; flushed after each.
    on_broken_pipe
        Called when the reader of a pipe has closed it.
    """

    def __init__(self, out: TextIO, on_broken_pipe: Callable[[], None] = lambda: None) -> None:
        self._out = out
        self._on_broken_pipe = on_broken_pipe
        self._faults = FaultReporter("lines are written again")

    def handle(self, message: Message) -> Sequence[Message]:
        """Write the line of an event; return the problem or recovery to report."""
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
            self._on_broken_pipe()
        except OSError as error:
            return self._faults.update(f"{OutputError('lines', error)} They are lost.")
        return self._faults.update(None)

    def close(self) -> Sequence[Message]:
        """Leave the stream open for its owner."""
        return ()

    def _write(self, event: Event, what: str) -> None:
        source = printable(event.file)
        label = printable(event.label)
        time = iso_time(event.time)
        print(f"{time}  {label}  {event.score:.2f}  {what}  ({source})", file=self._out, flush=True)


class ErrorSink:
    """Write a line for each problem and each gap.

    Parameters
    ----------
    out
        Receives the lines; flushed after each. A line that cannot be written is dropped.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def handle(self, message: Message) -> Sequence[Message]:
        """Write the line of a problem or a gap."""
        # There is no other place where a failure of this stream could be reported.
        with suppress(OSError):
            match message:
                case Problem(text):
                    print(f"sed: {_escaped(text)}", file=self._out, flush=True)
                case Gap():
                    print(f"sed: {_format_gap(message)}", file=self._out, flush=True)
        return ()

    def close(self) -> Sequence[Message]:
        """Leave the stream open for its owner."""
        return ()


def redirect_to_null(out: TextIO) -> None:
    """Discard what is still written to a pipe that its reader has closed."""
    # A stream that is not a file of the system has no descriptor, and nothing to redirect.
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)


def _format_gap(gap: Gap) -> str:
    """Return the length, time and reason of a gap on one line."""
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


def _escaped(text: str) -> str:
    """Return a text with escapes in place of control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
