"""Build events and a review of them."""

import numpy as np
import soundfile

from sed.events.event_table import EventTable
from streaming.results.review.session import ReviewSession
from streaming.results.review.store import Decision, EventKey, ReviewStore

SCRIPT = "<script>alert(1)</script>"
RATE = 8_000


def events(n=6, file="a.wav", label="dog"):
    """Return events that last a second, with scores that fall from 0.95."""
    scores = [round(0.95 - 0.1 * i, 2) for i in range(n)]
    return EventTable.of_columns(
        [file] * n,
        [label] * n,
        [2.0 * i for i in range(n)],
        [2.0 * i + 1 for i in range(n)],
        scores,
    )


def decision(i=0, verdict="right", reviewer="Ana", label=None, onset=None, file="a.wav"):
    """Return a decision about event `i` of `events`."""
    begin = 2.0 * i
    true_label = {"right": "dog", "relabelled": label}.get(verdict, "")
    return Decision(
        EventKey(file, "dog", begin, begin + 1),
        0.5,
        reviewer,
        verdict,
        true_label,
        begin if onset is None else onset,
        begin + 1,
    )


def write_noise(path, seconds=14.0, n_channels=1):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * RATE), n_channels))
    soundfile.write(path, noise, RATE)


def session_of(folder, table, **options):
    return ReviewSession(table, ReviewStore(folder / "reviews.sqlite"), audio=[folder], **options)
