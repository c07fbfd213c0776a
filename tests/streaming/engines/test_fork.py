"""Engines and checkpoints in a process that was forked: refused in time, never stuck."""

import importlib.util
import os
import select
import signal
import traceback

import numpy as np
import pytest

from sed.errors import UsageError
from sed.models import fork
from sed.models.checkpoint import load_checkpoint, save_checkpoint
from streaming.engines.base import EnginePool
from streaming.engines.select import PACKAGES, open_engine

REMEDY = "multiprocessing.get_context('spawn')"
LIMIT_SECONDS = 20
INSTALLED = [
    "torch",
    # To export the graph takes seconds.
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name, package in PACKAGES.items()
        if importlib.util.find_spec(package)
    ),
]


@pytest.fixture(scope="module")
def path(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


def in_a_child(call):
    """Return what a call raises in a forked process, or its text, within a time limit."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(LIMIT_SECONDS)
            text = f"returned {call()!r}"
        except UsageError as error:
            text = str(error)
        except BaseException:
            text = traceback.format_exc()
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as out:
        ended, _, _ = select.select([out], [], [], LIMIT_SECONDS + 5)
        assert ended, "the child is stuck"
        text = out.read().decode()
    os.waitpid(process, 0)
    return text


def batch_for(engine):
    shape = (2, engine.spec.window_columns, engine.spec.log_mel.n_mels)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", INSTALLED)
def test_an_engine_that_was_opened_before_a_fork_is_refused_in_the_child(path, name):
    engine = open_engine(path, engine=name, device="cpu", n_streams=1)
    batch = batch_for(engine)
    before = engine.infer(batch).frame_probs
    assert REMEDY in in_a_child(lambda: engine.infer(batch))
    # A new engine would wait for the threads of the same runtime.
    assert REMEDY in in_a_child(lambda: open_engine(path, engine=name, device="cpu", n_streams=1))
    with EnginePool(engine) as pool:
        assert REMEDY in in_a_child(lambda: pool.submit(engine.infer, batch).result())
    np.testing.assert_array_equal(engine.infer(batch).frame_probs, before)


def test_a_checkpoint_that_was_loaded_before_a_fork_is_refused_in_the_child(path):
    checkpoint = load_checkpoint(path)
    assert REMEDY in in_a_child(lambda: open_engine(checkpoint))
    assert REMEDY in in_a_child(lambda: load_checkpoint(path))


def test_the_process_that_loads_first_is_the_one_that_may(monkeypatch):
    monkeypatch.setattr(fork, "_loading_process", None)
    assert in_a_child(fork.refuse_forked) == "returned None"
    fork.refuse_forked()
    fork.refuse_forked()
    assert REMEDY in in_a_child(fork.refuse_forked)
