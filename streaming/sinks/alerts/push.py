"""Send events as push notifications through Apprise, which knows the services."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sed.errors import MissingExtraError, UsageError
from streaming.messages import Message
from streaming.sinks.alerts.delivery import DeliveryConfig, DeliveryQueue
from streaming.sinks.payload import Payload, payload_of

if TYPE_CHECKING:
    from apprise import Apprise

QUEUE_CAPACITY = 20  # a notification of long ago is of no use


class PushAlert:
    """Send a text for each complete event to each of several services.

    The sound of the event is attached where it is saved and the service takes attachments. Texts
    that cannot be sent wait in a queue of their service and are retried in order.

    Parameters
    ----------
    urls
        Addresses of services, as Apprise has them: ``tgram://token/chat``, ``ntfys://topic``.
    waits_for_clip
        Whether events are complete with their `ClipSaved`.
    config
        Size and times of the delivery queues.

    Raises
    ------
    MissingExtraError
        If the `push` extra is not installed.
    UsageError
        If Apprise does not know an address. The message does not repeat it: it may be secret.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        waits_for_clip: bool = False,
        config: DeliveryConfig | None = None,
    ) -> None:
        services = [_service(url, number) for number, url in enumerate(urls, start=1)]
        self._waits_for_clip = waits_for_clip
        self._queues = [
            DeliveryQueue(
                f"push to {service[0].service_name}",
                partial(_send, service),
                config or DeliveryConfig(capacity=QUEUE_CAPACITY),
            )
            for service in services
        ]

    def handle(self, message: Message) -> Sequence[Message]:
        """Queue the text of an event that is complete; return the notices of the queues."""
        payload = payload_of(message, waits_for_clip=self._waits_for_clip)
        if payload is not None and payload["type"] == "event":
            for queue in self._queues:
                queue.put(payload)
        return [notice for queue in self._queues for notice in queue.notices()]

    def close(self) -> Sequence[Message]:
        """Send queued texts, for a few seconds at most."""
        return [notice for queue in self._queues for notice in queue.close()]


def text_of(payload: Payload) -> str:
    """Return the text of a notification: ``dog at 13:15:00 on 2026-11-21, score 0.88, …``."""
    when = ""
    if payload["time"] is not None:
        time = datetime.fromisoformat(str(payload["time"]))
        when = f" at {time:%H:%M:%S} on {time:%Y-%m-%d}"
    return (
        f"{_shown(payload)}{when}, score {payload['score']:.2f}, {payload['duration']:.1f} s, "
        f"from {payload['source']}"
    )


def _shown(payload: Payload) -> str:
    return str(payload["label"]).replace("_", " ")


def _service(url: str, number: int) -> Apprise:
    try:
        import apprise
    except ImportError as error:
        raise MissingExtraError("push notifications", "push") from error
    # It logs addresses, with their secrets, and without a handler Python prints them.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="sed", app_desc="sed listen"))
    if not service.add(url) or len(service) != 1:
        raise UsageError(
            f"push address {number} is not one that Apprise knows, like ntfys://topic. "
            "See https://github.com/caronc/apprise/wiki"
        )
    return service


def _send(service: Apprise, payload: Payload) -> None:
    clip: Any = payload["clip"]
    # It may be deleted meanwhile, and a service that takes none would refuse the whole.
    is_sent = clip is not None and service[0].attachment_support and os.path.exists(clip)
    if not service.notify(
        body=text_of(payload), title=_shown(payload), attach=clip if is_sent else None
    ):
        raise ConnectionError("the service did not take a notification")
