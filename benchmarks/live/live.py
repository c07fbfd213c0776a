"""Measure `sed listen`, and save the results in docs/results/.

    python -m benchmarks.live.live equality latency lookahead overload strangers cost endurance day
    python -m benchmarks.live.live writes year

Each part can be run alone; those with a microphone need what `virtual_microphone` names. The sound
is the example, repeated. `python -m benchmarks.pages` then writes the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from benchmarks.live.cost import cost
from benchmarks.live.endurance import day, endurance
from benchmarks.live.equality import equality
from benchmarks.live.latency import latency, lookahead
from benchmarks.live.overload import overload
from benchmarks.live.strangers import strangers
from benchmarks.live.virtual_microphone import what_is_missing
from benchmarks.live.writes import writes
from benchmarks.live.year import year
from benchmarks.store import Results, save

PARTS: dict[str, Callable[[], Results]] = {
    "equality": equality,
    "latency": latency,
    "lookahead": lookahead,
    "overload": overload,
    "strangers": strangers,
    "cost": cost,
    "endurance": endurance,
    "day": day,
    "writes": writes,
    "year": year,
}


def main() -> None:
    """Measure the parts given as arguments."""
    for name in sys.argv[1:]:
        needs_microphone = name not in (
            "latency",
            "lookahead",
            "strangers",
            "day",
            "writes",
            "year",
        )
        if needs_microphone and (missing := what_is_missing()):
            raise SystemExit(f"{name} needs a virtual microphone: install {missing}")
        results = PARTS[name]()
        save(f"live-{name}", results)
        print(name, json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
