"""Notify a service manager (systemd) that listening began, goes on, or ends.

The protocol is that of `sd_notify(3)`: a datagram of lines such as ``READY=1`` to the socket that
the environment variable ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streaming.messages import Message, Status

STATUS_SECONDS = 10.0  # from one line for `systemctl status` to the next
PINGS_PER_LIMIT = 4  # in the time after which the service manager gives up


def service_socket(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the service manager, if this process is its service.

    Parameters
    ----------
    environment
        Of the process; `os.environ` if not given.
    """
    values = os.environ if environment is None else environment
    address = values.get("NOTIFY_SOCKET", "")
    if not hasattr(socket, "AF_UNIX") or not address.startswith(("/", "@")):
        return None
    # A name that begins with @ is one of no file.
    return address.replace("@", "\0", 1) if address.startswith("@") else address


class ServiceNotifier:
    """Notify a service manager, with a watchdog only while sound is really processed.

    Make it the last of all sinks: then a sink that does not return stops the watchdog, too. Inputs
    that are lost and tried again are no reason to be restarted; one that should deliver sound while
    none is processed is.

    Parameters
    ----------
    address
        Of the socket; see `service_socket`.
    describe
        Returns the line for `systemctl status`.
    environment
        Of the process; `os.environ` if not given.
    """

    def __init__(
        self,
        address: str,
        describe: Callable[[Status], str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._address, self._describe = address, describe
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        limit = _limit_seconds(os.environ if environment is None else environment)
        self._ping_seconds = None if limit is None else limit / PINGS_PER_LIMIT
        self._is_ready = False
        self._n_processed = -1
        self._ping_at = self._status_at = 0.0

    def handle(self, message: Message) -> Sequence[Message]:
        """Send what a `Status` shows."""
        if isinstance(message, Status):
            now = time.monotonic()
            lines = [] if self._is_ready else ["READY=1"]
            if now >= self._status_at:
                self._status_at = now + STATUS_SECONDS
                lines.append(f"STATUS={self._describe(message)}")
            if self._ping_seconds is not None and now >= self._ping_at and self._goes_on(message):
                self._ping_at = now + self._ping_seconds
                lines.append("WATCHDOG=1")
            if lines and self._send(lines):
                self._is_ready = True
        return ()

    def close(self) -> Sequence[Message]:
        """Say that the service ends."""
        self._send(["STOPPING=1"])
        self._socket.close()
        return ()

    def _goes_on(self, status: Status) -> bool:
        """Return whether sound was processed since the last ping, or none can be."""
        n_processed = sum(source.n_processed for source in status.sources)
        before, self._n_processed = self._n_processed, n_processed
        can_process = any(source.state == "listening" for source in status.sources)
        return n_processed != before or not can_process

    def _send(self, lines: Sequence[str]) -> bool:
        # A service manager that restarts is there again soon.
        with suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)
            return True
        return False


def _limit_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the time after which the service manager gives up, if it watches this process."""
    with suppress(ValueError):
        if int(environment.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return int(environment.get("WATCHDOG_USEC", "")) / 1e6 or None
    return None
