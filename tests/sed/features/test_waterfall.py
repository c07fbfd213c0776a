"""The waterfall keeps the last cells of a spectrogram, however its columns arrive."""

import numpy as np
import pytest

from sed.features.log_mel import LogMelConfig
from sed.features.waterfall import Waterfall

LOG_MEL = LogMelConfig()


@pytest.mark.parametrize("n_columns", [1, 7, 100])
def test_cells_are_the_maxima_of_columns_however_they_arrive(n_columns):
    log_mel = np.random.default_rng(0).normal(size=(100, LOG_MEL.n_mels)).astype(np.float32)
    waterfall = Waterfall(LOG_MEL, cell_seconds=0.04, max_seconds=60.0)
    returned = [
        waterfall.push(log_mel[first : first + n_columns]) for first in range(0, 100, n_columns)
    ]
    expected = log_mel.reshape(25, 4, -1).max(axis=1)
    np.testing.assert_array_equal(np.concatenate(returned), expected)
    np.testing.assert_array_equal(waterfall.cells, expected)
    assert waterfall.end_seconds == pytest.approx(1.0)


def test_a_gap_is_nan_and_only_the_last_seconds_are_kept():
    waterfall = Waterfall(LOG_MEL, cell_seconds=0.1, max_seconds=2.0)
    waterfall.push(np.zeros((105, LOG_MEL.n_mels), np.float32))
    waterfall.skip(1.5)
    waterfall.push(np.ones((100, LOG_MEL.n_mels), np.float32))
    assert waterfall.end_seconds == pytest.approx(2.5)
    assert waterfall.n_cells == 10 + 5 + 10
    assert len(waterfall.cells) == 20
    assert np.isnan(waterfall.cells[:, 0]).tolist() == [False] * 5 + [True] * 5 + [False] * 10
    waterfall.skip(1.0)  # an earlier time adds nothing
    assert len(waterfall.cells) == 20
