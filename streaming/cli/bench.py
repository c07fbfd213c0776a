"""Define the command `sed bench`. Heavy libraries are imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sed.text import printable
from streaming.cli.options import INPUT, Device, Engine, Hop, Mode, Model, Precision, Verbose

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from streaming.bench.bench import Bench

STAGES = {
    "decode": "decoding",
    "resample": "mixing channels, resampling",
    "transfer": "copying to the GPU",
    "log_mel": "front end",
    "network": "network",
    "events": "overlap-add, event tracking",
    "write": "writing",
}


def bench(
    recording: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECORDING",
            help="Recording to measure with; its format and sample rate matter.",
            show_default="ten minutes of noise, WAV, 32 kHz",
            rich_help_panel=INPUT,
        ),
    ] = None,
    model: Model = None,
    hop_seconds: Hop = None,
    mode: Mode = "auto",
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    verbose: Verbose = False,
) -> None:
    """Measure this machine: the cost of each stage, the limit, every engine, and what would help.

    Takes less than a minute. × real time is seconds of sound processed per second.
    """
    from rich.console import Console

    from sed.cli import show_log
    from sed.models.registry import model_name
    from streaming.bench.bench import bench as measure

    show_log(verbose=verbose)
    print("measuring: less than a minute", file=sys.stderr)
    measured = measure(
        recording,
        model,
        hop_seconds=hop_seconds,
        mode=mode,  # type: ignore[arg-type]  # which checks it
        device=device,
        engine=engine,
        precision=precision,
    )
    recording_name = "noise" if recording is None else printable(str(recording))
    shown = f"model {printable(model_name(model))}"
    print_bench(measured, Console(highlight=False), f"{recording_name}; {shown}")


def print_bench(bench: Bench, console: Console, title: str) -> None:
    """Print measurements and advice."""
    from rich.padding import Padding
    from rich.text import Text

    from streaming.bench.bench import advice

    console.print(
        f"{title}; {bench.format}, {bench.sample_rate:,} Hz, hop {bench.hop_seconds:g} s, "
        f"{bench.mode}",
        markup=False,
        soft_wrap=True,
    )
    for table in (_stages_table(bench), _speed_table(bench), _engines_table(bench)):
        console.print("", table)
    console.print("\n[bold]what would make it faster[/]")
    for text in advice(bench):
        console.print(Padding(Text(text), (0, 0, 0, 2)))


def _stages_table(bench: Bench) -> Table:
    """Return the cost of each stage."""
    where = "one core" + ", or on the GPU" * bench.stages.on_gpu
    table = _table(f"each stage alone, on {where}", "× real time", "share")
    for stage, name in STAGES.items():
        cost = getattr(bench.stages, stage)
        if cost is not None:
            on_gpu = stage not in bench.stages.cpu_stages
            table.add_row(
                f"{name}{' (GPU)' * on_gpu}", f"{1 / cost:,.0f}", f"{bench.stages.share(stage):.0%}"
            )
    return table


def _speed_table(bench: Bench) -> Table:
    """Return the throughput from end to end, and its limit."""
    cores = "1 core" if bench.n_cores == 1 else f"{bench.n_cores} cores"
    cores += " and a GPU" * bench.stages.on_gpu
    table = _table("all together", "× real time", "of the limit")
    table.add_row(
        f"limit on {cores}: all stages overlap perfectly", f"{bench.throughput_limit:,.0f}", ""
    )
    table.add_row(
        f"measured from end to end, {bench.processed_seconds:,.0f} s of sound",
        f"[bold]{bench.speed:,.0f}[/]",
        f"{bench.efficiency:.0%}",
    )
    return table


def _engines_table(bench: Bench) -> Table:
    """Return the throughput of the network alone, for each engine."""
    from rich.text import Text

    where = "the GPU" if bench.stages.on_gpu else "all cores"
    title = f"the network alone, on {where}, in windows without overlap"
    table = _table(title, "× real time", "")
    for engine in bench.engines:
        used = "used" if engine.description == bench.engine else ""
        # As a Text, since an error may hold brackets, which are markup.
        name = Text(f"{engine.name}: {engine.description}")
        table.add_row(name, f"{engine.speed:,.0f}" if engine.speed else "–", used)
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
