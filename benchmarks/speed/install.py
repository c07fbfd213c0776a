"""Measure what an installation takes: seconds, megabytes, and the time to the first event.

    python -m benchmarks.speed.install                 # what is not large
    python -m benchmarks.speed.install torch train     # these extras alone

Each extra is installed into an environment of its own. pip and setuptools, which a new environment
has already, are not counted. Saves docs/results/install.json, and the table of docs/install.md.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from benchmarks.store import DOCS, read, replace_between, save

ROOT = DOCS.parent
EXAMPLE = ROOT / "examples" / "village.ogg"
# Extra, and what it is for; an empty name is none.
PURPOSES = {
    "": "detect and listen with the models that ship, and graphs that `sed export` wrote",
    "openvino": "the fastest engine on most processors",
    "av": "m4a, mp4, wma, … and URLs: whatever FFmpeg reads",
    "plot": "pictures: `detect --plot`, `score --output`, `summary`",
    "web": "the pages of `listen --web` and `review`",
    "mqtt": "`listen --mqtt`",
    "parquet": "`--format parquet`, `embed`",
    "search": "`search --index`",
    "remote": "`s3://` and `https://`",
    "tflite": "graphs of others in TensorFlow Lite",
    "torch": "checkpoints of your own, `export`, GPUs",
    "train": "`train`, `evaluate`, `fit`, `predict`, `tune`, `prepare`",
}
LARGE = ("torch", "train")
SHIPPED_WITH_PYTHON = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
LATER_RUNS = 5
TABLE = "<!-- sizes: written by benchmarks/speed/install.py -->", "<!-- end of sizes -->"


def measure(extra: str) -> dict[str, object]:
    """Return what it takes to install the package with an extra."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "environment")
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        target = f"{ROOT}[{extra}]" if extra else str(ROOT)
        started = time.perf_counter()
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", target],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - started
        (packages,) = environment.glob("lib/python*/site-packages")
        entries = [p for p in packages.iterdir() if not p.name.startswith(SHIPPED_WITH_PYTHON)]
        n_bytes = sum(file.lstat().st_size for entry in entries for file in files_of(entry))
        result: dict[str, object] = {
            "seconds": round(seconds, 1),
            "megabytes": round(n_bytes / 1e6, 1),
            "has_torch": (packages / "torch").is_dir(),
        }
        if not extra:
            cache = {"SED_CACHE": str(Path(folder, "cache")), "PATH": "/usr/bin:/bin"}
            times = [first_event(python, cache) for _ in range(1 + LATER_RUNS)]
            result["first_event_seconds"] = round(times[0], 2)
            result["first_event_later_seconds"] = round(statistics.median(times[1:]), 2)
        return result


def files_of(entry: Path) -> list[Path]:
    """Return the files in a folder, or the file."""
    return [p for p in entry.rglob("*") if p.is_file()] if entry.is_dir() else [entry]


def first_event(python: Path, environment: dict[str, str]) -> float:
    """Return the seconds from the start of `sed detect` to the first event of the example."""
    started = time.perf_counter()
    command = [python, "-m", "sed", "detect", EXAMPLE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd="/"
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the header
        process.stdout.readline()
        seconds = time.perf_counter() - started
        process.stdout.read()
    return seconds


def table(results: dict[str, dict[str, object]]) -> str:
    """Return the table: what you want, what to install, its size."""
    base = float(results[""]["megabytes"])  # type: ignore[arg-type]
    lines = ["| you want | install | MB | seconds |", "|---|---|---|---|"]
    for extra, purpose in PURPOSES.items():
        if extra not in results:
            continue
        name = f"sed-engine[{extra}]" if extra else "sed-engine"
        size = float(results[extra]["megabytes"])  # type: ignore[arg-type]
        shown = f"+ {size - base:,.0f}" if extra else f"{size:,.0f}"
        lines.append(f"| {purpose} | `{name}` | {shown} | {results[extra]['seconds']:.0f} |")
    lean = results[""]
    lines += [
        "",
        f"The first event of the example is printed {lean['first_event_seconds']} s after the "
        f"start of the first run, and after {lean['first_event_later_seconds']} s later (median "
        f"of {LATER_RUNS}).",
    ]
    return "\n".join(lines)


def main() -> None:
    chosen = sys.argv[1:] or [extra for extra in PURPOSES if extra not in LARGE]
    kept = read("install") or {}
    results = dict(kept.get("extras", {}))
    for extra in chosen:
        results[extra] = measure(extra)
        print(extra or "(none)", results[extra], flush=True)
    save("install", {"extras": results})
    replace_between(DOCS / "install.md", *TABLE, table(results))


if __name__ == "__main__":
    main()
