"""Draw `docs/bench.svg`: the output of `sed bench` on this machine, for an hour of Ogg Vorbis.

python -m benchmarks.figures.draw_bench
python -m benchmarks.figures.draw_bench --keep    # from the results in docs/results/bench.json
"""

from __future__ import annotations

import dataclasses
import io
import sys
import tempfile
from pathlib import Path

from rich.console import Console

import sed
from benchmarks.figures.draw_terminal import svg
from benchmarks.speed.recordings import write_example
from benchmarks.store import read, save
from sed.files import written_whole
from streaming.bench.bench import EngineSpeed
from streaming.bench.stages import Stages
from streaming.cli.bench import print_bench

IMAGE = Path(__file__).parents[2] / "docs" / "bench.svg"
SECONDS = 3_600


def measure() -> None:
    """Run `sed.bench` on an hour of sound, and save the result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hour.ogg")
        write_example(path, 32_000, SECONDS)
        save("bench", dataclasses.asdict(sed.bench(path, hop_seconds=5.0)))


def saved() -> sed.Bench:
    """Return the result that was saved."""
    fields = dict(read("bench") or {})
    if not fields.pop("machine", None):
        raise SystemExit("nothing was measured yet: leave out --keep")
    stages = Stages(**fields.pop("stages"))
    engines = tuple(EngineSpeed(**engine) for engine in fields.pop("engines"))
    return sed.Bench(stages=stages, engines=engines, **fields)


def main() -> None:
    if "--keep" not in sys.argv:
        measure()
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True, width=96
    )
    print_bench(saved(), console, "$ sed bench hour.ogg --hop 5\n\nhour.ogg; the default model")
    with written_whole(IMAGE) as part:
        part.write_text(svg(console, "sed bench"), "utf-8")
    print(f"written: {IMAGE}")


if __name__ == "__main__":
    main()
