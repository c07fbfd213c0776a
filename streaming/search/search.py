"""Search a store of embeddings for sound like examples, or for what to label next."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed.errors import SedError, UsageError
from sed.events.embedding_store.store import EmbeddingStore
from sed.events.tracker import Event
from sed.text import pluralize, printable
from sed.types import Floats
from streaming.search.exact import (
    Best,
    OnProgress,
    normalized,
    search_exact,
    similarities,
    top_rows,
)
from streaming.search.examples import check_sound, embed_examples, parse_example, same_sound
from streaming.search.index import METRICS, open_index, read_state
from streaming.search.selection import deduplicate, representatives

CANDIDATES_PER_RESULT = 20  # of which clusters and uncertain rows are chosen
SAMPLED_ROWS = 20_000  # of a store that is clustered without examples
MOST_CANDIDATES = 100_000  # that are looked through for results that are no duplicates

_log = logging.getLogger("sed")

Example = str | os.PathLike[str] | Event
Nearest = Callable[[Floats, int], list[Best]]  # queries (queries, dimension), rows per query


@dataclass(frozen=True)
class SearchConfig:
    """What a search returns.

    Attributes
    ----------
    top
        Number of results.
    metric
        ``cosine`` similarity, or ``dot`` product, which prefers loud and long vectors.
    negative_weight
        Weight of the mean of negative examples against that of positive ones.
    dedupe_seconds
        Of results of one file that overlap or are at most so far apart, the best is kept; None
        keeps all.
    dedupe_similarity
        With `dedupe_seconds`: of results whose cosine similarity to each other is above this, as in
        copies of a file, the best is kept.
    diverse
        Return one representative of each of `top` clusters of the best rows; of a sample of all
        rows if there are no examples.
    uncertain
        Return the rows that are about as similar to the negative examples as to the positive ones.
    candidates
        Rows that `diverse` and `uncertain` choose from; 20 per result if None.
    label
        Label of the results; the name of the first positive example if empty.
    """

    top: int = 50
    metric: str = "cosine"
    negative_weight: float = 0.5
    dedupe_seconds: float | None = None
    dedupe_similarity: float = 0.99
    diverse: bool = False
    uncertain: bool = False
    candidates: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.top < 1:
            raise UsageError(f"expected at least 1 result, got {self.top}")
        if self.metric not in METRICS:
            raise UsageError(f"expected the metric cosine or dot, got {self.metric!r}")
        if self.negative_weight < 0:
            raise UsageError(f"expected a weight of at least 0, got {self.negative_weight:g}")
        if self.dedupe_seconds is not None and not self.dedupe_seconds >= 0:
            raise UsageError(f"expected at least 0 s to dedupe by, got {self.dedupe_seconds:g}")
        if not 0 < self.dedupe_similarity <= 1:
            raise UsageError(
                f"expected a similarity above 0 and up to 1, got {self.dedupe_similarity:g}"
            )
        if self.candidates is not None and self.candidates < self.top:
            raise UsageError(
                f"expected at least as many candidates as results, {self.top}, got "
                f"{self.candidates}"
            )

    @property
    def n_candidates(self) -> int:
        """Rows that `diverse` and `uncertain` choose from."""
        return self.candidates or CANDIDATES_PER_RESULT * self.top


def search(
    store: str | os.PathLike[str],
    like: Example | Sequence[Example] = (),
    unlike: Example | Sequence[Example] = (),
    *,
    config: SearchConfig | None = None,
    model: str | os.PathLike[str] | None = None,
    channel: int | None = None,
    engine: str = "auto",
    device: str = "auto",
    exact: bool = False,
    on_progress: OnProgress | None = None,
) -> list[Event]:
    """Return the rows of a store of embeddings that are most similar to examples.

    The query is the mean of the positive examples minus the weighted mean of the negative ones
    (Rocchio 1971; Manning, Raghavan and Schütze 2008, section 9.1), of vectors of length 1 for
    cosine similarity.

    Parameters
    ----------
    store
        Folder that `sed embed` wrote.
    like, unlike
        Positive and negative examples: recordings, parts of recordings (``clip.wav:3.2-5.0``), or
        events with `file`.
    config
        What to return; see `SearchConfig`.
    model
        Path of the store's model, if it is not where the store says.
    channel
        Channel of the examples, counted from 1; the mean of all if not given.
    engine, device
        What embeds the examples; see `open_engine`.
    exact
        Read all rows, also if there is an index.
    on_progress
        Called with the rows that were read, and the rows of the store.

    Returns
    -------
    list of Event
        The best first, without the examples themselves. The score is the similarity, and that of
        `SearchConfig.metric` cosine is at least 0. With `uncertain` it is 1 minus the difference of
        both similarities; with `diverse` and no examples it is the share of rows in the cluster.

    Raises
    ------
    UsageError
        If an argument is invalid, or the model is not the store's.
    RecordingError
        If an example cannot be read, or is silent.
    SedError
        If the store is empty or damaged.
    """
    config = config or SearchConfig()
    opened = EmbeddingStore(store)
    if not opened.n_rows:
        raise SedError(f"{printable(str(opened.path))}: is empty. Add recordings with `sed embed`.")
    positive, negative = _examples(like), _examples(unlike)
    _check_examples(config, positive, negative)
    if not positive:
        return _representatives_of_all(opened, config)
    examples = [check_sound(example, channel) for example in [*positive, *negative]]
    vectors = embed_examples(
        examples, opened.config, model=model, channel=channel, engine=engine, device=device
    )
    n = len(positive)
    label = config.label or Path(positive[0].file).stem
    ranking = Ranking(opened, config, exact=exact, on_progress=on_progress)
    found = ranking.find(vectors[:n], vectors[n:], examples)
    return [replace(event, label=label, score=score) for event, score in found]


class Ranking:
    """Ranks the rows of a store by their similarity to vectors.

    Parameters
    ----------
    store
        The rows.
    config
        What to return.
    exact
        Read all rows, also if there is an index.
    on_progress
        Called with the rows that were read, and the rows of the store.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        config: SearchConfig,
        *,
        exact: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._on_progress = on_progress
        self._index = open_index(store) if not exact and _has_index(store, config) else None

    def nearest(self, queries: Floats, k: int) -> list[Best]:
        """Return the `k` nearest rows to each query, by the index where there is one."""
        if self._index is not None:
            return [self._index(query, k) for query in queries]
        metric = self._config.metric
        return search_exact(self._store, queries, k, metric=metric, on_progress=self._on_progress)

    def find(
        self, positive: Floats, negative: Floats, examples: Sequence[Event] = ()
    ) -> list[tuple[Event, float]]:
        """Return rows and their scores, the best first, without those of the examples.

        Parameters
        ----------
        positive, negative
            Vectors of examples, (examples, dimension).
        examples
            Where they are.
        """
        config = self._config
        wanted = config.n_candidates if config.diverse else config.top
        # Rows of the examples and duplicates fall out; where too few are left, more are read.
        n = wanted + 16 if config.dedupe_seconds is None else 4 * wanted
        n = config.n_candidates if config.uncertain else n
        while True:
            n = min(n, self._store.n_rows)
            rows, scores = self._ranked(positive, negative, n)
            events = self._store.events(rows)
            kept = self._kept(rows, events, examples, wanted)
            if len(kept) >= wanted or n >= min(self._store.n_rows, MOST_CANDIDATES):
                break
            n *= 8
        if config.diverse and len(kept) > config.top:
            chosen, _ = representatives(self._store.vectors(rows[kept]), config.top)
            kept = [kept[i] for i in sorted(chosen.tolist())]
        return [(events[i], self._score(float(scores[i]))) for i in kept[: config.top]]

    def _ranked(
        self, positive: Floats, negative: Floats, n: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return rows and their scores, the best first."""
        config = self._config
        if not config.uncertain:
            ((rows, scores),) = self.nearest(_query(positive, negative, config)[None], n)
            return rows, scores
        both = np.stack([_query(side, side[:0], config) for side in (positive, negative)])
        rows = top_rows(self.nearest(both, n))
        to_positive, to_negative = similarities(self._store.vectors(rows), both, config.metric)
        margin = np.abs(to_positive - to_negative)
        order = np.lexsort((rows, margin))
        return rows[order], 1 - margin[order]

    def _kept(
        self,
        rows: NDArray[np.int64],
        events: Sequence[Event],
        examples: Sequence[Event],
        most: int,
    ) -> list[int]:
        """Return the places of rows that are neither examples nor duplicates."""
        config = self._config
        others = [i for i, event in enumerate(events) if not same_sound(event, examples)]
        if config.dedupe_seconds is None:
            return others[:most]
        kept = deduplicate(
            [events[i] for i in others],
            self._store.vectors(rows[others]),
            seconds=config.dedupe_seconds,
            similarity=config.dedupe_similarity,
            most=most,
        )
        return [others[i] for i in kept]

    def _score(self, similarity: float) -> float:
        """Return the score of an event: a cosine below 0 is no similarity at all."""
        return min(1.0, max(0.0, similarity)) if self._config.metric == "cosine" else similarity


def _has_index(store: EmbeddingStore, config: SearchConfig) -> bool:
    """Return whether there is an index that finds all rows; else log why it is not used."""
    state = read_state(store)
    if state is None:
        return False
    if importlib.util.find_spec("usearch") is None:
        reason = "needs an extra: pip install 'sed-engine[search]'"
    elif state.metric != config.metric:
        reason = f"is for the metric {state.metric}"
    elif state.n_missing:
        reason = f"lacks {pluralize(state.n_missing, 'row')}, which `sed search STORE --index` adds"
    else:
        return True
    _log.warning("%s: all rows are read, since the index %s", printable(str(store.path)), reason)
    return False


def _query(positive: Floats, negative: Floats, config: SearchConfig) -> Floats:
    """Return the vector to search for, (dimension,): after Rocchio (1971)."""
    if config.metric == "cosine":
        positive, negative = normalized(positive), normalized(negative)
    query = positive.mean(axis=0)
    if len(negative):
        query = query - config.negative_weight * negative.mean(axis=0)
    if not query.any():
        raise UsageError("the positive and the negative examples are the same. Give other ones.")
    return np.asarray(query, np.float32)


def _representatives_of_all(store: EmbeddingStore, config: SearchConfig) -> list[Event]:
    """Return a row of each cluster of a sample of all rows, of the largest cluster first."""
    n = min(store.n_rows, max(SAMPLED_ROWS, config.candidates or 0))
    rows = np.sort(np.random.default_rng(0).choice(store.n_rows, n, replace=False))
    chosen, shares = representatives(store.vectors(rows), config.top)
    events = store.events(rows[chosen])
    return [
        replace(event, label=config.label or event.label or "sample", score=float(share))
        for event, share in zip(events, shares, strict=True)
    ]


def _examples(examples: Example | Sequence[Example]) -> list[Event]:
    several = [examples] if isinstance(examples, str | os.PathLike | Event) else examples
    return [e if isinstance(e, Event) else parse_example(e) for e in several]


def _check_examples(
    config: SearchConfig, positive: Sequence[Event], negative: Sequence[Event]
) -> None:
    if config.uncertain and not (positive and negative):
        raise UsageError(
            "uncertain rows lie between positive and negative examples: give both, --like and "
            "--unlike"
        )
    if not positive and (negative or not config.diverse):
        given = f" beside {pluralize(len(negative), 'negative example')}" if negative else ""
        raise UsageError(
            f"expected a positive example{given}: give --like, or --diverse alone for "
            "representatives of the whole store"
        )
