"""Measure the latency of live events, and what lookahead costs in accuracy."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sed
from benchmarks.live.listening import HOP, write_example
from benchmarks.quality import accuracy
from benchmarks.store import Results
from sed.events.tracking.median_filter import MedianFilter
from streaming.live.listener import LIVE, Listener
from streaming.live.sources import FileSource
from streaming.messages import AudioBlock, EventEnded, EventStarted
from streaming.sinks.text import TextSink


def latency(minutes: float = 10.0) -> Results:
    """Measure the time from the sample that crosses a threshold to the printed line.

    The file arrives as a device would deliver it, in blocks of a twentieth of a second.
    """
    torch.set_num_threads(1)
    checkpoint = sed.load_model()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "played.wav"
        write_example(path, 60 * minutes)
        source = FileSource("example", sed.open_recording(path))
        listener = Listener([source], checkpoint)
        printed_events, lines = [], TextSink(output := _TimedOutput())
        started = time.monotonic()
        frames: list[NDArray[np.float32]] = []
        newest = 0.0
        for message in listener.messages():
            lines.handle(message)
            if isinstance(message, AudioBlock):
                newest = (message.start + len(message.block)) / message.sample_rate
                frames.append(message.frame_probs)
            if isinstance(message, EventStarted | EventEnded):
                printed_events.append((message, output.at - started, newest))
    crossing_of = _crossings(np.concatenate(frames), listener)
    ahead = listener.detector.lookahead_seconds
    at = {"onset": [], "end": []}
    parts: dict[str, list[float]] = {"waiting for sound": [], "model and printing": []}
    gap = checkpoint.post_processing.min_gap_seconds
    for message, printed, newest in printed_events:
        event = message.event
        if isinstance(message, EventEnded):
            at["end"].append(printed - event.offset)
            continue
        crossed = crossing_of(event)
        at["onset"].append(printed - crossed)
        parts["waiting for sound"].append(newest - crossed)
        parts["model and printing"].append(printed - newest)
    return {
        "events": len(at["onset"]),
        "lookahead_seconds": ahead,
        "min_gap_seconds": gap,
        "bar_seconds": HOP + 0.25 + ahead,
        "onset": _spread(at["onset"]),
        "end": _spread(at["end"]),
        "parts": {name: _spread(values) for name, values in parts.items()},
        "overlap_add_seconds": LIVE.lookahead_seconds,
        "frame_seconds": listener.detector.timeline.frame_seconds,
    }


def lookahead() -> Results:
    """Detect the events of random scenes with ever less lookahead."""
    checkpoint, found = sed.load_model(), []
    for seconds in (None, 2.0, 1.0, 0.5, 0.25, 0.0):
        config = sed.DetectorConfig(hop_seconds=HOP, lookahead_seconds=seconds)
        score, minutes = accuracy.scenes_score(checkpoint, config)
        found.append(
            {
                "lookahead_seconds": seconds,
                "recall": score.recall,
                "false_per_minute": score.n_false / minutes,
                "f1": score.f1,
            }
        )
    return {"events": score.n_true, "found": found}


class _TimedOutput:
    """A stream that keeps the time of the last write."""

    at = 0.0

    def write(self, text: str) -> int:
        self.at = time.monotonic()
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def _crossings(frame_probs: NDArray[np.float32], listener: Listener) -> Callable[[Any], float]:
    """Return a function from an event to the time at which it reaches its threshold."""
    checkpoint = sed.load_model()
    tracker, timeline = checkpoint.post_processing, checkpoint.timeline
    lengths = np.broadcast_to(np.asarray(tracker.median_filter_frames), len(checkpoint.labels))
    median = MedianFilter(lengths)
    smooth = np.concatenate([median.push(frame_probs), median.flush()])
    on = np.broadcast_to(np.asarray(tracker.onset_threshold, np.float32), len(checkpoint.labels))

    def crossing(event: Any) -> float:
        c = checkpoint.labels.index(event.label)
        first = timeline.frames_from_seconds(event.onset)
        return timeline.frame_time(first + int(np.argmax(smooth[first:, c] >= on[c])))

    return crossing


def _spread(values: Sequence[float]) -> Results:
    return {
        "median": statistics.median(values),
        "p95": float(np.percentile(values, 95)),
        "max": max(values),
    }
