"""Mutated recordings of every format: no crash, no hang, nothing lost without a word."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.sed.audio.mutations import write_originals

MAX_SECONDS = 1_200


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    pytest.importorskip("av", reason="needs the av extra")
    pytest.importorskip("resource", reason="needs limits of memory")
    folder = tmp_path_factory.mktemp("originals")
    write_originals(folder)
    return folder


def problems(folder, first, n_mutations, *options):
    """Return what went wrong with mutations, decoded in a process of their own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.sed.audio.mutations", folder, first, n_mutations]
    command += options
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=MAX_SECONDS,
        env=environment,
        cwd=ROOT,
    )
    lines = done.stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("[")]
    if lines[-1:] != ["end"]:
        found.append(f"crash or hang at {lines[-1:]}: {done.stderr[-2_000:]}")
    return found


def test_mutated_recordings_are_read_or_reported(originals):
    assert problems(originals, 0, 108) == []


def test_mutated_recordings_through_a_pipe(originals):
    assert problems(originals, 0, 54, "pipe") == []


@pytest.mark.slow
def test_1200_mutated_recordings_through_a_pipe(originals):
    found = [
        problem
        for first in range(0, 1_200, 600)
        for problem in problems(originals, first, 600, "pipe")
    ]
    assert found == []


@pytest.mark.slow
def test_5400_mutated_recordings_are_read_or_reported(originals):
    found = [
        problem for first in range(0, 5_400, 900) for problem in problems(originals, first, 900)
    ]
    assert found == []
