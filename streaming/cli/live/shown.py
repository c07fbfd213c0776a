"""Say what `sed listen` does, for its page: settings by name, without anything secret."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sed.text import to_utf8
from streaming.cli.live.outputs import LiveOutputs
from streaming.live.listener import Listener
from streaming.live.rules.config import RulesConfig

Shown = Mapping[str, Mapping[str, str]]
SECRET = ("env:", "file:")  # beginnings of what names a secret


def shown_settings(
    outputs: LiveOutputs,
    listener: Listener,
    model_name: str,
    rules: RulesConfig,
    config_file: Path | None,
) -> Shown:
    """Return the settings as texts by their names, by the titles of their groups.

    Parameters
    ----------
    outputs
        Where the results go.
    listener
        Gives model, thresholds and inputs as they are now.
    model_name
        Name of the model.
    rules
        Rules for alerts.
    config_file
        The file that options and rules are read from, if there is one.
    """
    detector = listener.detector
    model = {
        "name": model_name,
        "classes": f"{len(detector.labels)} of {len(detector.spec.labels)}",
        "hop": f"{detector.hop_seconds:g} s",
        "lookahead": f"{detector.lookahead_seconds:g} s",
    }
    inputs = {
        each.name: f"{each.sample_rate / 1000:g} kHz, {each.n_channels} channel"
        + "s" * (each.n_channels != 1)
        for each in listener.status().sources
    }
    file = {} if config_file is None else {"file": os.fspath(config_file)}
    alerts = {rule.name: ", ".join(rule.classes) or "all classes" for rule in rules.rules}
    groups = {
        "Model": model,
        "Thresholds": _thresholds(detector.labels, detector.decoder.onset_thresholds),
        "Inputs": inputs,
        "Outputs": _outputs(outputs),
        "Rules": file | alerts or {"rules": "none: alerts get every event"},
    }
    return {
        title: {to_utf8(name): to_utf8(value) for name, value in values.items()}
        for title, values in groups.items()
    }


def _thresholds(labels: tuple[str, ...], thresholds: tuple[float, ...]) -> dict[str, str]:
    """Return the threshold that most classes have, and those of the others."""
    texts = [f"{threshold:.3g}" for threshold in thresholds]
    most, n_most = Counter(texts).most_common(1)[0]
    others = [(label, text) for label, text in zip(labels, texts, strict=True) if text != most]
    shown = {"all classes" if n_most == len(texts) else f"{n_most} classes": most}
    return shown | dict(others)


def _outputs(outputs: LiveOutputs) -> dict[str, str]:
    """Return what is written where; of addresses only the server, of commands only the program."""
    limits = [
        f"at most {value:g} {unit}"
        for value, unit in ((outputs.clips_max_mb, "MB"), (outputs.clips_max_days, "days"))
        if value is not None
    ]
    texts = {
        "database": outputs.db or "kept until the end only",
        "file": outputs.output,
        "clips": outputs.clips and ", ".join([os.fspath(outputs.clips), *limits]),
        "audio": outputs.save_audio,
        "command for events": outputs.on_event and outputs.on_event.split()[0],
        "command for onsets": outputs.on_onset and outputs.on_onset.split()[0],
        "webhook": outputs.webhook and _server(outputs.webhook),
        "MQTT": outputs.mqtt and _server(outputs.mqtt),
        "push": ", ".join(map(_service, outputs.push or [])),
    }
    return {name: os.fspath(value) for name, value in texts.items() if value}


def _service(address: str) -> str:
    """Return the service of an address of Apprise, or where a secret one is read from."""
    return address if address.startswith(SECRET) else address.partition(":")[0]


def _server(address: str) -> str:
    """Return the server of an address, or where a secret one is read from."""
    if address.startswith(SECRET):
        return address
    try:
        return urlsplit(address).hostname or "set"
    except ValueError:
        return "set"
