from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from streaming.results.summary.effort import RecordedSpan, clock_hours, recorded_spans

spans = st.tuples(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    st.integers(0, 10**11).map(lambda us: us / 1e6),
)


@given(st.lists(spans, max_size=6))
def test_parts_lie_in_hours_of_the_clock_and_add_up(spans):
    start = np.array([s for s, _ in spans], "datetime64[us]")
    seconds = np.array([s for _, s in spans], float)
    parts = clock_hours(start, seconds)
    assert np.allclose(np.bincount(parts.span, parts.seconds, len(spans)), seconds)
    assert (parts.seconds <= 3600).all()
    for i, (begin, length) in enumerate(spans):
        hours = parts.hour[parts.span == i].tolist()
        first = begin.replace(minute=0, second=0, microsecond=0)
        end = begin + timedelta(seconds=length)
        expected = [first]
        while expected[-1] + timedelta(hours=1) < end:
            expected.append(expected[-1] + timedelta(hours=1))
        assert hours == expected


def test_recordings_are_found_with_their_times(tmp_path):
    (tmp_path / "north").mkdir()
    for name in ("north/20260501_043000.wav", "b.flac"):
        soundfile.write(tmp_path / name, np.zeros(12_000), 8_000)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    errors = []
    found = recorded_spans([tmp_path], on_error=errors.append)
    assert sorted(found, key=lambda span: span.file) == [
        RecordedSpan(str(tmp_path / "b.flac"), None, 1.5),
        RecordedSpan(str(tmp_path / "north/20260501_043000.wav"), datetime(2026, 5, 1, 4, 30), 1.5),
    ]
    assert len(errors) == 1
    assert "bad.wav" in str(errors[0])
    (span,) = recorded_spans([tmp_path / "north"], timezone(timedelta(hours=2)), UTC)
    assert span.start == datetime(2026, 5, 1, 6, 30)
