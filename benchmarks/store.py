"""Keep measured results as JSON in docs/results/, with the machine that they were measured on."""

from __future__ import annotations

import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

from sed.models.metadata import library_versions

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results"
NOT_MEASURED = "Not measured."

Results = dict[str, Any]


def machine() -> str:
    """Return the date, the processor, the GPU and the versions of a measurement."""
    import torch  # some benchmarks must not import it before they measure

    cpu_info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpu_info.read_text().splitlines() if cpu_info.exists() else [])
        if line.startswith("model name")
    ] or [platform.processor()]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = ", ".join(f"{k} {v}" for k, v in library_versions().items())
    return f"{date.today()}, {os.cpu_count()} cores of {names[0]}, GPU: {gpu}; {versions}."


def read(name: str) -> Results | None:
    """Return the results that a benchmark saved under a name, None if it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def save(name: str, results: Results) -> None:
    """Save the results of a benchmark, with the machine."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine()} | dict(results), indent=1) + "\n", "utf-8")


def replace_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two markers of a Markdown page."""
    before, rest = page.read_text("utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")
