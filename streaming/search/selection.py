"""Choose among the rows that a search has found: no duplicates, or what to label next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sed.events.tracker import Event
from sed.types import Floats
from streaming.search.exact import normalized

N_ITERATIONS = 30  # of k-means


def deduplicate(
    events: Sequence[Event], vectors: Floats, *, seconds: float, similarity: float, most: int
) -> list[int]:
    """Return the rows to keep: of each set of duplicates the first one.

    Parameters
    ----------
    events, vectors
        Rows and their vectors, (rows, dimension), the best first.
    seconds
        Rows of one file are duplicates if they overlap or are at most so far apart.
    similarity
        Rows of any file are duplicates if their cosine similarity is above this, as in copies of a
        file; 1 for no such comparison.
    most
        Rows to keep at most.
    """
    directions = normalized(vectors)
    kept: list[int] = []
    by_file: dict[str, list[Event]] = defaultdict(list)
    for i, event in enumerate(events):
        if len(kept) == most:
            break
        near = any(
            event.onset <= other.offset + seconds and other.onset <= event.offset + seconds
            for other in by_file[event.file]
        )
        if near or (
            similarity < 1 and kept and (directions[kept] @ directions[i]).max() > similarity
        ):
            continue
        kept.append(i)
        by_file[event.file].append(event)
    return kept


def representatives(vectors: Floats, n: int) -> tuple[NDArray[np.int64], Floats]:
    """Return a row of each of `n` clusters, the one nearest to the centre, of k-means.

    The clusters are those of directions (spherical k-means, Dhillon and Modha 2001), and start from
    rows that are far from each other (k-means++, Arthur and Vassilvitskii 2007). The same rows give
    the same clusters.

    Parameters
    ----------
    vectors
        Shape (rows, dimension).
    n
        Number of clusters; fewer where there are fewer different rows.

    Returns
    -------
    rows, shares
        The rows, of the largest cluster first, and the share of all rows in each cluster.
    """
    directions = normalized(vectors)
    centres = _spread(directions, n)
    cluster = np.zeros(len(directions), np.int64)
    for _ in range(N_ITERATIONS):
        before, cluster = cluster, np.argmax(directions @ centres.T, axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, cluster, directions)
        centres = normalized(sums)
        if np.array_equal(before, cluster):
            break
    similarity = np.einsum("ij,ij->i", directions, centres[cluster])
    order = np.lexsort((np.arange(len(cluster)), -similarity))
    numbers, first = np.unique(cluster[order], return_index=True)
    counts = np.bincount(cluster)[numbers]
    by_size = np.lexsort((order[first], -counts))
    shares = np.asarray(counts / len(directions), np.float32)
    return order[first][by_size], shares[by_size]


def _spread(directions: Floats, n: int) -> Floats:
    """Return up to `n` different rows, chosen by their squared distance to those before."""
    generator = np.random.default_rng(0)
    chosen = [0]
    distance = np.clip(1 - directions @ directions[0], 0, None)
    while len(chosen) < n and distance.max() > 1e-6:
        weights = np.where(distance > 1e-6, distance, 0).astype(np.float64)
        chosen.append(int(generator.choice(len(directions), p=weights / weights.sum())))
        distance = np.minimum(distance, np.clip(1 - directions @ directions[chosen[-1]], 0, None))
    return directions[chosen]
