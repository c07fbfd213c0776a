"""Describe a run to Home Assistant by MQTT discovery, and keep the states of its sensors.

::

    homeassistant/binary_sensor/NODE/CLASS/config     on while an event of the class lasts
    homeassistant/sensor/NODE/CLASS_last/config       time of the last event, with its payload
    homeassistant/sensor/NODE/uptime/config …         diagnostic sensors
    TOPIC/class/CLASS, TOPIC/class/CLASS/last, TOPIC/diagnostics       their states

All are retained. NODE stands for the topic and CLASS for the class, so that Home Assistant finds
its entities again after a restart.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import sed
from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.text import near
from streaming.messages import EventEnded, EventStarted, Message, Status
from streaming.sinks.payload import Payload

ALL = "all"  # classes of the run
MAX_CLASSES = 50  # that are shown without being named
DIAGNOSTICS_SECONDS = 30.0  # from one state of the diagnostic sensors to the next
# Name, unit, device class and state class of the diagnostic sensors, by their keys.
DIAGNOSTICS: dict[str, tuple[str, str | None, str | None, str]] = {
    "uptime": ("Uptime", "s", "duration", "measurement"),
    "dropped_samples": ("Dropped samples", None, None, "total_increasing"),
    "real_time_factor": ("Real-time factor", None, None, "measurement"),
    "inputs_connected": ("Inputs connected", None, None, "measurement"),
    "events_today": ("Events today", None, None, "total_increasing"),
}


@dataclass(frozen=True)
class HomeAssistantConfig:
    """What Home Assistant gets.

    Attributes
    ----------
    classes
        The labels of each class or kind that gets sensors, by its name.
    prefix
        First part of the topics of discovery, as it is set in Home Assistant.
    n_events_today
        Events of this day before the start.
    """

    classes: Mapping[str, frozenset[str]]
    prefix: str = "homeassistant"
    n_events_today: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        """Refuse a prefix that is no topic."""
        if not self.prefix.strip("/") or set(self.prefix) & set("+#\0"):
            raise UsageError("expected a topic as --home-assistant-prefix, like homeassistant")


class HomeAssistant:
    """The sensors of a run, and their states.

    Parameters
    ----------
    config
        Which sensors there are.
    topic
        Of the run: its availability is at TOPIC/status.
    """

    def __init__(self, config: HomeAssistantConfig, topic: str) -> None:
        self._config = config
        self._topic = topic
        self._node = f"sed_{_identifier(topic)}"
        self._prefix = config.prefix.strip("/")
        self.birth_topic = f"{self._prefix}/status"
        self.config_topics = f"{self._prefix}/+/{self._node}/+/config"  # a filter
        self.configs = {
            f"{self._prefix}/{component}/{self._node}/{key}/config": json.dumps(values)
            for component, key, values in self._entities()
        }
        self._active: dict[str, set[tuple[str, str, float]]] = {n: set() for n in config.classes}
        self.states = {self._class_topic(name): "OFF" for name in config.classes}  # by topic
        self._diagnostics_at = -DIAGNOSTICS_SECONDS
        self._n_connected = -1
        self._day: date | None = None
        self._n_before = -config.n_events_today  # of the events of a status: those before this day

    def handle(self, message: Message, payload: Payload | None) -> dict[str, str]:
        """Take a message and its payload, if it has one; return the new states by their topics."""
        new: dict[str, str] = {}
        match message:
            case EventStarted(event) | EventEnded(event):
                for name, labels in self._config.classes.items():
                    if event.label in labels:
                        active = self._active[name]
                        identity = event.file, event.label, event.onset
                        (active.add if isinstance(message, EventStarted) else active.discard)(
                            identity
                        )
                        new[self._class_topic(name)] = "ON" if active else "OFF"
            case Status():
                new |= self._diagnostics(message)
        if payload is not None and payload["type"] == "event":
            for name, labels in self._config.classes.items():
                if payload["label"] in labels:
                    new[f"{self._class_topic(name)}/last"] = json.dumps(payload)
        new = {topic: state for topic, state in new.items() if self.states.get(topic) != state}
        self.states |= new
        return new

    def _diagnostics(self, status: Status) -> dict[str, str]:
        n_connected = sum(source.state == "listening" for source in status.sources)
        now = time.monotonic()
        if n_connected == self._n_connected and now < self._diagnostics_at + DIAGNOSTICS_SECONDS:
            return {}
        self._n_connected, self._diagnostics_at = n_connected, now
        today = datetime.now().astimezone().date()
        if self._day not in (None, today):
            self._n_before = status.n_events
        self._day = today
        values = {
            "uptime": round(status.uptime_seconds),
            "dropped_samples": sum(source.n_dropped for source in status.sources),
            "real_time_factor": round(status.real_time_factor, 3),
            "inputs_connected": n_connected,
            "events_today": status.n_events - self._n_before,
        }
        return {f"{self._topic}/diagnostics": json.dumps(values)}

    def _class_topic(self, name: str) -> str:
        return f"{self._topic}/class/{_identifier(name)}"

    def _entities(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return component, key and configuration of each sensor."""
        found: list[tuple[str, str, dict[str, Any]]] = []
        for name in self._config.classes:
            key, topic, shown = _identifier(name), self._class_topic(name), name.replace("_", " ")
            on = {"state_topic": topic, "device_class": "sound"}
            on |= {"payload_on": "ON", "payload_off": "OFF"}
            last = {"state_topic": f"{topic}/last", "device_class": "timestamp"}
            last |= {"value_template": "{{ value_json.time }}"}
            last |= {"json_attributes_topic": f"{topic}/last"}
            found.append(("binary_sensor", key, self._common(key, shown) | on))
            found.append(
                ("sensor", f"{key}_last", self._common(f"{key}_last", f"{shown} last event") | last)
            )
        for key, (name, unit, device_class, state_class) in DIAGNOSTICS.items():
            values = self._common(key, name) | {
                "state_topic": f"{self._topic}/diagnostics",
                "value_template": f"{{{{ value_json.{key} }}}}",
                "state_class": state_class,
                "entity_category": "diagnostic",
            }
            optional = {"unit_of_measurement": unit, "device_class": device_class}
            values |= {name: value for name, value in optional.items() if value is not None}
            found.append(("sensor", key, values))
        return found

    def _common(self, key: str, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "unique_id": f"{self._node}_{key}",
            "availability_topic": f"{self._topic}/status",
            "payload_available": "online",
            "payload_not_available": "offline",
            "device": {
                "identifiers": [self._node],
                "name": f"sed {self._topic}",
                "manufacturer": "sed-engine",
                "model": "sed listen",
                "sw_version": sed.__version__,
            },
            "origin": {"name": "sed-engine", "sw_version": sed.__version__},
        }


def shown_classes(
    names: Sequence[str], labels: Sequence[str], hierarchy: Hierarchy | None
) -> dict[str, frozenset[str]]:
    """Return the labels of each class or kind that gets sensors.

    Parameters
    ----------
    names
        Classes, each with those below it, and kinds; or only `ALL` for all labels.
    labels
        Those of the run.
    hierarchy
        That of the model, None if it has none.

    Raises
    ------
    UsageError
        If the run has no such class, or too many for `ALL`.
    """
    if tuple(names) == (ALL,):
        if len(labels) > MAX_CLASSES:
            raise UsageError(
                f"Home Assistant would get sensors for {len(labels):,} classes. Name those you "
                "want: --home-assistant dog,siren"
            )
        return {label: frozenset([label]) for label in labels}
    known = dict.fromkeys([*labels, *(hierarchy.names if hierarchy else ())])
    found: dict[str, frozenset[str]] = {}
    for name in names:
        below = hierarchy.branch(name) if hierarchy and name in hierarchy.names else ()
        found[name] = frozenset([name, *below]) & frozenset(labels)
        if not found[name]:
            raise UsageError(
                f"--home-assistant: this run finds no class {name!r}. {near(name, known)}"
            )
    return found


def _identifier(text: str) -> str:
    """Return a text in letters, digits and underscores; different texts stay different."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "_", text).strip("_")
    mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return plain if plain == text else f"{plain}_{mark}".strip("_")
