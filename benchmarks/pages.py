"""Write the pages of figures in docs/, and the table in the README, from docs/results/.

    python -m benchmarks.pages

Nothing is measured here: each benchmark saves its own results.
"""

from __future__ import annotations

from benchmarks.live import live_page
from benchmarks.quality import accuracy_page, training_page, unknown
from benchmarks.quality.figures import page as quality_page
from benchmarks.speed import (
    birdnet_model,
    embedding,
    entry_page,
    search_page,
    throughput_page,
    tracker,
)
from benchmarks.store import DOCS, read, replace_between

README = DOCS.parent / "README.md"
FIGURES = "<!-- figures: written by benchmarks/pages.py -->", "<!-- end of figures -->"
RESULT = "<!-- result: written by benchmarks/pages.py -->", "<!-- end of result -->"


def performance() -> str:
    """Return the page docs/performance.md."""
    parts = [
        "# How fast and how accurate is `sed detect`?",
        "Written by `benchmarks/pages.py` from `docs/results/`; do not edit. `make bench` measures "
        "your machine.",
        "## Speed",
        "`python -m benchmarks.speed.throughput`",
        throughput_page.report(),
        "## Accuracy",
        "`python -m benchmarks.quality.accuracy`",
        accuracy_page.report(),
        "### Sliding windows or fully convolutional",
        accuracy_page.modes_report(),
        "### Sounds that the model does not know",
        "`python -m benchmarks.quality.unknown`",
        unknown.report(),
        "## The event tracker",
        "`python -m benchmarks.speed.tracker`",
        tracker.report(),
        "## Embeddings",
        "`python -m benchmarks.speed.embedding`",
        embedding.report(),
        "## Search",
        "`python -m benchmarks.speed.search`",
        search_page.report(),
        "## A graph of others: BirdNET",
        "`python -m benchmarks.speed.birdnet_model`",
        birdnet_model.report(),
        "## The command itself",
        "`python -m benchmarks.speed.entry`",
        entry_page.report(),
    ]
    return "\n\n".join(parts) + "\n"


def readme_table() -> str:
    """Return the table of the README: at most eight rows."""
    rows = [
        *accuracy_page.readme_rows(),
        *throughput_page.readme_rows(),
        *live_page.readme_rows(),
    ]
    machine = (read("throughput") or {}).get("machine", "")
    return "\n".join(
        [
            "| what | measured |",
            "|---|---|",
            *(f"| {what} | {measured} |" for what, measured in rows),
            "",
            f"{machine} {throughput_page.readme_gpu()} Missed goals are marked. All: "
            "[speed and accuracy](docs/performance.md), [live](docs/live.md), "
            "[sounds named and found](docs/quality.md), [training](docs/results.md).",
        ]
    )


def main() -> None:
    (DOCS / "performance.md").write_text(performance(), "utf-8")
    (DOCS / "live.md").write_text(live_page.report(), "utf-8")
    (DOCS / "results.md").write_text(training_page.report(), "utf-8")
    (DOCS / "quality.md").write_text(quality_page.report(), "utf-8")
    for name, text in training_page.recipes().items():
        replace_between(DOCS / "recipes" / f"{name}.md", *RESULT, text)
    replace_between(README, *FIGURES, readme_table())
    print(
        "written: performance.md, live.md, results.md and quality.md in docs, the recipes, README"
    )


if __name__ == "__main__":
    main()
