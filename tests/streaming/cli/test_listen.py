"""`sed listen` and `sed devices`, as their users meet them."""

import inspect
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import soundfile
import torch
from typer.testing import CliRunner

import streaming.cli.live.listen
from sed.cli import app, with_values
from sed.errors import RecordingError, UsageError
from sed.events.reading.events import read_events
from sed.models.checkpoint import save_checkpoint
from streaming.cli.live.outputs import LiveOutputs
from streaming.live import sources
from streaming.live.listen import listen
from streaming.offline.detect import detect
from streaming.pipeline.config import DetectorConfig
from tests.conftest import rising_noise

RATE = 8_000
SED = str(Path(sys.executable).with_name("sed-engine"))


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Play files at four times their speed, and undo what the command does to the process."""
    monkeypatch.setattr(sources, "FILE_SPEED", 4.0)
    n = torch.get_num_threads()
    yield
    torch.set_num_threads(n)


@pytest.fixture
def command(model, tmp_path):
    """Return what starts `sed listen` on a file of four seconds, or what is given."""
    path = tmp_path / "garden.wav"
    soundfile.write(path, rising_noise(4 * RATE), RATE)

    def make(*options):
        given = [] if "--input" in options else ["--input", path]
        fixed = ["--model", model, "--lookahead", 0.25, "--device", "cpu", *options]
        return [str(part) for part in (SED, "listen", *given, *fixed)]

    return make


def run(command):
    """Run a command in this process: to start another takes seconds."""
    return CliRunner().invoke(app(), command[1:])


def started(command):
    """Start a command in a process of its own, and wait until it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "listening" not in process.stderr.readline():
        assert process.poll() is None
    return process


def test_all_that_can_be_kept_is_kept_and_agrees_with_what_detect_finds(command, model, tmp_path):
    done = run(
        command(
            *("--output", tmp_path / "e.jsonl", "--db", tmp_path / "e.sqlite"),
            *("--save-audio", tmp_path / "saved", "--clips", tmp_path / "clips"),
            *("--on-event", f"touch '{tmp_path}/{{label}}-{{onset}}'"),
            *("--on-onset", f"touch '{tmp_path}/began-{{label}}'"),
            *("--web", "127.0.0.1:0"),
        )
    )
    assert done.exit_code == 0, done.stderr
    events = read_events(tmp_path / "e.jsonl", "jsonl")
    (saved,) = (tmp_path / "saved").iterdir()
    offline = list(detect(saved, model, hop_seconds=0.5, lookahead_seconds=0.25, device="cpu"))
    spans = [(event.onset, event.offset, event.label) for event in events]
    assert spans == [(round(e.onset, 3), round(e.offset, 3), e.label) for e in offline]
    assert len(spans) > 3
    with closing(sqlite3.connect(tmp_path / "e.sqlite")) as database:
        kept = database.execute("SELECT onset, label, clip_path FROM events").fetchall()
    assert [(round(onset, 3), label) for onset, label, _ in kept] == [
        (event.onset, event.label) for event in events
    ]
    clips = sorted((tmp_path / "clips").rglob("*.flac"))
    assert sorted(clip for _, _, clip in kept) == [str(path) for path in clips]
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("beep-")]) == len(
        [e for e in events if e.label == "beep"]
    )
    assert (tmp_path / "began-beep").exists()
    assert "web page: http://127.0.0.1:" in done.stderr
    assert re.search(
        r"0:00:04 processed · \d+ events · 0 gaps, 0\.0 s lost · 0 samples dropped", done.stderr
    )
    assert "listening to garden.wav: 8,000 Hz, 1 channel" in done.stderr


def test_in_a_pipe_it_says_lines_at_onset_and_end(command):
    done = run(command("--quiet"))
    lines = done.stdout.splitlines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    pattern = rf"{time}  .+  [01]\.\d\d  (begins|lasted \d+\.\d\d s)  \(garden\.wav\)"
    assert lines
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert sum("begins" in line for line in lines) == sum("lasted" in line for line in lines)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_stopped_by_a_signal_it_closes_open_events_and_gives_the_account(command, name):
    never_ends = "--offset-threshold", 0.001, "--onset-threshold", 0.01
    process = started(command("--format", "jsonl", *never_ends))
    time.sleep(2.0)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    processed = float(re.search(r"0:00:0(\d) processed", err)[1])
    assert 1.0 <= processed < 4.0
    assert max(event["offset"] for event in events) == pytest.approx(processed, abs=0.6)


@pytest.mark.slow
def test_when_the_reader_of_the_pipe_ends_the_summary_is_printed(command):
    words = " ".join(f"'{word}'" for word in command())
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -1"], capture_output=True, text=True, timeout=60
    )
    assert len(done.stdout.splitlines()) == 1
    assert "samples dropped" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_killed_in_the_middle_the_files_have_all_events_so_far(command, tmp_path):
    files = "--db", tmp_path / "e.sqlite", "--output", tmp_path / "e.csv"
    process = started(
        command(*files, "--clips", tmp_path / "clips", "--save-audio", tmp_path / "saved")
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "e.csv").exists() or (tmp_path / "e.csv").read_text().count("\n") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    lines = read_events(tmp_path / "e.csv", "csv")
    with closing(sqlite3.connect(tmp_path / "e.sqlite")) as database:
        rows = database.execute("SELECT onset, label FROM events").fetchall()
    kept = [(round(onset, 3), label) for onset, label in rows]
    assert [(event.onset, event.label) for event in lines] == kept[: len(lines)]
    assert len(lines) >= 2
    for clip in (tmp_path / "clips").rglob("*"):
        assert clip.is_dir() or clip.name.startswith(".") or soundfile.info(clip).frames > 0
    (saved,) = (tmp_path / "saved").iterdir()
    blocks = soundfile.SoundFile(saved).read(RATE)
    assert len(blocks) == RATE  # what was saved can be read


@pytest.mark.slow
def test_a_terminal_is_drawn_on_and_given_back(command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "90", "LINES": "24"}
        arguments = command()
        os.execv(arguments[0], arguments)
    drawn = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            drawn += os.read(terminal, 65_536)
        except OSError:  # it has ended
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    text = drawn.decode()
    assert text.count("\x1b[?1049h") == text.count("\x1b[?1049l") == 1  # the screen of its own
    assert "▀" in text
    assert "0:00:04 processed" in text.split("\x1b[?1049l")[1]


def test_an_input_that_cannot_be_opened_does_not_stop_the_others(command, tmp_path):
    good = tmp_path / "good.wav"
    soundfile.write(good, rising_noise(RATE), RATE)
    (tmp_path / "bad.wav").write_bytes(b"")
    done = run(command("--input", tmp_path / "bad.wav", "--input", good))
    assert done.exit_code == 0
    assert "bad.wav: is empty (0 bytes)" in done.stderr
    assert "0:00:01 processed" in done.stderr
    done = run(command("--input", tmp_path / "bad.wav"))
    assert isinstance(done.exception, RecordingError)


def test_an_input_that_fails_gives_the_status_of_a_failure(command, monkeypatch):
    deliver = sources._deliver

    def fail_at_the_end(*given):
        deliver(*given)
        raise ZeroDivisionError

    monkeypatch.setattr(sources, "_deliver", fail_at_the_end)
    done = run(command("--format", "jsonl"))
    assert done.exit_code == 1
    assert "sed: garden.wav: reading failed: ZeroDivisionError" in done.stderr
    assert "0:00:04 processed" in done.stderr
    assert len(done.stdout.splitlines()) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "raven"}, "live events cannot be written as 'raven'. Known: csv, jsonl, tsv"),
        ({"output": Path("events")}, "events: the ending is of no format: expected .csv"),
        ({"clip_pre_roll": 5.0}, "--clip-pre-roll applies to clips: give --clips DIR"),
        ({"webhook_header": ["A: b"]}, "--webhook-header applies to a webhook: give --webhook URL"),
        ({"db_max_days": 3.0}, "--db-max-days and --db-max-mb apply to a database: give --db too"),
        ({"output_rotate": "day"}, "--output-rotate applies to a file: give --output FILE too"),
        ({"clips_max_days": 3.0}, "--clips-max-days applies to clips: give --clips DIR"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        LiveOutputs(**options)


def test_misuse_is_refused(command):
    for options, message in (
        (("--threads", 0), "expected --threads of 1 or more"),
        (("--raw-rate", 8000), "--raw-rate describes standard input: give --input - too"),
        (("--hop", 0.3), "does not divide the window"),
        (("--on-event", "no-such-program {label}"), "no-such-program"),
    ):
        done = run(command(*options))
        assert isinstance(done.exception, UsageError)
        assert message in str(done.exception)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["listen", "--web"], ["listen", "--web=127.0.0.1:8765"]),
        (["listen", "--web", "--quiet"], ["listen", "--web=127.0.0.1:8765", "--quiet"]),
        (["listen", "--web", ":80"], ["listen", "--web", ":80"]),
        (["detect", "-"], ["detect", "-"]),
        ([], []),
    ],
)
def test_the_address_of_the_page_may_be_left_out(given, meant):
    assert with_values(given) == meant


def test_the_command_has_the_names_and_defaults_of_the_functions():
    def defaults(function):
        return {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
        }

    command = defaults(streaming.cli.live.listen.listen)
    for function in (listen, LiveOutputs, DetectorConfig):
        for name, default in defaults(function).items():
            live = {"lookahead_seconds": 1.0} if function is DetectorConfig else {}
            if name not in (
                "classes",
                "class_thresholds",
                "model",
                "batch_size",
                "mode",
            ):  # text; one by one, sliding windows
                assert command[name] == live.get(name, default), name
