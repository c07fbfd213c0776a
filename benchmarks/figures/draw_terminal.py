"""Draw `docs/terminal.svg`: the view of `sed listen` on `examples/village.ogg`.

    python -m benchmarks.figures.draw_terminal

Sound, spectrogram, probabilities and events are those of the default model on the recording, in
blocks like those of a sound device. The time of day and the last line are constant, so that the
image is the same each time.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.terminal_theme import TerminalTheme

import sed
from sed.events.tracker import Event
from sed.files import written_whole
from streaming.live.listener import LIVE
from streaming.live.terminal.view import TerminalView
from streaming.messages import AudioBlock, EventEnded, EventStarted, InputStatus, Message, Status

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "examples" / "village.ogg"
IMAGE = ROOT / "docs" / "terminal.svg"
SOURCE = "USB microphone"
RATE = 48_000
BLOCK_SAMPLES = RATE // 20
STARTED = datetime(2026, 5, 4, 6, 30, tzinfo=UTC)
STOP_SECONDS = 111.2  # two events last
WIDTH, HEIGHT = 100, 30
LOAD, LATENCY_SECONDS = 0.03, 0.02  # constant, not measured

CHARACTER, LINE = 20, 24.4  # heights in what rich draws
ASPECT = 0.602  # width over height of DejaVu Sans Mono, and of most others
HALF_BLOCKS = re.compile(
    r'<text class="(?P<style>\S+)" x="(?P<x>\S+)" y="(?P<y>\S+)" '
    r'textLength="(?P<width>\S+)" clip-path="\S+">▀+</text>'
)
THEME = TerminalTheme(
    (13, 15, 20),
    (214, 218, 226),
    [(13, 15, 20), (255, 110, 110), (132, 222, 150), (255, 209, 102),
     (120, 160, 255), (255, 158, 203), (110, 205, 240), (214, 218, 226)],
    [(90, 96, 108), (255, 92, 92), (150, 240, 170), (255, 224, 140),
     (170, 156, 255), (255, 180, 220), (140, 225, 250), (255, 255, 255)],
)  # fmt: skip
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
  <style>
    .{unique_id}-matrix {{
      font: {char_height}px/{line_height}px "DejaVu Sans Mono", Menlo, Consolas, monospace;
      font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font: bold 18px sans-serif; }}
    {styles}
  </style>
  <defs>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})">
    {backgrounds}
    <g class="{unique_id}-matrix">
      {matrix}
    </g>
  </g>
</svg>
"""


def main() -> None:
    """Draw the image."""
    now = STARTED
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    detector = sed.Detector(sed.load_model(), LIVE, sample_rate=RATE)
    view = TerminalView(detector.labels, detector.spec.log_mel, console=console, now=lambda: now)
    for message in messages(detector):
        if isinstance(message, AudioBlock):
            now = STARTED + timedelta(seconds=message.start / RATE)
        view.handle(message)
    console.export_text()  # discards all views but the last
    view.close()
    with written_whole(IMAGE) as part:
        part.write_text(svg(console), "utf-8")
    print(f"{STOP_SECONDS:g} s of {RECORDING.name} in {IMAGE.relative_to(ROOT)}")


def messages(detector: sed.Detector) -> Iterator[Message]:
    """Yield the messages of a listener up to the time of the image."""
    sound = np.concatenate(list(sed.read_blocks(RECORDING, RATE)))[: round(STOP_SECONDS * RATE)]
    n_events = 0
    for start in range(0, len(sound), BLOCK_SAMPLES):
        block = sound[start : start + BLOCK_SAMPLES]
        detection = detector.push(block)
        yield AudioBlock(
            SOURCE, start, block[:, None], RATE, detection.log_mel, detection.frame_probs
        )
        yield from (EventStarted(placed(event)) for event in detection.started)
        yield from (EventEnded(placed(event)) for event in detection.events)
        n_events += len(detection.events)
        if len(detection.log_mel):
            yield status(start + len(block), n_events)


def placed(event: Event) -> Event:
    """Return an event with its source and its time of day."""
    return dataclasses.replace(event, file=SOURCE, time=STARTED + timedelta(seconds=event.onset))


def status(n_samples: int, n_events: int) -> Status:
    """Return the status of an input that lost nothing."""
    source = InputStatus(SOURCE, "listening", RATE, 1, n_samples, n_samples, 0, 0, 0, 0, 0)
    return Status(n_samples / RATE, LOAD, LATENCY_SECONDS, n_events, (source,))


def svg(console: Console, title: str = "sed listen") -> str:
    """Return the console as SVG; half blocks become rectangles, so that no font leaves gaps."""
    text = console.export_svg(
        title=title, theme=THEME, code_format=SVG, unique_id="sed", font_aspect_ratio=ASPECT
    )
    return HALF_BLOCKS.sub(_rectangle, text)


def _rectangle(match: re.Match[str]) -> str:
    top = float(match["y"]) - CHARACTER + 1.5
    return (
        f'<rect class="{match["style"]}" x="{match["x"]}" y="{top:g}" width="{match["width"]}" '
        f'height="{LINE / 2:g}" shape-rendering="crispEdges"/>'
    )


if __name__ == "__main__":
    main()
