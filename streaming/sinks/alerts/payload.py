"""Build the payloads that commands, webhooks and MQTT receive; check their addresses."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from sed.errors import UsageError
from sed.events.tracker import Event
from sed.text import iso_time
from streaming.messages import ClipSaved, EventEnded, EventStarted, Gap, Message

Payload = dict[str, str | float | None]


def payload_of(message: Message, *, waits_for_clip: bool) -> Payload | None:
    """Return the payload of a message, or None if the message has none.

    An event has two: ``"type": "onset"`` when it starts, without offset and clip and with the
    score so far; and ``"type": "event"`` when it is complete. Times are seconds on the clock of the
    samples; ``time`` is the onset in ISO 8601.

    Parameters
    ----------
    message
        What happened.
    waits_for_clip
        Whether an event is complete with its `ClipSaved` instead of its `EventEnded`.
    """
    match message:
        case EventStarted(event):
            return _event_payload("onset", event, None, None)
        case EventEnded(event) if not waits_for_clip:
            return _event_payload("event", event, event.offset, None)
        case ClipSaved(event, path) if waits_for_clip:
            return _event_payload("event", event, event.offset, path)
        case Gap():
            return {
                "type": "gap",
                "onset": message.onset,
                "offset": message.offset,
                "time": iso_time(message.time),
                "source": message.source,
                "reason": message.reason,
            }
    return None


def _event_payload(kind: str, event: Event, offset: float | None, clip: str | None) -> Payload:
    return {
        "type": kind,
        "label": event.label,
        "score": event.score,
        "onset": event.onset,
        "offset": offset,
        "duration": None if offset is None else offset - event.onset,
        "time": iso_time(event.time) or None,
        "source": event.file,
        "clip": clip,
    }


def split_url(url: str, schemes: Sequence[str], example: str) -> SplitResult:
    """Return the parts of a URL. The error about a wrong one does not repeat its secrets.

    Raises
    ------
    UsageError
        If the scheme is none of `schemes`, or the host or port is not valid.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_usable = bool(host) and parts.port != 0 and not re.search(r"\s", url)
    # The port is not a number, or the name of the host is not valid.
    except ValueError:
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
