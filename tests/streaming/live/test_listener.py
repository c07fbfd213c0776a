"""Live sound: the same events as offline, gaps in their place, and an account of every sample."""

import threading
import time
from datetime import datetime

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import streaming.live.listener
from sed.audio.decode import open_recording
from sed.audio.sound_file import quantize_24bit
from sed.errors import SedError, UsageError
from sed.models.devices import DeviceError
from streaming.engines.pytorch import TorchEngine
from streaming.live.capture import TOO_SLOW
from streaming.live.clock import SystemClock
from streaming.live.listener import Listener
from streaming.live.sources import FileSource
from streaming.messages import (
    AudioBlock,
    ClockStepped,
    EventEnded,
    EventStarted,
    Gap,
    Problem,
    Status,
)
from tests.conftest import rising_noise
from tests.streaming.live.scripts import (
    CONFIG,
    RATE,
    Endless,
    FailingEngine,
    Script,
    SlowEngine,
    Sound,
    Unplugged,
    ended,
    offline,
    spans,
)


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    return TorchEngine(tiny_checkpoint, "cpu", "fp32")


@pytest.fixture
def listener(engine):
    def make(*sources, **options):
        options = {"buffer_seconds": 60.0} | options
        return Listener(sources, engine, CONFIG, **options)

    return make


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(1, 40_000), max_size=8),
)
def test_live_equals_offline(tiny_checkpoint, engine, seed, cuts):
    samples = rising_noise(40_000, seed)
    parts = [part for part in np.split(samples, sorted(cuts)) if len(part)]
    source = Script(*parts)
    messages = list(Listener([source], engine, CONFIG, buffer_seconds=60.0).messages())
    events = ended(messages)
    assert spans(events) == spans(offline(tiny_checkpoint, engine, samples)) != []
    started = [message.event for message in messages if isinstance(message, EventStarted)]
    assert sorted((e.onset, e.label) for e in started) == sorted((e.onset, e.label) for e in events)
    blocks = [message.block for message in messages if isinstance(message, AudioBlock)]
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], quantize_24bit(samples))


def test_an_event_is_reported_when_it_starts_and_when_it_is_complete(listener):
    messages = list(listener(Script(rising_noise(64_000))).messages())
    for event in ended(messages):
        key = event.onset, event.label
        found = [m for m in messages if isinstance(m, EventStarted | EventEnded)]
        mine = [type(m) for m in found if (m.event.onset, m.event.label) == key]
        assert mine == [EventStarted, EventEnded]


def test_times_are_correct_after_a_gap(tiny_checkpoint, engine, listener):
    """The sound on each side of a gap is processed like a separate recording."""
    first, second = rising_noise(30_000, 1), rising_noise(30_000, 2)
    messages = list(listener(Script(first, 12_345, second)).messages())
    expected = spans(offline(tiny_checkpoint, engine, first))
    expected += spans(offline(tiny_checkpoint, engine, second), 42_345 / RATE)
    assert spans(ended(messages)) == expected
    (gap,) = [message for message in messages if isinstance(message, Gap)]
    assert (gap.onset, gap.offset, gap.n_samples) == (30_000 / RATE, 42_345 / RATE, 12_345)
    assert gap.reason == "unplugged"
    assert [m.text for m in messages if isinstance(m, Problem)] == ["gone", "back"]
    (source,) = messages[-1].sources
    assert (source.n_processed, source.n_missing, source.n_gaps) == (60_000, 12_345, 1)


def test_an_event_ends_where_the_device_is_disconnected(listener):
    kinds = [
        type(message)
        for message in listener(Script(rising_noise(30_000, 1), 8_000_000)).messages()
        if isinstance(message, EventEnded | Gap)
    ]
    assert kinds.index(Gap) == len(kinds) - 1 > 0


def test_a_model_that_is_too_slow_drops_whole_hops_and_reports_each(tiny_checkpoint):
    """The model runs at half the speed of the input, then at full speed, and catches up."""
    engine = SlowEngine(tiny_checkpoint, "cpu", "fp32")
    engine.seconds = 0.2
    source = FileSource("noise", Endless(), speed=5.0)  # a hop in 0.1 s
    listener = Listener([source], engine, CONFIG, buffer_seconds=2.0)
    gaps, behind = [], {}
    started = time.monotonic()
    for message in listener.messages():
        now = time.monotonic() - started
        if isinstance(message, Gap):
            gaps.append(message)
        if isinstance(message, AudioBlock):
            behind[now] = listener.status().sources[0].n_waiting / RATE
        if now > 2.0:
            engine.seconds = 0.0
        if now > 3.5:
            listener.stop()
    (source,) = listener.status().sources
    assert source.n_delivered == source.n_processed + source.n_dropped
    assert source.n_waiting == 0
    assert source.n_dropped == sum(gap.n_samples for gap in gaps) > 0
    assert {gap.reason for gap in gaps} == {TOO_SLOW}
    assert source.n_dropped % (RATE // 2) == 0
    assert max(behind.values()) > 1.0
    assert min(wait for at, wait in behind.items() if at > 2.0) < 0.5  # less than a hop


@pytest.fixture
def failing(tiny_checkpoint):
    def make(fails, *sources):
        engine = FailingEngine(tiny_checkpoint, "cpu", "fp32")
        engine.fails = fails
        return Listener(sources, engine, CONFIG, buffer_seconds=60.0)

    return make


def test_a_window_that_the_model_fails_on_is_a_gap(failing, tiny_checkpoint, engine):
    """The sound on each side is processed like a separate recording."""
    sound, n = rising_noise(60_000), RATE // 20
    parts = [sound[i : i + n] for i in range(0, len(sound), n)]
    messages = list(failing((5, 6), Script(*parts)).messages())
    gaps = [m for m in messages if isinstance(m, Gap)]
    assert {gap.reason for gap in gaps} == {"the model failed"}
    first, last = (round(gap.onset * RATE) for gap in (gaps[0], gaps[-1]))
    stop = round(gaps[-1].offset * RATE)
    assert last == first + gaps[0].n_samples
    expected = spans(offline(tiny_checkpoint, engine, sound[stop:]), stop / RATE)
    assert [span for span in spans(ended(messages)) if span[0] >= stop / RATE] == expected != []
    started = [m.event for m in messages if isinstance(m, EventStarted)]
    assert {(e.onset, e.label) for e in started} == {(e.onset, e.label) for e in ended(messages)}
    kinds = [type(m) for m in messages]
    assert EventEnded in kinds[: kinds.index(Gap)]
    blocks = np.concatenate([m.block for m in messages if isinstance(m, AudioBlock)])
    np.testing.assert_array_equal(blocks[:, 0], quantize_24bit(sound))
    assert [m.text for m in messages if isinstance(m, Problem)] == [
        "the model failed: RuntimeError: out of order. Sound is lost until it works again",
        "the model works again",
    ]
    (source,) = messages[-1].sources
    assert source.n_dropped == sum(gap.n_samples for gap in gaps) == stop - first > RATE
    assert source.n_delivered == source.n_processed + source.n_dropped == 60_000
    assert source.n_gaps == 2


def test_a_model_that_fails_at_the_end_ends_the_events(failing):
    messages = list(failing(range(5, 999), Script(rising_noise(30_000))).messages())
    n_started = sum(isinstance(m, EventStarted) for m in messages)
    assert n_started == len(ended(messages)) > 0
    (source,) = messages[-1].sources
    assert source.n_delivered == source.n_processed + source.n_dropped == 30_000


def test_a_model_that_fails_again_and_again_ends_listening_with_an_error(failing, monkeypatch):
    monkeypatch.setattr(streaming.live.listener, "MAX_FAILURES", 3)
    listener = failing(range(5, 999), Script(rising_noise(400_000)), Script(rising_noise(400_000)))
    messages = []
    with pytest.raises(SedError, match="failed 3 times in a row, at last with RuntimeError: out"):
        messages.extend(listener.messages())
    assert isinstance(messages[-1], Status)
    n_started = sum(isinstance(m, EventStarted) for m in messages)
    assert n_started == len(ended(messages)) > 0
    for source in messages[-1].sources:
        assert source.n_waiting > 0
        assert source.n_delivered == source.n_processed + source.n_dropped + source.n_waiting


def test_several_inputs_go_through_the_model_together(tiny_checkpoint):
    engine = SlowEngine(tiny_checkpoint, "cpu", "fp32")
    engine.batches = []
    sounds = [rising_noise(40_000, seed) for seed in range(3)]
    sources = [Script(sound, name=f"source {i}") for i, sound in enumerate(sounds)]
    listener = Listener(sources, engine, CONFIG, buffer_seconds=60.0)
    events = ended(listener.messages())
    assert 3 in engine.batches
    for source, sound in zip(sources, sounds, strict=True):
        mine = [event for event in events if event.file == source.name]
        assert spans(mine) == spans(offline(tiny_checkpoint, engine, sound))


def test_an_input_that_cannot_be_started_does_not_stop_the_others(listener):
    messages = list(
        listener(Unplugged(name="a"), Script(rising_noise(20_000), name="b")).messages()
    )
    assert messages[0] == Problem("a: cannot be opened")
    assert messages[-1].sources[1].n_processed == 20_000
    with pytest.raises(DeviceError, match="a: cannot be opened"):
        list(listener(Unplugged(name="a")).messages())


def test_the_model_gets_one_channel_or_the_mean_of_all(listener, tiny_checkpoint, engine):
    left, right = rising_noise(20_000, 1), rising_noise(20_000, 2)

    class Stereo(Script):
        n_channels = 2

    both = np.stack([left, right], axis=1)
    for channel, mono in ((1, left), (2, right), (None, quantize_24bit(both).mean(axis=1))):
        events = ended(listener(Stereo(both), channel=channel).messages())
        assert spans(events) == spans(offline(tiny_checkpoint, engine, mono))
    with pytest.raises(UsageError, match="script has no channel 3: it has 2"):
        listener(Stereo(both), channel=3)


def test_inputs_of_one_name_are_numbered(listener):
    *_, last = listener(Script(rising_noise(8_000)), Script(rising_noise(8_000))).messages()
    assert [source.name for source in last.sources] == ["script", "script 2"]
    with pytest.raises(UsageError, match="expected at least one input"):
        listener()


def test_digital_silence_is_reported_once_and_its_end_too(listener):
    zeros, sound = np.zeros(RATE, np.float32), rising_noise(RATE)
    messages = listener(Script(*[zeros] * 25, sound, sound), buffer_seconds=90.0).messages()
    texts = [message.text for message in messages if isinstance(message, Problem)]
    assert texts == [
        "script: nothing but digital silence for 10 s. Is it muted, or is it the wrong channel?",
        "script: there is sound again",
    ]


def test_samples_that_are_nan_are_silence(listener):
    bad = rising_noise(20_000)
    bad[5_000:5_010] = np.nan
    bad[6_000] = np.inf
    messages = list(listener(Script(bad)).messages())
    probs = np.concatenate([m.frame_probs for m in messages if isinstance(m, AudioBlock)])
    assert np.isfinite(probs).all()


def test_the_last_message_is_a_status(listener):
    *_, last = listener(Script(rising_noise(20_000))).messages()
    assert isinstance(last, Status)
    assert last.sources[0].state == "ended"
    assert last.n_lost == 0


def test_a_listener_stopped_by_another_thread_processes_the_captured_sound(
    tiny_checkpoint, engine, noise_wav
):
    source = FileSource("noise", open_recording(noise_wav))
    listener = Listener([source], engine, CONFIG)
    threading.Timer(1.3, listener.stop).start()
    messages = list(listener.messages())
    samples = np.concatenate([m.block for m in messages if isinstance(m, AudioBlock)])[:, 0]
    assert RATE < len(samples) < 5 * RATE
    assert spans(ended(messages)) == spans(offline(tiny_checkpoint, engine, samples))


def test_events_have_a_time_of_day_that_does_not_change(listener):
    """The sound arrives faster than real time, so that the clock is corrected all the time."""
    source = FileSource("noise", Sound(rising_noise(40_000)), speed=4.0)
    before = datetime.now().astimezone()
    messages = list(listener(source).messages())
    times = {
        (m.event.onset, m.event.label): m.event.time for m in messages if type(m) is EventStarted
    }
    events = ended(messages)
    assert events
    for event in events:
        assert event.time == times[event.onset, event.label]
        assert event.time.tzinfo is not None
        arrived = (event.onset + 1.0) / 4.0  # the end of its window
        assert (event.time - before).total_seconds() < arrived + 1.0
    assert len({round((e.time - before).total_seconds() - e.onset, 1) for e in events}) > 1


def test_a_clock_that_is_set_is_reported_and_what_lasts_ends_with_the_new_time(listener):
    """It is set when an event has started; all later times are those of the new clock."""
    ahead = [0.0]
    clock = SystemClock(lambda: time.time() + ahead[0])
    source = FileSource("noise", Sound(rising_noise(40_000)), speed=8.0)
    before, messages = time.time(), []
    for message in listener(source, clock=clock).messages():
        messages.append(message)
        if isinstance(message, EventStarted) and not ahead[0]:
            ahead[0] = 1e6
    kinds = [type(message) for message in messages]
    [step] = [n for n, kind in enumerate(kinds) if kind is ClockStepped]
    assert messages[step].seconds == pytest.approx(1e6, abs=0.1)
    assert messages[step - 1] == Problem("the clock was set forward by 11.6 days")
    started = kinds.index(EventStarted)
    assert started < step < kinds.index(EventEnded)
    assert messages[started].event.time.timestamp() - before < 10
    later = [m.event for m in messages[step:] if isinstance(m, EventStarted | EventEnded)]
    assert all(abs(event.time.timestamp() - before - 1e6) < 10 for event in later)
    assert messages[started].event.onset in [event.onset for event in later]


@pytest.mark.slow
def test_the_real_time_factor_is_that_of_the_inputs_that_still_deliver(listener):
    sources = [FileSource(f"{i}", Sound(rising_noise(n)), speed=2.0) for i, n in
            enumerate((24_000, 800, 800))]  # fmt: skip
    loads = [m.real_time_factor for m in listener(*sources).messages() if isinstance(m, Status)]
    alone = FileSource("alone", Sound(rising_noise(24_000)), speed=2.0)
    expected = [m.real_time_factor for m in listener(alone).messages() if isinstance(m, Status)]
    assert loads[-1] < 2.0 * expected[-1] + 0.1


def test_there_is_a_status_before_the_first_message(listener):
    status = listener(Script()).status()
    assert (status.uptime_seconds, status.real_time_factor, status.n_events) == (0.0, 0.0, 0)


def test_a_file_is_played_at_real_speed(tmp_path, listener):
    soundfile.write(tmp_path / "a.wav", rising_noise(8_000), RATE)
    source = FileSource("a", open_recording(tmp_path / "a.wav"))
    started = time.monotonic()
    list(listener(source).messages())
    assert 0.95 < time.monotonic() - started < 4.0
