"""Tells what benchmarks/speed/throughput.py measured; `run.py` puts it into docs/benchmarks.md.

python -m benchmarks.speed.throughput_page
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.quality.results import NOT_MEASURED, read

Figures = Mapping[str, Any]

STAGES = {
    "decode": "decode",
    "resample": "mix, resample",
    "transfer": "to the GPU",
    "log_mel": "front end",
    "network": "network",
    "events": "stitch, track",
    "write": "write",
}


class Bar(NamedTuple):
    """What has to be reached, and what was."""

    what: str
    part: str  # of the figures
    bar: float
    value: Callable[[Figures], float | None]  # of that part; None: not measured
    written: str = "{:,.0f} ×"
    is_lowest: bool = True  # the bar; else it is the highest value that will do


def row_of(figures: Figures, name: str) -> Figures:
    """Return the row of a name, empty if there is none."""
    return next((row for row in figures["rows"] if str(row.get("name")) == name), {})


def of_row(name: str, key: str) -> Callable[[Figures], float | None]:
    return lambda figures: row_of(figures, name).get(key)


def at_hop(hop: float) -> Callable[[Figures], float | None]:
    return lambda f: next((row["ratio"] for row in f["rows"] if row["hop"] == hop), None)


def of_decode_limit(figures: Figures) -> float | None:
    """Return what share of the speed of decoding alone a GPU reaches from a file."""
    row = figures["rows"][0]
    decode_limit: float = row["n_cores"] / row["stages"]["decode"]
    return float(row["times_real_time"]) / decode_limit


BARS = (
    Bar(
        "OGG 32 kHz, hop 5 s, against the BirdCLEF-notebook pipeline",
        "rivals",
        25,
        of_row("birdclef-notebook", "ours_is_faster_by"),
        "{:.1f} × faster",
    ),
    Bar(
        "the same against BirdNET 2.4 through its library, 2 workers",
        "rivals",
        10,
        of_row("birdnet", "ours_is_faster_by"),
        "{:.1f} × faster",
    ),
    Bar("efficiency, OGG 32 kHz", "stages", 0.85, of_row("OGG 32 kHz", "efficiency"), "{:.2f}"),
    Bar("OGG 32 kHz, hop 5 s", "stages", 1_200, of_row("OGG 32 kHz", "times_real_time")),
    Bar("WAV 16 kHz, hop 5 s", "stages", 3_000, of_row("WAV 16 kHz", "times_real_time")),
    Bar(
        "tf_efficientnet_b0, 32 kHz, 128 mels, hop 5 s",
        "b0",
        600,
        of_row("OGG 32 kHz", "times_real_time"),
    ),
    Bar("hop 0.5 s against hop 5 s", "hops", 1.5, at_hop(0.5), "{:.2f} × the time", False),
    Bar(
        "a file 24 times as long: time",
        "long",
        24.5,
        lambda f: f["ratio_of_time"],
        "{:.2f} × the time",
        False,
    ),
    Bar("– memory", "long", 1.05, lambda f: f["ratio_of_memory"], "{:.3f} × the memory", False),
    Bar("– peak", "long", 1.2, lambda f: f["long"]["peak_mib"] * 2**20 / 1e9, "{:.2f} GB", False),
    Bar(
        "first event of a file 10 times as long, program and model in memory",
        "first",
        3,
        lambda f: f["warm"]["seconds"],
        "{:.2f} s",
        False,
    ),
    Bar("– from the disk", "first", 3, lambda f: f["cold"]["seconds"], "{:.2f} s", False),
    Bar("GPU, samples in memory", "gpu", 100_000, lambda f: f["in_memory"]),
    Bar("GPU, from a file: share of the decode limit", "gpu", 0.9, of_decode_limit, "{:.2f}"),
)


def bars(figures: Figures) -> str:
    """Return the table of what has to be reached."""
    rows = ["| what | bar | measured | |", "|---|---|---|---|"]
    for bar in BARS:
        part = figures.get(bar.part, {})
        value = None if not part or "not_measured" in part else bar.value(part)
        sign = "≥" if bar.is_lowest else "≤"
        if value is None:
            cells = "not measured", ""
        else:
            met = value >= bar.bar if bar.is_lowest else value <= bar.bar
            length = "" if part["minutes"] == 60 else f" (of {part['minutes']:g} min)"
            cells = bar.written.format(value) + length, "met" if met else "**not met**"
        rows.append(f"| {bar.what} | {sign} {bar.written.format(bar.bar)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def against_limits(figures: Figures) -> str:
    """Return the table of stages, limits and what was reached."""
    stages = [name for name in STAGES if figures["rows"][0]["stages"].get(name) is not None]
    n_cores = figures["rows"][0]["n_cores"]
    heads = [
        *(STAGES[name] for name in stages),
        f"limit, {n_cores} cores",
        "`sed detect`",
        "lowest – highest",
        "efficiency",
        "whole command, s",
        "peak MiB",
    ]
    rows = [f"| × real time | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in figures["rows"]:
        cells = [
            *(f"{1 / row['stages'][name]:,.0f}" for name in stages),
            f"{row['limit']:,.0f}",
            f"**{row['times_real_time']:,.0f}**",
            f"{row['lowest']:,.0f} – {row['highest']:,.0f}",
            f"{row['efficiency']:.2f}",
            f"{row['wall_seconds']:.1f}",
            f"{row['peak_mib']:.0f}",
        ]
        rows.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", engine_of(figures["rows"])])


def hops(figures: Figures) -> str:
    """Return the table of hops."""
    rows = [
        "| hop | mode | × real time | time, against the first | peak MiB |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {row['hop']:g} s | {row['mode']} | {row['times_real_time']:,.0f} | "
        f"{row['ratio']:.2f} | {row['peak_mib']:.0f} |"
        for row in figures["rows"]
    ]
    return "\n".join([*rows, "", engine_of(figures["rows"])])


def rivals(figures: Figures) -> str:
    """Return the table of what else could be run."""
    ours = figures["ours"]
    rows = [
        "| from the file to the scores | × real time | ours is faster by |",
        "|---|---|---|",
        f"| `sed detect --hop 5`: {ours['engine']} | {ours['times_real_time']:,.0f} | |",
    ]
    for row in figures["rows"]:
        if "not_measured" in row:
            rows.append(f"| {row['name']} | not measured: {row['not_measured']} | |")
        else:
            rows.append(
                f"| {row['description']} | {row['times_real_time']:,.0f} | "
                f"{row['ours_is_faster_by']:.1f} |"
            )
    return "\n".join(rows)


def long(figures: Figures) -> str:
    """Return the table of lengths."""
    hours = figures["minutes"] / 60
    rows = ["| FLAC 32 kHz, hop 5 s | × real time | seconds | peak MiB |", "|---|---|---|---|"]
    for n_times, row in ((1, figures["short"]), (figures["times_as_long"], figures["long"])):
        rows.append(
            f"| {hours * n_times:.3g} h in one file | {row['times_real_time']:,.0f} | "
            f"{row['seconds']:.1f} | {row['peak_mib']:.0f} |"
        )
    return "\n".join([*rows, "", engine_of([figures["long"]])])


def first(figures: Figures) -> str:
    """Return how long the first event takes."""
    hours = figures["minutes"] * figures["times_as_long"] / 60
    rows = [
        f"| first event of {hours:.3g} h in one file, as a line | seconds | read from disk |",
        "|---|---|---|",
    ]
    names = {
        "warm": "program and model in the memory of the system",
        "cold": "all read from the disk",
        "unprepared": "all read from the disk, and the engine chosen for the first time",
    }
    for key, name in names.items():
        row = figures[key]
        rows.append(f"| {name} | {row['seconds']:.2f} | {row['read_mib']:.0f} MiB |")
    return "\n".join([*rows, "", "From the start of the process, with the loading of the model."])


def gpu(figures: Figures) -> str:
    """Return what a GPU does."""
    return (
        f"{figures['engine']}: {figures['in_memory']:,.0f} × real time from "
        f"{figures['minutes_in_memory']} minutes of samples in memory.\n\n"
        + against_limits(figures)
    )


SECTIONS: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "stages": ("Each stage alone, the limit, and the whole", against_limits),
    "rivals": ("What users would run instead", rivals),
    "formats": ("Formats", against_limits),
    "hops": ("Overlap", hops),
    "b0": ("A network of the size of BirdCLEF's: tf_efficientnet_b0, 128 mels", against_limits),
    "long": ("A day in one file", long),
    "first": ("The first event", first),
    "gpu": ("GPU", gpu),
}


def sections(figures: Figures) -> Iterator[str]:
    """Yield a section for each part."""
    for part, (title, told) in SECTIONS.items():
        yield f"### {title} (`throughput.py {part}`)"
        measured = figures.get(part)
        if measured is None:
            yield NOT_MEASURED
        elif "not_measured" in measured:
            yield f"Not measured: {measured['not_measured']}. {measured['machine']}"
        else:
            yield told(measured)
            yield f"Recordings of {measured['minutes']:g} min. {measured['machine']}"


def engine_of(rows: Sequence[Figures]) -> str:
    """Return what ran the model, as the command said."""
    return "Engine: " + "; ".join(dict.fromkeys(str(row["engine"]) for row in rows)) + "."


def report() -> str:
    """Return all of it."""
    figures = read("throughput") or {}
    parts = [
        bars(figures),
        "× real time: seconds of sound heard in a second, as the command says, without its start "
        "and the loading of the model; medians of three runs in turn. A stage alone: on one core, "
        "in seconds of processor time. The limit: all cores, nothing waits. Efficiency: × real "
        "time ÷ limit, both measured in the same minute.",
        *sections(figures),
    ]
    return "\n\n".join(parts)


def summary() -> str:
    """Return the table for the README."""
    figures = read("throughput") or {}
    return "\n\n".join([bars(figures), str(figures.get("machine", NOT_MEASURED))])


if __name__ == "__main__":
    print(report())
