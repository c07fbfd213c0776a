import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.audio.decoders.times import MAX_GAP_SECONDS, FrameTimes, damage_of

RATE, FRAME = 16_000, 320  # frames of 20 ms


def silences(times, clock, n_frames=1):
    """Place frames whose times are in seconds; return the silence before each."""
    return [times.place(None if t is None else t * RATE, n_frames * FRAME) for t in clock]


def places(times):
    return [(p.start, p.n_samples, p.what) for p in times.places]


def test_silence_fills_what_is_missing_and_is_noted():
    times = FrameTimes(RATE)
    assert silences(times, [0.0, 0.02, 0.54, 0.56]) == [0, 0, 8_000, 0]
    assert times.position == round(0.58 * RATE)
    assert places(times) == [(640, 8_000, "are missing")]
    error = damage_of("x.mkv", times, RATE)
    assert str(error) == (
        "x.mkv: damaged at 0.040 s: 0.500 s are missing. Silence stands there, so all times are "
        "right. What can be decoded is kept; copy or export the file again for the rest."
    )


def test_sound_that_begins_late_is_silent_before_and_whole():
    times = FrameTimes(RATE)
    assert silences(times, [8.0, 8.02]) == [8 * RATE, 0]
    assert damage_of("x.mp4", times, RATE) is None


def test_padding_of_the_encoder_before_the_start_is_dropped():
    times = FrameTimes(RATE)
    assert silences(times, [-0.03, -0.01, 0.01]) == [-320, -160, 0]
    assert times.position == round(0.03 * RATE)
    assert damage_of("x.mp4", times, RATE) is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-0.045, 0.045), max_size=30), st.sampled_from([RATE, 44_100, 8_000]))
def test_jitter_neither_creates_nor_drops_samples(jitter, rate):
    """Also that of phones, which write when a packet came; the first says where sound begins."""
    n_frame = rate // 50
    times = FrameTimes(rate)
    # A first frame that is off by a whole frame looks like a packet that was lost.
    clock = [0.0, 0.02 + 0.005, *(0.02 * (i + 2) + error for i, error in enumerate(jitter))]
    assert {times.place(t * rate, n_frame) for t in clock} == {0}
    assert times.position == len(clock) * n_frame


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_times_in_milliseconds_never_count(rate):
    times = FrameTimes(rate)
    for i in range(5_000):
        assert times.place(round(1000 * i * 1024 / rate) / 1000 * rate, 1024) == 0
    assert times.n_places == 0


def test_one_lost_packet_is_noticed_where_times_are_exact_and_not_where_they_are_rough():
    exact, rough = FrameTimes(RATE), FrameTimes(RATE)
    assert silences(exact, [0, 0.02, 0.04, 0.08, 0.1]) == [0, 0, 0, 320, 0]
    assert silences(rough, [0, 0.028, 0.04, 0.08, 0.1]) == [0] * 5
    # What is lost bit by bit counts when it is more than the tolerance.
    assert silences(rough, [0.14, 0.18, 0.22, 0.26, 0.3]) == [0, 0, 0, 0, 6 * 320]


def test_packets_that_cannot_be_decoded_become_silence_as_long_as_their_times_say():
    times = FrameTimes(RATE)
    silences(times, [0, 0.02])
    assert times.place(0.06 * RATE, FRAME, n_lost=FRAME) == FRAME  # as long as it says
    assert times.place(0.14 * RATE, FRAME, n_lost=FRAME) == 3 * FRAME  # others are missing too
    assert times.place(0.16 * RATE, FRAME, n_lost=FRAME) == 0  # the decoder made up for it
    assert times.place(None, FRAME, n_lost=FRAME) == FRAME
    assert times.n_places == 3
    assert places(times)[0] == (2 * FRAME, FRAME, "cannot be decoded")


def test_a_clock_that_starts_again_goes_on_without_a_gap():
    """As in MPEG-TS files that were joined."""
    times = FrameTimes(RATE, can_jump=True)
    clock = [0.02 * i for i in range(500)]
    assert set(silences(times, [*clock, *clock, *clock])) == {0}
    assert times.position == 1_500 * FRAME
    # A step forward means little from there on.
    assert silences(times, [700.0, 700.02]) == [0, 0]
    assert times.places[0].what.startswith("are missing by its clock")


def test_sound_that_overlaps_is_left_out_and_noted():
    times = FrameTimes(RATE)
    silences(times, [0.02 * i for i in range(50)])
    again = [0.7 + 0.02 * i for i in range(20)]
    assert silences(times, again) == [-320] * 15 + [0] * 5
    assert times.position == round(1.1 * RATE)
    assert places(times) == [(RATE, 15 * 320, "overlap with the sound before and are left out")]


@pytest.mark.parametrize(
    ("options", "longest"), [({"max_seconds": 1e6}, MAX_GAP_SECONDS), ({"can_jump": True}, 600.0)]
)
def test_silence_is_bounded(options, longest):
    times = FrameTimes(RATE, **options)
    silences(times, [0.0])
    assert silences(times, [longest, longest + 0.02]) == [round((longest - 0.02) * RATE), 0]
    position = times.position
    assert silences(times, [95_443.0, 95_443.02]) == [0, 0]
    assert times.position == position + 2 * FRAME
    assert "are missing by its clock" in str(damage_of("x.ts", times, RATE))


def test_silence_does_not_make_a_recording_longer_than_its_header_says():
    times = FrameTimes(RATE, max_seconds=30.0)
    assert silences(times, [0.0, 31.0, 31.02]) == [0, 0, 0]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9) | st.none(), st.integers(0, 2_000)), max_size=20),
)
def test_any_times_keep_the_account(clock):
    """What is placed is what came, what was put in, and less what was left out."""
    times, expected = FrameTimes(RATE, can_jump=True), 0
    for time, n_lost in clock:
        n_silent = times.place(time, FRAME, n_lost)
        assert -FRAME <= n_silent <= 600 * RATE
        expected += n_silent + FRAME
    assert times.position == expected
    assert len(times.places) <= min(times.n_places, 4)


def test_of_many_places_the_first_are_named():
    times = FrameTimes(RATE)
    silences(times, [0.5 * i for i in range(10)])
    text = str(damage_of("x.mkv", times, RATE, "it is cut off there"))
    assert text.startswith(
        "x.mkv: damaged at 0.020 s: 0.480 s are missing; at 0.520 s 0.480 s are missing; at "
        "1.020 s 0.480 s are missing; at 1.520 s 0.480 s are missing; 5 more places; at 4.520 s it "
        "is cut off there. Silence"
    )
