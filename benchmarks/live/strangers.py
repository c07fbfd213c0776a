"""Listen while clients without the token hold thousands of connections to the page."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import re
import resource
import sqlite3
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import sed
from benchmarks.live.listening import HOP, SED, write_example
from benchmarks.store import Results

TOKEN = "benchmark"
N_IDLE, N_HALF_OPEN, N_WEB_SOCKETS = 2_000, 200, 500
N_FILES = 1_024  # that `sed listen` may open, as by `ulimit -n`
PAUSE_SECONDS = 1.0  # before a connection that was closed is opened again
HALF = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
WEB_SOCKET = (
    b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def strangers(seconds: float = 60.0, model: str | None = None) -> Results:
    """Attack the page of `sed listen` for some seconds; count what was lost.

    The sound is a file at real speed, so that the events are known: those of `sed.detect`.

    Parameters
    ----------
    seconds
        How long the connections are held.
    model
        Of both; the default model if not given.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, database = folder / "played.wav", folder / "events.sqlite"
        write_example(sound, seconds + 20.0)
        (folder / "ran").mkdir()
        command = [
            *(SED, "listen", "--input", sound, "--device", "cpu", "--format", "jsonl"),
            *("--db", database, "--clips", folder / "clips"),
            *("--on-event", f"touch '{folder}/ran/{{onset}}-{{label}}'"),
            *("--web", "127.0.0.1:0", "--token", TOKEN),
            *(("--model", model) if model else ()),
        ]
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (N_FILES, N_FILES)),
        )
        assert process.stderr is not None
        address = ""
        while not address:
            found = re.search(r"web page: http://[\d.]+:(\d+)/", process.stderr.readline())
            address = found[1] if found else ""
        client = _Client(int(address))
        while client.seconds() == math.inf:  # it is loading, and not listening yet
            time.sleep(0.2)
        # A process of its own, which takes no time from the client that has the token.
        context = multiprocessing.get_context("spawn")
        n_opened = context.Value("q", 0)
        attack = context.Process(target=_attack, args=(int(address), n_opened), daemon=True)
        attack.start()
        taken, n_files = [], []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            taken.append(client.seconds())
            n_files.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
            time.sleep(0.25)
        attack.kill()
        attack.join()
        out, errors = process.communicate(timeout=60 + seconds)
        events = [json.loads(line) for line in out.splitlines()]
        rows = sqlite3.connect(database).execute("SELECT onset, label, clip_path FROM events")
        kept = [row for row in rows if row[2] is not None and Path(row[2]).is_file()]
        expected = list(sed.detect(sound, model, hop_seconds=HOP, lookahead_seconds=1.0))
        return {
            "seconds": seconds,
            "idle": N_IDLE,
            "half_open": N_HALF_OPEN,
            "web_sockets": N_WEB_SOCKETS,
            "open_files": N_FILES,
            "opened": n_opened.value,
            "events_expected": len(expected),
            "events": len(events),
            "events_of_another_time_or_label": len(
                {(e["label"], e["onset"]) for e in events}
                ^ {(e.label, round(e.onset, 3)) for e in expected}
            ),
            "events_with_clip": len(kept),
            "commands": len(list((folder / "ran").iterdir())),
            "most_files_of_the_process": max(n_files),
            "health_requests": len(taken),
            "health_slowest_seconds": round(max(taken), 3),
            "status": process.returncode,
            "problems": [line for line in errors.splitlines() if line.startswith("sed:")],
            "account": errors.strip().splitlines()[-1],
        }


class _Client:
    """Asks for the state of the program, with the token."""

    def __init__(self, port: int) -> None:
        self._request = urllib.request.Request(
            f"http://127.0.0.1:{port}/health", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def seconds(self) -> float:
        """Return how long a request takes; infinite if it fails, or nothing is listened to."""
        started = time.monotonic()
        try:
            self._opener.open(self._request, timeout=10).read()
        except OSError:
            return math.inf
        return time.monotonic() - started


def _attack(port: int, n_opened: Any) -> None:
    """Hold connections until the process is killed; one that is closed is opened again."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sent = [b""] * N_IDLE + [HALF] * N_HALF_OPEN + [WEB_SOCKET] * N_WEB_SOCKETS

    async def hold(first: bytes) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                n_opened.value += 1
                writer.write(first)
                while await reader.read(4_096):
                    pass
                writer.close()
            await asyncio.sleep(PAUSE_SECONDS)

    async def hold_all() -> None:
        await asyncio.gather(*map(hold, sent))

    asyncio.run(hold_all())
