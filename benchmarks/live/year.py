"""Simulate a year of `sed listen` at full speed, with kills, damage, lost devices and wrong clocks.

`benchmarks.live.year_session` is the process that is killed. Afterwards every event that was
reported, which is on a log that survives kills, is looked for in the database, in the copies of it
that were set aside as damaged, and in the files of events.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.live.year_session import (
    BLOCK_SECONDS,
    CLIPS_MAX_MB,
    DAY,
    YEAR_START,
    damaged_copies,
)
from benchmarks.store import Results

ROOT = Path(__file__).parents[2]
ZONE = "Europe/Berlin"  # with summer time
HOUR = 3_600
WRONG_START = -40.0 * DAY  # error of a clock that has no battery
Key = tuple[int, str]  # second of the year, label


@dataclass
class Plan:
    """What happens in the year, in seconds of it."""

    kills: list[int]
    corruptions: dict[int, str]  # by the number of the kill: how
    losses: list[tuple[int, int]]  # and for how many seconds
    wrong_starts: dict[int, int]  # after a kill: seconds until the clock is set
    steps: list[tuple[int, float]] = field(default_factory=list)  # and the error from then on


def make_plan(days: int, seed: int, n_kills: int, n_losses: int) -> Plan:
    """Return a plan with three corruptions and ten steps of the clock, if there are enough kills.

    Six starts are with a wrong clock that is set twenty minutes later, and one is killed before.
    In two other sessions the clock is set wrong by an hour and right again two hours later.
    """
    generator = random.Random(seed)
    times = sorted(generator.sample(range(HOUR, days * DAY - HOUR, 600), n_kills + n_losses))
    kinds = ["kill"] * n_kills + ["loss"] * n_losses
    generator.shuffle(kinds)
    kills = [at for at, kind in zip(times, kinds, strict=True) if kind == "kill"]
    losses = [
        (at, generator.randrange(60, HOUR, 60))
        for at, kind in zip(times, kinds, strict=True)
        if kind == "loss"
    ]
    long_enough = [n for n in range(n_kills - 1) if kills[n + 1] - kills[n] > 6 * HOUR]
    chosen = generator.sample(long_enough, min(len(long_enough), 11))
    wrong = {n: 20 * 60 for n in chosen[:6]}
    steps = [
        step
        for n in chosen[6:8]
        for step in ((kills[n] + 2 * HOUR, float(HOUR)), (kills[n] + 4 * HOUR, 0.0))
    ]
    if len(chosen) > 8:
        # Killed before the clock is set: the session stays undated.
        wrong[chosen[8]] = 10**9
    ways = ("garbage", "cut", "garbage while it is open")
    free = [n for n in range(n_kills) if n not in chosen]
    hit = generator.sample(free, min(3, len(free)))
    return Plan(kills, dict(zip(hit, ways, strict=False)), losses, wrong, sorted(steps))


def year(
    days: int = 365,
    per_day: float = 100.0,
    n_kills: int = 50,
    n_losses: int = 20,
    *,
    has_page: bool = True,
) -> Results:
    """Simulate a year and account for everything that was reported."""
    plan = make_plan(days, 0, n_kills, n_losses)
    with tempfile.TemporaryDirectory(prefix="sed-year") as name:
        folder, started = Path(name), time.monotonic()
        n_starts = _run(plan, folder, days, per_day)
        simulated = time.monotonic() - started
        results = _account(folder, plan)
        if has_page:
            results |= _pages(folder)
        return results | {
            "days": days,
            "starts": n_starts,
            "kills": len(plan.kills),
            "corruptions": len(plan.corruptions),
            "losses": len(plan.losses),
            "simulated_seconds": simulated,
        }


def _run(plan: Plan, folder: Path, days: int, per_day: float) -> int:
    """Run the sessions one after the other; return how many there were."""
    position, n, stop = 0, 0, days * DAY
    environment = os.environ | {"TZ": ZONE, "PYTHONPATH": str(ROOT)}
    generator = random.Random(1)
    while position + BLOCK_SECONDS < stop:
        steps = [(position, 0.0)]
        if n and (delay := plan.wrong_starts.get(n - 1)):
            steps = [(position, WRONG_START), (position + delay, 0.0)]
        steps += [step for step in plan.steps if step[0] > position]
        values = {
            "folder": str(folder), "start": position, "stop": stop, "seed": 0,
            "per_day": per_day, "steps": steps, "losses": plan.losses,
        }  # fmt: skip
        kill_at = plan.kills[n] if n < len(plan.kills) else None
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.live.year_session", json.dumps(values)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for line in child.stdout:
                position = int(line)
                if kill_at is not None and position >= kill_at:
                    kill_at = None
                    if "open" in plan.corruptions.get(n, ""):
                        _damage(folder / "e.sqlite", "garbage")
                        time.sleep(0.3)
                    child.send_signal(signal.SIGKILL)
        if child.returncode not in (0, -signal.SIGKILL):
            raise SystemExit(f"the session that began at {steps[0][0]} s failed")
        if (how := plan.corruptions.get(n)) and "open" not in how:
            _damage(folder / "e.sqlite", how)
        # What was processed when the process was killed, and the time without it.
        position += 2 * BLOCK_SECONDS + 300 * generator.randrange(6)
        n += 1
    return n


def _damage(path: Path, how: str) -> None:
    size = path.stat().st_size
    if how == "cut":
        os.truncate(path, size - size // 5)
        return
    with path.open("r+b") as file:
        file.seek(4096 * (size // 4096 // 2))
        file.write(b"\xa5" * 8192)


def _account(folder: Path, plan: Plan) -> Results:
    """Compare what was reported with what is stored."""
    starts: dict[tuple[int, int], float] = {}  # of sessions, by the number of the database
    reported: Counter[Key] = Counter()
    clips: list[str] = []
    for line in (folder / "reported.jsonl").read_text().splitlines():
        match json.loads(line):
            case ["S", int(number), int(session), start]:
                starts[number, session] = start
            case ["E", second, label]:
                reported[second, label] += 1
            case ["C", path]:
                clips.append(path)
    damaged = damaged_copies(folder)
    files = [*damaged, folder / "e.sqlite"]
    stored: Counter[Key] = Counter()
    copies: Counter[Key] = Counter()
    n_wrong, largest, undated = 0, 0.0, 0
    for number, path in enumerate(files):
        is_last = path == files[-1]
        rows, unknown = _rows(path)
        for session, label, onset, unix_time, _ in rows:
            if (start := starts.get((number, session))) is None:
                continue
            (stored if is_last else copies)[round(start + onset), label] += 1
            if session in unknown:
                undated += 1
            elif is_last and abs(error := unix_time - (YEAR_START + start + onset)) > 2.0:
                n_wrong += 1
                largest = max(largest, abs(error))
    lines = Counter(
        _line_key(json.loads(line))
        for path in folder.glob("e*.jsonl")
        if path.name != "reported.jsonl"
        for line in path.read_text().splitlines()
    )
    in_files = sum(n for key, n in lines.items() if key is not None)
    destroyed = [key for key in reported if not stored[key] and not copies[key]]
    labelled = Counter(key and key[1] for key in lines.elements())
    # A line has no session, so lines are compared by their number in each class.
    lost = sum(max(0, n - labelled[label]) for label, n in _by_label(reported).items())
    doubled = sum(max(0, labelled[label] - n) for label, n in _by_label(reported).items())
    existing = {str(path) for path in (folder / "clips").rglob("*.flac")}
    n_steps = 0
    for path in files:
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as connection:
            n_steps += connection.execute("SELECT count(*) FROM clock_steps").fetchone()[0]
    with closing(sqlite3.connect(folder / "e.sqlite")) as connection:
        linked = {clip for (clip,) in connection.execute("SELECT clip_path FROM events") if clip}
        sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    return {
        "reported": reported.total(),
        "reported_twice": sum(n - 1 for n in reported.values()),
        "in_database": stored.total(),
        "in_copies": copies.total(),
        "only_in_files": len(destroyed),
        "lost": lost if destroyed else 0,
        "doubled": sum(n - 1 for n in (stored + copies).values() if n > 1),
        "lines_beyond_reported": doubled,
        "wrong_times": n_wrong,
        "largest_error_seconds": largest,
        "undated": undated,
        "lines": in_files,
        "damaged_copies": len(damaged),
        "clock_steps": len(plan.steps) + sum(delay < DAY for delay in plan.wrong_starts.values()),
        "clock_steps_in_database": n_steps,
        "database_is_sound": sound,
        "database_mb": (folder / "e.sqlite").stat().st_size / 1e6,
        "clips_saved": len(clips),
        "clips_mb": sum(Path(path).stat().st_size for path in existing) / 1e6,
        "clips_max_mb": CLIPS_MAX_MB,
        "clips_kept": len(existing),
        "clips_kept_without_event": len(existing - linked),
    }


def _by_label(events: Counter[Key]) -> Counter[str]:
    labels: Counter[str] = Counter()
    for (_, label), n in events.items():
        labels[label] += n
    return labels


def _rows(path: Path) -> tuple[list[tuple[Any, ...]], set[int]]:
    """Return the events of a database, of a damaged one those that can be read."""
    query = "SELECT session_id, label, onset, unix_time, clip_path FROM events NOT INDEXED"
    rows: list[tuple[Any, ...]] = []
    undated: set[int] = set()
    copy = path.with_name(f"read-{path.name}")
    for ending in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    with closing(sqlite3.connect(copy)) as connection:
        with suppress(sqlite3.DatabaseError):
            undated = {row[0] for row in connection.execute("SELECT session_id FROM undated")}
        found: dict[int, tuple[Any, ...]] = {}
        # From both ends, as a damaged page stops each.
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.DatabaseError):
                text = query.replace("SELECT", "SELECT id,") + f" ORDER BY id {order}"
                for row in connection.execute(text):
                    found[row[0]] = row[1:]
        rows = [found[key] for key in sorted(found)]
    return rows, undated


def _line_key(line: dict[str, Any]) -> Key | None:
    return None if line.get("type") == "gap" else (round(line["onset"]), line["label"])


def _pages(folder: Path) -> Results:
    """Measure queries and the page at the end of the year."""
    from streaming.sinks.record.counts import hourly_counts
    from streaming.sinks.record.history import EventFilter, stored_events

    path = folder / "e.sqlite"
    timed: dict[str, float] = {}
    queries = {
        "latest": lambda: stored_events(path),
        "of_a_class": lambda: stored_events(path, only=EventFilter(labels=("owl",))),
        "hours_of_a_month": lambda: hourly_counts(path, 720),
    }
    for name, query in queries.items():
        started = time.perf_counter()
        query()
        timed[name] = time.perf_counter() - started
    return {"query_seconds": timed, "page_seconds": _page_seconds(path)}


def _page_seconds(path: Path) -> float | None:
    """Return how long a browser takes to show the latest events; None without a browser."""
    from sed.features.log_mel import LogMelConfig
    from streaming.web.server import WebView

    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if program is None:
        return None
    view = WebView(
        "127.0.0.1", 0, token=None, database_path=path, labels=["dog"], log_mel=LogMelConfig(),
        model="scripted",
    )  # fmt: skip
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(view.url)
            page.get_by_text("blackbird").first.wait_for()
            seconds = time.perf_counter() - started
            browser.close()
            return seconds
    finally:
        view.close()
