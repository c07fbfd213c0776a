"""Run `sed listen`: the model, the inputs and the outputs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from threading import Event
from typing import Any

from sed.errors import UsageError
from sed.models.registry import model_name
from sed.signals import GracefulExit, hangup_calls
from sed.text import printable
from streaming.cli.devices import drivers_silenced, open_sources
from streaming.cli.live.classes import live_rules
from streaming.cli.live.open_outputs import open_outputs
from streaming.cli.live.reload import Reloading
from streaming.cli.live.settings import LiveSettings, SettingsReader
from streaming.engines.base import Engine
from streaming.engines.select import open_engine
from streaming.live.listener import Listener, live_config
from streaming.live.rules.record import restore_rules
from streaming.sinks.text import format_status

log = logging.getLogger("sed.listen")


def run(reader: SettingsReader, settings: LiveSettings) -> Sequence[str]:
    """Listen until the inputs end; return why inputs have failed.

    Parameters
    ----------
    reader
        Reads the settings again when that is asked for.
    settings
        Those to begin with.

    Raises
    ------
    UsageError, SedError
        If options, the model, an input or an output cannot be used.
    """
    values = settings.values
    config, outputs = settings.detection(), settings.outputs()
    if values["n_threads"] < 1 or values["buffer_seconds"] <= 0:
        raise UsageError("expected --threads of 1 or more and a --buffer above 0 seconds")
    asked = Event()
    # Without a file the signal ends the process, as it does when a terminal is closed.
    hangup = hangup_calls(asked.set) if reader.path is not None else nullcontext()
    with hangup, drivers_silenced():
        raw = (values["raw_rate"], values["raw_encoding"], values["raw_channels"])
        sources = open_sources(values["input"], values["channel"], *raw)
        if not values["quiet"]:
            print("loading the model", file=sys.stderr)
        engine = open_live_engine(values)
        listener = Listener(
            sources,
            engine,
            live_config(config, engine.spec),
            channel=values["channel"],
            buffer_seconds=values["buffer_seconds"],
        )
        rules = live_rules(settings.rules, listener, listener.detector.labels)
        if outputs.db is not None:
            restore_rules(rules, outputs.db, time.time())
        name = model_name(values["model"])
        log.info("%s; %s, %d classes", engine, name, len(engine.spec.labels))
        if not values["quiet"]:
            for source in sources:
                print(
                    f"listening to {printable(source.name)}: {source.sample_rate:,} Hz, "
                    f"{source.n_channels} channel{'s' * (source.n_channels != 1)}",
                    file=sys.stderr,
                )
        with (
            GracefulExit(listener.stop),
            open_outputs(outputs, listener, name, rules, reader.path) as opened,
        ):
            reloading = Reloading(reader, settings, listener, opened, asked)
            for message in listener.messages():
                opened.handle(message)
                reloading.reload_if_asked()
        if not values["quiet"]:
            print(format_status(listener.status()), file=sys.stderr)
        return listener.failures


def open_live_engine(values: Mapping[str, Any]) -> Engine:
    """Open the model that options name, for one stream."""
    return open_engine(
        values["model"],
        engine=values["engine"],
        device=values["device"],
        precision=values["precision"],
        n_streams=1,
        n_threads=values["n_threads"],
    )
