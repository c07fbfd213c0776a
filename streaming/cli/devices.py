"""List sound devices (`sed devices`), and silence the drivers while a command uses them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from sed.errors import FAILED
from sed.text import printable


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
