"""Hold the outputs of `sed listen` while it runs, and exchange some of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from sed.errors import SedError
from streaming.cli.live.outputs import ALERT_FIELDS, AlertMaker, LiveOutputs
from streaming.cli.live.shown import Shown, shown_settings
from streaming.live.listener import Listener
from streaming.live.rules.config import RulesConfig
from streaming.live.rules.router import AlertRouter
from streaming.live.rules.rules import Rules
from streaming.live.service import ServiceNotifier, service_socket
from streaming.messages import Dispatcher, Message, Problem, Sink
from streaming.pipeline.detector import Detector
from streaming.sinks.text import format_status


@contextmanager
def open_outputs(
    outputs: LiveOutputs,
    listener: Listener,
    model_name: str,
    rules: Rules | None = None,
    config_file: Path | None = None,
) -> Iterator[OpenOutputs]:
    """Open all outputs, and close them at the end.

    Parameters
    ----------
    outputs
        What they are.
    listener
        What sends the messages.
    model_name
        For views and the database.
    rules
        Decide which events alerts get; all if not given.
    config_file
        The file that these were read from, for the page.

    Raises
    ------
    SedError
        If a file, a folder or an address cannot be used.
    """
    with ExitStack() as stack:
        database = outputs.db
        if database is None and outputs.web is not None:  # the page reads its history from one
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sed-listen"))
            database = Path(folder, "events.sqlite")
        opened = OpenOutputs(outputs, listener, model_name, database, config_file)
        stack.callback(opened.dispatcher.close)
        opened.open(rules or Rules(RulesConfig(), tuple))
        yield opened


class OpenOutputs:
    """The outputs of `sed listen` while it runs.

    Parameters
    ----------
    outputs
        What they are.
    listener
        What sends the messages.
    model_name
        For views and the database.
    database
        Path of the database, if there is one.
    config_file
        The file that these were read from, for the page.
    """

    def __init__(
        self,
        outputs: LiveOutputs,
        listener: Listener,
        model_name: str,
        database: Path | None,
        config_file: Path | None = None,
    ) -> None:
        self.dispatcher = Dispatcher()
        self.database = database
        self._outputs = outputs
        self._alert_outputs = outputs  # whose alerts are used now
        self._config_file = config_file
        self._listener = listener
        self._model_name = model_name
        self._detector = listener.detector  # that the views show
        self._views: list[tuple[Sink, Callable[[], Sink]]] = []
        self._makers: dict[str, AlertMaker] = {}

    def open(self, rules: Rules) -> None:
        """Open them in the order in which they handle a message."""
        outputs, listener, name = self._outputs, self._listener, self._model_name
        for sink in outputs.records(listener, name, self.database):
            self.dispatcher.add(sink)
        self._makers = _alerts(outputs, self._detector)
        self.router = AlertRouter(
            _made(self._makers),
            rules,
            waits_for_clip=outputs.clips is not None,
            delay_seconds=self._detector.delay_seconds,
        )
        self.dispatcher.add(self.router)
        if outputs.web is not None and self.database is not None:
            create = partial(outputs.page, listener, name, self.database, self._shown_settings)
            page = create()
            self._views.append((page, create))
            name += f", {page.url}"
        for sink in outputs.console(listener, name):
            self._views.append((sink, lambda: outputs.console(listener, name)[0]))
        for sink, _ in self._views:
            self.dispatcher.add(sink)
        if address := service_socket():
            self.dispatcher.add(ServiceNotifier(address, format_status))

    def handle(self, message: Message) -> None:
        """Pass a message to all outputs; views of classes that have changed are made anew."""
        detector = self._listener.detector
        if detector is not self._detector:
            has_new_labels = detector.labels != self._detector.labels
            self._detector = detector
            if has_new_labels:
                self._renew_views()
        self.dispatcher.handle(message)

    def exchange(self, outputs: LiveOutputs, rules: Rules, detector: Detector) -> None:
        """Use other alerts and rules from now on; alerts that are the same stay.

        Raises
        ------
        UsageError, SedError
            If one of them cannot be made; then nothing is changed.
        """
        makers = _alerts(outputs, detector)
        kept = {
            name: self.router.sinks[name]
            for name, make in makers.items()
            if name in self.router.sinks and _is_same(make, self._makers.get(name))
        }
        new = _made({name: make for name, make in makers.items() if name not in kept})
        self._makers, self._alert_outputs = makers, outputs
        self.router.exchange({name: (kept | new)[name] for name in makers})
        self.router.rules = rules

    def _shown_settings(self) -> Shown:
        """Return what the page shows of the settings, as they are now."""
        alerts = {name: getattr(self._alert_outputs, name) for name in ALERT_FIELDS}
        outputs = replace(self._outputs, **alerts)
        rules, file = self.router.rules.config, self._config_file
        return shown_settings(outputs, self._listener, self._model_name, rules, file)

    def _renew_views(self) -> None:
        views = []
        for sink, create in self._views:
            if type(sink).__name__ not in ("WebView", "TerminalView"):
                views.append((sink, create))
                continue
            try:
                views.append((self.dispatcher.replace(sink, create), create))
            except SedError as error:
                self.dispatcher.handle(Problem(f"a view cannot be opened again: {error}"))
        self._views = views


def _alerts(outputs: LiveOutputs, detector: Detector) -> dict[str, AlertMaker]:
    return outputs.alerts(detector.labels, detector.spec.hierarchy)


def _made(makers: Mapping[str, AlertMaker]) -> dict[str, Sink]:
    """Make alerts; if one cannot be made, those that were are closed."""
    made: dict[str, Sink] = {}
    try:
        for name, make in makers.items():
            made[name] = make()
    except BaseException:
        for sink in made.values():
            sink.close()
        raise
    return made


def _is_same(new: AlertMaker, old: AlertMaker | None) -> bool:
    return old is not None and (new.func, new.args, new.keywords) == (
        old.func,
        old.args,
        old.keywords,
    )
