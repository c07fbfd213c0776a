"""Writes docs/live.md, and the table in the README, from what benchmarks/live/live.py measured.

python -m benchmarks.live.live_page
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.quality.results import DOCS, NOT_MEASURED, read

README = DOCS.parent / "README.md"
BEGIN, END = "<!-- live: written by benchmarks/live/live_page.py -->", "<!-- end of live -->"

Figures = dict[str, Any]


def equality(f: Figures) -> str:
    """Say whether live events are those of the file."""
    same = "the same to the frame" if f["same_to_the_frame"] else "**not the same**"
    return (
        f"{f['seconds']:.0f} s captured: {f['live']} events live, {f['offline']} by `sed detect "
        f"--hop 0.5 --lookahead 1` on the saved FLAC, {same}; scores differ by at most "
        f"{f['largest_difference_of_score']:.4f}; {f['gaps']} gaps."
    )


def latency(f: Figures) -> str:
    """Say how late lines are printed, and why."""
    rows = {
        "beginning printed, after the frame that reaches the threshold began": f["onset"],
        "– of it, until the last sample that it takes is there": f["parts"]["waiting for sound"],
        "– of it, model and printing": f["parts"]["model and printing"],
        "end printed, after the event ended": f["end"],
    }
    table = [f"| {f['events']} events | median | 95 % | most |", "|---|---|---|---|"]
    table += [
        f"| {name} | {v['median']:.3f} s | {v['p95']:.3f} s | {v['most']:.3f} s |"
        for name, v in rows.items()
    ]
    half_median = f["lookahead_seconds"] - f["stitching_seconds"] - f["frame_seconds"]
    return "\n".join(table) + (
        f"\n\nThe stated look-ahead is {f['lookahead_seconds']:.2f} s: {f['stitching_seconds']:g} "
        f"s that a window hears beyond a frame (`--lookahead`), the frame itself "
        f"({f['frame_seconds']:.2f} s), and half the median filter ({half_median:.2f} s). A hop of "
        f"0.5 s may pass in addition, so the bar is {f['bar_seconds']:.2f} s for 95 %. An end is "
        f"told when nothing can extend the event any more, which takes the merge gap of "
        f"{f['min_gap_seconds']:g} s longer. A sound device adds its block of 0.05 s and what "
        "its driver holds."
    )


def lookahead_seconds(f: Figures) -> str:
    """Return the table of what deciding early costs."""
    rows = [
        f"| look-ahead, hop 0.5 s, {f['events']} events of random scenes | found | false a minute "
        "| F1 |",
        "|---|---|---|---|",
    ]
    for row in f["found"]:
        name = (
            "all windows" if row["lookahead_seconds"] is None else f"{row['lookahead_seconds']:g} s"
        )
        rows.append(
            f"| {name} | {row['recall']:.0%} | {row['false_a_minute']:.2f} | {row['f1']:.2f} |"
        )
    return "\n".join(rows)


def overload(f: Figures) -> str:
    """Give the account."""
    return (
        f"The model was slowed to half the speed it needs for {f['slowed_seconds']:.0f} s. Of "
        f"{f['delivered']:,} samples that PortAudio delivered, {f['heard']:,} were heard and "
        f"{f['dropped']:,} dropped, in {f['gaps']} gaps that tell of {f['dropped_in_gaps']:,}: a "
        f"difference of {f['difference']}. Less than a hop was waiting "
        f"{f['recovered_after_seconds']:.2f} s after the model was fast again (bar: two hops, "
        f"{2 * f['hop_seconds']:g} s). Overflows of the driver: {f['overflows']}."
    )


def flat(f: Figures) -> str:
    """Say how memory and open files behaved behind the warm-up."""
    parts = ", ".join(f"{memory:.0f}" for memory in f.get("memory_mib_of_ten_parts", ()))
    return (
        f"memory {f['memory_mib']:.0f} MiB, between {100 * (f['memory_lowest'] - 1):+.1f} % and "
        f"{100 * (f['memory_highest'] - 1):+.1f} % of that in {f['looks']} looks behind the warm-up"
        + (f" (from the first minute on, in ten equal parts: {parts} MiB)" if parts else "")
        + f"; open files {f['files_first']} at first, {f['files_last']} at last, "
        f"{f['files_most']} at most"
    )


def endurance(f: Figures) -> str:
    """Say how it lasted."""
    return (
        f"{f['minutes']:.0f} minutes of a microphone, with page, database and clips: {flat(f)}. "
        f"The account at the end: {f['account']}."
    )


def day(f: Figures) -> str:
    """Say how a day went."""
    return (
        f"{f['hours']:.0f} hours of {f['rate'] / 1000:g} kHz sound at full speed "
        f"({f['times_real_time']:.0f} × real time, on one core): {flat(f)}. The same "
        f"{f['events'] / f['rounds']:.1f} events came round {f['rounds']} times, in "
        f"{f['rounds_with_the_same_events']} rounds the same to the frame; the largest drift was "
        f"{f['largest_drift_seconds']:.3f} s, and {f['samples_unaccounted']} samples are "
        "unaccounted for."
    )


def cost(f: Figures) -> str:
    """Return the table of shares."""
    rows = ["| what listens | share of one core |", "|---|---|"]
    rows += [f"| {name} | {share:.1%} |" for name, share in f["shares"].items()]
    return "\n".join(rows)


SECTIONS: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "equality": ("Live equals offline", equality),
    "latency": ("Latency", latency),
    "look-ahead": ("What deciding early costs", lookahead_seconds),
    "overload": ("Nothing lost quietly", overload),
    "cost": ("Cost", cost),
    "endurance": ("Half an hour", endurance),
    "day": ("A day", day),
}


def main() -> None:
    """Write both."""
    parts = [
        "# `sed listen`, measured",
        "Written by `benchmarks/live/live_page.py` from what `benchmarks/live/live.py` measured; do not "
        "edit. The sound is the example, again and again, through the virtual microphone of "
        "`benchmarks/live/virtual_microphone.py` where it says so.",
    ]
    for name, (title, told) in SECTIONS.items():
        figures = read(f"live-{name}")
        parts.append(f"## {title} (`python -m benchmarks.live.live {name}`)")
        if figures is None:
            parts.append(NOT_MEASURED)
        else:
            parts += [told(dict(figures)), figures["machine"]]
    (DOCS / "live.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    before, rest = README.read_text("utf-8").split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{summary()}\n\n{END}{rest.split(END)[1]}", "utf-8")


def summary() -> str:
    """Return the table in the README."""
    rows = ["| `sed listen`, default model, hop 0.5 s | |", "|---|---|"]
    if f := read("live-equality"):
        same = "the same to the frame" if f["same_to_the_frame"] else "not the same"
        rows.append(
            f"| events live and offline, {f['seconds']:.0f} s through a microphone | "
            f"{f['live']} and {f['offline']}, {same} |"
        )
    if f := read("live-latency"):
        rows.append(
            f"| from the threshold to the printed line, median and 95 % | "
            f"{f['onset']['median']:.2f} s and {f['onset']['p95']:.2f} s, of which "
            f"{f['lookahead_seconds']:.2f} s look-ahead |"
        )
    if f := read("live-cost"):
        shares = list(f["shares"].values())
        rows.append(
            f"| share of one core: lines, terminal view, page | "
            f"{shares[0]:.1%}, {shares[1]:.1%}, {shares[2]:.1%} |"
        )
    if f := read("live-overload"):
        rows.append(
            f"| a model too slow by half for {f['slowed_seconds']:.0f} s: delivered – heard – "
            f"dropped | {f['delivered']:,} – {f['heard']:,} – {f['dropped']:,} = "
            f"{f['difference']} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
