"""Write the tables of speed for docs/performance.md and the README."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.store import NOT_MEASURED, Results, read

STAGES = {
    "decode": "decode",
    "resample": "mix, resample",
    "transfer": "to the GPU",
    "log_mel": "front end",
    "network": "network",
    "events": "overlap-add, track",
    "write": "write",
}


class Bar(NamedTuple):
    """A goal, and where its measured value is."""

    what: str
    part: str  # of throughput.py
    goal: float
    value: Callable[[Results], float | None]  # of that part; None: not measured
    written: str = "{:,.0f} ×"
    is_minimum: bool = True  # False: the goal is a maximum


def row_of(results: Results, name: str) -> Results:
    """Return the row with a name, empty if there is none."""
    return next((row for row in results["rows"] if str(row.get("name")) == name), {})


def of_row(name: str, key: str) -> Callable[[Results], float | None]:
    return lambda results: row_of(results, name).get(key)


def at_hop(hop: float) -> Callable[[Results], float | None]:
    return lambda f: next((row["ratio"] for row in f["rows"] if row["hop"] == hop), None)


def of_decode_limit(results: Results) -> float | None:
    """Return the speed of a GPU from a file, as a share of the speed of decoding alone."""
    row = results["rows"][0]
    decode_limit: float = row["n_cores"] / row["stages"]["decode"]
    return float(row["speed"]) / decode_limit


BARS = (
    Bar(
        "OGG 32 kHz, hop 5 s, against the BirdCLEF-notebook pipeline",
        "rivals",
        25,
        of_row("birdclef-notebook", "speedup"),
        "{:.1f} × faster",
    ),
    Bar(
        "the same against BirdNET 2.4 through its library, 2 workers",
        "rivals",
        10,
        of_row("birdnet", "speedup"),
        "{:.1f} × faster",
    ),
    Bar("efficiency, OGG 32 kHz", "stages", 0.85, of_row("OGG 32 kHz", "efficiency"), "{:.2f}"),
    Bar("OGG 32 kHz, hop 5 s", "stages", 1_200, of_row("OGG 32 kHz", "speed")),
    Bar("WAV 16 kHz, hop 5 s", "stages", 3_000, of_row("WAV 16 kHz", "speed")),
    Bar(
        "tf_efficientnet_b0, 32 kHz, 128 mels, hop 5 s",
        "b0",
        600,
        of_row("OGG 32 kHz", "speed"),
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


def value_of(bar: Bar, results: Results) -> float | None:
    """Return the measured value of a goal, None if it was not measured."""
    part = results.get(bar.part, {})
    return None if not part or "not_measured" in part else bar.value(part)


def is_met(bar: Bar, value: float) -> bool:
    """Return whether a value reaches its goal."""
    return value >= bar.goal if bar.is_minimum else value <= bar.goal


def bars(results: Results) -> str:
    """Return the table of goals."""
    rows = ["| what | goal | measured | |", "|---|---|---|---|"]
    for bar in BARS:
        part = results.get(bar.part, {})
        value = value_of(bar, results)
        sign = "≥" if bar.is_minimum else "≤"
        if value is None:
            cells = "not measured", ""
        else:
            length = "" if part["minutes"] == 60 else f" (of {part['minutes']:g} min)"
            cells = (
                bar.written.format(value) + length,
                "met" if is_met(bar, value) else "**not met**",
            )
        rows.append(f"| {bar.what} | {sign} {bar.written.format(bar.goal)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def against_limits(results: Results) -> str:
    """Return the table of stages, limits and whole commands."""
    stages = [name for name in STAGES if results["rows"][0]["stages"].get(name) is not None]
    n_cores = results["rows"][0]["n_cores"]
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
    for row in results["rows"]:
        cells = [
            *(f"{1 / row['stages'][name]:,.0f}" for name in stages),
            f"{row['limit']:,.0f}",
            f"**{row['speed']:,.0f}**",
            f"{row['lowest']:,.0f} – {row['highest']:,.0f}",
            f"{row['efficiency']:.2f}",
            f"{row['wall_seconds']:.1f}",
            f"{row['peak_mib']:.0f}",
        ]
        rows.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", engine_of(results["rows"])])


def hops(results: Results) -> str:
    """Return the table of hops."""
    rows = [
        "| hop | mode | × real time | time, against the first | peak MiB |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {row['hop']:g} s | {row['mode']} | {row['speed']:,.0f} | "
        f"{row['ratio']:.2f} | {row['peak_mib']:.0f} |"
        for row in results["rows"]
    ]
    return "\n".join([*rows, "", engine_of(results["rows"])])


def rivals(results: Results) -> str:
    """Return the table of other programs."""
    own = results["sed_detect"]
    rows = [
        "| from the file to the scores | × real time | `sed detect` is faster by |",
        "|---|---|---|",
        f"| `sed detect --hop 5`: {own['engine']} | {own['speed']:,.0f} | |",
    ]
    for row in results["rows"]:
        if "not_measured" in row:
            rows.append(f"| {row['name']} | not measured: {row['not_measured']} | |")
        else:
            rows.append(f"| {row['description']} | {row['speed']:,.0f} | {row['speedup']:.1f} |")
    return "\n".join(rows)


def long(results: Results) -> str:
    """Return the table of lengths."""
    hours = results["minutes"] / 60
    rows = ["| FLAC 32 kHz, hop 5 s | × real time | seconds | peak MiB |", "|---|---|---|---|"]
    for n_times, row in ((1, results["short"]), (results["times_as_long"], results["long"])):
        rows.append(
            f"| {hours * n_times:.3g} h in one file | {row['speed']:,.0f} | "
            f"{row['seconds']:.1f} | {row['peak_mib']:.0f} |"
        )
    return "\n".join([*rows, "", engine_of([results["long"]])])


def first(results: Results) -> str:
    """Return the table of times to the first event."""
    hours = results["minutes"] * results["times_as_long"] / 60
    rows = [
        f"| first event of {hours:.3g} h in one file, as a line | seconds | read from disk |",
        "|---|---|---|",
    ]
    names = {
        "warm": "program and model in the page cache",
        "cold": "all read from disk",
        "engine_not_chosen": "all read from disk, and the engine chosen for the first time",
    }
    for key, name in names.items():
        row = results[key]
        rows.append(f"| {name} | {row['seconds']:.2f} | {row['read_mib']:.0f} MiB |")
    return "\n".join([*rows, "", "From the start of the process, including loading the model."])


def gpu(results: Results) -> str:
    """Return the results of a GPU."""
    return (
        f"{results['engine']}: {results['in_memory']:,.0f} × real time from "
        f"{results['minutes_in_memory']} minutes of samples in memory.\n\n"
        + against_limits(results)
    )


SECTIONS: dict[str, tuple[str, Callable[[Results], str]]] = {
    "stages": ("Each stage alone, the limit, and the whole command", against_limits),
    "rivals": ("Other programs", rivals),
    "formats": ("Formats", against_limits),
    "hops": ("Overlap", hops),
    "b0": ("A network of the size of BirdCLEF's: tf_efficientnet_b0, 128 mels", against_limits),
    "long": ("A day in one file", long),
    "first": ("The first event", first),
    "gpu": ("GPU", gpu),
}


def sections(results: Results) -> Iterator[str]:
    """Yield a section for each part."""
    for part, (title, table) in SECTIONS.items():
        yield f"### {title}"
        yield f"`python -m benchmarks.speed.throughput {part}`"
        measured = results.get(part)
        if measured is None:
            yield NOT_MEASURED
        elif "not_measured" in measured:
            yield f"Not measured: {measured['not_measured']}. {measured['machine']}"
        else:
            yield table(measured)
            yield f"Recordings of {measured['minutes']:g} min. {measured['machine']}"


def engine_of(rows: Sequence[Results]) -> str:
    """Return the engines of some rows, as the command reported them."""
    return "Engine: " + "; ".join(dict.fromkeys(str(row["engine"]) for row in rows)) + "."


def report() -> str:
    """Return the table of goals and a section for each part."""
    results = read("throughput") or {}
    parts = [
        bars(results),
        "× real time: seconds of sound processed in a second, as the command reports it, without "
        "start-up and loading the model; medians of three alternating runs. A stage alone: on one "
        "core, in processor time. The limit: all cores, nothing waits. Efficiency: × real time ÷ "
        "limit, both measured in the same minute.",
        *sections(results),
    ]
    return "\n\n".join(parts)


def readme_rows() -> list[tuple[str, str]]:
    """Return the rows for the table in the README."""
    results = read("throughput") or {}
    chosen = {"stages": "OGG 32 kHz, hop 5 s", "rivals": BARS[0].what, "long": "– peak"}
    titles = {
        "stages": "`sed detect`, Ogg Vorbis 32 kHz, hop 5 s",
        "rivals": "the same against a BirdCLEF-2023 notebook",
        "long": "peak memory for a day in one file",
    }
    rows = []
    for part, what in chosen.items():
        bar = next(bar for bar in BARS if bar.part == part and bar.what == what)
        if (value := value_of(bar, results)) is not None:
            unit = " real time" if part == "stages" else ""
            rows.append(
                (titles[part], f"{bar.written.format(value)}{unit} ({goal_of(bar, value)})")
            )
    return rows


def goal_of(bar: Bar, value: float) -> str:
    """Return a goal, and whether a value misses it."""
    missed = "" if is_met(bar, value) else ": **not met**"
    return f"goal {'≥' if bar.is_minimum else '≤'} {bar.written.format(bar.goal)}{missed}"


def readme_gpu() -> str:
    """Return the sentence about a GPU for the README; empty if there are no results."""
    results = read("throughput") or {}
    in_memory, from_file = (bar for bar in BARS if bar.part == "gpu")
    speed, share = (value_of(bar, results) for bar in (in_memory, from_file))
    if speed is None or share is None:
        return ""
    row = results["gpu"]["rows"][0]
    return (
        f"One process with a GPU and {row['n_cores']} cores, {results['gpu']['engine']}: "
        f"{in_memory.written.format(speed)} real time from samples in memory "
        f"({goal_of(in_memory, speed)}), {row['speed']:,.0f} × from one file of "
        f"{row['name']}, {from_file.written.format(share)} of the decode limit "
        f"({goal_of(from_file, share)})."
    )
