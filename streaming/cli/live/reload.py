"""Read the file of `sed listen` again while it listens."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from threading import Event

from sed.errors import SedError, UsageError
from sed.signals import has_terminal
from sed.text import printable, some
from streaming.cli.live.classes import live_rules
from streaming.cli.live.open_outputs import OpenOutputs
from streaming.cli.live.outputs import ALERT_FIELDS
from streaming.cli.live.settings import LiveSettings, SettingsReader
from streaming.live.listener import Listener, live_config
from streaming.live.rules.record import restore_rules
from streaming.messages import Problem

# Options that may change while it listens besides those of alerts: what an event is.
DETECTION_KEYS = frozenset(
    [
        *("threshold", "thresholds", "onset_threshold", "offset_threshold", "min_duration"),
        *("min_gap", "classes", "species_list", "all_classes", "at_level", "unknown", "top_k"),
    ]
)


class Reloading:
    """Reads the file again when that is asked for, and applies what may change meanwhile.

    Parameters
    ----------
    reader
        Reads the settings.
    settings
        Those that the run has begun with.
    listener
        Detects events.
    outputs
        Get them.
    asked
        Set when the file shall be read again.
    """

    def __init__(
        self,
        reader: SettingsReader,
        settings: LiveSettings,
        listener: Listener,
        outputs: OpenOutputs,
        asked: Event,
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._listener = listener
        self._outputs = outputs
        self._asked = asked
        self._had_terminal = has_terminal()
        self._config = listener.detector.config
        self._max_delay_seconds = listener.detector.delay_seconds

    def reload_if_asked(self) -> None:
        """Read the file and apply it; what is wrong with it is a `Problem`, and all stays.

        The signal also comes when a terminal is closed: then listening is stopped.
        """
        if not self._asked.is_set():
            return
        self._asked.clear()
        if self._had_terminal and not has_terminal():
            self._listener.stop()
            return
        name = printable(os.fspath(self._reader.path or ""))
        try:
            text = self._reload()
        except (UsageError, SedError) as error:
            text = f"{error}; the configuration from before stays"
        self._outputs.handle(Problem(text if text.startswith(name) else f"{name}: {text}"))

    def _reload(self) -> str:
        new, old = self._reader.read(), self._settings.values
        options = self._reader.options
        changed = {key for key, each in options.items() if new.values[each.name] != old[each.name]}
        fixed = changed - DETECTION_KEYS - ALERT_FIELDS
        names = {options[key].name for key in fixed}
        settings = replace(new, values={**new.values, **{name: old[name] for name in names}})
        outputs, listener = settings.outputs(), self._listener
        config = live_config(settings.detection(), listener.engine.spec)
        # Compared by what is in it: a file of thresholds may have changed, too.
        detectors = [] if config == self._config else listener.prepare(config)
        detector = detectors[0] if detectors else listener.detector
        if outputs.clips is not None and detector.delay_seconds > self._max_delay_seconds:
            raise UsageError(
                "events would be complete later than the clips that are open can wait for. Restart "
                "for a longer --min-gap"
            )
        rules = live_rules(settings.rules, listener, detector.labels)
        if (database := self._outputs.database) is not None:
            restore_rules(rules, database, time.time())
        rules.adopt(self._outputs.router.rules)
        self._outputs.exchange(outputs, rules, detector)
        listener.use(detectors)
        self._settings, self._config = settings, config
        stays = f"; restart for {some(sorted(fixed))}, which stay as before" if fixed else ""
        return f"the configuration was read again{stays}"
