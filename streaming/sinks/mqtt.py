"""Events for a home, a broker or a dashboard: published by MQTT."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sed.errors import MissingExtraError, UsageError
from streaming.messages import Message
from streaming.sinks.delivery import DeliveryConfig, DeliveryQueue, TransientError
from streaming.sinks.payload import Payload, payload_of, reason_of, split_url

if TYPE_CHECKING:
    from paho.mqtt.client import Client

EXAMPLE = "mqtt://user@host:1883/topic"
PASSWORD_VARIABLE = "SED_MQTT_PASSWORD"
PORTS = {"mqtt": 1_883, "mqtts": 8_883}
KEEP_ALIVE_SECONDS = 30
RECONNECT_SECONDS = 1, 60  # the first wait and the longest, doubled each time
ANSWER_SECONDS = 10.0
GOODBYE_SECONDS = 1.0


class MqttAlert:
    """Publishes notes as JSON to TOPIC/event, TOPIC/onset and TOPIC/gap, with quality of service 1.

    TOPIC/status is "online", or "offline" once this is closed or gone; it is retained. While the
    broker is away, notes wait and the connection is tried again.

    Parameters
    ----------
    url
        ``mqtt://[user[:password]@]host[:port]/topic``, or ``mqtts://`` for an encrypted one. The
        password of the user may be in the environment as SED_MQTT_PASSWORD, so that it need not
        stand in the list of processes.
    waits_for_clip
        Whether events are followed by a `ClipSaved`, for which they wait.
    config
        Bounds and times of what waits.

    Raises
    ------
    MissingExtraError
        If the `mqtt` extra is not installed.
    UsageError
        If the address cannot be used.
    """

    def __init__(
        self, url: str, *, waits_for_clip: bool = False, config: DeliveryConfig | None = None
    ) -> None:
        parts = split_url(url, tuple(PORTS), EXAMPLE)
        self._topic = unquote(parts.path).strip("/")
        if not self._topic or set(self._topic) & set("+#\0") or set(url) & set("?#"):
            raise UsageError(f"expected a topic without + and # and ?, like {EXAMPLE}")
        self._client = _new_client()
        password = unquote(parts.password or "") or os.environ.get(PASSWORD_VARIABLE)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._waits_for_clip = waits_for_clip
        self._answered = threading.Condition()
        self._answers: set[int] = set()  # the messages that the broker has
        self._sent: int | None = None  # the message that it may not have yet
        self._is_closed = False
        self._is_gone = threading.Event()
        self._reason = ""  # why there is no connection, once that is known
        place = parts.netloc.rpartition("@")[2]
        self._queue = DeliveryQueue(
            f"{parts.scheme}://{place}/{self._topic}", self._publish, config
        )
        self._connect(parts.hostname or "", parts.port or PORTS[parts.scheme])

    def handle(self, message: Message) -> Sequence[Message]:
        """Have the note of a message published, if it has one."""
        if (payload := payload_of(message, waits_for_clip=self._waits_for_clip)) is not None:
            self._queue.put(payload)
        return self._queue.notices()

    def close(self) -> Sequence[Message]:
        """Publish what waits, for a few seconds at most, and say goodbye."""
        told = self._queue.close()
        self._is_closed = True
        if self._client.is_connected():
            self._is_answered(self._publish_status("offline"), GOODBYE_SECONDS)
            self._client.disconnect()
            self._is_gone.wait(GOODBYE_SECONDS)
        self._client.disconnect()
        # Else the two hold each other, and the client's sockets stay open until somebody collects.
        client = self._client
        client.on_connect = client.on_connect_fail = client.on_disconnect = client.on_publish = None
        return told

    def _connect(self, host: str, port: int) -> None:
        client = self._client
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.reconnect_delay_set(*RECONNECT_SECONDS)
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.connect_async(host, port, KEEP_ALIVE_SECONDS)
        client.loop_start()

    def _publish(self, payload: Payload) -> None:
        """Publish a payload, or go on waiting for the answer: the client itself sends it again."""
        with self._answered:
            self._answered.wait_for(
                lambda: self._client.is_connected() or self._reason, ANSWER_SECONDS
            )
        if not self._client.is_connected():
            raise TransientError(self._reason or "the broker does not answer")
        if self._sent is None:
            self._answers.clear()
            topic = f"{self._topic}/{payload['type']}"
            self._sent = self._client.publish(topic, json.dumps(payload), qos=1).mid
        if not self._is_answered(self._sent, ANSWER_SECONDS):
            raise TransientError(
                f"the broker does not answer within {ANSWER_SECONDS:g} s"
                if self._client.is_connected()
                else self._reason
            )
        self._sent = None

    def _is_answered(self, message: int, seconds: float) -> bool:
        with self._answered:
            self._answered.wait_for(
                lambda: message in self._answers or not self._client.is_connected(), seconds
            )
            return message in self._answers

    def _publish_status(self, status: str) -> int:
        return self._client.publish(f"{self._topic}/status", status, qos=1, retain=True).mid

    def _on_connect(self, client: Client, data: Any, flags: Any, code: Any, _: Any) -> None:
        if self._is_closed:  # while this was being tried
            client.disconnect()
        elif code.is_failure:
            self._failed(f"the broker refuses: {code}")
        else:
            self._publish_status("online")
            self._queue.resume()
            self._notify()

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        error = sys.exception()  # called from where it is caught
        self._failed(reason_of(error) if isinstance(error, OSError) else "it cannot be reached")

    def _on_disconnect(self, client: Client, data: Any, flags: Any, code: Any, _: Any) -> None:
        if self._is_closed:
            self._is_gone.set()
        else:
            self._failed(f"the connection is lost: {code}")

    def _on_publish(self, client: Client, data: Any, message: int, code: Any, _: Any) -> None:
        self._answers.add(message)
        self._notify()

    def _failed(self, reason: str) -> None:
        self._reason = reason
        self._queue.failed(f"{reason}. It is tried again until it works")
        self._notify()

    def _notify(self) -> None:
        with self._answered:
            self._answered.notify_all()


def _new_client() -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingExtraError("MQTT", "mqtt") from error
    return Client(CallbackAPIVersion.VERSION2)
