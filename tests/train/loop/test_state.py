"""The state of a run is loaded as it was saved, or not at all."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from sed.errors import CheckpointError
from train.loop.state import ResumableState, load_state, save_state


def state(seed=0):
    torch.manual_seed(seed)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1 * (seed + 1))
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return ResumableState({"model": module}, optimizer, {"epoch": 3 + seed, "loss": [0.5, 1e300]})


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "state.safetensors"
    save_state(path, state())
    return path


def test_a_state_comes_back_as_it_was(saved):
    other, expected = state(1), state()
    load_state(saved, other)
    assert other.values == expected.values
    assert str(other.modules["model"].state_dict()) == str(expected.modules["model"].state_dict())
    entries, wanted = (each.optimizer.state_dict() for each in (other, expected))
    assert json.dumps(entries["param_groups"]) == json.dumps(wanted["param_groups"])
    for index, entry in wanted["state"].items():
        assert {k: str(v) for k, v in entry.items()} == {
            k: str(v) for k, v in entries["state"][index].items()
        }


def test_a_state_of_the_last_release_is_loaded(saved):
    with safetensors.safe_open(saved, "pt") as file:
        header = json.loads(file.metadata()["state"]) | {"format_version": 2}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    saved.write_bytes(safetensors.torch.save(tensors, {"state": json.dumps(header)}))
    other = state(1)
    load_state(saved, other)
    assert other.values == state().values


@pytest.mark.parametrize("n_flips", [100, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_flipped_bit_or_a_missing_end_is_noticed(saved, n_flips):
    content = saved.read_bytes()
    generator = np.random.default_rng(0)
    for n in range(n_flips):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << generator.integers(8)
        if n % 5 == 0:
            damaged = damaged[: generator.integers(len(content))]
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"cannot resume from it .*--init-weights .*last"):
            load_state(saved, state(1))
