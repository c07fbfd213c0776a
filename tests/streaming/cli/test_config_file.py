"""Options of `sed listen` in a file: read, printed, and read again while it listens."""

import os
import re
import signal
import sqlite3
import tomllib

import pytest
import soundfile
import torch
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import SedError, UsageError
from sed.models.checkpoint import save_checkpoint
from streaming.cli.live.config_file import config_text, live_options, read_config
from streaming.cli.live.listen import listen
from streaming.cli.live.open_outputs import OpenOutputs
from streaming.cli.live.outputs import ALERT_FIELDS
from streaming.cli.live.reload import DETECTION_KEYS
from streaming.live import sources
from streaming.live.rules.config import RuleConfig
from streaming.messages import AudioBlock
from tests.conftest import rising_noise

RATE = 8_000


def printed(*options):
    done = CliRunner().invoke(app(), ["listen", "--print-config", *map(str, options)])
    assert done.exit_code == 0, done
    return done.stdout


def without_comments(text):
    """Return a printed file in which all defaults and examples are set."""
    return re.sub(r"^#(?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)


def test_the_file_has_every_option_and_nothing_else():
    options = live_options(listen)
    help_text = CliRunner().invoke(app(), ["listen", "--help"]).stdout
    flags = set(re.findall(r"--([a-z][a-z-]+)", re.sub(r"\x1b\[[\d;]*m", "", help_text)))
    others = {"config", "print-config", "print-unit", "help", "replay", "max-per-hour"}
    assert {"clip-pre-roll", "hop", "threads"} < flags
    for key in options:
        assert key.replace("_", "-") in flags
    names = {f for f in flags if f in {k.replace("_", "-") for k in options} | others}
    assert {key.replace("_", "-") for key in options} == names - others


def test_what_is_printed_can_be_read_as_it_is_and_with_all_defaults_set(tmp_path):
    options = live_options(listen)
    path = tmp_path / "all.toml"
    path.write_text(printed())
    assert read_config(path, options, ()) == ({}, {})
    path.write_text(without_comments(printed()))
    values, tables = read_config(path, options, ("rules", "location"))
    assert len(values) == len(options)
    assert [rule["name"] for rule in tables["rules"]] == ["dog at night"]
    for option in options.values():
        if option.default is not None:
            assert values[option.name] == option.default, option.key


def test_every_key_of_a_rule_is_explained():
    text = printed()
    for key in RuleConfig.__dataclass_fields__:
        assert f"#   {key}" in text


def test_options_that_are_given_are_printed_and_secrets_of_the_environment_are_not(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SED_TOKEN", "hush")
    first = printed("--hop", 0.25, "--clips", "a b", "--input", "x", "--input", "y", "--quiet")
    assert "hush" not in first
    values = tomllib.loads(first)
    assert values == {"hop": 0.25, "clips": "a b", "input": ["x", "y"], "quiet": True}
    path = tmp_path / "garden.toml"
    path.write_text(first + '\n[[rules]]\nclasses = "dog"\nper_class = true\n')
    again = tomllib.loads(printed("--config", path, "--hop", 0.5))
    rule = {"name": "dog", "classes": ["dog"], "per_class": True}
    assert again == {**values, "hop": 0.5, "rules": [rule]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("treshold = 0.5", "unknown key 'treshold'. Did you mean threshold"),
        ("clip-pre-roll = 1", "unknown key 'clip-pre-roll'. Did you mean clip_pre_roll"),
        ("config = 'a'", "unknown key 'config'"),
        ("quiet = 1", "expected quiet as true or false, got 1"),
        ("channel = 1.5", "expected channel as a whole number, got 1.5"),
        ("buffer = true", "expected buffer as a number, got True"),
        ("clips = 3", "expected clips as text, got 3"),
        ("model = ['a']", "expected model as text, got ['a']"),
        ("quiet", "is no TOML: Expected '='"),
        ("[[rules]]\nclass = 'dog'", "unknown key 'class' in rule 1. Did you mean classes"),
    ],
)
def test_what_is_wrong_is_refused_with_the_file(tmp_path, text, message):
    path = tmp_path / "garden.toml"
    path.write_text(text)
    done = CliRunner().invoke(app(), ["listen", "--config", str(path)])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(f"{path}: ")
    assert message in str(done.exception)


def test_a_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(SedError, match=r"none.toml: cannot read the configuration: No such file"):
        read_config(tmp_path / "none.toml", {}, ())


def test_values_are_those_that_the_command_takes(tmp_path):
    path = tmp_path / "garden.toml"
    path.write_text('threshold = 0.5\nclasses = ["dog", "cat"]\ninput = 3\nclips = "~/c"')
    values, _ = read_config(path, live_options(listen), ())
    assert (values["threshold"], values["classes"], values["input"]) == ("0.5", "dog,cat", ["3"])
    assert values["clips"] == os.path.expanduser("~/c") or values["clips"].is_absolute()


def test_what_can_be_exchanged_are_options():
    assert live_options(listen).keys() >= DETECTION_KEYS | ALERT_FIELDS
    assert "#hop = " in config_text(live_options(listen), {})


@pytest.fixture
def garden(tiny_checkpoint, tmp_path, monkeypatch):
    """Return the file of a configuration for a recording that is played four times as fast."""
    monkeypatch.setattr(sources, "FILE_SPEED", 16.0)
    save_checkpoint(tiny_checkpoint, tmp_path / "tiny.safetensors")
    soundfile.write(tmp_path / "garden.wav", rising_noise(8 * RATE), RATE)
    path = tmp_path / "garden.toml"
    path.write_text(
        f'input = "{tmp_path}/garden.wav"\nmodel = "{tmp_path}/tiny.safetensors"\n'
        f'lookahead = 0.25\nengine = "torch"\ndevice = "cpu"\nbuffer = 20\n'
        f'db = "{tmp_path}/events.sqlite"\n'
    )
    n = torch.get_num_threads()
    yield path
    torch.set_num_threads(n)


@pytest.fixture
def listen_and(monkeypatch):
    """Return what runs the command, and does a step and sends SIGHUP after 2 and 4 s of sound."""

    def run(steps, *options):
        handle, left = OpenOutputs.handle, list(enumerate(steps, 1))

        def handle_and_step(self, message):
            handle(self, message)
            if left and isinstance(message, AudioBlock) and message.start >= left[0][0] * 2 * RATE:
                left.pop(0)[1]()
                os.kill(os.getpid(), signal.SIGHUP)

        monkeypatch.setattr(OpenOutputs, "handle", handle_and_step)
        return CliRunner().invoke(app(), ["listen", *map(str, options)])

    return run


def test_read_again_it_takes_what_it_can_and_says_what_it_cannot(garden, tmp_path, listen_and):
    text = garden.read_text()
    steps = [
        lambda: garden.write_text(f"{text}treshold = 0.5\n"),
        lambda: garden.write_text(
            text.replace("buffer = 20", "buffer = 10")
            + f"threshold = 0.9\non_event = \"touch '{tmp_path}/{{label}}-{{onset}}'\"\n"
            + '[[rules]]\nname = "one"\ncooldown_seconds = 3600\n'
        ),
    ]
    done = listen_and(steps, "--config", garden, "--threshold", 0.3)
    assert done.exit_code == 0, done
    assert "unknown key 'treshold'. Did you mean threshold" in done.stderr
    assert "the configuration from before stays" in done.stderr
    again = "the configuration was read again; restart for buffer, which stay as before"
    assert f"sed: {garden}: {again}" in done.stderr
    # No sound is lost, and the option of the command line still overrides the file.
    assert re.search(r"0:00:08 processed · \d+ events · 0 gaps, 0\.0 s lost", done.stderr)
    database = sqlite3.connect(tmp_path / "events.sqlite")
    scores = [score for (score,) in database.execute("SELECT score FROM events")]
    assert min(scores) < 0.9
    assert [rule for (rule,) in database.execute("SELECT rule FROM alerts")] == ["one"]
    assert len(list(tmp_path.glob("*-*.*"))) == 1
    database.close()


def test_other_classes_and_thresholds_apply_from_then_on(
    garden, tmp_path, tiny_checkpoint, listen_and
):
    label = tiny_checkpoint.labels[0]
    text = garden.read_text() + "threshold = 0.3\n"
    garden.write_text(text)
    change = lambda: garden.write_text(f'{text}classes = ["{label}"]\n')  # noqa: E731
    done = listen_and([change], "--config", garden)
    assert done.exit_code == 0, done
    assert "the configuration was read again\n" in done.stderr
    database = sqlite3.connect(tmp_path / "events.sqlite")
    labels = [label for (label,) in database.execute("SELECT label FROM events ORDER BY onset")]
    last = max(n for n, each in enumerate(labels) if each != label)
    assert set(labels[:last]) > {label}
    assert last < len(labels) - 1
    database.close()


def test_when_its_terminal_is_closed_it_stops(garden, listen_and, monkeypatch):
    states = iter([True, False])
    monkeypatch.setattr("streaming.cli.live.reload.has_terminal", lambda: next(states))
    done = listen_and([lambda: None], "--config", garden)
    assert done.exit_code == 0, done
    assert "read again" not in done.stderr
    assert re.search(r"0:00:0[2-6] processed", done.stderr)
