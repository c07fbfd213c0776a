"""Run a program for each event."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import IO, Literal

from sed.errors import SedError, UsageError
from sed.text import printable
from streaming.messages import Message
from streaming.sinks.alerts.delivery import DeliveryConfig, DeliveryQueue
from streaming.sinks.alerts.secrets import SECRET_VARIABLES, environment_without
from streaming.sinks.payload import Payload, payload_of

PLACEHOLDERS = (
    "label", "score", "onset", "offset", "duration", "time", "source", "clip",
)  # fmt: skip
TIMEOUT_SECONDS = 30.0  # of a program
QUEUE_CAPACITY = 100
MAX_QUOTE = 200  # characters of the last line that a failed program wrote to standard error


class CommandAlert:
    """Run a program for each event, one at a time.

    Parameters
    ----------
    command
        A program and its arguments, quoted as for a shell, but run without one. ``{label}`` and
        the other `PLACEHOLDERS` are replaced within each argument. A value may begin with a hyphen:
        put ``--`` before it where the program would take it for an option.
    at
        Run the program when an event is complete ("event") or when it starts ("onset").
    waits_for_clip
        Whether events are complete with their `ClipSaved`.
    timeout
        Seconds after which the program is killed.
    hidden
        Environment variables that the program does not inherit.
    config
        Size and times of the delivery queue.

    Raises
    ------
    UsageError
        If the command cannot be split, a placeholder is unknown or there is no such program.
    """

    def __init__(
        self,
        command: str,
        at: Literal["event", "onset"] = "event",
        *,
        waits_for_clip: bool = False,
        timeout: float = TIMEOUT_SECONDS,
        hidden: Collection[str] = SECRET_VARIABLES,
        config: DeliveryConfig | None = None,
    ) -> None:
        self._arguments = _split_command(command)
        self._at = at
        self._waits_for_clip = waits_for_clip
        self._timeout = timeout
        self._hidden = hidden
        self._running: subprocess.Popen[bytes] | None = None
        self._queue = DeliveryQueue(
            f"command {printable(self._arguments[0])}",
            self._run,
            config or DeliveryConfig(capacity=QUEUE_CAPACITY),
        )

    def handle(self, message: Message) -> Sequence[Message]:
        """Queue the program if the message is about an event; return the notices of the queue."""
        payload = payload_of(message, waits_for_clip=self._waits_for_clip)
        if payload is not None and payload["type"] == self._at:
            self._queue.put(payload)
        return self._queue.notices()

    def close(self) -> Sequence[Message]:
        """Wait a few seconds for queued programs, then kill the running one."""
        messages = self._queue.close()
        if (process := self._running) is not None:
            _kill(process)
        return messages

    def _run(self, payload: Payload) -> None:
        try:
            # A file and not a pipe: a child of the program could keep a pipe open.
            with tempfile.TemporaryFile() as stderr:
                self._running = subprocess.Popen(
                    _filled(self._arguments, payload),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    env=environment_without(self._hidden),
                    start_new_session=True,
                )
                self._wait(self._running, stderr)
        # A ValueError is about a NUL character in an argument.
        except (OSError, ValueError) as error:
            raise SedError(f"cannot be run: {error}") from error
        finally:
            self._running = None

    def _wait(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        try:
            status = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise SedError(f"took more than {self._timeout:g} s and was killed") from None
        if status:
            raise SedError(f"ended with status {status}{_last_line(stderr)}")


def _split_command(command: str) -> list[str]:
    try:
        # There a backslash is part of a path, and quotes nothing.
        command = command.replace("\\", "\\\\") if sys.platform == "win32" else command
        arguments = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{command}: {error}. Quote it as for a shell.") from error
    if not arguments:
        raise UsageError("the command is empty. Give a program and its arguments.")
    for name in re.findall(r"\{(\w+)\}", " ".join(arguments)):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise UsageError(f"unknown placeholder {{{name}}} in the command. Known: {known}.")
    if shutil.which(arguments[0]) is None:
        raise UsageError(f"there is no program {printable(arguments[0])}. Check its name and PATH.")
    return arguments


def _filled(arguments: Sequence[str], payload: Payload) -> list[str]:
    """Replace the placeholders in one pass, so that a label that looks like one stays."""
    return [
        re.sub(r"\{(\w+)\}", lambda match: _text(payload[match[1]]), argument)
        for argument in arguments
    ]


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.3f}"


def _last_line(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, end - 4 * MAX_QUOTE))
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return f": {printable(lines[-1][-MAX_QUOTE:])}" if lines else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its children."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
