"""One run per fold."""

import numpy as np
import pandas as pd
import pytest

from train.run.crossval import train_all_folds

pytestmark = pytest.mark.usefixtures("undrawn")


def test_all_folds_come_to_a_mean_and_a_spread(sounds, tiny, tmp_path):
    messages = []
    results = train_all_folds(
        sounds, recipe=tiny, epochs=1, output=tmp_path, device="cpu",
        on_fold=lambda *fold: messages.append(fold),
    )  # fmt: skip
    assert messages == [(1, 3), (2, 3), (3, 3)]
    table = pd.read_csv(results.path)
    assert table["fold"].tolist() == ["0", "1", "2", "mean", "std"]
    assert table["accuracy"][3] == pytest.approx(table["accuracy"][:3].mean())
    assert table["accuracy"][4] == pytest.approx(np.std(table["accuracy"][:3], ddof=1))
    assert results.summary["padded_cmap_5"][0] == pytest.approx(table["padded_cmap_5"][3])
