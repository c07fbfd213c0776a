"""Pass to each alert only the events that rules choose for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from streaming.live.rules.rules import Alert, Rules
from streaming.live.rules.state import Identity, Sound, as_sound, unix_time
from streaming.messages import (
    AudioBlock,
    ClipSaved,
    ClockStepped,
    EventEnded,
    EventStarted,
    Message,
    RuleMatched,
    Sink,
    Status,
    WatchedSink,
)

MAX_OPEN = 10_000  # events that are remembered until they end or their clip is saved


@dataclass
class _Open:
    """An event that may still be passed on, or has more messages to come."""

    sinks: set[str] = field(default_factory=set)  # that get it
    messages: list[Message] = field(default_factory=list)  # of it, since it is complete
    is_done: bool = False  # whether no more of its messages come


class AlertRouter:
    """Passes messages to alerts; a sink of messages.

    An event is passed to an alert from the moment at which a rule decides so: with ``at =
    "onset"`` from its start on, otherwise when it is complete. All other messages are passed to
    all alerts. Without rules, and to alerts that no rule names, every event is passed.

    Parameters
    ----------
    sinks
        The alerts, by names of `streaming.live.rules.config.SINKS`.
    rules
        The rules; they may be exchanged at any time.
    waits_for_clip
        Whether events are complete with their `ClipSaved`.
    delay_seconds
        Seconds of sound after the start of an event, at most, until it is found.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        rules: Rules,
        *,
        waits_for_clip: bool = False,
        delay_seconds: float = 0.0,
    ) -> None:
        self.sinks = dict(sinks)
        self._watched = {name: WatchedSink(sink) for name, sink in sinks.items()}
        self.rules = rules
        self._waits_for_clip = waits_for_clip
        self._delay_seconds = delay_seconds
        self._open: OrderedDict[Identity, _Open] = OrderedDict()
        self._zero: dict[str, float] = {}  # of each input: time of its start, seconds since 1970
        self._closing: list[Future[Sequence[Message]]] = []

    def handle(self, message: Message) -> Sequence[Message]:
        """Pass a message on; return what the alerts return, and what rules have decided."""
        returned = self._closed()
        match message:
            case EventStarted(event):
                sound = as_sound(event)._replace(stop=unix_time(event))
                self._zero[event.file] = sound.start - event.onset
                return returned + self._handle_event(message, sound, self.rules.start(sound))
            case EventEnded(event):
                sound = as_sound(event)
                return returned + self._handle_event(message, sound, self.rules.end(sound))
            case ClipSaved(event):
                return returned + self._handle_event(message, as_sound(event), [])
            # What waits would wait for a time on the clock from before.
            case ClockStepped(seconds):
                self._zero = {name: zero + seconds for name, zero in self._zero.items()}
                returned += self._grant(self.rules.flush())
                self._forget_done()
            case AudioBlock() if self.rules.has_waiting:
                seconds = (message.start + len(message.block)) / message.sample_rate
                until = self._zero.get(message.source, 0.0) + seconds - self._delay_seconds
                returned += self._grant(self.rules.advance(message.source, until))
                self._forget_done()
            # Nothing follows in an input that has ended or was disconnected.
            case Status() if self.rules.has_waiting:
                for source in message.sources:
                    if source.state != "listening":
                        returned += self._grant(self.rules.advance(source.name, float("inf")))
                self._forget_done()
        return returned + self._pass(message, self.sinks)

    def exchange(self, sinks: Mapping[str, Sink]) -> None:
        """Use other alerts from now on; those not used any more are closed meanwhile."""
        old = [each for each in self._watched.values() if each.sink not in sinks.values()]
        kept = {name: each for name, each in self._watched.items() if each not in old}
        self.sinks = dict(sinks)
        self._watched = {n: kept.get(n) or WatchedSink(sink) for n, sink in sinks.items()}
        closer = ThreadPoolExecutor(max(1, len(old)), thread_name_prefix="alert")
        self._closing += [closer.submit(each.close) for each in old]
        closer.shutdown(wait=False)

    def close(self) -> Sequence[Message]:
        """Pass on what waits, and close the alerts."""
        returned = self._grant(self.rules.flush())
        for each in self._watched.values():
            returned += each.close()
        wait(self._closing)
        return returned + self._closed()

    def _handle_event(
        self, message: Message, sound: Sound, alerts: Sequence[Alert]
    ) -> list[Message]:
        """Pass a message of an event to the alerts that get it already, then apply new alerts."""
        known = self._open.setdefault(sound.identity, _Open())
        known.messages.append(message)
        filtered = self.rules.config.filtered_sinks
        returned = self._pass(message, known.sinks | (self.sinks.keys() - filtered))
        returned += self._grant(alerts)
        if isinstance(message, EventStarted):
            known.messages.clear()  # what is decided at the end is about the complete event
        last = ClipSaved if self._waits_for_clip else EventEnded
        known.is_done = isinstance(message, last)
        if known.is_done and sound.identity not in self.rules.waiting():
            del self._open[sound.identity]
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return returned

    def _grant(self, alerts: Sequence[Alert]) -> list[Message]:
        """Pass the messages of events to the alerts that get them from now on."""
        returned: list[Message] = []
        filtered = self.rules.config.filtered_sinks
        for rule, sound, names in alerts:
            known = self._open.get(sound.identity, _Open())
            new = set(names) & filtered - known.sinks
            known.sinks |= new
            for message in known.messages:
                returned += self._pass(message, new)
            returned.append(RuleMatched(rule, sound.label, sound.source, sound.start, sound.stop))
        return returned

    def _forget_done(self) -> None:
        """Forget events that rules have decided about, and that have no more messages."""
        waiting = self.rules.waiting()
        for identity in [key for key, known in self._open.items() if known.is_done]:
            if identity not in waiting:
                del self._open[identity]

    def _pass(self, message: Message, names: Collection[str]) -> list[Message]:
        """Pass a message to some alerts; return what they return, and reports about them."""
        returned: list[Message] = []
        for name, each in self._watched.items():
            if name in names:
                reports: list[Message] = []
                returned += [*each.handle(message, reports), *reports]
        return returned

    def _closed(self) -> list[Message]:
        """Return the last messages of alerts that were exchanged."""
        done = [each for each in self._closing if each.done()]
        self._closing = [each for each in self._closing if each not in done]
        return [message for each in done for message in each.result()]
