"""Commands as alerts: hostile labels, failures, and time limits."""

import json
import os
import shlex
import sys
import time

import numpy as np
import pytest

from sed.errors import UsageError
from streaming.messages import AudioBlock, ClipSaved, Dispatcher, EventEnded, EventStarted
from streaming.sinks.alerts.command import CommandAlert
from streaming.sinks.alerts.delivery import DeliveryConfig
from streaming.sinks.alerts.secrets import secret_variables
from streaming.sinks.clips import ClipRecorder
from tests.conftest import until
from tests.streaming.sinks.alerts.examples import EVENT, GAP, labelled, texts

DUMP = """\
import json, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(sys.argv[2:]) + "\\n")
"""


@pytest.fixture
def dump(tmp_path):
    """Return a command that records its arguments, and a function that reads them."""
    script, written = tmp_path / "du mp.py", tmp_path / "written"
    script.write_text(DUMP)

    def calls():
        lines = written.read_text().splitlines() if written.exists() else []
        return [json.loads(line) for line in lines]

    return shlex.join([sys.executable, str(script), str(written)]), calls


def python(program):
    return shlex.join([sys.executable, "-c", program])


def test_a_command_is_given_each_value_in_its_place(dump):
    command, calls = dump
    alert = CommandAlert(
        command + " '{label} at {time}: {score}' --span={onset}-{offset} {duration} "
        '\'{"from": "{source}"}\' {clip} {}',
        waits_for_clip=True,
    )
    assert alert.handle(EventStarted(EVENT)) == []
    assert alert.handle(EventEnded(EVENT)) == []
    assert alert.handle(ClipSaved(EVENT, "a b.flac")) == []
    assert alert.handle(ClipSaved(EVENT, None)) == []
    assert alert.close() == []
    first = [
        "dog at 2026-11-21T13:15:00.250+01:00: 0.875",
        "--span=12.250-13.500",
        "1.250",
        '{"from": "garden"}',
        "a b.flac",
        "{}",
    ]
    assert calls() == [first, [*first[:4], "", "{}"]]


def test_a_command_at_the_onset_is_not_run_at_the_end(dump):
    command, calls = dump
    alert = CommandAlert(command + " {label} {offset}", at="onset")
    for message in (EventStarted(EVENT), EventEnded(EVENT), GAP):
        assert alert.handle(message) == []
    assert alert.close() == []
    assert calls() == [["dog", ""]]


def test_a_hostile_label_stays_one_argument(dump, tmp_path):
    command, calls = dump
    labels = [
        "a b",
        "it's",
        'say "hi"',
        f"x; touch {tmp_path}/pwned",
        f"$(touch {tmp_path}/pwned)",
        "{clip} {label} {{score}}",
        "\\1 \\g<0>\n\t*",
        "--help",
        "élan 鳥",
    ]
    alert = CommandAlert(command + " {label} <{label}> end")
    for label in labels:
        alert.handle(EventEnded(labelled(label)))
    assert alert.close() == []
    assert calls() == [[label, f"<{label}>", "end"] for label in labels]
    assert not (tmp_path / "pwned").exists()


def test_a_label_that_no_argument_can_hold_is_reported(dump):
    command, calls = dump
    alert = CommandAlert(command + " {label}")
    alert.handle(EventEnded(labelled("a\0b")))
    alert.handle(EventEnded(labelled("dog")))
    reports = texts(alert.close())
    assert reports[0] == f"command {sys.executable}: cannot be run: embedded null byte"
    assert reports[1].endswith("works again: 1 delivered, 1 lost")
    assert calls() == [["dog"]]


def test_a_command_that_waits_for_its_clip_finds_it(dump, tmp_path):
    command, calls = dump
    clips = ClipRecorder(tmp_path / "clips", delay_seconds=1)
    alert = CommandAlert(f"{command} {{clip}}", waits_for_clip=True)
    dispatcher = Dispatcher([clips, alert])
    block = np.zeros((8_000, 1), np.float32)
    no_columns = np.empty((0, 4), np.float32)
    for n in range(4):
        dispatcher.handle(AudioBlock("mic", n * 8_000, block, 8_000, no_columns, no_columns))
        if n == 2:
            dispatcher.handle(EventEnded(labelled("dog")))
    dispatcher.handle(EventEnded(labelled("cat")))
    dispatcher.close()
    paths = [path for (path,) in calls()]
    assert [path.rpartition("Z_")[2] for path in paths] == ["dog_mic.flac", "cat_mic.flac"]
    assert all(os.path.isfile(path) for path in paths)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "true {lable}",
            r"unknown placeholder \{lable\} in the command. Known: \{label\}, \{score\}",
        ),
        ("true 'x", r"true 'x: No closing quotation. Quote it as for a shell."),
        ("  ", "the command is empty"),
        ("no-such-program-here {label}", "there is no program no-such-program-here. Check"),
    ],
)
def test_an_invalid_command_is_refused(command, message):
    with pytest.raises(UsageError, match=message):
        CommandAlert(command)


def test_a_command_that_fails_is_reported_once_each_way_with_its_last_line(tmp_path):
    flag = tmp_path / "works"
    program = (
        f"import os, sys; os.path.exists({str(flag)!r}) or "
        r"sys.exit('much\x1b[2J\nno \x1b[1mspeaker\n')"
    )
    alert = CommandAlert(python(program))
    for _ in range(3):
        alert.handle(EventEnded(EVENT))
    reports = []
    until(lambda: reports.extend(texts(alert.handle(GAP))) or reports)
    assert reports == [f"command {sys.executable}: ended with status 1: 'no \\x1b[1mspeaker'"]
    until(lambda: not alert._queue._waiting and not alert._queue._is_sending)
    flag.touch()
    alert.handle(EventEnded(EVENT))
    assert texts(alert.close()) == [f"command {sys.executable}: works again: 1 delivered, 3 lost"]


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"
    program = f"sleep 60 & echo $$ $! > {shlex.quote(str(pids))}; wait"
    alert = CommandAlert(f"sh -c {shlex.quote(program)}", timeout=1)
    alert.handle(EventEnded(EVENT))
    reports = texts(alert.close())
    assert reports == [
        "command sh: took more than 1 s and was killed",
        "command sh: closed with 1 lost",
    ]
    for pid in pids.read_text().split():
        until(lambda pid=pid: not is_running(pid))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_that_a_command_leaves_in_the_background_are_not_waited_for():
    alert = CommandAlert("sh -c 'sleep 20 & exit 0'")
    alert.handle(EventEnded(EVENT))
    assert alert.close() == []  # without a timeout


def test_commands_never_keep_the_listener_waiting_and_the_oldest_are_dropped(tmp_path):
    alert = CommandAlert(
        "sleep 30", config=DeliveryConfig(capacity=5, close_seconds=0.1), timeout=60
    )
    started = time.monotonic()
    alert.handle(EventEnded(EVENT))
    until(lambda: not alert._queue._waiting)
    reports = [text for _ in range(99) for text in texts(alert.handle(EventEnded(EVENT)))]
    reports += texts(alert.close())
    assert time.monotonic() - started < 15
    assert reports == [
        "command sleep: 5 items wait for delivery; the oldest are dropped",
        "command sleep: closed with 6 not delivered, 94 lost",
    ]
    alert._queue._thread.join(5)
    assert not alert._queue._thread.is_alive()  # its process was killed


def test_secrets_are_not_inherited(monkeypatch, tmp_path):
    shown = tmp_path / "shown"
    for name in ("SED_TOKEN", "SED_MQTT_PASSWORD", "HOOK_URL", "OTHER"):
        monkeypatch.setenv(name, "s3cret")
    program = f"import json, os; open({str(shown)!r}, 'w').write(json.dumps(dict(os.environ)))"
    command = shlex.join([sys.executable, "-c", program])
    for hidden, left in (
        ({}, ["HOOK_URL", "OTHER"]),
        ({"hidden": secret_variables(["env:HOOK_URL", "env2:OTHER"])}, ["OTHER"]),
    ):
        alert = CommandAlert(command, **hidden)
        alert.handle(EventEnded(EVENT))
        assert alert.close() == []
        environment = json.loads(shown.read_text())
        assert [name for name, value in environment.items() if value == "s3cret"] == left
        assert environment["PATH"] == os.environ["PATH"]
