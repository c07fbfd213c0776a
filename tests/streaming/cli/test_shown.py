"""The settings that the page shows: what is used, and nothing secret."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from streaming.cli.live.outputs import LiveOutputs
from streaming.cli.live.shown import shown_settings
from streaming.live.rules.config import RuleConfig, RulesConfig


def listener(labels=("dog", "cat", "owl"), thresholds=(0.5, 0.5, 0.7)):
    """Return as much of a listener as is shown."""
    source = SimpleNamespace(name="mic\udc80", sample_rate=44_100, n_channels=2)
    detector = SimpleNamespace(
        labels=labels, spec=SimpleNamespace(labels=[*labels, "more"]), hop_seconds=0.5,
        lookahead_seconds=1.0, decoder=SimpleNamespace(onset_thresholds=thresholds),
    )  # fmt: skip
    status = SimpleNamespace(sources=(source,))
    return SimpleNamespace(detector=detector, status=lambda: status)


def shown(outputs=None, rules=None, file=None, **given):
    return shown_settings(
        outputs or LiveOutputs(), listener(**given), "everyday", rules or RulesConfig(), file
    )


def test_what_is_used_is_shown():
    outputs = LiveOutputs(db=Path("a.sqlite"), clips=Path("clips"), clips_max_mb=500.0)
    rules = RulesConfig((RuleConfig("night", classes=("dog", "owl")), RuleConfig("rest")))
    assert shown(outputs, rules, Path("garden.toml")) == {
        "Model": {"name": "everyday", "classes": "3 of 4", "hop": "0.5 s", "lookahead": "1 s"},
        "Thresholds": {"2 classes": "0.5", "owl": "0.7"},
        "Inputs": {"mic\\x80": "44.1 kHz, 2 channels"},
        "Outputs": {"database": "a.sqlite", "clips": "clips, at most 500 MB"},
        "Rules": {"file": "garden.toml", "night": "dog, owl", "rest": "all classes"},
    }
    assert shown()["Outputs"] == {"database": "kept until the end only"}
    assert shown()["Rules"] == {"rules": "none: alerts get every event"}


def test_one_threshold_of_all_classes_is_named_so():
    assert shown(thresholds=(0.5,) * 3)["Thresholds"] == {"all classes": "0.5"}


def test_nothing_secret_is_shown():
    pytest.importorskip("paho", reason="needs the mqtt extra")
    outputs = LiveOutputs(
        token="s3cret",
        on_event="notify --key s3cret {label}",
        webhook="https://hooks.example/s3cret?key=s3cret",
        webhook_header=["Authorization: Bearer s3cret"],
        mqtt="mqtt://s3cret:s3cret@broker.lan/garden",
        push=["tgram://s3cret/123", "env:PUSH"],
    )
    values = shown(outputs)
    assert "s3cret" not in str(values)
    assert values["Outputs"] == {
        "database": "kept until the end only",
        "command for events": "notify",
        "webhook": "hooks.example",
        "MQTT": "broker.lan",
        "push": "tgram, env:PUSH",
    }
    assert shown(LiveOutputs(webhook="env:HOOK"))["Outputs"]["webhook"] == "env:HOOK"
