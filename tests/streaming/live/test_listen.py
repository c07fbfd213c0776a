"""The Python interface of live detection."""

import asyncio
import threading

import pytest

from sed.errors import SedError
from sed.models.checkpoint import save_checkpoint
from streaming.live.listen import listen, listen_async
from streaming.offline.detect import detect
from tests.streaming.live.scripts import spans


def test_in_python_events_come_one_by_one(noise_wav, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("streaming.live.sources.FILE_SPEED", 4.0)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    events = list(listen(str(noise_wav), path, lookahead_seconds=0.25, device="cpu"))
    expected = detect(
        noise_wav, path, hop_seconds=0.5, lookahead_seconds=0.25, device="cpu", batch_size=1
    )
    assert spans(events) == spans(expected) != []
    assert {event.file for event in events} == {noise_wav.name}


def test_an_input_that_fails_is_an_error_after_its_last_event(
    noise_wav, tiny_checkpoint, monkeypatch
):
    monkeypatch.setattr("streaming.live.sources.FILE_SPEED", 4.0)
    events = listen(str(noise_wav), tiny_checkpoint, lookahead_seconds=0.25, device="cpu")
    blocks = events.listener._inputs[0]._source._decoder.blocks

    def broken():
        yield from blocks()
        raise ZeroDivisionError

    monkeypatch.setattr(events.listener._inputs[0]._source._decoder, "blocks", broken)
    received = []
    with pytest.raises(SedError, match=r"^noise\.wav: reading failed: ZeroDivisionError$"):
        received.extend(events)
    assert list(events) == []


def test_an_asynchronous_listener_lets_other_tasks_run(noise_wav, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr("streaming.live.sources.FILE_SPEED", 4.0)

    async def collect():
        ticks, received = 0, []

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.02)
                ticks += 1

        ticking = asyncio.create_task(tick())
        events = listen_async(str(noise_wav), tiny_checkpoint, lookahead_seconds=0.25, device="cpu")
        async for event in events:
            received.append(event)
            if len(received) == 2:
                break
        await events.aclose()
        ticking.cancel()
        return ticks, received

    ticks, received = asyncio.run(collect())
    assert len(received) == 2
    assert ticks > 10
    assert "read" not in {thread.name.split()[0] for thread in threading.enumerate()}
