"""A broker."""

import pytest

import streaming.sinks.alerts.mqtt
from tests.streaming.sinks.alerts.broker import MOSQUITTO, Broker


@pytest.fixture
def broker(tmp_path, monkeypatch):
    pytest.importorskip("paho.mqtt.client", reason="needs the mqtt extra")
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto")
    monkeypatch.setattr(streaming.sinks.alerts.mqtt, "RECONNECT_SECONDS", (0.05, 0.1))
    monkeypatch.delenv("SED_MQTT_PASSWORD", raising=False)
    broker = Broker(tmp_path)
    yield broker
    broker.stop()
