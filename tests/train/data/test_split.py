"""Training and validation clips of a fold."""

import numpy as np
import pytest

from sed.errors import TableError, UsageError
from train.config.recipe import load_recipe
from train.data.clips import Clip, PseudoLabels
from train.data.folds import EXCLUDED
from train.data.split import add_pseudo_labels, split_by_fold


def test_unusable_clips_and_folds_are_refused(tiny):
    clips = [Clip(f"{i}.wav", (f"class {i % 2}",), str(i)) for i in range(4)]
    config = load_recipe(tiny)
    with pytest.raises(UsageError, match="no fold 5: the folds are 0 to 1"):
        split_by_fold(clips, [0, 1, 0, 1], 5, config)
    with pytest.raises(TableError, match="no clip is left for training"):
        split_by_fold(clips, [EXCLUDED] * 4, 0, config)
    with pytest.raises(TableError, match="fold 0 holds all clips of class 0"):
        split_by_fold(clips, [0, 1, 0, 1], 0, config)
    one = [Clip(f"{i}.wav", ("dog",), str(i)) for i in range(4)]
    with pytest.raises(TableError, match="all clips are 'dog': a classifier needs two classes"):
        split_by_fold(one, [0, 1, 0, 1], 0, config)


def test_labels_that_no_checkpoint_could_hold_are_refused(tiny):
    clips = [Clip(f"{i}.wav", (("a", "b\udce9")[i % 2],), str(i)) for i in range(4)]
    with pytest.raises(TableError, match=r"labels are not valid Unicode: 'b\\udce9'\. Rename"):
        split_by_fold(clips, [0, 0, 1, 1], 0, load_recipe(tiny))


def test_a_fold_without_a_class_is_reported(tiny):
    labels = ("a", "b", "a", "b", "c")
    clips = [Clip(f"{i}.wav", (x,), str(i), secondary=("z",)) for i, x in enumerate(labels)]
    messages = split_by_fold(clips, [0, 0, 1, 1, 1], 0, load_recipe(tiny)).description
    assert messages.startswith("3 training clips, 2 validation clips of fold 0, 3 classes")
    assert "fold 0 has none of c" in messages
    assert "secondary z" in messages


def test_pseudo_labels_that_do_not_fit_are_refused(tiny):
    clips = [Clip(f"{i}.wav", ("ab"[i % 2],), str(i)) for i in range(4)]
    config = load_recipe(tiny)
    task = split_by_fold(clips, [0, 0, 1, 1], 0, config)

    def soft(path, labels=("a", "b"), seconds=1.0):
        frames = np.ones((2, len(labels)), np.float16)
        probs = np.ones(len(labels), np.float32)
        return Clip(
            path, (), path, duration_seconds=seconds, pseudo=PseudoLabels(labels, probs, frames)
        )

    both = add_pseudo_labels(task, [soft("x.wav")], config)
    assert len(both.train) == 3
    assert "1 of the training clips are pseudo-labelled" in both.description
    with pytest.raises(TableError, match=r"of other classes \(c\) than the clips \(a, b\)"):
        add_pseudo_labels(task, [soft("x.wav", ("c",))], config)
    with pytest.raises(TableError, match=r"validation recordings, the first 0\.wav"):
        add_pseudo_labels(task, [soft("0.wav")], config)
    with pytest.raises(TableError, match="windows of 5 s, and the model's are 1 s"):
        add_pseudo_labels(task, [soft("x.wav", seconds=5.0)], config)
