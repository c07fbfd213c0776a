"""The command `sed bench`. What is heavy is imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.text import printable
from streaming.cli.options import Device, Engine, Hop, Mode, Model, Precision

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from streaming.bench.bench import Bench

STAGES = {
    "decode": "decoding",
    "resample": "channels mixed, resampled",
    "transfer": "to the GPU",
    "log_mel": "front end",
    "network": "network",
    "events": "frames stitched, events tracked",
    "write": "writing",
}


def bench(
    recording: Annotated[
        Path | None,
        typer.Argument(
            help="What to hear: its format and sample rate count.",
            show_default="ten minutes of noise, WAV, 32 kHz",
        ),
    ] = None,
    model: Model = None,
    hop_seconds: Hop = None,
    mode: Mode = "auto",
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure this machine: what each stage costs, what is possible, and what would help.

    Takes less than a minute. × real time is seconds of sound heard in a second.
    """
    from rich.console import Console

    from streaming.bench.bench import bench as measured

    def tell(text: str) -> None:
        print(text, file=sys.stderr)

    tell("measuring: less than a minute")
    found = measured(
        recording,
        model,
        hop_seconds=hop_seconds,
        mode=mode,  # type: ignore[arg-type]  # which checks it
        device=device,
        engine=engine,
        precision=precision,
        tell=tell,
    )
    name = "noise that was made for this" if recording is None else printable(str(recording))
    of_model = "the default model" if model is None else f"model {printable(str(model))}"
    print_bench(found, Console(highlight=False), f"{name}; {of_model}")


def print_bench(found: Bench, console: Console, what: str) -> None:
    """Print what was measured, and of what."""
    from rich.padding import Padding
    from rich.text import Text

    from streaming.bench.bench import advice

    console.print(
        f"{what}; {found.format}, {found.sample_rate:,} Hz, hop {found.hop_seconds:g} s, "
        f"{found.mode}",
        markup=False,
        soft_wrap=True,
    )
    for table in (_stages(found), _speeds(found), _engines(found)):
        console.print("", table)
    console.print("\n[bold]what would make it faster[/]")
    for text in advice(found):
        console.print(Padding(Text(text), (0, 0, 0, 2)))


def _stages(bench: Bench) -> Table:
    """Return what each stage costs."""
    where = "one core" + ", or on the GPU" * bench.stages.on_gpu
    table = _table(f"each stage alone, on {where}", "× real time", "share")
    for stage, name in STAGES.items():
        cost = getattr(bench.stages, stage)
        if cost is not None:
            on_gpu = stage not in bench.stages.of_cores
            table.add_row(
                f"{name}{' (GPU)' * on_gpu}", f"{1 / cost:,.0f}", f"{bench.stages.share(stage):.0%}"
            )
    return table


def _speeds(bench: Bench) -> Table:
    """Return the limit, and how near the whole comes to it."""
    cores = "1 core" if bench.n_cores == 1 else f"{bench.n_cores} cores"
    cores += " and a GPU" * bench.stages.on_gpu
    table = _table("all together", "× real time", "of the limit")
    table.add_row(f"limit on {cores}: all stages overlap perfectly", f"{bench.limit:,.0f}", "")
    table.add_row(
        f"measured from end to end, {bench.processed_seconds:,.0f} s of sound",
        f"[bold]{bench.times_real_time:,.0f}[/]",
        f"{bench.efficiency:.0%}",
    )
    return table


def _engines(bench: Bench) -> Table:
    """Return how fast every engine runs the network."""
    from rich.text import Text

    where = "the GPU" if bench.stages.on_gpu else "all cores"
    title = f"the network alone, on {where}, of windows without overlap"
    table = _table(title, "× real time", "")
    for engine in bench.engines:
        speed = engine.times_real_time
        used = "used" if engine.told == bench.engine else ""
        told = Text(f"{engine.name}: {engine.told}")  # it may hold brackets
        table.add_row(told, f"{speed:,.0f}" if speed else "–", used)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Column, Table

    return Table(
        Column(title, ratio=1),
        *(Column(name, justify="right", no_wrap=True) for name in columns),
        box=box.SIMPLE_HEAD,
        expand=True,
        pad_edge=False,
        show_edge=False,
    )
