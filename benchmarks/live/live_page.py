"""Write the page docs/live.md, and rows for the README, from the results of live.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.store import NOT_MEASURED, read

Results = dict[str, Any]


def equality(f: Results) -> str:
    """Return whether live events equal those of the file."""
    same = "the same to the frame" if f["same_to_the_frame"] else "**not the same**"
    return (
        f"{f['seconds']:.0f} s captured: {f['live']} events live, {f['offline']} by `sed detect "
        f"--hop 0.5 --lookahead 1` on the saved FLAC, {same}; scores differ by at most "
        f"{f['largest_difference_of_score']:.4f}; {f['gaps']} gaps."
    )


def latency(f: Results) -> str:
    """Return the table of latencies, and its explanation."""
    rows = {
        "onset printed, after the start of the frame that reaches the threshold": f["onset"],
        "– of it, waiting for the last sample needed": f["parts"]["waiting for sound"],
        "– of it, model and printing": f["parts"]["model and printing"],
        "complete event printed, after its offset": f["end"],
    }
    table = [f"| {f['events']} events | median | 95th percentile | maximum |", "|---|---|---|---|"]
    table += [
        f"| {name} | {v['median']:.3f} s | {v['p95']:.3f} s | {v['max']:.3f} s |"
        for name, v in rows.items()
    ]
    half_median = f["lookahead_seconds"] - f["overlap_add_seconds"] - f["frame_seconds"]
    return "\n".join(table) + (
        f"\n\nThe stated lookahead is {f['lookahead_seconds']:.2f} s: "
        f"{f['overlap_add_seconds']:g} s that a window needs beyond a frame (`--lookahead`), the "
        f"frame itself ({f['frame_seconds']:.2f} s), and half the median filter "
        f"({half_median:.2f} s). A hop of 0.5 s may pass in addition, so the goal is "
        f"{f['bar_seconds']:.2f} s for the 95th percentile. An event is complete when nothing can "
        f"extend it any more, which takes the minimum gap of {f['min_gap_seconds']:g} s longer. "
        "A sound device adds its block of 0.1 s and the buffer of its driver."
    )


def lookahead(f: Results) -> str:
    """Return the table of accuracy against lookahead."""
    rows = [
        f"| lookahead, hop 0.5 s, {f['events']} events of random scenes | found | "
        "false per minute | F1 |",
        "|---|---|---|---|",
    ]
    for row in f["found"]:
        name = (
            "all windows" if row["lookahead_seconds"] is None else f"{row['lookahead_seconds']:g} s"
        )
        rows.append(
            f"| {name} | {row['recall']:.0%} | {row['false_per_minute']:.2f} | {row['f1']:.2f} |"
        )
    return "\n".join(rows)


def overload(f: Results) -> str:
    """Return the account of all samples."""
    return (
        f"The model was slowed to half the speed it needs for {f['slowed_seconds']:.0f} s. Of "
        f"{f['delivered']:,} samples that PortAudio delivered, {f['processed']:,} were processed "
        f"and {f['dropped']:,} dropped, in {f['gaps']} gaps that report {f['dropped_in_gaps']:,}: "
        f"a difference of {f['difference']}. Less than a hop was waiting "
        f"{f['recovered_after_seconds']:.2f} s after the model was fast again (goal: two hops, "
        f"{2 * f['hop_seconds']:g} s). Overflows of the driver: {f['overflows']}."
    )


def strangers(f: Results) -> str:
    """Return what connections without the token cost."""
    return (
        f"For {f['seconds']:.0f} s, {f['idle']:,} idle, {f['half_open']} half-open and "
        f"{f['web_sockets']} WebSocket connections without the token were held, and opened again a "
        f"second after they were closed: {f['opened']:,} in all. The process may open "
        f"{f['open_files']:,} files and had {f['most_files_of_the_process']} open at most. Of "
        f"{f['events_expected']} events {f['events']} were reported, "
        f"{f['events_of_another_time_or_label']} of them with another time or label; "
        f"{f['events_with_clip']} have their clip, {f['commands']} commands ran. The slowest of "
        f"{f['health_requests']} requests for `/health` with the token took "
        f"{f['health_slowest_seconds']:.2f} s (goal: 1 s). The account at the end: {f['account']}."
    )


def flat(f: Results) -> str:
    """Return how memory and open files varied after the warm-up."""
    parts = ", ".join(f"{memory:.0f}" for memory in f.get("memory_mib_of_ten_parts", ()))
    return (
        f"memory {f['memory_mib']:.0f} MiB, between {100 * (f['memory_lowest'] - 1):+.1f} % and "
        f"{100 * (f['memory_highest'] - 1):+.1f} % of that in "
        f"{f['n_measurements']} measurements after the warm-up"
        + (f" (from the first minute on, in ten equal parts: {parts} MiB)" if parts else "")
        + f"; open files {f['files_first']} at first, {f['files_last']} at last, "
        f"{f['files_max']} at most"
    )


def endurance(f: Results) -> str:
    """Return the results of half an hour."""
    return (
        f"{f['minutes']:.0f} minutes of a microphone, with page, database and clips: {flat(f)}. "
        f"The account at the end: {f['account']}."
    )


def day(f: Results) -> str:
    """Return the results of a day."""
    return (
        f"{f['hours']:.0f} hours of {f['rate'] / 1000:g} kHz sound at full speed "
        f"({f['speed']:.0f} × real time, on one core): {flat(f)}. The same "
        f"{round(f['events'] / f['rounds'], 1):g} events were repeated {f['rounds']} times, in "
        f"{f['rounds_with_the_same_events']} rounds the same to the frame; the largest drift was "
        f"{f['largest_drift_seconds']:.3f} s, and {f['samples_unaccounted']} samples are "
        "unaccounted for."
    )


def writes(f: Results) -> str:
    """Return what is written to a disk."""
    per_event = f["bytes_per_event"]
    syncs = f.get("syncs_per_event")
    synced = (
        ""
        if syncs is None
        else (
            f" The disk was synced {syncs:.2f} times per event: when the log of the database is "
            "full, and for a clip at most once a second. As the simulation reports the events of "
            "five minutes at once, most of its clips share a second; at this rate in real time "
            "each clip is synced."
        )
    )
    return (
        f"Database, clips and a file of events, {f['events_per_hour']:.0f} events an hour for "
        f"{f['days'] * 24} hours (simulated): {per_event / 1000:.0f} kB per event, of them "
        f"{f['clip_bytes_per_event'] / 1000:.1f} kB for the sound of its clip, which is short "
        f"here; {per_event * f['events_per_hour'] / 1e6:.2f} MB an hour.{synced} Clips of 4 s in "
        "stereo at 44.1 kHz add about 0.3 MB each. Without events nothing is written."
    )


def year(f: Results) -> str:
    """Return the account of a simulated year."""
    queries, page = f["query_seconds"], f["page_seconds"]
    shown = "not measured, for want of a browser" if page is None else f"{page:.2f} s (goal: 2 s)"
    rows = {
        "days, in the time zone of Berlin with both changes of summer time": f["days"],
        "time of the simulation": f"{f['simulated_seconds'] / 60:.1f} min",
        "kills (SIGKILL), of as many sessions and one more": f"{f['kills']} of {f['starts']}",
        "databases damaged: overwritten, cut, overwritten while open": f["corruptions"],
        "losses of the device": f["losses"],
        "times that the clock was set, and found set": f"{f['clock_steps']}, "
        f"{f['clock_steps_in_database']}",
        "events reported": f"{f['reported']:,}",
        "– in the database at the end": f"{f['in_database']:,}",
        "– in copies that were set aside as damaged": f"{f['in_copies']:,}",
        "– only in the file of events, as their pages were destroyed": f["only_in_files"],
        "**lost**": f["lost"],
        "**doubled**": f["doubled"] + f["reported_twice"],
        "with a time that is wrong by more than 2 s": f["wrong_times"],
        "marked as undated: killed before the clock was set": f["undated"],
        "clips saved, and kept within their quota": f"{f['clips_saved']:,}, {f['clips_kept']:,}: "
        f"{f['clips_mb']:.2f} of {f['clips_max_mb']:g} MB",
        "size of the database": f"{f['database_mb']:.1f} MB",
        "the latest 100 events; those of a class; counts of 720 hours": ", ".join(
            f"{1000 * queries[name]:.0f} ms"
            for name in ("latest", "of_a_class", "hours_of_a_month")
        ),
        "page in headless Chromium, until its events are shown": shown,
    }
    return "\n".join(
        [
            "The listener, the detector, the database, the clips and the event file are real; the "
            "microphone, the clocks and the probabilities of the network follow a script.\n",
            "| a simulated year | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows.items()),
        ]
    )


def cost(f: Results) -> str:
    """Return the table of processor shares."""
    rows = ["| `sed listen` with | share of one core |", "|---|---|"]
    rows += [f"| {name} | {share:.1%} |" for name, share in f["shares"].items()]
    return "\n".join(rows)


SECTIONS: dict[str, tuple[str, Callable[[Results], str]]] = {
    "equality": ("Live and offline events are the same", equality),
    "latency": ("Latency", latency),
    "lookahead": ("What an early decision costs", lookahead),
    "overload": ("No sample is lost silently", overload),
    "strangers": ("Thousands of connections without the token", strangers),
    "cost": ("Cost", cost),
    "endurance": ("Half an hour", endurance),
    "day": ("A day", day),
    "writes": ("Writing to an SD card", writes),
    "year": ("A year", year),
}


def report() -> str:
    """Return the page."""
    parts = [
        "# How late and how reliable is `sed listen`?",
        "Written by `benchmarks/pages.py` from `docs/results/`; do not edit. The sound is the "
        "example, repeated, through the virtual microphone of "
        "`benchmarks/live/virtual_microphone.py` where a microphone is mentioned.",
    ]
    for name, (title, text) in SECTIONS.items():
        results = read(f"live-{name}")
        parts += [f"## {title}", f"`python -m benchmarks.live.live {name}`"]
        if results is None:
            parts.append(NOT_MEASURED)
        else:
            parts += [text(dict(results)), results["machine"]]
    return "\n\n".join(parts) + "\n"


def readme_rows() -> list[tuple[str, str]]:
    """Return the rows for the table in the README."""
    rows = []
    if f := read("live-latency"):
        rows.append(
            (
                "`sed listen`, from the threshold to the printed line",
                f"median {f['onset']['median']:.2f} s, 95th percentile {f['onset']['p95']:.2f} s, "
                f"of which {f['lookahead_seconds']:.2f} s lookahead",
            )
        )
    if f := read("live-equality"):
        same = "the same to the frame" if f["same_to_the_frame"] else "not the same"
        what = f"events live and offline, {f['seconds']:.0f} s through a microphone"
        rows.append((what, f"{f['live']} and {f['offline']}, {same}"))
    if f := read("live-overload"):
        what = f"samples with a model at half the speed needed for {f['slowed_seconds']:.0f} s"
        rows.append(
            (
                what,
                f"{f['delivered']:,} delivered = {f['processed']:,} processed + "
                f"{f['dropped']:,} dropped",
            )
        )
    return rows
