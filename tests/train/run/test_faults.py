"""A fault in any stage of the training loop: the run ends with it, and no process is left."""

import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest
import soundfile

from sed.errors import SedError
from sed.models.checkpoint import load_checkpoint
from train.run.train import TrainCallbacks, train

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="workers inherit the fault by fork"
)

STAGES = {
    "worker: reading": "train.loop.dataset.read_clip",
    "worker: augmentation": "train.loop.dataset.random_gain",
    "augmentation of the batch": "train.loop.batch_augment.gamma",
    "optimizer": "train.loop.trainer.nn.utils.clip_grad_norm_",
    "validation": "train.loop.validation.frame_maximum",
    "metrics": "train.run.train.clip_metrics",
    "checkpoint": "train.run.train.save_checkpoint",
    "state": "train.loop.trainer.save_state",
    "history": "train.run.train.write_history",
    "report": "train.run.directory.write_report",
}

SLOW = ("worker: augmentation", "metrics", "state", "history")  # beside others that are quick


def run(sounds, tiny, out, **callbacks):
    """Train an epoch of two batches with one worker each for training and validation."""
    train(
        sounds, recipe=tiny, output=out, device="cpu", epochs=1,
        overrides=["optim.n_workers=1"],
        callbacks=TrainCallbacks(**callbacks),
    )  # fmt: skip


def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)


def killed(*_):
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.2)  # PyTorch notices a child that has ended


def failing(*_, **__):
    raise ValueError("the fault")


@pytest.mark.parametrize(
    ("stage", "callbacks", "error"),
    [
        *(
            pytest.param(
                *(name, {}, (ValueError, "the fault")), marks=[pytest.mark.slow] * (name in SLOW)
            )
            for name in STAGES
        ),
        ("", {"on_step": failing}, (ValueError, "the fault")),
        ("", {"on_epoch": failing}, (ValueError, "the fault")),
        ("", {"on_step": interrupted}, (KeyboardInterrupt, None)),
        ("", {"on_step": killed}, (SedError, "that loads clips has ended .* set fewer n_workers")),
    ],
)
def test_a_fault_ends_the_run_and_its_processes(
    sounds, tiny, tmp_path, undrawn, monkeypatch, stage, callbacks, error
):
    before = set(multiprocessing.active_children())
    if stage:
        monkeypatch.setattr(STAGES[stage], failing)
    start = time.monotonic()
    # The error is kept, and with it its traceback and all that the frames in it refer to.
    with pytest.raises(error[0], match=error[1]) as kept:
        run(sounds, tiny, tmp_path / "run", **callbacks)
    assert {*multiprocessing.active_children()} - before == set()
    assert time.monotonic() - start < 10, kept


def test_labels_of_any_text_are_trained_and_kept(tiny, tmp_path, undrawn):
    labels = ["mésange", "$a^$", "$\\frac$", "🦉 x", "=1+1", "l" * 200]
    rows = []
    generator = np.random.default_rng(0)
    for i, label in enumerate(labels * 4):
        soundfile.write(tmp_path / f"{i}.wav", generator.normal(0, 0.1, 8_000), 8_000)
        rows.append(f"{i}.wav;{label}\n")
    table = tmp_path / "labels.csv"
    table.write_text("file;label\n" + "".join(rows), "utf-8")
    best = train(table, recipe=tiny, output=tmp_path / "run", device="cpu", epochs=1)
    assert load_checkpoint(best).labels == tuple(sorted(labels))
