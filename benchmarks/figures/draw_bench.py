"""Draw `docs/bench.svg`: the output of `sed bench` on this machine, for an hour of Ogg Vorbis.

python -m benchmarks.figures.draw_bench
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from rich.console import Console

import sed
from benchmarks.figures.draw_terminal import svg
from benchmarks.speed.throughput import write_example
from sed.files import written_whole
from streaming.cli.bench import print_bench

IMAGE = Path(__file__).parents[2] / "docs" / "bench.svg"
SECONDS = 3_600


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hour.ogg")
        write_example(path, 32_000, SECONDS)
        found = sed.bench(path, hop_seconds=5.0)
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True, width=96
    )
    print_bench(found, console, "$ sed bench hour.ogg --hop 5\n\nhour.ogg; the default model")
    with written_whole(IMAGE) as part:
        part.write_text(svg(console, "sed bench"), "utf-8")
    print(f"written: {IMAGE}")


if __name__ == "__main__":
    main()
