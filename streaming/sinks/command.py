"""What others are told of events: a program is run, or an address on the web is called.

Whoever is told sees a *note*: what happened, as plain values, see `note_of`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from sed.errors import UsageError, printable
from sed.events.tracker import Event
from streaming.messages import Began, Clip, Ended, Gap, Message
from streaming.sinks.delivery import Outbox, OutboxConfig, RefusedError, UnreachableError

Note = dict[str, str | float | None]

PLACEHOLDERS = (
    "label", "score", "onset", "offset", "duration", "time", "source", "clip",
)  # fmt: skip
COMMAND_SECONDS = 30.0
COMMANDS_WAITING = 100
WEBHOOK_SECONDS = 10.0
LONGEST_QUOTE = 200  # characters of what a program complained of
TRY_AGAIN = frozenset([408, 429])  # of the 4xx, those that may pass by themselves


def note_of(message: Message, *, waits_for_clip: bool) -> Note | None:
    """Return what others are told of a message, or None.

    The note of an event goes out with its `Ended`, or with its `Clip` if there are clips. At its
    onset, neither its offset nor its clip is known, and its score may yet rise.
    """
    match message:
        case Began(event):
            return _event_note("onset", event, None, None)
        case Ended(event) if not waits_for_clip:
            return _event_note("event", event, event.offset, None)
        case Clip(event, path) if waits_for_clip:
            return _event_note("event", event, event.offset, path)
        case Gap():
            return {
                "type": "gap",
                "onset": message.onset,
                "offset": message.offset,
                "time": message.time.isoformat(timespec="milliseconds"),
                "source": message.source,
                "reason": message.reason,
            }
    return None


def _event_note(kind: str, event: Event, offset: float | None, clip: str | None) -> Note:
    return {
        "type": kind,
        "label": event.label,
        "score": event.score,
        "onset": event.onset,
        "offset": offset,
        "duration": None if offset is None else offset - event.onset,
        "time": event.time.isoformat(timespec="milliseconds") if event.time else None,
        "source": event.file,
        "clip": clip,
    }


class CommandAlert:
    """Runs a program for each event, one at a time.

    Parameters
    ----------
    command
        A program and its arguments, quoted as for a shell; no shell ever sees them. ``{label}``
        and the other placeholders are filled in within each argument. A value may begin with a
        hyphen: where the program would take it for an option, put ``--`` before it.
    at
        Whether it runs when an event is over, or when it begins.
    waits_for_clip
        Whether events are followed by a `Clip`, for which they wait.
    timeout
        Seconds that the program may take; it is then killed.
    config
        Bounds and times of what waits.

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
        timeout: float = COMMAND_SECONDS,
        config: OutboxConfig | None = None,
    ) -> None:
        self._arguments = _split_command(command)
        self._at = at
        self._waits_for_clip = waits_for_clip
        self._timeout = timeout
        self._running: subprocess.Popen[bytes] | None = None
        self._outbox = Outbox(
            f"command {printable(self._arguments[0])}",
            self._run,
            config or OutboxConfig(capacity=COMMANDS_WAITING),
        )

    def take(self, message: Message) -> Sequence[Message]:
        """Have the command run if the message is of an event."""
        note = note_of(message, waits_for_clip=self._waits_for_clip)
        if note is not None and note["type"] == self._at:
            self._outbox.put(note)
        return self._outbox.news()

    def close(self) -> Sequence[Message]:
        """Let commands finish for a few seconds, then kill the one that runs."""
        told = self._outbox.close()
        if (process := self._running) is not None:
            _kill(process)
        return told

    def _run(self, note: Note) -> None:
        try:
            with tempfile.TemporaryFile() as stderr:  # no pipe, which what it starts might keep
                self._running = subprocess.Popen(
                    _filled(self._arguments, note),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,
                )
                self._wait(self._running, stderr)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            raise RefusedError(f"cannot be run: {error}") from error
        finally:
            self._running = None

    def _wait(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        try:
            status = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise RefusedError(f"took more than {self._timeout:g} s and was killed") from None
        if status:
            raise RefusedError(f"ended with status {status}{_last_line(stderr)}")


def _split_command(command: str) -> list[str]:
    try:
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


def _filled(arguments: Sequence[str], note: Note) -> list[str]:
    """Fill the placeholders, all at once: a label that looks like one stays what it is."""
    return [
        re.sub(r"\{(\w+)\}", lambda match: _text(note[match[1]]), argument)
        for argument in arguments
    ]


def _text(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.3f}"


def _last_line(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, end - 4 * LONGEST_QUOTE))
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return f": {printable(lines[-1][-LONGEST_QUOTE:])}" if lines else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Webhook:
    """Posts a note as JSON to an address for each onset, event and gap.

    What cannot be delivered waits, and is tried again in its order.

    Parameters
    ----------
    url
        An http or https address; ``user:password@`` in it becomes basic authentication.
    headers
        Sent as well.
    waits_for_clip
        Whether events are followed by a `Clip`, for which they wait.
    timeout
        Seconds that the server may be silent.
    config
        Bounds and times of what waits.

    Raises
    ------
    UsageError
        If the address or a header cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        waits_for_clip: bool = False,
        timeout: float = WEBHOOK_SECONDS,
        config: OutboxConfig | None = None,
    ) -> None:
        parts = split_url(url, ("http", "https"), "https://host/path")
        self._headers = {"Content-Type": "application/json", "User-Agent": "sed-engine"}
        self._headers |= _checked_headers(headers or {})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        place = parts.netloc.rpartition("@")[2]
        address = parts._replace(netloc=place, fragment="").geturl()
        self._url = quote(address, safe="/:?#[]@!$&'()*+,;=%~")
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._timeout = timeout
        self._waits_for_clip = waits_for_clip
        # Neither the path nor the query is named: many services keep a secret there.
        self._outbox = Outbox(f"webhook {parts.scheme}://{place}", self._post, config)

    def take(self, message: Message) -> Sequence[Message]:
        """Have the note of a message posted, if it has one."""
        if (note := note_of(message, waits_for_clip=self._waits_for_clip)) is not None:
            self._outbox.put(note)
        return self._outbox.news()

    def close(self) -> Sequence[Message]:
        """Deliver what waits, for a few seconds at most."""
        return self._outbox.close()

    def _post(self, note: Note) -> None:
        request = urllib.request.Request(
            self._url, json.dumps(note).encode(), self._headers, method="POST"
        )
        try:
            self._opener.open(request, timeout=self._timeout).close()
        except urllib.error.HTTPError as error:
            error.close()
            answer = f"the server answers {error.code} {http.client.responses.get(error.code, '')}"
            if error.code >= 500 or error.code in TRY_AGAIN:
                raise UnreachableError(answer.strip()) from error
            raise RefusedError(f"{answer.strip()}. Check the address") from error
        except OSError as error:
            raise UnreachableError(reason_of(error)) from error
        except http.client.HTTPException as error:
            raise UnreachableError("the server answers something that is not HTTP") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a refusal: to follow it would turn the POST into a GET."""

    def redirect_request(self, *_: object) -> None:
        return None


def split_url(url: str, schemes: Sequence[str], example: str) -> SplitResult:
    """Return the parts of an address; what is said of a wrong one does not repeat its secrets.

    Raises
    ------
    UsageError
        If its scheme is none of those given, or its host or port cannot be.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_usable = bool(host) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:  # the port is no number, or no host can be called so
        is_usable = False
    if not is_usable or parts.scheme not in schemes:
        raise UsageError(
            f"expected an address that begins with {' or '.join(schemes)}, like {example}"
        )
    return parts


def reason_of(error: OSError) -> str:
    """Return why a server cannot be reached, without its address."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, OSError):
        return f"the server cannot be reached: {inner.strerror or inner}"
    return f"the server cannot be reached: {inner}"


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        is_name = re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII)
        if not is_name or not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
            raise UsageError(f"the header {name!r} cannot be sent. Give a name and one line.")
    return dict(headers)
