"""Events by MQTT, with a real broker that stops and restarts."""

import gc
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import weakref
from unittest.mock import MagicMock

import pytest

import streaming.sinks.alerts.mqtt
from sed.errors import MissingExtraError, UsageError
from streaming.messages import ClipSaved, EventEnded, EventStarted, Problem
from streaming.sinks.alerts.delivery import DeliveryConfig
from streaming.sinks.alerts.mqtt import MqttAlert
from streaming.sinks.payload import payload_of
from tests.conftest import until
from tests.streaming.sinks.alerts.broker import Broker
from tests.streaming.sinks.alerts.examples import EVENT, GAP, labelled, texts

QUICK = DeliveryConfig(first_retry_seconds=0.01, max_retry_seconds=0.02, close_seconds=3)

needs_paho = pytest.mark.skipif(
    importlib.util.find_spec("paho") is None, reason="needs the mqtt extra"
)


def alert_to(broker, **options):
    return MqttAlert(f"mqtt://127.0.0.1:{broker.port}/home/sed", config=QUICK, **options)


def test_payloads_are_published_and_the_status_is_retained(broker):
    alert = alert_to(broker, waits_for_clip=True)
    messages = (EventStarted(EVENT), EventEnded(EVENT), ClipSaved(EVENT, "a.flac"), GAP)
    until(lambda: broker.received)
    for message in messages:
        assert alert.handle(message) == []
    assert alert.close() == []
    until(lambda: len(broker.received) == 5)
    assert [(topic, text) for topic, text, _ in broker.received[::4]] == [
        ("home/sed/status", "online"),
        ("home/sed/status", "offline"),
    ]
    topics = [topic for topic, _, _ in broker.received[1:4]]
    assert topics == ["home/sed/onset", "home/sed/event", "home/sed/gap"]
    assert [json.loads(text) for _, text, _ in broker.received[1:4]] == [
        payload_of(message, waits_for_clip=True) for message in (messages[0], *messages[2:])
    ]
    broker.received.clear()
    broker._client.subscribe("home/sed/status")
    until(lambda: broker.received)
    assert broker.received == [("home/sed/status", "offline", True)]


def test_a_last_will_sets_the_status_to_offline(broker):
    program = (
        "import sys, time; from streaming.sinks.alerts.mqtt import MqttAlert; "
        f"alert = MqttAlert('mqtt://127.0.0.1:{broker.port}/x'); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        until(lambda: broker.received, 30)
    finally:
        process.kill()
        process.wait()
    until(lambda: len(broker.received) == 2)
    assert [text for _, text, _ in broker.received] == ["online", "offline"]


def test_a_broker_that_is_away_gets_everything_once_when_it_is_back(broker):
    alert = alert_to(broker)
    alert.handle(EventEnded(labelled("first")))
    until(lambda: broker.labels == ["first"] and not alert._queue._is_sending)
    broker.stop()
    reports = []
    until(lambda: reports.extend(texts(alert.handle(Problem("")))) or reports)
    labels = [f"label {n}" for n in range(20)]
    for label in labels:
        reports += texts(alert.handle(EventEnded(labelled(label))))
    broker.start()
    reports += texts(alert.close())
    until(lambda: len(broker.labels) == 21)
    name = f"mqtt://127.0.0.1:{broker.port}/home/sed"
    assert reports[0].startswith(f"{name}: the connection is lost: ")
    assert reports[0].endswith(". Delivery is retried until it succeeds")
    assert reports[1:] == [f"{name}: works again: 20 delivered"]
    assert broker.labels == ["first", *labels]


def test_a_broker_that_is_away_at_the_start_is_reported_at_once(broker):
    broker.stop()
    alert = alert_to(broker)
    reports = []
    until(lambda: reports.extend(texts(alert.handle(Problem("")))) or reports)
    broker.start()
    until(lambda: reports.extend(texts(alert.handle(Problem("")))) or len(reports) == 2)
    name = f"mqtt://127.0.0.1:{broker.port}/home/sed"
    assert reports == [
        f"{name}: the server cannot be reached: Connection refused. "
        "Delivery is retried until it succeeds",
        f"{name}: works again",
    ]
    assert alert.close() == []


def test_the_reason_of_a_fault_is_not_that_of_an_earlier_one(monkeypatch):
    """The client knows that there is no connection a moment before it says why."""
    client = MagicMock(**{"is_connected.return_value": False})
    monkeypatch.setattr(streaming.sinks.alerts.mqtt, "_new_client", lambda: client)
    monkeypatch.setattr(streaming.sinks.alerts.mqtt, "ACKNOWLEDGE_SECONDS", 0.05)
    alert = MqttAlert("mqtt://host/topic", config=QUICK)
    alert._on_connect_fail(client, None)
    alert._on_connect(client, None, None, MagicMock(is_failure=False), None)
    reports = texts(alert.handle(EventEnded(EVENT)))
    until(lambda: reports.extend(texts(alert.handle(Problem("")))) or len(reports) > 2)
    assert [text.partition("topic: ")[2] for text in reports[:3]] == [
        "it cannot be reached. Delivery is retried until it succeeds",
        "works again",
        "the broker does not respond. Delivery is retried until it succeeds",
    ]
    client.is_connected.return_value = True
    alert._acknowledged = MagicMock(**{"__contains__.return_value": True})
    assert texts(alert.close()) == ["mqtt://host/topic: works again: 1 delivered"]


def test_closing_without_a_broker_counts_the_remaining_items(broker):
    broker.stop()
    config = DeliveryConfig(capacity=5, first_retry_seconds=0.01, close_seconds=0.2)
    alert = MqttAlert(f"mqtt://127.0.0.1:{broker.port}/x", config=config)
    reports = texts(alert.handle(EventEnded(EVENT)))
    until(lambda: not alert._queue._waiting)
    reports += [text for _ in range(9) for text in texts(alert.handle(EventEnded(EVENT)))]
    reports += texts(alert.close())
    assert reports[-1] == f"mqtt://127.0.0.1:{broker.port}/x: closed with 6 not delivered, 4 lost"
    assert len(reports) == 3


@pytest.mark.parametrize("place", ["url", "environment", "nowhere"])
def test_a_password_is_sent_and_never_reported(broker, tmp_path, monkeypatch, place):
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs mosquitto_passwd")
    (tmp_path / "guarded").mkdir()
    guarded = Broker(tmp_path / "guarded", password="pa55 word")
    in_url = ":pa55%20word" if place == "url" else ""
    if place == "environment":
        monkeypatch.setenv("SED_MQTT_PASSWORD", "pa55 word")
    config = DeliveryConfig(first_retry_seconds=0.01, close_seconds=0.3)
    try:
        alert = MqttAlert(f"mqtt://ada{in_url}@127.0.0.1:{guarded.port}/x", config=config)
        alert.handle(EventEnded(EVENT))
        reports = []
        until(lambda: guarded.labels or reports.extend(texts(alert.handle(Problem("")))) or reports)
        reports += texts(alert.close())
    finally:
        guarded.stop()
    assert "pa55" not in " ".join(reports)
    if place == "nowhere":
        assert "the broker refuses: Not authorized" in reports[0]
        assert reports[-1].endswith("closed with 1 not delivered")
    else:
        assert reports == []
        assert guarded.labels == ["dog"]


def test_nothing_stays_open(broker):
    before = set(threading.enumerate())
    alert = alert_to(broker)
    alert.handle(EventEnded(EVENT))
    until(lambda: broker.labels)
    alert.close()
    until(lambda: set(threading.enumerate()) <= before)
    client = weakref.ref(alert._client)
    del alert
    gc.collect()
    assert client() is None


@needs_paho
@pytest.mark.parametrize(
    "url",
    [
        "http://host/topic",
        "mqtt://host",
        "mqtt://host/",
        "mqtt:///topic",
        "mqtt://host/a/#",
        "mqtt://host/+/b",
        "mqtt://host/a?b",
        "mqtt://u:pa55@host:x/topic",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url):
    with pytest.raises(UsageError, match=r"like mqtt://user@host:1883/topic$"):
        MqttAlert(url)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtraError, match=r"MQTT needs an extra: .*sed-engine\[mqtt\]"):
        MqttAlert("mqtt://host/topic")
