"""Runs that are stopped, killed and resumed."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
import safetensors.torch
import torch

from sed.errors import CheckpointError, UsageError
from sed.models.checkpoint import load_checkpoint
from tests.conftest import ROOT
from train.run.train import TrainCallbacks, train

pytestmark = pytest.mark.usefixtures("undrawn")

KILLED = """
import os, signal, sys
import sed.files
from train.run.train import TrainCallbacks, train

data, recipe, out, moment = sys.argv[1:]
steps = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def on_step(step, n_steps, loss):
    if moment.startswith("step") and step == int(moment[4:]):
        die()

if moment.startswith("write"):  # in the middle of writing the n-th checkpoint file
    left = int(moment[5:])
    replace = os.replace
    def torn(part, path):
        global left
        left -= 1
        if left == 0:
            with open(part, "rb+") as file:
                file.truncate(os.path.getsize(part) // 2)
            die()
        replace(part, path)
    sed.files.os.replace = torn

callbacks = TrainCallbacks(on_step=on_step)
train(data, 0, recipe=recipe, output=out, device="cpu", resume=True, callbacks=callbacks)
"""


THOROUGH = """
[model]
dropout = 0.3
[optim]
epochs = 3
batch_size = 4
n_workers = 1
ema_decay = 0.9
grad_accum_steps = 2
schedule = "plateau"
schedule_args = { patience = 0 }

[checkpoint]
save_every_steps = 2
[waveform]
noise_probability = 0.5
[mixing]
max_recordings = 3
cutmix_probability = 0.3
soundscape_probability = 0.3
"""


def weights_of(run):
    names = ("best", "last", "state")
    return {name: safetensors.torch.load_file(run / f"{name}.safetensors") for name in names}


# In the first epoch, before any state; within an epoch; at its end; while files are written.
@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(sounds, tiny, tmp_path):
    recipe = tmp_path / "thorough.toml"
    recipe.write_text(f"extends = '{tiny}'\n{THOROUGH}")
    train(sounds, 0, recipe=recipe, output=tmp_path / "unbroken", device="cpu")
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    writes = [f"write{1 + n % 7}" for n in range(15)]
    for moment in ("step1", "step7", "step8", *writes, "never"):  # 18 kills
        done = subprocess.run(
            [sys.executable, program, sounds, recipe, tmp_path / "killed", moment],
            cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        killed = moment != "never"
        assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    assert not [path.name for path in (tmp_path / "killed").rglob(".*")]
    unbroken, resumed = weights_of(tmp_path / "unbroken"), weights_of(tmp_path / "killed")
    for name, tensors in unbroken.items():
        assert tensors.keys() == resumed[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, resumed[name][key]), (name, key)
    timing = ["seconds", "clips_per_second", "data_wait_fraction"]
    histories = [
        pd.read_csv(tmp_path / run / "history.csv").drop(columns=timing)
        for run in ("unbroken", "killed")
    ]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_a_run_is_not_overwritten_by_accident(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    before = (tmp_path / "best.safetensors").read_bytes()
    with pytest.raises(UsageError, match="holds a run: add --resume to continue it"):
        train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_ctrl_c_leaves_a_usable_run(sounds, tiny, tmp_path):
    def stop(step, n_steps, loss):
        if step > n_steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            sounds,
            0,
            recipe=tiny,
            output=tmp_path,
            device="cpu",
            callbacks=TrainCallbacks(on_step=stop),
        )
    assert len(pd.read_csv(tmp_path / "history.csv")) == 1
    assert load_checkpoint(tmp_path / "best.safetensors").labels == ("high", "low", "middle")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_step_and_loses_nothing(sounds, tiny, tmp_path, number):
    def interrupt(step, n_steps, loss):
        if step == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(
            sounds, 0, recipe=tiny, output=tmp_path, device="cpu",
            callbacks=TrainCallbacks(on_step=interrupt),
        )  # fmt: skip
    steps = []
    callbacks = TrainCallbacks(on_step=lambda step, *_: steps.append(step))
    train(sounds, 0, recipe=tiny, output=tmp_path, device="cpu", resume=True, callbacks=callbacks)
    assert steps == [3, 4]  # two epochs of two steps


STOPPED = """
import os, signal, sys
from train.run.train import TrainCallbacks, train

data, recipe, out = sys.argv[1:]

def on_step(step, n_steps, loss):
    if step == 2:  # as a batch system does: to the workers as well
        os.killpg(0, signal.SIGTERM)

settings = ["optim.n_workers=1"]
callbacks = TrainCallbacks(on_step=on_step)
try:
    train(data, 0, recipe=recipe, output=out, device="cpu", overrides=settings, callbacks=callbacks)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow  # two processes that load torch
def test_a_job_that_gets_sigterm_keeps_its_step(sounds, tiny, tmp_path):
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, program, sounds, tiny, tmp_path / "run"], cwd=ROOT, capture_output=True,
        text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    steps = []
    callbacks = TrainCallbacks(on_step=lambda step, *_: steps.append(step))
    train(sounds, 0, recipe=tiny, output=tmp_path / "run", device="cpu", resume=True,
          callbacks=callbacks)  # fmt: skip
    assert steps == [3, 4]


def test_other_clips_are_not_resumed(sounds, tiny, tmp_path):
    data = tmp_path / "sounds"
    shutil.copytree(sounds, data)
    train(data, 0, recipe=tiny, epochs=1, output=tmp_path / "run", device="cpu")
    (data / "low" / "0.wav").unlink()
    with pytest.raises(
        UsageError, match=r"run is a run of other data: .*sounds before \(27 clips\), .*now \(26"
    ):
        train(data, 0, recipe=tiny, epochs=1, output=tmp_path / "run", device="cpu", resume=True)


def test_a_finished_run_is_not_trained_again(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    before = (tmp_path / "last.safetensors").read_bytes()
    steps = []
    callbacks = TrainCallbacks(on_step=lambda *step: steps.append(step))
    train(
        sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu", resume=True,
        callbacks=callbacks,
    )  # fmt: skip
    assert steps == []
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_another_run_is_not_resumed(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    with pytest.raises(
        UsageError, match=r"started with other settings \(optim\.batch_size: 8 before, 4 now\)"
    ):
        train(
            sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu", resume=True,
            overrides=["optim.batch_size=4"],
        )  # fmt: skip
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"state\.safetensors: cannot resume from it"):
        train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu", resume=True)


DAMAGE = {
    "no progress": lambda header: header["values"].pop("progress"),
    "other progress": lambda header: header["values"]["progress"].update(more=1),
    "epoch": lambda header: header["values"]["progress"].update(epoch="one"),
    "losses": lambda header: header["values"]["progress"].update(losses=[{}]),
    "history": lambda header: header["values"]["progress"].update(history=[1]),
    "history of text": lambda header: header["values"]["progress"].update(history=[{"loss": "x"}]),
    "best": lambda header: header["values"]["progress"].update(best=None),
    "schedule": lambda header: header["values"].update(lr_schedule=None),
    "rates": lambda header: header["values"]["lr_schedule"].update(rates=["fast"]),
    "number of rates": lambda header: header["values"]["lr_schedule"].update(rates=[]),
    "scaler": lambda header: header["values"].pop("grad_scaler"),
    "no values": lambda header: header.pop("values"),
    "values": lambda header: header.update(values=[]),
    "optimizer": lambda header: header["optimizer_groups"][0].update(lr="fast"),
    "groups": lambda header: header.update(optimizer_groups={}),
    "no groups": lambda header: header.pop("optimizer_groups"),
    "entries": lambda header: header.update(optimizer_values=[1]),
}


def test_a_damaged_state_without_a_checksum_is_refused(sounds, tiny, tmp_path):
    """As earlier releases wrote them; the weights stay as they are."""
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    state = tmp_path / "state.safetensors"
    with safetensors.safe_open(state, "pt") as file:
        header = json.loads(file.metadata()["state"]) | {"format_version": 2}
    tensors = safetensors.torch.load(state.read_bytes())
    found = {}
    for name, damage in DAMAGE.items():
        damaged = copy.deepcopy(header)
        damage(damaged)
        state.write_bytes(safetensors.torch.save(tensors, {"state": json.dumps(damaged)}))
        try:
            train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu", resume=True)
            found[name] = "resumed"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    assert {
        name: text
        for name, text in found.items()
        if not text.startswith(f"CheckpointError: {state}: cannot resume from it (")
    } == {}
