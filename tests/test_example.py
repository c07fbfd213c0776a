"""The default model on the recording that ships with it: what `make demo` promises."""

from itertools import pairwise

import numpy as np
import pytest

import sed
from tests.conftest import ROOT

EXAMPLE = ROOT / "examples" / "village.ogg"
MINUTES = 196 / 60


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("torch")
    return sed.load_model()


@pytest.fixture(scope="module")
def truth():
    return sed.read_events(EXAMPLE.with_suffix(".tsv"), "tsv")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_four_of_five_events_are_found_with_one_false_a_minute_at_most(model, truth, precision):
    found = list(sed.detect(EXAMPLE, model, precision=precision, device="cpu"))
    score = sed.match_events(truth, found)
    assert score.n_true >= 25
    assert score.recall >= 0.8
    assert score.n_false / MINUTES <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("hop", [5.0, 1.0, 0.5])
def test_other_hops_detect_most_events_too(model, truth, hop):
    score = sed.match_events(truth, list(sed.detect(EXAMPLE, model, hop_seconds=hop)))
    assert score.recall >= 0.7


def test_cut_at_random_places_the_example_gives_the_same_events(model):
    samples = sed.read_recording(EXAMPLE, 32_000)[: 40 * 32_000]
    generator = np.random.default_rng(0)
    cuts = np.sort(generator.integers(0, len(samples), 40))
    engine = sed.TorchEngine(model, "cpu")
    detector = sed.Detector(engine, sample_rate=32_000)
    whole = detector.push(samples).events + detector.flush().events
    parts = [event for part in np.split(samples, cuts) for event in detector.push(part).events]
    assert parts + detector.flush().events == whole != []


def test_the_example_is_what_was_promised(truth):
    assert EXAMPLE.stat().st_size <= 2e6
    decoder = sed.open_recording(EXAMPLE)
    assert 120 <= decoder.n_samples / decoder.sample_rate <= 240
    decoder.close()
    attribution = (EXAMPLE.parent / "ATTRIBUTION.md").read_text("utf-8")
    listed = [line for line in attribution.splitlines() if line.startswith("- [1-")]
    assert len(listed) == 26
    assert all(line.endswith(("[CC0]", "[CC-BY]")) for line in listed)
    overlapping = [a for a, b in pairwise(truth) if b.onset < a.offset]
    assert len(overlapping) >= 3


@pytest.mark.gpu
def test_a_gpu_detects_what_the_cpu_detects(model):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    events = [
        [(e.onset, e.offset, e.label) for e in sed.detect(EXAMPLE, device=d, precision="fp32")]
        for d in ("cpu", "cuda")
    ]
    assert events[0] == events[1]
