"""The terminal view: what stands where, at any size, and that nothing odd gets through."""

import io
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style

from sed.events.tracker import Event
from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from streaming.messages import (
    AudioBlock,
    Dispatcher,
    EventEnded,
    EventStarted,
    Gap,
    InputStatus,
    Problem,
    Status,
)
from streaming.terminal.meter import CLIPPING, LevelMeter
from streaming.terminal.panels import (
    Layout,
    _duration,
    _LabelSpan,
    _spans_line,
    _time_axis,
    status_line,
)
from streaming.terminal.spectrogram import LOST, MAGMA, Painter, Spectrogram
from streaming.terminal.view import TerminalView

FRONT_END = LogMelConfig()
LABELS = ("dog", "rooster", "rain")
RATE = 16_000
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NO_COLUMNS, NO_FRAMES = np.empty((0, 64), np.float32), np.empty((0, 3), np.float32)

SLOPE = np.repeat(
    np.linspace(2, -7, 64, dtype=np.float32)[None], 5, axis=0
)  # the lower, the louder


def audio(start_seconds, amplitude=0.1, columns=NO_COLUMNS, probs=NO_FRAMES, source="mic"):
    """Return 50 ms of sound of one amplitude."""
    block = np.full((RATE // 20, 1), amplitude, np.float32)
    return AudioBlock(source, round(start_seconds * RATE), block, RATE, columns, probs)


def status(source="mic", *, state="listening", n_dropped=0, n_missing=0, n_gaps=0, load=0.12):
    account = InputStatus(source, state, RATE, 1, 0, 0, n_dropped, 0, n_missing, 0, n_gaps)
    return Status(3_723.0, load, 0.42, 7, (account,))


def event(offset, label="dog", source="mic", score=0.81):
    return Event(1.0, offset, label, score, source, NOON + timedelta(seconds=1))


def noise(n_columns=50):
    return np.random.default_rng(5).uniform(-7, 2, (n_columns, 64)).astype(np.float32)


class Stage:
    """A view, a terminal in memory, and a clock."""

    def __init__(self, width=100, height=30, labels=LABELS, file=None, **options):
        self.file = file or io.StringIO()
        options = {"color_system": "truecolor", "_environ": {}} | options
        console = Console(
            file=self.file, force_terminal=True, width=width, height=height, **options
        )
        self.now = NOON
        self.view = TerminalView(labels, FRONT_END, console=console, now=lambda: self.now)

    def play(self, seconds, **what):
        for i in range(round(seconds * 20)):
            self.now += timedelta(seconds=0.05)
            self.view.handle(audio(i / 20, **what))

    def written(self, message):
        """Return what a message has written on the terminal, a second after the one before."""
        self.file.seek(0)
        self.file.truncate()
        self.now += timedelta(seconds=1)
        self.view.handle(message)
        return self.file.getvalue()

    def screen(self, message=None):
        return ANSI.sub("", self.written(message or status())).split("\n")


def line_with(lines, text):
    (line,) = [line for line in lines if text in line]
    return line


def test_a_mel_band_is_bright_in_its_row():
    spectrogram = Spectrogram(FRONT_END)
    columns = np.full((50, 64), FRONT_END.silence_value, np.float32)
    columns[20:30, 40] = 1.0
    spectrogram.push(columns)
    levels = spectrogram.quantize(width=8, rows=16)
    assert levels.shape == (16, 8)
    assert np.argwhere(levels).tolist() == [[15 - 40 * 16 // 64, 8 - 3]]  # the third of 5 cells
    assert levels.max() == 31


def test_a_tone_stands_beside_its_frequency(tone):
    spectrogram = Spectrogram(FRONT_END)
    spectrogram.push(LogMel(FRONT_END)(torch.from_numpy(tone)).numpy())
    strongest = int(np.argmax(spectrogram.quantize(10, 32)[:, -1]))
    middles = spectrogram.row_hz(32)
    assert abs(middles[strongest] - 1_000) == np.abs(middles - 1_000).min()


def test_a_character_is_two_rows_the_upper_one_in_front():
    painter = Painter(Stage().view._console)
    ((left, right),) = painter.render(np.array([[31, 0, 0], [0, 31, 31]], np.uint8))
    assert (left.text, right.text) == ("▀", "▀▀")
    assert left.style == Style(color=MAGMA[-1], bgcolor=MAGMA[0])
    assert right.style == Style(color=MAGMA[0], bgcolor=MAGMA[-1])


def test_lost_sound_has_its_width_in_the_spectrogram():
    spectrogram = Spectrogram(FRONT_END)
    spectrogram.push(noise(100))
    spectrogram.skip(2.5)
    spectrogram.push(noise(50))
    levels = spectrogram.quantize(40, 4)
    assert [int((row == LOST).sum()) for row in levels] == [15] * 4
    assert np.all(levels[:, 20:35] == LOST)
    assert spectrogram.end_seconds == pytest.approx(3.0)


def test_noise_alone_stays_dark_and_the_palette_follows_slowly():
    spectrogram = Spectrogram(FRONT_END)
    hiss = np.random.default_rng(5).normal(-5, 0.2, (500, 64)).astype(np.float32)
    spectrogram.push(hiss)
    assert spectrogram.quantize(50, 16).max() <= 10
    spectrogram.push(hiss[:50] + 6)
    first = spectrogram.quantize(50, 16)[:, -1].max()
    for _ in range(60):
        spectrogram.push(hiss[:50] + 6)
        last = spectrogram.quantize(50, 16)[:, -1].max()
    assert first == 31
    assert last <= 10


def test_the_meter_shows_30_db_below_full_scale_as_half_its_width():
    level = LevelMeter()
    for i in range(100):
        level.update(audio(i / 20, 10 ** (-30 / 20)))
    assert level.rms_db == pytest.approx(-30, abs=0.01)
    text = "".join(segment.text for segment in level.line("mic", "listening", 100))
    bar_width = 100 - len("mic") - len(" -30.0 dBFS  peak -30.0") - len(" CLIP ") - 2
    assert text.count("━") + text.count("╸") / 2 == pytest.approx(bar_width / 2, abs=0.5)
    assert " -30.0 dBFS  peak -30.0" in text


def test_the_peak_stays_above_the_level_as_both_come_down():
    level = LevelMeter()
    for i in range(20):
        level.update(audio(i / 20, 0.5))
    assert level.peak_db == pytest.approx(-6.02, abs=0.01)
    for i in range(20):
        level.update(audio(1 + i / 20, 1e-4))
        assert level.peak_db > level.rms_db
    assert level.peak_db == pytest.approx(-18.02, abs=0.01)


def test_nan_does_not_stop_the_meter():
    level = LevelMeter()
    level.update(audio(0, np.nan))
    level.update(audio(0.05, np.inf))
    level.update(audio(0.1, 0.5))
    assert level.peak_db == pytest.approx(-6.02, abs=0.01)


def test_the_clipping_mark_stays_two_seconds():
    level = LevelMeter()
    level.update(audio(0, 0.99))
    assert not level.is_clipping
    level.update(audio(0, 32_767 / 32_768))
    assert level.line("mic", "listening", 80)[-1].style == CLIPPING
    for _ in range(38):
        level.update(audio(0))
    assert level.is_clipping
    for _ in range(3):
        level.update(audio(0))
    assert level.line("mic", "listening", 80)[-1].text.strip() == ""


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


def test_a_label_too_long_for_its_event_is_written_after_it():
    style = Style(color="cyan")
    spans = [
        _LabelSpan(2, 4, "rooster", style),
        _LabelSpan(20, 30, "東京", style),
        _LabelSpan(26, 40, "rain", style),
    ]
    line = _spans_line(spans, 36)
    assert "".join(segment.text for segment in line) == "     rooster         東京  rain     "
    assert [segment.text for segment in line if segment.style and segment.style.reverse] == [
        "  ",
        " 東京 ",
        " rain     ",
    ]


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


def test_the_status_line_shows_faults_first():
    def text(width, **what):
        return "".join(segment.text for segment in status_line(status(**what), width)).strip()

    assert text(100) == (
        "0 s lost  0 gaps  real-time factor 0.12  latency 0.42 s  7 events  up 1:02:03"
    )
    assert text(60) == "0 s lost  0 gaps  real-time factor 0.12  latency 0.42 s"
    wrong = {"n_dropped": 24_320, "n_missing": 8_000, "n_gaps": 2, "load": 1.5}
    assert text(75, **wrong) == (
        "1.52 s dropped (24,320 samples)  0.50 s missing (8,000 samples)  2 gaps"
    )
    first = status_line(status(**wrong), 75)[0]
    assert first.style == Style(color="bright_red")


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


@pytest.mark.parametrize(
    ("height", "has_header", "n_meters", "n_spectrograms"),
    [(1, False, 0, 0), (4, False, 1, 0), (10, True, 1, 0), (15, True, 1, 1), (30, True, 2, 2)],
)
def test_a_low_terminal_does_without_some_parts(height, has_header, n_meters, n_spectrograms):
    layout = Layout.of(80, height, 2 if height == 30 else 1)
    assert layout[:3] == (has_header, n_meters, n_spectrograms)


def test_the_log_and_the_last_line_are_what_is_left_in_the_end():
    stage = Stage(40, 2)
    stage.view.handle(EventStarted(event(1.5)))
    lines = stage.screen()
    assert lines[0].startswith("12:00:01 ▶ dog")
    assert lines[1].startswith("0 s lost  0 gaps  real-time")


def test_markup_in_names_is_literal_and_control_characters_do_not_come_through():
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


def test_a_terminal_that_knows_only_ascii_gets_ascii():
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    view = Stage(file=file).view
    view.handle(audio(0, 0.1, noise(), np.array([[0.9, 0.5, 0.2]], np.float32), "東京"))
    view.handle(EventStarted(event(1.5, "élan", "東京")))
    view.close()
    written = ANSI.sub("", file.buffer.getvalue().decode("ascii"))
    assert "> ?lan" in written
    file.close()


def test_it_is_drawn_four_times_a_second_at_most():
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


def test_durations_and_times_are_those_people_read():
    assert [_duration(s) for s in (0.64, 59.94, 75, 3_723)] == [
        "0.6 s",
        "59.9 s",
        "01:15",
        "1:02:03",
    ]
    assert _time_axis(0.1, 30) == "     -2 s╵                 now"
