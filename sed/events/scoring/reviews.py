"""What reviews of events are, for those who write them and for those who use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

REVIEWS = 0x53454452  # "SEDR": application id of the database that `sed review` writes
REVIEWS_VERSION = 1  # of the schema of that; `streaming.results.review.store` has it


def majority(labels: Iterable[str]) -> str | None:
    """Return the label that most reviewers give an event; None if there is no one such label.

    Parameters
    ----------
    labels
        What each reviewer says who is sure; empty if nothing of the class is there.
    """
    votes = Counter(labels).most_common(2)
    if not votes or (len(votes) == 2 and votes[0][1] == votes[1][1]):
        return None
    return votes[0][0]
