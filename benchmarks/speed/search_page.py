"""Write the figures of the search for docs/performance.md."""

from __future__ import annotations

from typing import Any

from benchmarks.store import NOT_MEASURED, read

MAX_SECONDS, MAX_MB = 10.0, 1_000.0
MIN_RECALL, MAX_MS = 0.97, 50.0


def report() -> str:
    """Return the tables."""
    results = read("search")
    if results is None:
        return NOT_MEASURED
    exact, index = results["exact"], results.get("index")
    cached = sorted(exact["in_cache"], key=lambda run: run["all"])[len(exact["in_cache"]) // 2]
    peak = max(run["peak_mb"] for run in [exact["from_disk"], *exact["in_cache"]])
    rows = f"{results['rows']:,} rows × {results['dimension']}"
    lines = [
        "| what | goal | measured | |",
        "|---|---|---|---|",
        _line(f"exact, {rows}, files in the page cache", "<", MAX_SECONDS, cached["all"], "s"),
        _line("– files dropped from it before", "<", MAX_SECONDS, exact["from_disk"]["all"], "s"),
        _line("– peak memory of the process", "<", MAX_MB, peak, "MB"),
    ]
    if index:
        at = f"{results['top']} of {index['rows']:,} rows"
        lines += [
            _line(f"index: recall at {at}", "≥", MIN_RECALL, index["recall"], "", 3),
            _line("– a query, median", "<", MAX_MS, index["median_ms"], "ms"),
        ]
    lines += ["", _details(cached, exact["from_disk"], index), "", results["machine"]]
    return "\n".join(lines)


def _line(what: str, sign: str, goal: float, value: float, unit: str, decimals: int = 1) -> str:
    met = value < goal if sign == "<" else value >= goal
    verdict = "met" if met else "**not met**"
    aim, found = f"{sign} {goal:,g} {unit}".strip(), f"{value:,.{decimals}f} {unit}".strip()
    return f"| {what} | {aim} | {found} | {verdict} |"


def _details(
    cached: dict[str, Any], from_disk: dict[str, Any], index: dict[str, Any] | None
) -> str:
    text = (
        "Each exact search runs in a process of its own, from the import of the package to the "
        f"results as events; of {cached['all']:.1f} s, the search takes {cached['search']:.1f} s, "
        f"of {from_disk['all']:.1f} s {from_disk['search']:.1f} s. The vectors lie in clusters of "
        "about 32 dimensions, as embeddings of sounds do. The example itself is not embedded here."
    )
    if not index:
        return text
    return text + (
        f" The index ({index['settings']}) of {index['rows']:,} rows took "
        f"{index['build_seconds'] / 60:.1f} min to build and has {index['bytes'] / 1e6:,.0f} MB. "
        f"Its queries are not in the store; the lowest recall of one is "
        f"{index['lowest_recall']:.2f}, 95 % take less than {index['p95_ms']:.1f} ms, and opening "
        f"the index with the first query takes {index['opening_ms']:.0f} ms. An index of more rows "
        "was not measured."
    )
