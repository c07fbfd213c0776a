"""The terminal view: what is shown where, at any size, and that control characters never pass."""

import io
import re
from datetime import timedelta

import numpy as np
import pytest
from rich.cells import cell_len

from streaming.messages import Dispatcher, EventEnded, EventStarted, Gap, Problem
from tests.streaming.live.terminal.stage import (
    ANSI,
    NOON,
    Stage,
    audio,
    event,
    line_with,
    noise,
    status,
)

SLOPE = np.repeat(
    np.linspace(2, -7, 64, dtype=np.float32)[None], 5, axis=0
)  # the lower, the louder


def test_an_event_lasts_until_it_ends():
    stage = Stage()
    stage.play(2)
    stage.view.handle(EventStarted(event(1.5)))
    assert re.search(r"12:00:01 ▶ dog +0\.5 s  0\.81", line_with(stage.screen(), "0.81"))
    for i in range(20):
        stage.view.handle(audio(2 + i / 20))
    assert re.search(r"12:00:01 ▶ dog +1\.5 s  0\.81", line_with(stage.screen(), "0.81"))
    stage.view.handle(EventEnded(event(2.3, score=0.93)))
    assert re.search(r"12:00:01   dog +1\.3 s  0\.93", line_with(stage.screen(), "0.93"))


def test_a_label_is_below_its_event_in_the_spectrogram():
    stage = Stage(width=100)
    stage.play(4, columns=noise(5))
    stage.view.handle(EventEnded(event(2.5)))
    (line,) = [line for line in stage.screen() if line.split() == ["dog"]]
    assert line.index("dog") == 100 - 30 + 1  # 4 s minus 1 s before now, in cells of 0.1 s
    assert f"\x1b[7;36m {'dog':14}\x1b[0m" in stage.written(status())  # reversed for 1.5 s


def test_classes_are_those_of_the_last_frame_and_the_open_ones_are_marked():
    stage = Stage()
    stage.view.handle(audio(0, probs=np.array([[0.9, 0.1, 0.2], [0.5, 0.25, 0.75]], np.float32)))
    stage.view.handle(EventStarted(event(1.5)))
    rows = [line[:36] for line in stage.screen()]
    found = [row for row in rows if re.match(r"[▶ ] (dog|rooster|rain) ", row)]
    assert [row.split()[-1] for row in found] == ["0.75", "0.50", "0.25"]
    assert [row[0] for row in found] == [" ", "▶", " "]
    assert found[0].count("━") == pytest.approx(1.5 * found[1].count("━"), abs=1)


def test_a_gap_is_shown_with_its_seconds_if_they_are_known():
    stage = Stage()
    stage.view.handle(Gap("mic", 1.0, 2.52, 24_320, "the model was too slow", NOON))
    stage.view.handle(Gap("mic", 3.0, 3.0, 0, "the driver lost some", NOON))
    lines = stage.screen()
    assert "12:00:00 mic: 1.52 s lost: the model was too slow" in line_with(lines, "too slow")
    assert "12:00:00 mic: some sound lost: the driver lost some" in line_with(lines, "driver")


def test_a_problem_is_shown_with_its_time_in_a_few_lines():
    stage = Stage(width=60)
    stage.view.handle(Problem("the disk is full. " * 20))
    lines = [line[21:].rstrip() for line in stage.screen() if "disk" in line]
    assert len(lines) == 4
    assert lines[0].startswith("12:00:00 the disk is full.")
    assert lines[-1].endswith("…")


def test_an_input_that_is_lost_has_no_level_and_no_classes():
    stage = Stage()
    stage.view.handle(audio(0, probs=np.array([[0.9, 0.5, 0.2]], np.float32)))
    assert "0.90" in "".join(stage.screen())
    lines = stage.screen(status(state="lost"))
    assert lines[1].rstrip() == "mic lost"
    assert "0.90" not in "".join(lines)


@pytest.mark.parametrize(
    "size", [(1, 1), (10, 3), (20, 8), (60, 15), (80, 24), (200, 60), (1200, 5)]
)
@pytest.mark.parametrize("n_sources", [0, 1, 3, 20])
def test_the_view_has_the_size_of_its_terminal(size, n_sources):
    width, height = size
    stage = Stage(width, height, ("猫の鳴き声", "a very long label of a very rare sound", "rain"))
    for i in range(n_sources):
        name = f"input {i} 東京"
        frames = np.array([[0.9, 0.5, 0.1]], np.float32)
        stage.view.handle(audio(0, 1.0, noise(), frames, name))
        for label in stage.view._labels:
            stage.view.handle(EventStarted(event(1.5, label, name)))
        stage.view.handle(Gap(name, 2.0, 3_000.0, 1, "gone 東京 for long " * 9, NOON))
        stage.view.handle(audio(3_000, 1.0, noise(), frames, name))
    for lines in (stage.screen(), stage.screen(Problem("x" * 500))):
        assert len(lines) == height
        assert {cell_len(line) for line in lines} == {width}


def test_the_smallest_terminal_shows_the_log_and_the_status_line():
    stage = Stage(40, 2)
    stage.view.handle(EventStarted(event(1.5)))
    lines = stage.screen()
    assert lines[0].startswith("12:00:01 ▶ dog")
    assert lines[1].startswith("0 s lost  0 gaps  real-time")


def test_markup_in_names_is_literal_and_control_characters_are_escaped():
    names = ("[red]alarm[/red]", "bell\x07\x1b[2J", "two\nlines\u202e")
    stage = Stage(labels=names)
    source = "[bold]mic[/]\x1b]0;title\x07"
    frames = np.array([[0.9, 0.5, 0.2]], np.float32)
    stage.view.handle(audio(0, 0.1, noise(), frames, source))
    for name in names:
        stage.view.handle(EventStarted(event(1.5, name, source)))
    stage.view.handle(Problem("\x1b[31m[green]bad[/green]\r\n"))
    stage.view.handle(Gap("[blue]\x9b", 0, 1, 5, "\x00", NOON))
    stage.now += timedelta(seconds=1)
    lines = stage.screen(status(source))
    text = "\n".join(lines)
    assert "▶ [red]alarm[/red]" in text
    assert r"'bell\x07\x1b[2J'" in text
    assert r"'two lines\u202e'" in text
    assert r"'\x1b[31m[green]bad[/green]'" in text
    assert r"'[bold]mic[/]\x1b]0;title" in text
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("options", "colours"),
    [
        ({"color_system": "truecolor"}, "38;2;"),
        ({"color_system": "256"}, "38;5;"),
        ({"color_system": "standard"}, "35;"),
    ],
)
def test_a_terminal_gets_the_colours_it_has(options, colours):
    stage = Stage(**options)
    stage.play(2, columns=SLOPE)
    written = stage.written(status())
    assert "▀" in written
    assert colours in written


@pytest.mark.parametrize("options", [{"color_system": None}, {"_environ": {"NO_COLOR": "1"}}])
def test_without_colours_the_spectrogram_is_shaded(options):
    stage = Stage(**options)
    stage.play(2, columns=SLOPE)
    stage.view.handle(Gap("mic", 2.0, 2.5, 8_000, "lost", NOON))
    written = stage.written(status())
    assert not re.search(r"\x1b\[[0-9;]*[34]\d[;m]", written)
    assert "▀" not in written
    assert {"░", "▒", "▓", "█"} <= set(written)
    assert "xxxxx" in written


def test_a_terminal_that_supports_only_ascii_gets_ascii():
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    view = Stage(file=file).view
    view.handle(audio(0, 0.1, noise(), np.array([[0.9, 0.5, 0.2]], np.float32), "東京"))
    view.handle(EventStarted(event(1.5, "élan", "東京")))
    view.close()
    written = ANSI.sub("", file.buffer.getvalue().decode("ascii"))
    assert "> ?lan" in written
    file.close()


def test_the_view_is_drawn_at_most_four_times_a_second():
    stage = Stage()
    stage.play(10)
    assert stage.file.getvalue().count("sed listen") == 40


def test_at_the_end_the_last_state_is_printed_to_the_normal_screen():
    stage = Stage()
    stage.play(1, columns=noise(5))
    stage.file.seek(0)
    stage.file.truncate()
    assert stage.view.close() == ()
    written = stage.file.getvalue()
    assert written.startswith("\x1b[?1049l")
    assert "\x1b[?25h" in written
    lines = ANSI.sub("", written).splitlines()
    assert len(lines) < 30  # without the empty part of the log
    assert lines[0].startswith("sed listen  default, 3 classes  mic")
    assert written.endswith("\n")


def test_without_messages_nothing_is_printed():
    stage = Stage()
    assert stage.view.close() == ()
    assert stage.file.getvalue() == ""


def test_a_closed_terminal_is_reported_once_and_listening_continues():
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    stage = Stage(file=Gone())
    (problem,) = stage.view.handle(audio(0))
    assert problem.text == "cannot draw in the terminal any more: Input/output error"
    stage.now += timedelta(seconds=1)
    assert stage.view.handle(problem) == ()
    dispatcher = Dispatcher([stage.view])
    dispatcher.handle(audio(0.05))
    dispatcher.close()
