"""Cut recordings: trimming, segments, and the events and labels of each segment."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sed.events.tracker import Event
from tests.conftest import rising_noise
from tests.train.prepare.prepared import RATE, sed
from train.data.audio import n_samples, read_clip
from train.data.clips import Clip
from train.data.loudness import non_silent_range
from train.data.tables import read_table, write_index
from train.prepare.cutting import CuttingConfig, clip_segment, kept_range, split_range
from train.prepare.prepare import prepare


def test_pieces_share_the_group_and_lie_behind_one_another(source, tmp_path):
    summary = prepare(source, tmp_path / "out", sample_rate=RATE, segment_seconds=1.25)
    clips = read_table(summary.index)
    assert summary.n_clips == len(clips) == 12  # 1.25 + 1.25, and 0.5 left out
    assert len({clip.group for clip in clips}) == 6
    for first, second in zip(clips[::2], clips[1::2], strict=True):
        assert first.group == second.group
        whole = read_clip(replace(first, duration_seconds=None), RATE)
        assert n_samples(first, RATE) == n_samples(second, RATE) == 10_000
        np.testing.assert_array_equal(read_clip(first, RATE), whole[:10_000])
        np.testing.assert_array_equal(read_clip(second, RATE), whole[10_000:20_000])
        assert len(whole) == 20_000  # what no piece holds is not stored


def test_a_split_keeps_pieces_of_a_source_together_and_needs_no_decoding(tmp_path):
    for i in range(40):
        path = tmp_path / "source" / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rising_noise(2 * RATE, i), RATE)
    arguments = (
        "prepare",
        tmp_path / "source",
        tmp_path / "out",
        "--sample-rate",
        RATE,
        "--segment-seconds",
        "0.5",
    )
    assert sed(*arguments).exit_code == 0
    done = sed(*arguments, "--split", "0.5,0.25,0.25")
    assert done.exit_code == 0, done.stderr
    assert "40 recordings already stored" in done.stderr
    assert "train" in done.stderr
    rows = [line.split(",") for line in (tmp_path / "out/index.csv").read_text().splitlines()]
    group, split = rows[0].index("group"), rows[0].index("split")
    sides = {row[group]: set() for row in rows[1:]}
    for row in rows[1:]:
        sides[row[group]].add(row[split])
    assert all(len(side) == 1 for side in sides.values())
    counts = {
        name: sum(side == {name} for side in sides.values()) for name in ("train", "val", "test")
    }
    assert counts == {"train": 20, "val": 10, "test": 10}


def test_events_follow_into_trimmed_pieces(tmp_path):
    sound = 1e-4 * rising_noise(8 * RATE)
    sound[2 * RATE : 6 * RATE] += 0.5 * np.sin(np.arange(4 * RATE)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", sound, RATE, "FLOAT")
    events = (Event(2.0, 3.5, "a", 1.0), Event(3.25, 6.0, "b", 1.0))
    clip = Clip(str(tmp_path / "x.wav"), ("a", "b", "scene"), "g", events=events)
    write_index(tmp_path / "table.csv", [clip], None, [""])
    summary = prepare(
        tmp_path / "table.csv", tmp_path / "out", sample_rate=RATE, trim_db=30, segment_seconds=2.0
    )
    first, second = read_table(summary.index)
    assert [(e.onset, e.offset, e.label) for e in first.events] == [
        (0.0, 1.5, "a"),
        (1.25, 2.0, "b"),
    ]
    assert [(e.onset, e.offset, e.label) for e in second.events] == [(0.0, 2.0, "b")]
    assert set(first.labels) >= {"a", "b"}
    assert "a" not in second.labels
    assert (first.start_seconds, first.duration_seconds, second.start_seconds) == (0.0, 2.0, 2.0)


def test_silent_pieces_are_left_out_and_counted(tmp_path):
    (tmp_path / "source/a").mkdir(parents=True)
    sound = rising_noise(4 * RATE)
    sound[RATE : 3 * RATE] = 0
    soundfile.write(tmp_path / "source/a/x.wav", sound, RATE)
    done = sed(
        "prepare",
        tmp_path / "source",
        tmp_path / "out",
        "--sample-rate",
        RATE,
        "--segment-seconds",
        1,
    )
    assert "1 recording · 2 clips · 4.0 s of sound" in done.stderr
    assert "2 clips of digital silence left out" in done.stderr
    assert [c.start_seconds for c in read_table(tmp_path / "out/index.csv")] == [0.0, 3.0]


@given(
    lengths=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)),
    trim_db=st.sampled_from([20.0, 40.0, 60.0]),
    below_db=st.floats(1.0, 30.0),
    offset=st.integers(0, 500),
)
def test_trimming_removes_the_quiet_parts_and_nothing_else(lengths, trim_db, below_db, offset):
    step = RATE // 50
    before, inside, behind = (n * step for n in lengths)
    quiet, loud = 0.5 * 10 ** (-(trim_db + below_db) / 20), 0.5
    signs = np.where(np.arange(before + inside + behind + offset) % 2, 1.0, -1.0)
    levels = np.full(len(signs), quiet)
    levels[offset + before : offset + before + inside] = loud
    levels[offset + before + step : offset + before + inside - step] = 0.0  # a pause is no end
    kept = non_silent_range(
        (levels * signs).astype(np.float32), (offset, len(signs)), RATE, trim_db
    )
    assert kept == (offset + before, offset + before + inside)


@given(begin=st.integers(0, 10_000), n=st.integers(1, 50_000), cut=st.floats(0.01, 3.0))
def test_pieces_cover_all_but_a_short_rest(begin, n, cut):
    length = int(cut * RATE + 0.5)
    pieces = split_range((begin, begin + n), CuttingConfig(RATE, segment_seconds=cut))
    assert pieces[0][0] == begin
    assert all(first[1] == second[0] for first, second in pairwise(pieces))
    assert all(end - first == length for first, end in pieces[:-1])
    assert pieces[-1][1] - pieces[-1][0] >= min(n, length / 2)
    assert 0 <= begin + n - pieces[-1][1] < length / 2


@given(
    spans=st.lists(st.tuples(st.integers(0, 800), st.integers(1, 400)), max_size=6),
    cut=st.sampled_from([0.1, 0.25, 0.7]),
)
def test_events_of_pieces_are_those_of_the_whole(spans, cut):
    rate, n = 1_000, 1_000
    events = tuple(Event(a / rate, min(a + b, n) / rate, "ab"[a % 2], 1.0) for a, b in spans)
    labels = tuple(sorted({event.label for event in events}))
    clip = Clip("x", labels, "g", events=events)
    sounding = np.zeros((len(events), n), bool)
    for begin in range(0, n, int(cut * rate)):
        end = min(n, begin + int(cut * rate))
        piece = clip_segment(clip, (begin, end), rate)
        assert set(piece.labels) == {event.label for event in piece.events}
        inside = [e for e in events if e.onset < end / rate and e.offset > begin / rate]
        assert [e.label for e in piece.events] == [e.label for e in inside]
        for event, whole in zip(piece.events, inside, strict=True):
            first, last = (round(edge * rate) + begin for edge in (event.onset, event.offset))
            assert begin <= first < last <= end
            sounding[events.index(whole), first:last] = True
    for event, row in zip(events, sounding, strict=True):
        if events.count(event) == 1:
            assert row.sum() == round((event.offset - event.onset) * rate)


def test_labels_without_an_event_stay():
    events = (Event(0.0, 1.0, "a", 1.0), Event(0.0, 1.0, "c", 1.0))
    clip = Clip("x", ("a", "b"), "g", secondary=("c", "d"), events=events)
    piece = clip_segment(clip, (1_000, 2_000), 1_000)
    assert (piece.labels, piece.secondary, piece.events) == (("b",), ("d",), ())
    weak = replace(clip, events=None)
    assert clip_segment(weak, (1_000, 2_000), 1_000) == weak


def test_first_seconds_are_those_behind_the_silence():
    sound = np.r_[np.zeros(RATE), np.ones(3 * RATE)].astype(np.float32)
    config = CuttingConfig(RATE, trim_db=30, max_seconds=2.0)
    assert kept_range(sound, (0, 4 * RATE), config) == (RATE, 3 * RATE)


def test_times_of_events_have_no_rests_of_differences():
    event = Event(5.1, 8.3, "dog", 1.0)  # 5.1 - 5 is 0.09999999999999964
    clip = Clip("a.wav", ("dog",), "a", events=(event,))
    [cut] = clip_segment(clip, (40_000, 80_000), 8_000).events
    assert (cut.onset, cut.offset) == (0.1, 3.3)
