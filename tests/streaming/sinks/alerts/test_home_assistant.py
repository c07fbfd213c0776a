"""Home Assistant by MQTT discovery: what is described is valid, and states change in a broker."""

import json
import re
from datetime import datetime
from functools import partial

import pytest

import streaming.sinks.alerts.home_assistant as module
from sed.errors import UsageError
from sed.events.hierarchy import Hierarchy
from sed.events.tracker import Event
from streaming.cli.live.outputs import LiveOutputs
from streaming.messages import (
    ClipSaved,
    EventEnded,
    EventStarted,
    InputStatus,
    Status,
)
from streaming.sinks.alerts.home_assistant import (
    HomeAssistant,
    HomeAssistantConfig,
    shown_classes,
)
from streaming.sinks.database import EventDatabase
from streaming.sinks.payload import payload_of
from tests.conftest import until
from tests.streaming.sinks.alerts.examples import EVENT, TIME

CONFIG = HomeAssistantConfig(shown_classes(["dog", "car_horn"], ["dog", "car_horn", "cat"], None))
TOPIC = "home/sed"
until = partial(until, seconds=20.0)

# Keys that Home Assistant accepts, and values of those that are one of a list:
# https://www.home-assistant.io/integrations/binary_sensor.mqtt/#configuration-variables
# https://www.home-assistant.io/integrations/sensor.mqtt/#configuration-variables
# https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery (device, origin)
# homeassistant/components/mqtt/schemas.py of home-assistant/core checks the same.
ENTITY_KEYS = {
    *("availability", "availability_mode", "availability_template", "availability_topic"),
    *("default_entity_id", "device", "device_class", "enabled_by_default", "encoding"),
    *("entity_category", "entity_picture", "expire_after", "force_update", "icon"),
    *("json_attributes_template", "json_attributes_topic", "name", "origin"),
    *("payload_available", "payload_not_available", "platform", "qos", "state_topic"),
    *("unique_id", "value_template"),
}
KEYS = {
    "binary_sensor": ENTITY_KEYS | {"off_delay", "payload_off", "payload_on"},
    "sensor": ENTITY_KEYS
    | {
        *("last_reset_value_template", "options", "state_class"),
        *("suggested_display_precision", "unit_of_measurement"),
    },
}
DEVICE_KEYS = {
    *("configuration_url", "connections", "hw_version", "identifiers", "manufacturer", "model"),
    *("model_id", "name", "serial_number", "suggested_area", "sw_version", "via_device"),
}
ORIGIN_KEYS = {"name", "support_url", "sw_version"}
VALUES = {
    "state_class": {"measurement", "measurement_angle", "total", "total_increasing"},
    "entity_category": {"config", "diagnostic"},
    "device_class": {"sound", "timestamp", "duration"},  # of those that there are
}
# Of a sensor, states are numbers if it has a unit or one of these.
DURATION_UNITS = {"d", "h", "min", "s", "ms", "µs"}


def status(n_events=3, state="listening", n_dropped=7):
    counts = {"n_delivered": 100, "n_processed": 90, "n_waiting": 3, "n_missing": 0}
    counts |= {"n_overflows": 2, "n_gaps": 1, "n_dropped": n_dropped}
    source = InputStatus("mic", state, 16_000, 1, **counts)
    return Status(12.4, 0.25, 0.4, n_events, (source,))


def home(**options):
    return HomeAssistant(HomeAssistantConfig(CONFIG.classes, **options), TOPIC)


def take(sensors, message):
    return sensors.handle(message, payload_of(message, waits_for_clip=False))


def test_every_description_has_only_what_home_assistant_accepts():
    sensors = home()
    assert len(sensors.configs) == 2 * 2 + 5
    unique_ids = set()
    topics = {*sensors.states, *take(sensors, status()), *take(sensors, EventEnded(EVENT))}
    topics.add(f"{TOPIC}/class/{module._identifier('car_horn')}/last")
    for topic, text in sensors.configs.items():
        # https://www.home-assistant.io/integrations/mqtt/#discovery-topic
        match = re.fullmatch(
            r"homeassistant/(sensor|binary_sensor)/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/config", topic
        )
        values = json.loads(text)
        assert set(values) <= KEYS[match[1]], topic
        assert set(values["device"]) <= DEVICE_KEYS
        assert values["device"]["identifiers"] == [match[2]]
        assert set(values["origin"]) <= ORIGIN_KEYS
        assert {"name", "state_topic", "unique_id"} <= set(values)
        assert values["availability_topic"] == f"{TOPIC}/status"
        assert values["state_topic"] in topics
        for key, allowed in VALUES.items():
            assert values.get(key) in {None, *allowed}
        if match[1] == "sensor":
            # A moment has no unit and no class of numbers; a duration needs a unit of time.
            is_moment = values.get("device_class") == "timestamp"
            assert is_moment != ("state_class" in values)
            if values.get("device_class") == "duration":
                assert values["unit_of_measurement"] in DURATION_UNITS
        unique_ids.add(values["unique_id"])
    assert len(unique_ids) == len(sensors.configs)


def test_identities_stay_over_restarts_and_differ_between_topics_and_classes():
    assert home().configs == home().configs
    other = HomeAssistant(CONFIG, "garden/sed")
    ids = {json.loads(text)["unique_id"] for text in home().configs.values()}
    assert not ids & {json.loads(text)["unique_id"] for text in other.configs.values()}
    alike = ["a b", "a_b", "a-b", "ä", "ö", "犬"]
    many = HomeAssistant(HomeAssistantConfig(shown_classes(alike, alike, None)), TOPIC)
    assert len(many.configs) == 2 * 6 + 5
    assert len(many.states) == 6


def test_a_class_is_on_while_one_of_its_events_lasts():
    sensors = home()
    other = Event(13.0, 14.0, "dog", 0.6, "door", TIME)
    topic = f"{TOPIC}/class/dog"
    assert sensors.states[topic] == "OFF"
    assert take(sensors, EventStarted(EVENT)) == {topic: "ON"}
    assert take(sensors, EventStarted(other)) == {}
    ended = take(sensors, EventEnded(EVENT))
    assert json.loads(ended[f"{topic}/last"]) == payload_of(EventEnded(EVENT), waits_for_clip=False)
    assert topic not in ended
    assert take(sensors, EventEnded(other))[topic] == "OFF"
    assert take(sensors, EventStarted(Event(1.0, 2.0, "cat", 0.6, "mic", TIME))) == {}


def test_the_last_event_comes_with_its_clip():
    sensors = home()
    message = ClipSaved(EVENT, "/clips/dog.flac")
    new = sensors.handle(message, payload_of(message, waits_for_clip=True))
    (text,) = new.values()
    assert json.loads(text)["clip"] == "/clips/dog.flac"


def test_diagnostics_are_sent_now_and_then_and_count_events_of_the_day(monkeypatch):
    sensors = home(n_events_today=10)
    day = datetime(2026, 11, 21, 23, 59).astimezone()

    class Clock:
        now = staticmethod(lambda: day)

    monkeypatch.setattr(module, "datetime", Clock)
    topic = f"{TOPIC}/diagnostics"
    assert json.loads(take(sensors, status())[topic]) == {
        "uptime": 12, "dropped_samples": 7, "real_time_factor": 0.25, "inputs_connected": 1,
        "events_today": 13,
    }  # fmt: skip
    assert take(sensors, status(4)) == {}
    assert json.loads(take(sensors, status(4, "lost"))[topic])["inputs_connected"] == 0
    monkeypatch.setattr(module, "DIAGNOSTICS_SECONDS", 0.0)
    day = day.replace(day=22)
    assert json.loads(take(sensors, status(4))[topic])["events_today"] == 0
    assert json.loads(take(sensors, status(6))[topic])["events_today"] == 2


def test_a_kind_is_on_while_one_of_its_classes_lasts():
    hierarchy = Hierarchy.from_dict(("dog", "cat", "siren"), {"dog": "animal", "cat": "animal"})
    labels = ["dog", "cat"]
    assert shown_classes(["animal", "dog"], labels, hierarchy) == {
        "animal": {"dog", "cat"},
        "dog": {"dog"},
    }
    assert shown_classes(["all"], labels, hierarchy) == {"dog": {"dog"}, "cat": {"cat"}}
    with pytest.raises(UsageError, match=r"this run finds no class 'dogs'\. Did you mean dog\?"):
        shown_classes(["dogs"], labels, hierarchy)
    with pytest.raises(UsageError, match="this run finds no class 'siren'"):
        shown_classes(["siren"], labels, hierarchy)
    with pytest.raises(UsageError, match=r"sensors for 60 classes\. Name those you want"):
        shown_classes(["all"], [str(n) for n in range(60)], None)


def test_options_that_cannot_work_are_refused():
    with pytest.raises(UsageError, match="--home-assistant needs a broker"):
        LiveOutputs(home_assistant="all")
    with pytest.raises(UsageError, match="expected a topic as --home-assistant-prefix"):
        HomeAssistantConfig({}, "a/#")


def retained(broker, topic):
    """Return the last text of a topic."""
    return next((text for name, text, _ in reversed(broker.received) if name == topic), None)


def test_states_change_in_a_broker(broker, tmp_path):
    database = EventDatabase(tmp_path / "events.sqlite")
    database.handle(EventEnded(Event(0, 1, "dog", 0.9, "mic", datetime.now().astimezone())))
    database.close()
    url = f"mqtt://127.0.0.1:{broker.port}/{TOPIC}"

    def started(classes):
        outputs = LiveOutputs(mqtt=url, home_assistant=classes, db=tmp_path / "events.sqlite")
        return outputs.alerts(["dog", "cat"])["mqtt"]()

    node = HomeAssistant(CONFIG, TOPIC)._node
    config = f"homeassistant/binary_sensor/{node}/dog/config"
    alert = started("dog,cat")
    until(lambda: retained(broker, f"{TOPIC}/class/cat") == "OFF")
    until(lambda: retained(broker, config))
    described = json.loads(retained(broker, config))
    assert described["state_topic"] == f"{TOPIC}/class/dog"
    assert retained(broker, described["availability_topic"]) == "online"
    alert.handle(EventStarted(EVENT))
    until(lambda: retained(broker, f"{TOPIC}/class/dog") == "ON")
    alert.handle(EventEnded(EVENT))
    until(lambda: retained(broker, f"{TOPIC}/class/dog") == "OFF")
    until(lambda: retained(broker, f"{TOPIC}/class/dog/last"))
    assert json.loads(retained(broker, f"{TOPIC}/class/dog/last"))["score"] == 0.875
    alert.handle(status(n_events=1))
    until(lambda: retained(broker, f"{TOPIC}/diagnostics"))
    assert json.loads(retained(broker, f"{TOPIC}/diagnostics"))["events_today"] == 2

    # Home Assistant has restarted.
    broker.received.clear()
    broker._client.publish("homeassistant/status", "online")
    until(lambda: retained(broker, f"{TOPIC}/diagnostics") and retained(broker, config))
    assert json.loads(retained(broker, config)) == described

    # An earlier run with the same topic ends late.
    broker._client.publish(f"{TOPIC}/status", "offline", retain=True)
    until(lambda: broker.received[-1][:2] == (f"{TOPIC}/status", "online"))
    alert.close()
    until(lambda: retained(broker, f"{TOPIC}/status") == "offline")

    # The next run shows one class less.
    alert = started("cat")
    until(lambda: retained(broker, config) == "")
    until(lambda: retained(broker, f"homeassistant/sensor/{node}/dog_last/config") == "")
    until(lambda: retained(broker, f"homeassistant/binary_sensor/{node}/cat/config"))
    alert.close()


def test_what_changes_while_the_broker_is_away_is_its_state_later(broker):
    url = f"mqtt://127.0.0.1:{broker.port}/{TOPIC}"
    alert = LiveOutputs(mqtt=url, home_assistant="dog").alerts(["dog"])["mqtt"]()
    until(lambda: retained(broker, f"{TOPIC}/class/dog") == "OFF")
    broker.stop()
    alert.handle(EventStarted(EVENT))
    broker.start()
    until(lambda: retained(broker, f"{TOPIC}/class/dog") == "ON")
    alert.close()
