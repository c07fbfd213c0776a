"""`sed listen --replay`."""

import pytest
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import UsageError
from sed.events.sqlite import DatabaseError
from sed.models.checkpoint import save_checkpoint
from streaming.cli.live.replay import sparkline
from tests.streaming.live.rules.test_replay import database


@pytest.fixture
def replayed(tmp_path, tiny_checkpoint):
    """Return what replays a database of an hour with 60 beeps and one dog."""
    save_checkpoint(tiny_checkpoint, tmp_path / "tiny.safetensors")
    beeps = [("beep", 60.0 * n, 0.3 + n / 100) for n in range(60)]
    path = database(tmp_path / "events.sqlite", [*beeps, ("dog", 3_600.0, 0.9)])
    config = tmp_path / "garden.toml"

    def run(rules, *options):
        config.write_text(
            f'model = "{tmp_path}/tiny.safetensors"\ndevice = "cpu"\nengine = "torch"\n{rules}'
        )
        given = "listen", "--replay", path, "--config", config, *options
        return CliRunner().invoke(app(), list(map(str, given)))

    return run


def test_it_shows_what_each_rule_would_have_done_and_what_is_frequent(replayed, tmp_path):
    rules = '[[rules]]\nclasses = "beep"\nthreshold = 0.5\ncooldown_seconds = 600\n'
    done = replayed(rules, "--output", tmp_path / "alerts.csv", "--max-per-hour", 20)
    assert done.exit_code == 0, done
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == ["beep", "4", "4.0"]
    assert "4 alerts in " in done.stdout
    assert "1 class found more than 20 times an hour, in 1.0 h:" in done.stdout
    assert lines[-1] == 'threshold = "beep=0.691"'
    assert max(map(len, lines[:2])) <= 80
    assert len((tmp_path / "alerts.csv").read_text().splitlines()) == 5


def test_without_rules_it_shows_what_is_frequent(replayed):
    done = replayed("", "--max-per-hour", 90)
    assert done.stdout.strip() == "no class was found more than 90 times an hour"


@pytest.mark.parametrize(
    ("rules", "options", "kind", "message"),
    [
        ('[[rules]]\nclasses = "dgo"', (), UsageError, "the model has no class 'dgo'"),
        ("", ("--output", "alerts.csv"), UsageError, "there are no rules whose alerts"),
        ("[[rules]]", ("--output", "alerts.txt"), UsageError, "alerts are written as .csv"),
        ("", ("--max-per-hour", "-1"), UsageError, "expected --max-per-hour of 0 or more"),
        ("", ("--replay", "none.sqlite"), DatabaseError, "there is no such database"),
    ],
)
def test_what_cannot_work_is_refused(replayed, rules, options, kind, message):
    done = replayed(rules, *options)
    assert isinstance(done.exception, kind)
    assert message in str(done.exception)


def test_bars_are_relative_to_the_largest():
    assert sparkline([0, 0, 1, 0, 40, 40]) == " ▁█"
