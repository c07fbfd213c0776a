"""Tiny encoders are computed on one core: starting threads takes longer than computing them."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Compute in the thread that calls."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
