"""The feed: what viewers receive, and that none of them slows the listener."""

import asyncio
import base64
import json
import socket
import sqlite3
import time
import tracemalloc
from contextlib import closing

import numpy as np
import pytest

from streaming.messages import AudioBlock, ClipSaved, EventEnded, EventStarted, Gap, Problem
from streaming.sinks.record.history import find_event
from streaming.web.feed import MAX_QUEUED, Feed, Viewer
from tests.streaming.web.viewer import (
    LABELS,
    LOG_MEL,
    RATE,
    START,
    audio_block,
    event,
    get,
    last,
    live,
    receive,
    save_clip,
    status,
    viewed,
)


def test_a_viewer_receives_every_message(view):
    web, dispatcher = view
    with live(web) as viewer:
        snapshot = last(viewer, "snapshot")
        assert snapshot["labels"] == list(LABELS)
        assert snapshot["cell_seconds"] == 0.04
        assert len(snapshot["band_hz"]) == 64
        assert snapshot["band_hz"] == sorted(snapshot["band_hz"])
        assert (snapshot["spectrograms"], snapshot["active_events"]) == ([], [])
        assert snapshot["status"] is None
        dispatcher.handle(audio_block())
        dispatcher.handle(EventStarted(event(0.5)))
        dispatcher.handle(EventEnded(event(0.5)))
        dispatcher.handle(Gap("mic", 1, 2, 16_000, "unplugged", START))
        dispatcher.handle(Problem("something"))
        dispatcher.handle(status())
        seen = receive(viewer, "status")
    assert [each["type"] for each in seen] == [
        "audio_block",
        "event_started",
        "event_ended",
        "gap",
        "problem",
        "status",
    ]
    block, started, ended, gap, problem, last_status = seen
    assert (block["source"], block["end"], block["clipped"]) == ("mic", 0.48, False)
    assert len(base64.b64decode(block["cells"])) == 12 * 64
    assert block["rms_db"] == pytest.approx(-20, abs=0.3)
    assert block["peak_db"] > block["rms_db"]
    assert {c for c, _ in block["top"]} == {0, 1, 2}
    assert started["event"] == ended["event"]
    assert ended["event"] == {
        "source": "mic", "label": "dog", "onset": 0.5, "offset": 2.0, "score": 0.8,
        "time": "2026-11-21T13:15:00.500+01:00",
    }  # fmt: skip
    assert gap["time"] == "2026-11-21T13:15:00.000+01:00"
    assert gap["n_samples"] == 16_000
    assert problem["text"] == "something"
    assert last_status["sources"][0]["n_dropped"] == 7


def test_a_viewer_that_connects_later_receives_the_last_minute(view):
    web, dispatcher = view
    with live(web) as first:
        for n in range(150):
            dispatcher.handle(audio_block(n * RATE // 2))
        dispatcher.handle(EventStarted(event(1)))
        dispatcher.handle(EventStarted(event(2, "siren")))
        dispatcher.handle(EventEnded(event(1)))
        dispatcher.handle(status())
        receive(first, "status")
        with live(web) as second:
            snapshot = last(second, "snapshot")
    (known,) = snapshot["spectrograms"]
    assert known["end"] == pytest.approx(75, abs=0.04)
    assert len(base64.b64decode(known["cells"])) == 60 / 0.04 * 64
    assert [each["label"] for each in snapshot["active_events"]] == ["siren"]
    assert snapshot["status"]["uptime_seconds"] == 12.5


def test_cells_do_not_depend_on_the_block_size_and_continue_after_a_gap():
    columns = np.random.default_rng(1).normal(-2, 3, (100, 64)).astype(np.float32)
    nothing = np.empty((0, 3), np.float32)
    spectrograms = []
    for size in (100, 7):
        feed = Feed(LABELS, LOG_MEL, "m")
        for at in range(0, 100, size):
            block = np.zeros((RATE // 100, 1), np.float32)
            feed.encode(AudioBlock("mic", at, block, RATE, columns[at : at + size], nothing))
        spectrograms.append(feed.snapshot()["spectrograms"])
    assert spectrograms[0] == spectrograms[1]
    cells = np.frombuffer(base64.b64decode(spectrograms[0][0]["cells"]), np.uint8).reshape(25, 64)
    loudest = columns.reshape(25, 4, 64).max(axis=1)
    decibels = (loudest - LOG_MEL.silence_value) * LOG_MEL.db_per_unit
    np.testing.assert_array_equal(cells, np.clip(decibels / 0.5, 0, 255).astype(np.uint8))
    feed.encode(Gap("mic", 1, 3, 2 * RATE, "lost", START))
    (spectrogram,) = feed.snapshot()["spectrograms"]
    assert spectrogram["end"] == 3
    assert base64.b64decode(spectrogram["cells"])[25 * 64 :] == bytes(50 * 64)


def test_nan_samples_and_names_that_are_not_utf8_stay_json(view):
    web, dispatcher = view
    bad = np.full((10, 1), np.nan, np.float32)
    frames, columns = np.full((1, 3), np.nan, np.float32), np.full((4, 64), np.nan, np.float32)
    with live(web) as viewer:
        dispatcher.handle(AudioBlock("m\udc80", 0, bad, RATE, columns, frames))
        dispatcher.handle(status())
        assert "NaN" not in json.dumps(receive(viewer, "status"))


def test_a_clip_is_announced_with_its_id_as_soon_as_the_database_has_it(view, path, tmp_path):
    web, dispatcher = view
    clip = save_clip(tmp_path)
    with live(web) as viewer:
        dispatcher.handle(EventEnded(event(0)))
        dispatcher.handle(EventEnded(event(5)))
        dispatcher.handle(ClipSaved(event(0), None))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            dispatcher.handle(ClipSaved(event(5), str(clip)))
            time.sleep(0.2)
            other.execute("ROLLBACK")
        time.sleep(0.5)
        dispatcher.handle(status())
        dispatcher.handle(status())
        row = last(viewer, "clip_saved")["event"]
    assert (row["id"], row["label"], row["onset"], row["clip"]) == (2, "dog", 5.0, "/clips/2")
    assert "dog.flac" not in json.dumps(row)


def test_a_clip_that_fails_for_an_unexpected_reason_delays_no_other(view, tmp_path, monkeypatch):
    web, dispatcher = view
    clip = str(save_clip(tmp_path))

    def fail_at_first(path, the_event):
        if the_event.onset < 5:
            raise KeyError(the_event.onset)
        return find_event(path, the_event)

    monkeypatch.setattr("streaming.web.server.find_event", fail_at_first)
    with live(web) as viewer:
        for onset in (0.0, 1.0, 5.0):
            dispatcher.handle(EventEnded(event(onset)))
            dispatcher.handle(ClipSaved(event(onset), clip))
        seen, until = [], time.monotonic() + 10
        while sum(each["type"] == "problem" for each in seen) < 2:
            assert time.monotonic() < until
            dispatcher.handle(status())
            seen += receive(viewer, "status")
    assert [each["event"]["onset"] for each in seen if each["type"] == "clip_saved"] == [5]
    assert [each["text"] for each in seen if each["type"] == "problem"] == [
        "the web view could not announce a clip: KeyError(0.0)",
        "the web view announces clips again",
    ]


def test_viewers_do_not_disturb_each_other(view):
    web, dispatcher = view
    with live(web) as first, live(web) as second:
        receive(first, "snapshot")
        with live(web) as third:
            receive(third, "snapshot")
        dispatcher.handle(status())
        assert last(first, "status") == last(second, "status")
        until = time.monotonic() + 10
        while "sed_viewers 2.0" not in get(web, "/metrics").text:
            assert time.monotonic() < until


def test_a_viewer_that_never_reads_slows_no_other_and_memory_stays(view):
    web, dispatcher = view
    messages = [audio_block(n * RATE // 2, seed=n) for n in range(20)]
    host, port = web.url.removeprefix("http://").rstrip("/").split(":")
    with live(web) as good, socket.create_connection((host, int(port))) as stuck:
        stuck.sendall(
            b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        receive(good, "snapshot")
        for n in range(500):
            dispatcher.handle(messages[n % 20])
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        started = time.monotonic()
        for n in range(100_000):
            web.handle(messages[n % 20])
        seconds = time.monotonic() - started
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 20
        assert after - before < 30e6
        dispatcher.handle(EventEnded(event(7)))
        seen = receive(good, "event_ended")
        n_missed = sum(each["n"] for each in seen if each["type"] == "missed")
        assert n_missed > 0
        assert n_missed + sum(each["type"] == "audio_block" for each in seen) == 100_500
        assert len(seen) > 1


def test_a_slow_viewer_receives_the_number_of_messages_it_missed():
    async def watch():
        viewer = Viewer('{"type": "snapshot"}')
        assert await viewer.next() == '[{"type": "snapshot"}]'
        for n in range(MAX_QUEUED + 25):
            viewer.put(str(n))
        first = json.loads(await viewer.next())
        viewer.put("7")
        return first, json.loads(await viewer.next())

    first, second = asyncio.run(watch())
    assert first == [{"type": "missed", "n": 25}, *range(25, MAX_QUEUED + 25)]
    assert second == [7]


def test_messages_after_the_end_are_ignored(path):
    with viewed(path) as (web, _):
        web.close()
        assert web.handle(status()) == []
