"""The sound of events: exact to the sample, across gaps, and of a limited length."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from streaming.messages import ClipSaved, EventEnded, EventStarted
from streaming.sinks.clips import ClipRecorder, ClipsConfig
from tests.streaming.sinks.clip_playback import (
    RATE,
    audio_block,
    event,
    files,
    gap,
    paths,
    play,
    problems,
    read,
    sound,
    status,
)


def test_a_clip_is_the_event_with_its_rolls_to_the_sample(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.5, post_roll=0.25), delay_seconds=1)
    samples = sound(5, 2)
    the_event = event(1.5, 2.75)
    results = play(
        clips, samples, [(14_000, EventStarted(the_event)), (23_000, EventEnded(the_event))]
    )
    assert results == [
        ClipSaved(the_event, str(tmp_path / "2026-11-21/20261121T121501.500Z_siren_mic.flac"))
    ]
    saved, sample_rate = read(results[0].path)
    assert sample_rate == RATE
    assert soundfile.info(results[0].path).subtype == "PCM_24"
    np.testing.assert_array_equal(saved, samples[8_000:24_000])
    assert clips.close() == []


def test_a_clip_is_written_as_soon_as_its_post_roll_is_there(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(post_roll=1), delay_seconds=1)
    samples = sound(3)
    assert play(clips, samples[:12_000], [(12_000, EventEnded(event(0.5, 1)))]) == []
    assert clips.handle(audio_block(samples[12_000:15_999], 12_000)) == []
    (clip,) = clips.handle(audio_block(samples[15_999:16_000], 15_999))
    np.testing.assert_array_equal(read(clip.path)[0], samples[:16_000])


def test_an_event_reported_after_its_post_roll_is_saved_at_once(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.1, post_roll=0.1), delay_seconds=2)
    samples = sound(4)
    (path,) = paths(play(clips, samples, [(24_000, EventEnded(event(0.5, 1)))]))
    np.testing.assert_array_equal(read(path)[0], samples[3_200:8_800])


def test_a_clip_is_cut_where_the_input_begins_and_ends(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(2)
    first, last = event(0.25, 0.5), event(1.5, 2, "dog")
    results = play(clips, samples, [(12_000, EventEnded(first)), (16_000, EventEnded(last))])
    np.testing.assert_array_equal(read(paths(results)[0])[0], samples[:12_000])
    (path,) = paths(clips.close())
    np.testing.assert_array_equal(read(path)[0], samples[4_000:])


@pytest.mark.parametrize("state", ["ended", "lost"])
def test_a_clip_does_not_wait_for_sound_that_does_not_come(tmp_path, state):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(2)
    assert play(clips, samples, [(16_000, EventEnded(event(1, 1.5)))]) == []
    assert clips.handle(status("listening")) == []
    assert clips.handle(status(state, n_waiting=5)) == []
    (path,) = paths(clips.handle(status(state)))
    np.testing.assert_array_equal(read(path)[0], samples)


def test_overlapping_events_have_a_clip_each(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.1, post_roll=0.1), delay_seconds=1)
    samples = sound(4)
    siren, dog = event(1, 3), event(1.5, 2, "dog")
    messages = [
        (9_000, EventStarted(siren)),
        (13_000, EventStarted(dog)),
        (18_000, EventEnded(dog)),
        (26_000, EventEnded(siren)),
    ]
    results = play(clips, samples, messages)
    assert [result.event for result in results] == [dog, siren]
    np.testing.assert_array_equal(read(results[0].path)[0], samples[11_200:16_800])
    np.testing.assert_array_equal(read(results[1].path)[0], samples[7_200:24_800])


def test_inputs_have_their_own_rates_and_channels(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0, post_roll=0), delay_seconds=1)
    rates = {"garden": (44_100, 1), "street": (48_000, 3), "many": (16_000, 9)}
    sounds = {}
    for source, (rate, n_channels) in rates.items():
        sounds[source] = sound(rate * 2 / RATE, n_channels)
        the_event = event(0.5, 1.25, source=source)
        play(clips, sounds[source][: rate // 2], source=source, sample_rate=rate)
        rest = sounds[source][rate // 2 :]
        (path,) = paths(
            play(
                clips,
                rest,
                [(rate * 3 // 2, EventEnded(the_event))],
                source=source,
                sample_rate=rate,
                start=rate // 2,
            )
        )
        saved, sample_rate = read(path)
        assert sample_rate == rate
        np.testing.assert_array_equal(
            saved, sounds[source][rate // 2 : rate * 5 // 4, :8], err_msg=source
        )


def test_a_clip_does_not_reach_across_a_gap(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(6)
    before, after = event(1, 1.9), event(3.2, 4, "dog")
    play(clips, samples[:16_000], [(16_000, EventEnded(before))])
    (first,) = paths(clips.handle(gap(16_000, 8_000)))
    np.testing.assert_array_equal(read(first)[0], samples[:16_000])
    (second,) = paths(play(clips, samples[24_000:], [(40_000, EventEnded(after))], start=24_000))
    np.testing.assert_array_equal(read(second)[0], samples[24_000:40_000])


def test_positions_that_jump_are_a_gap_too(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(6)
    play(clips, samples[:16_000], [(16_000, EventEnded(event(1, 1.9)))])
    (first,) = paths(clips.handle(audio_block(samples[24_000:40_000], 24_000)))
    np.testing.assert_array_equal(read(first)[0], samples[:16_000])
    (second,) = paths(clips.handle(EventEnded(event(3.2, 4))))
    np.testing.assert_array_equal(read(second)[0], samples[24_000:40_000])


def test_an_event_that_lasts_beyond_a_gap_keeps_the_audio_before_it(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(4)
    the_event = event(1, 3)
    assert play(clips, samples[:16_000], [(9_600, EventStarted(the_event))]) == []
    assert clips.handle(gap(16_000, 800)) == []
    results = play(clips, samples[16_800:], [(26_000, EventEnded(the_event))], start=16_800)
    np.testing.assert_array_equal(read(paths(results)[0])[0], samples[:16_000])


def test_a_gap_of_no_known_length_cuts_no_clip(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    samples = sound(4)
    ended, lasting = event(1, 1.75), event(1.5, 2.5, "dog")
    messages = [
        (15_200, EventEnded(ended)),
        (15_200, EventStarted(lasting)),
        (16_000, gap(16_000, 0)),
    ]
    results = play(clips, samples, [*messages, (24_000, EventEnded(lasting))])
    assert [result.event for result in results] == [ended, lasting]
    np.testing.assert_array_equal(read(results[0].path)[0], samples[:22_000])
    np.testing.assert_array_equal(read(results[1].path)[0], samples[4_000:28_000])


def test_of_a_long_event_the_beginning_is_kept_and_written_while_it_lasts(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.5, max_seconds=2), delay_seconds=0.5)
    samples = sound(20)
    the_event = event(1, 18)
    assert play(clips, samples[:27_999], [(9_000, EventStarted(the_event))]) == []
    assert files(tmp_path) == []
    assert clips.handle(audio_block(samples[27_999:28_000], 27_999)) == []
    assert files(tmp_path) == []  # the events of this block are not reported yet
    assert clips.handle(audio_block(samples[28_000:28_001], 28_000)) == []
    assert len(files(tmp_path)) == 1
    results = play(clips, samples[28_001:], [(150_000, EventEnded(the_event))], start=28_001)
    np.testing.assert_array_equal(read(paths(results)[0])[0], samples[4_000:24_000])


def test_an_event_of_just_the_longest_length_keeps_its_post_roll(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_seconds=2), delay_seconds=1)
    samples = sound(6)
    messages = [(9_000, EventStarted(event(1, 2))), (32_000, EventEnded(event(1, 3)))]
    (path,) = paths(play(clips, samples, messages))
    np.testing.assert_array_equal(read(path)[0], samples[:32_000])


def test_of_an_event_reported_very_late_the_sound_that_is_still_there_is_kept(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(pre_roll=0.5, max_seconds=2), delay_seconds=1)
    samples = sound(20)
    the_event = event(1, 16)  # its onset is reported late
    messages = [(120_000, EventStarted(the_event)), (136_000, EventEnded(the_event))]
    (path,) = paths(play(clips, samples, messages))
    first = 119_200 - int(3.5 * RATE)  # the buffer before the block that reported it
    np.testing.assert_array_equal(read(path)[0], samples[first : first + 2 * RATE])


def test_memory_is_bounded_by_what_is_configured(tmp_path):
    config = ClipsConfig(pre_roll=0.5, post_roll=0.5, max_seconds=1)
    clips = ClipRecorder(tmp_path, config, delay_seconds=0.5)
    play(clips, sound(60))
    assert clips._buffers["mic"].stop - clips._buffers["mic"].start == 2 * RATE + 800
    assert len(clips._buffers["mic"]._ring._items) <= 4 * 2 * RATE


def test_an_event_whose_audio_was_lost_has_no_clip_and_that_is_reported_once(tmp_path):
    clips = ClipRecorder(tmp_path, ClipsConfig(max_seconds=1), delay_seconds=1)
    samples = sound(10)
    late = [event(0.1, 0.5), event(0.2, 0.5, "dog"), event(8, 8.5, "cat")]
    results = play(clips, samples, [(80_000, EventEnded(e)) for e in late])
    assert [a.path for a in results if isinstance(a, ClipSaved)][:2] == [None, None]
    assert problems(results) == [
        "mic: the audio of an event was lost before the event was reported. Its clip is left out.",
        f"clips are saved again in {tmp_path}",
    ]
    assert [a.event for a in results if isinstance(a, ClipSaved)] == late
    (problem, clip) = clips.handle(EventEnded(event(99, 100, source="unknown")))
    assert clip.path is None
    assert "unknown" in problem.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pre_roll": -1}, "expected a pre-roll of 0 to 3600 s, got -1 s"),
        ({"post_roll": float("nan")}, "expected a post-roll of 0 to 3600 s, got nan s"),
        (
            {"max_seconds": 0},
            "expected a greatest length of a clip above 0 and up to 3600 s, got 0",
        ),
        ({"max_mb": -2}, "expected a greatest size of all clips above 0 MB, got -2"),
        ({"max_days": 1e9}, "expected a greatest age of a clip above 0 and up to 36500 days"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        ClipsConfig(**values)


def test_a_rate_that_flac_cannot_hold_is_a_problem_and_not_an_error(tmp_path):
    clips = ClipRecorder(tmp_path, delay_seconds=1)
    results = play(clips, sound(30), [(192_000, EventEnded(event(0.5, 1)))], sample_rate=96_001)
    assert [result.path for result in results if isinstance(result, ClipSaved)] == [None]
    assert "FLAC cannot hold such sound (96001 Hz, channels: 1)" in problems(results)[0]


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_clips_do_not_depend_on_the_block_size(tmp_path_factory, data):
    config = ClipsConfig(
        pre_roll=data.draw(st.sampled_from([0, 0.03, 0.5])),
        post_roll=data.draw(st.sampled_from([0, 0.04, 0.4])),
        max_seconds=data.draw(st.sampled_from([0.3, 5])),
    )
    samples = sound(2)
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, 12_000), st.integers(100, 8_000)), min_size=1, max_size=4)
    )
    messages = []
    for n, (onset, length) in enumerate(spans):
        offset = min(onset + length, 15_000)
        the_event = event(onset / RATE, offset / RATE, f"label{n}")
        started = min(onset + 1_000, offset)
        messages += [
            (started, 2 * n, EventStarted(the_event)),
            (offset + 800, 2 * n + 1, EventEnded(the_event)),
        ]
    messages.sort(key=lambda triple: triple[:2])
    contents = []
    for sizes in ([800], data.draw(st.lists(st.integers(20, 1_600), min_size=1, max_size=20))):
        folder = tmp_path_factory.mktemp("clips")
        clips = ClipRecorder(folder, config, delay_seconds=0.4)
        results, waiting, at, n = [], list(messages), 0, 0
        while at < len(samples):
            block = samples[at : at + sizes[n % len(sizes)]]
            results += clips.handle(audio_block(block, at))
            at, n = at + len(block), n + 1
            while waiting and waiting[0][0] <= at:
                results += clips.handle(waiting.pop(0)[2])
        results += clips.close()
        assert len(results) == len(spans)
        contents.append({name: (folder / name).read_bytes() for name in files(folder)})
    assert contents[0] == contents[1]
    pre_roll, post_roll, max_seconds = (
        round(seconds * RATE) for seconds in (config.pre_roll, config.post_roll, config.max_seconds)
    )
    for n, (onset, length) in enumerate(spans):
        offset = min(onset + length, 15_000)
        stop = offset + post_roll if offset - onset <= max_seconds else onset + max_seconds
        (name,) = [name for name in contents[0] if f"_label{n}_" in name]
        np.testing.assert_array_equal(
            read(folder / name)[0], samples[max(0, onset - pre_roll) : stop]
        )
