import numpy as np
from hypothesis import given, settings

from sed.events.scoring.matching import one_to_one
from sed.events.scoring.overlaps import Pairs
from tests.sed.events.scoring.small_events import SEEDS, largest_matching


def matched(found, true):
    return one_to_one(Pairs(np.array(found, np.int64), np.array(true, np.int64)))


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_as_many_are_matched_as_can_be(seed):
    rng = np.random.default_rng(seed)
    fits = rng.random((6, 6)) < rng.uniform(0.1, 0.6)
    pairs = matched(*np.nonzero(fits))
    assert fits[pairs].all()
    assert len(set(pairs.found.tolist())) == len(set(pairs.true.tolist())) == len(pairs.true)
    assert len(pairs.true) == largest_matching(fits)


def test_of_several_partners_the_first_row_is_taken():
    assert [p.tolist() for p in matched([4, 2, 9], [0, 0, 0])] == [[2], [0]]
    assert [p.tolist() for p in matched([3, 3], [7, 5])] == [[3], [5]]
    assert [p.tolist() for p in matched([], [])] == [[], []]


def test_a_path_may_be_longer_than_the_stack_of_python():
    n = 2_000
    # Each detection fits two events and takes the first of them; the one behind them all fits only
    # the first event, so that all others have to move.
    found, true = [*range(n), *range(n), n], [*range(n), *range(1, n + 1), 0]
    pairs = matched(found, true)
    assert sorted(zip(pairs.found.tolist(), pairs.true.tolist(), strict=True)) == [
        *((i, i + 1) for i in range(n)),
        (n, 0),
    ]
