"""Collect metrics for Prometheus, and the health, from messages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sed.text import to_utf8
from streaming.messages import EventEnded, InputStatus, Message, Status
from streaming.web.feed import Viewers

MEDIA_TYPE = CONTENT_TYPE_LATEST
STALLED_SECONDS = 10.0  # without a `Status`


class MetricsCollector(Collector):
    """Collect Prometheus metrics from messages: counts of events, and the last `Status`.

    Parameters
    ----------
    viewers
        The connected viewers.
    """

    def __init__(self, viewers: Viewers) -> None:
        self._viewers = viewers
        self._n_events: Counter[tuple[str, str]] = Counter()  # by source and label
        self._status: Status | None = None
        self._status_at = 0.0  # time of the last status, in seconds of a monotonic clock
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def handle(self, message: Message) -> None:
        """Count an event, or keep a status."""
        match message:
            case EventEnded(event):
                self._n_events[to_utf8(event.file), to_utf8(event.label)] += 1
            case Status():
                self._status, self._status_at = message, time.monotonic()

    @property
    def state(self) -> str:
        """One of starting, listening, stalled, and lost if no input is connected."""
        if self._status is None:
            return "starting"
        if time.monotonic() - self._status_at > STALLED_SECONDS:
            return "stalled"
        is_connected = any(source.state == "listening" for source in self._status.sources)
        return "listening" if is_connected else "lost"

    def text(self) -> bytes:
        """Return the metrics in the format of Prometheus, which is `MEDIA_TYPE`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; Prometheus appends ``_total`` to the names of counters."""
        events = CounterMetricFamily("sed_events", "Complete events.", labels=["source", "label"])
        for names, n in self._n_events.copy().items():
            events.add_metric(names, n)
        yield events
        yield GaugeMetricFamily("sed_viewers", "Connected viewers.", len(self._viewers))
        if (status := self._status) is None:
            return
        for name, text, value in (
            ("sed_uptime_seconds", "Time since the start.", status.uptime_seconds),
            (
                "sed_real_time_factor",
                "Seconds of work per second of audio.",
                status.real_time_factor,
            ),
            (
                "sed_latency_seconds",
                "From the end of a window to its result.",
                status.latency_seconds,
            ),
        ):
            yield GaugeMetricFamily(name, text, value)
        yield from _input_metrics(status.sources)


def _input_metrics(sources: tuple[InputStatus, ...]) -> Iterator[Metric]:
    for name, text, count in (
        ("sed_samples_delivered", "Samples that the input delivered.", "n_delivered"),
        ("sed_samples_processed", "Samples that the model processed.", "n_processed"),
        ("sed_samples_dropped", "Samples that the model was too slow for.", "n_dropped"),
        ("sed_samples_missing", "Samples lost while the input was disconnected.", "n_missing"),
        ("sed_input_overflows", "Overflows that the driver reported.", "n_overflows"),
        ("sed_gaps", "Gaps in the audio.", "n_gaps"),
    ):
        counter = CounterMetricFamily(name, text, labels=["source"])
        for source in sources:
            counter.add_metric([to_utf8(source.name)], getattr(source, count))
        yield counter
    connected = GaugeMetricFamily(
        "sed_input_connected", "1 if the input is connected.", labels=["source"]
    )
    for source in sources:
        connected.add_metric([to_utf8(source.name)], source.state == "listening")
    yield connected
