"""Publish events by MQTT."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sed.errors import MissingExtraError, UsageError
from streaming.messages import Message
from streaming.sinks.alerts.addresses import reason_of, split_url
from streaming.sinks.alerts.delivery import DeliveryConfig, DeliveryQueue
from streaming.sinks.alerts.home_assistant import HomeAssistant, HomeAssistantConfig
from streaming.sinks.alerts.secrets import MQTT_PASSWORD_VARIABLE
from streaming.sinks.payload import Payload, payload_of

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

EXAMPLE_URL = "mqtt://user@host:1883/topic"
PORTS = {"mqtt": 1_883, "mqtts": 8_883}
KEEP_ALIVE_SECONDS = 30
RECONNECT_SECONDS = 1, 60  # first and longest wait, doubled each time
ACKNOWLEDGE_SECONDS = 10.0  # for the connection, and for the acknowledgement of a message
DISCONNECT_SECONDS = 1.0


class MqttAlert:
    """Publish payloads as JSON to TOPIC/event, TOPIC/onset and TOPIC/gap, with QoS 1.

    The retained TOPIC/status is "online", and "offline" after this is closed or killed. While the
    broker cannot be reached, payloads wait in a queue and the connection is retried.

    Parameters
    ----------
    url
        ``mqtt://[user[:password]@]host[:port]/topic``, or ``mqtts://`` for TLS. The password may
        be given in the environment variable SED_MQTT_PASSWORD, which keeps it out of the list of
        processes.
    waits_for_clip
        Whether events are complete with their `ClipSaved`.
    home_assistant
        Sensors that Home Assistant finds; none if not given.
    config
        Size and times of the delivery queue.

    Raises
    ------
    MissingExtraError
        If the `mqtt` extra is not installed.
    UsageError
        If the address or the topic is not valid.
    """

    def __init__(
        self,
        url: str,
        *,
        waits_for_clip: bool = False,
        home_assistant: HomeAssistantConfig | None = None,
        config: DeliveryConfig | None = None,
    ) -> None:
        parts = split_url(url, tuple(PORTS), EXAMPLE_URL)
        self._topic = unquote(parts.path).strip("/")
        if not self._topic or set(self._topic) & set("+#\0") or set(url) & set("?#"):
            raise UsageError(f"expected a topic without + and # and ?, like {EXAMPLE_URL}")
        self._client = _new_client()
        password = unquote(parts.password or "") or os.environ.get(MQTT_PASSWORD_VARIABLE)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._waits_for_clip = waits_for_clip
        self._home: HomeAssistant | None = None
        if home_assistant is not None:
            self._home = HomeAssistant(home_assistant, self._topic)
        self._home_lock = threading.Lock()  # keeps the states in order, from two threads
        self._change = threading.Condition()  # notified by the callbacks of the client
        self._acknowledged: set[int] = set()  # ids of the messages that the broker has
        self._sent: int | None = None  # id of the message that waits for its acknowledgement
        self._is_closed = False
        self._is_disconnected = threading.Event()
        self._reason = ""  # why there is no connection
        place = parts.netloc.rpartition("@")[2]
        self._queue = DeliveryQueue(
            f"{parts.scheme}://{place}/{self._topic}", self._publish, config
        )
        self._connect(parts.hostname or "", parts.port or PORTS[parts.scheme])

    def handle(self, message: Message) -> Sequence[Message]:
        """Queue the payload of a message, if it has one; return the notices of the queue."""
        payload = payload_of(message, waits_for_clip=self._waits_for_clip)
        if payload is not None:
            self._queue.put(payload)
        if self._home is not None:
            with self._home_lock:
                self._retain(self._home.handle(message, payload))
        return self._queue.notices()

    def close(self) -> Sequence[Message]:
        """Publish queued payloads, for a few seconds at most; set the status and disconnect."""
        messages = self._queue.close()
        self._is_closed = True
        if self._client.is_connected():
            self._wait_for_broker(self._publish_status("offline"), DISCONNECT_SECONDS)
            self._client.disconnect()
            self._is_disconnected.wait(DISCONNECT_SECONDS)
        self._client.disconnect()
        # The callbacks and the client refer to each other; without this, the sockets of the client
        # would stay open until the garbage collector runs.
        client = self._client
        client.on_connect = client.on_connect_fail = client.on_disconnect = client.on_publish = None
        client.on_message = None
        return messages

    def _connect(self, host: str, port: int) -> None:
        client = self._client
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.reconnect_delay_set(*RECONNECT_SECONDS)
        client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        client.connect_async(host, port, KEEP_ALIVE_SECONDS)
        client.loop_start()

    def _publish(self, payload: Payload) -> None:
        """Publish a payload and wait for its acknowledgement.

        After a timeout, the next call waits again: the client itself repeats the message.
        """
        with self._change:
            self._change.wait_for(
                lambda: self._client.is_connected() or self._reason, ACKNOWLEDGE_SECONDS
            )
        if not self._client.is_connected():
            raise ConnectionError(self._reason or "the broker does not respond")
        if self._sent is None:
            self._acknowledged.clear()
            topic = f"{self._topic}/{payload['type']}"
            self._sent = self._client.publish(topic, json.dumps(payload), qos=1).mid
        if not self._wait_for_broker(self._sent, ACKNOWLEDGE_SECONDS):
            raise ConnectionError(
                f"the broker does not respond within {ACKNOWLEDGE_SECONDS:g} s"
                if self._client.is_connected()
                else self._reason or "the connection is lost"
            )
        self._sent = None

    def _wait_for_broker(self, message: int, seconds: float) -> bool:
        with self._change:
            self._change.wait_for(
                lambda: message in self._acknowledged or not self._client.is_connected(), seconds
            )
            return message in self._acknowledged

    def _publish_status(self, status: str) -> int:
        return self._client.publish(f"{self._topic}/status", status, qos=1, retain=True).mid

    def _on_connect(self, client: Client, data: Any, flags: Any, code: Any, _: Any) -> None:
        # `close` may have been called while the connection was attempted.
        if self._is_closed:
            client.disconnect()
        elif code.is_failure:
            self._failed(f"the broker refuses: {code}")
        else:
            self._reason = ""
            self._publish_status("online")
            client.subscribe(f"{self._topic}/status", qos=1)
            if self._home is not None:
                client.subscribe([(self._home.birth_topic, 1), (self._home.config_topics, 1)])
                self._announce(self._home)
            self._queue.resume()
            self._notify()

    def _announce(self, home: HomeAssistant) -> None:
        """Publish all sensors and their states."""
        for topic, text in home.configs.items():
            self._client.publish(topic, text, qos=1, retain=True)
        with self._home_lock:
            self._retain(home.states)

    def _retain(self, states: Mapping[str, str]) -> None:
        """Publish states. Those that a broker which is away misses are published when it is back.

        So they need no acknowledgement; one that is sent again could even replace a later one.
        """
        if self._client.is_connected():
            for topic, state in states.items():
                self._client.publish(topic, state, qos=0, retain=True)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        if self._is_closed:
            return
        text, home = message.payload.decode(errors="replace"), self._home
        # An earlier run, or an earlier alert of this one, ends after this one has begun.
        if message.topic == f"{self._topic}/status":
            if text == "offline":
                self._publish_status("online")
        elif home is not None and message.topic == home.birth_topic:
            if text == "online":
                self._announce(home)
        # A class that was shown by an earlier run, and is not any more.
        elif home is not None and text and message.topic not in home.configs:
            client.publish(message.topic, "", qos=1, retain=True)

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        # The client calls this from its exception handler.
        error = sys.exception()
        self._failed(reason_of(error) if isinstance(error, OSError) else "it cannot be reached")

    def _on_disconnect(self, client: Client, data: Any, flags: Any, code: Any, _: Any) -> None:
        if self._is_closed:
            self._is_disconnected.set()
        else:
            self._failed(f"the connection is lost: {code}")

    def _on_publish(self, client: Client, data: Any, message: int, code: Any, _: Any) -> None:
        self._acknowledged.add(message)
        self._notify()

    def _failed(self, reason: str) -> None:
        self._reason = reason
        self._queue.failed(f"{reason}. Delivery is retried until it succeeds")
        self._notify()

    def _notify(self) -> None:
        with self._change:
            self._change.notify_all()


def _new_client() -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingExtraError("MQTT", "mqtt") from error
    return Client(CallbackAPIVersion.VERSION2)
