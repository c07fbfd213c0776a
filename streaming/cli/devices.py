"""List sound devices (`sed devices`), open inputs, and silence the drivers meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

from sed.errors import FAILED, SedError, UsageError
from sed.text import printable

if TYPE_CHECKING:
    from streaming.live.sources import AudioSource


def devices() -> None:
    """List the sound inputs of this machine: names for `sed listen --input`, channels and rates.

    Names stay the same when the machine starts again; the numbers may not. The default input is
    marked *, and the rate that a device runs at is in brackets.
    """
    from streaming.live.microphone import devices as input_devices

    with drivers_silenced():
        found = input_devices(with_rates=True)
    if not found:
        print(
            "sed: there is no microphone. Plug one in, or start the sound server.", file=sys.stderr
        )
        raise typer.Exit(FAILED)
    width = max(len(printable(device.name)) for device in found)
    for device in found:
        rates = " ".join(
            f"({rate:,})" if rate == device.sample_rate else f"{rate:,}" for rate in device.rates
        )
        print(
            f"{'*' if device.is_default else ' '}{device.index:3}  {printable(device.name):{width}}"
            f"  {device.host}, {device.n_channels} channels, Hz: {rates or 'in use?'}"
        )


@contextmanager
def drivers_silenced() -> Iterator[None]:
    """Discard what PortAudio and ALSA print from C; `sys.stderr` still goes to standard error.

    Those libraries write to file descriptor 2. It is redirected to the null device, and
    `sys.stderr` is replaced by a copy of the descriptor from before.
    """
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed: there is nothing to redirect
        yield
        return
    before, null = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # sys.stderr is not a file, so it does not use the descriptor
        if before.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        if sys.stderr is not before:
            sys.stderr.close()
            sys.stderr = before
        os.close(null)
        os.close(kept)


def open_sources(
    inputs: list[str] | None,
    channel: int | None,
    raw_rate: int | None,
    raw_encoding: str,
    raw_channels: int,
) -> list[AudioSource]:
    """Open the inputs of `sed listen`; print why one cannot be opened, as long as another can.

    Parameters
    ----------
    inputs
        Names, as for `streaming.live.sources.open_source`; the default microphone if None.
    channel
        The channel that will be used, counted from 1; None for all of them.
    raw_rate, raw_encoding, raw_channels
        Format of raw samples on standard input; the rate is None where there are none.

    Raises
    ------
    UsageError
        If a format is given without standard input, or a device has no such channel.
    SedError
        If none can be opened.
    """
    from sed.audio.decode import open_raw_stdin
    from streaming.live.sources import open_source

    stdin = None
    if raw_rate is not None:
        if "-" not in (inputs or ()):
            raise UsageError("--raw-rate describes standard input: give --input - too")
        stdin = open_raw_stdin(raw_rate, raw_encoding, raw_channels)
    sources: list[AudioSource] = []
    errors: list[SedError] = []
    for name in inputs or (None,):
        try:
            sources.append(open_source(name, channel=channel, stdin=stdin))
        except SedError as error:
            errors.append(error)
    if not sources:
        raise errors[0]
    for failure in errors:
        print(f"sed: {failure}", file=sys.stderr)
    return sources
