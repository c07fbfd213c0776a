"""A real broker on this machine, and a client that receives all messages."""

import json
import random
import shutil
import socket
import subprocess
import threading
import time

from tests.conftest import until

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
# Below the ports that systems give to connections: one of them could take that of a broker between
# its stop and its restart.
PORTS = range(20_000, 30_000)


class Broker:
    """A broker on this machine, and a client that receives all messages.

    The broker keeps the subscription of that client when it is stopped: else what is published in
    the moment between a restart and a new subscription would never be received.
    """

    def __init__(self, folder, password=None):
        self.received = []  # (topic, text, whether it was retained)
        self._password = password
        self._config = folder / "mosquitto.conf"
        self._lines = [
            f"allow_anonymous {str(not password).lower()}",
            "persistence true",
            f"persistence_location {folder}/",
            # Started by root, it would switch to a user that may not use the folder.
            "user root",
        ]
        if password:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            subprocess.run(["mosquitto_passwd", "-b", str(passwords), "ada", password], check=True)
            self._lines += [f"password_file {passwords}"]
        # Other tests run at the same time: a broker whose port is taken ends, and another is tried.
        until(self._starts_at_some_port, 20)
        self._listen()

    def _starts_at_some_port(self):
        self.port = random.choice(PORTS)
        return self._starts()

    def start(self):
        until(self._starts)
        self._listen()

    def _starts(self):
        lines = [f"listener {self.port} 127.0.0.1", *self._lines]
        self._config.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self._process.poll() is not None or self._is_there())
        time.sleep(0.02)  # what was there may be a broker of others; ours then ends
        return self._process.poll() is None

    def _is_there(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def _listen(self):
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        subscribed = threading.Event()
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False
        )
        client.on_message = lambda _, __, m: self.received.append(
            (m.topic, m.payload.decode(), m.retain)
        )
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_connect = lambda c, *_: c.subscribe("#", qos=1)
        if self._password:
            client.username_pw_set("ada", self._password)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert subscribed.wait(5)

    def stop(self):
        if self._process is None:
            return
        self._client.disconnect()
        until(lambda: self._client._thread is None)
        self._client.on_message = self._client.on_subscribe = self._client.on_connect = None
        # It writes its subscriptions to the disk when it is asked to end.
        self._process.terminate()
        self._process.wait()
        self._process = None

    @property
    def labels(self):
        return [json.loads(text)["label"] for topic, text, _ in self.received if "event" in topic]
