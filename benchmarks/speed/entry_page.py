"""Write the table of start-up times for docs/performance.md."""

from __future__ import annotations

from benchmarks.store import NOT_MEASURED, read


def report() -> str:
    """Return the table."""
    results = read("entry")
    if results is None:
        return NOT_MEASURED
    if "not_measured" in results:
        return f"Not measured: {results['not_measured']}. {results['machine']}"
    median = results["milliseconds"]
    return "\n".join(
        [
            "| command | milliseconds, median |",
            "|---|---|",
            f"| `sed --help` | {median['help']:.0f} |",
            f"| the Unix `sed s/a/b/` by its own path | {median['unix']:.1f} |",
            f"| the same through this `sed` | {median['through_this_sed']:.1f} |",
            "",
            results["machine"],
        ]
    )
