"""Sliding windows or long segments: the same frames, at another cost."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sed.errors import UsageError
from sed.features.log_mel import LogMelConfig
from sed.models.backbone import ModelConfig
from sed.models.inference.receptive_field import receptive_field
from sed.models.network import SedModel
from sed.models.spec import ReceptiveField
from streaming.engines.base import FrameOutput
from streaming.engines.pytorch import TorchEngine
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.dense import Segmenter
from streaming.pipeline.detector import Detector
from streaming.pipeline.modes import _SlidingAttentionPool
from tests.conftest import TINY_LOG_MEL, rising_noise


@pytest.fixture(scope="module")
def engine(dense_checkpoint):
    return TorchEngine(dense_checkpoint, "cpu", "fp32")


def run(engine, parts, **options):
    detector = Detector(engine, DetectorConfig(**options))
    done = [detector.push(part) for part in parts] + [detector.flush()]
    events = [event for detection in done for event in detection.events]
    frames, clips = (
        np.concatenate([getattr(d, name) for d in done]) for name in ("frame_probs", "clip_probs")
    )
    return events, frames, clips


@pytest.mark.parametrize(
    ("backbone", "context"),
    [
        ("resnet10t", True),
        ("mobilenetv2_035", True),
        ("convnext_atto", True),
        ("efficientnet_b0", False),  # squeeze and excitation
        ("mobilenetv3_small_050", False),
    ],
)
def test_the_network_is_n_columns_how_far_its_frames_look(backbone, context):
    model = SedModel(ModelConfig(backbone, hidden=8), LogMelConfig(), 2).eval()
    found = receptive_field(model, 100)
    assert (found is not None) == context
    if found is None:
        return
    stride, middle = model.frame_columns, 30
    generator = torch.Generator().manual_seed(0)
    log_mel = torch.randn(1, 60 * stride + 100, 64, generator=generator)
    with torch.inference_mode():
        here = model.frame_features(log_mel)[0, middle]
        for less in (0, 1):  # all of the context, and a frame less of it
            others = torch.randn(log_mel.shape, generator=generator)
            first, stop = middle - found.before + less, middle + found.after + 1 - less
            near = slice(first * stride, stop * stride)
            others[:, near] = log_mel[:, near]
            there = model.frame_features(others)[0, middle]
            if less == 0:
                assert torch.allclose(here, there, atol=1e-5)
            elif backbone == "mobilenetv2_035":  # in others the edge weighs too little to be seen
                assert not torch.equal(here, there)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n_samples=st.integers(1, 60_000),
    cuts=st.lists(st.integers(0, 60_000), max_size=8),
    n_windows=st.sampled_from([2, 5, 16]),
    hop=st.sampled_from([1.0, 0.5, 0.1]),
)
def test_cutting_segments_anywhere_changes_nothing(engine, seed, n_samples, cuts, n_windows, hop):
    samples = rising_noise(n_samples, seed)
    parts = np.split(samples, sorted(min(cut, n_samples) for cut in cuts))
    options = {"mode": "fully_convolutional", "hop_seconds": hop}
    _, frames, clips = run(engine, [samples], batch_size=1, **options)
    _, others, other_clips = run(engine, parts, batch_size=n_windows, **options)
    assert len(frames) == math.ceil(math.ceil(n_samples / 80) / 32)
    np.testing.assert_allclose(others, frames, rtol=0, atol=1e-4)
    np.testing.assert_allclose(other_clips, clips, rtol=0, atol=1e-4)


def test_fully_convolutional_frames_are_those_of_the_recording_in_silence(dense_checkpoint, engine):
    samples = rising_noise(50_000)
    _, frames, _ = run(engine, [samples], mode="fully_convolutional", batch_size=3)
    model = dense_checkpoint.model
    margin = 40 * model.frame_columns
    silence = torch.full((1, margin, 24), TINY_LOG_MEL.silence_value)
    with torch.inference_mode():
        columns = model.log_mel.forward_padded(torch.from_numpy(samples)[None])
        more = torch.full((1, (100 - columns.shape[1]) % 32, 24), TINY_LOG_MEL.silence_value)
        whole = model.forward_log_mel(torch.cat([silence, columns, more, silence], dim=1))
    expected = whole.frame_probs[0, 40 : 40 + len(frames)].numpy()
    np.testing.assert_allclose(frames, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["sliding_window", "fully_convolutional"])
@pytest.mark.parametrize("n_samples", [1, 4_000, 8_000, 8_001, 30_000])
def test_there_is_a_clip_for_every_window_in_either_mode(engine, mode, n_samples):
    _, _, clips = run(engine, [rising_noise(n_samples)], mode=mode, hop_seconds=0.5)
    n_columns = -(-n_samples // 80)
    assert len(clips) == max(1, 1 + -(-(n_columns - 100) // 50))
    assert clips.shape[1] == 3
    assert ((clips > 0) & (clips < 1)).all()


def test_the_clip_output_of_a_window_is_that_of_the_model(dense_checkpoint, engine):
    samples = rising_noise(8_000)
    _, _, clips = run(engine, [samples], mode="sliding_window", hop_seconds=1.0)
    with torch.inference_mode():
        expected = dense_checkpoint.model(torch.from_numpy(samples)[None]).clip_probs
    np.testing.assert_allclose(clips, expected.numpy(), atol=1e-5)


def test_pooling_over_sliding_windows_is_the_weighted_mean_of_their_frames():
    generator = np.random.default_rng(0)
    probs, weights = generator.random((2, 40, 2, 3)).astype(np.float32)
    frames = FrameOutput(probs.mean(axis=1), probs, weights + 0.1)
    pool = _SlidingAttentionPool(window_columns=100, hop_columns=50, frame_columns=32)
    parts = [pool.push(frames[a:b]) for a, b in ((0, 3), (3, 4), (4, 25), (25, 40))]
    clips = np.concatenate([*parts, pool.flush(40 * 32)])
    middles = 32 * np.arange(40) + 16
    for n, clip in enumerate(clips):
        inside = (middles >= 50 * n) & (middles < 50 * n + 100)
        w = frames.head_weights[inside]
        expected = ((w * probs[inside]).sum(axis=0) / w.sum(axis=0)).mean(axis=0)
        np.testing.assert_allclose(clip, expected, atol=1e-6)
    assert len(clips) == 1 + -(-(40 * 32 - 100) // 50)


def test_segments_cover_every_frame_once_with_their_context():
    segmenter = Segmenter(32, ReceptiveField(3, 2), 4, 50, np.zeros(1, np.float32))
    columns = np.arange(1, 1001, dtype=np.float32)[:, None]
    segments = segmenter.push(columns[:700]) + segmenter.push(columns[700:]) + segmenter.flush()
    assert [s.start for s in segments[1:]] == [s.stop for s in segments[:-1]]
    assert (segments[0].start, segments[-1].stop) == (0, 1000)
    for segment in segments:
        assert (len(segment.log_mel) - 50) % 4 == 0
        first = segment.start - 3 * 4
        expected = [c + 1 if 0 <= c < 1000 else 0 for c in range(first, segment.stop + 2 * 4)]
        np.testing.assert_array_equal(segment.log_mel[: len(expected), 0], expected)


def test_the_mode_is_chosen_by_the_overlap_and_by_what_the_network_allows(engine, tiny_checkpoint):
    def mode(engine, **options):
        return Detector(engine, DetectorConfig(**options)).mode

    assert mode(engine) == "sliding_window"
    assert mode(engine, hop_seconds=0.5) == "sliding_window"
    assert mode(engine, hop_seconds=0.25) == "fully_convolutional"
    assert mode(engine, hop_seconds=0.25, lookahead_seconds=0.2) == "sliding_window"
    with_excitation = TorchEngine(tiny_checkpoint, "cpu")
    assert mode(with_excitation, hop_seconds=0.1) == "sliding_window"
    with pytest.raises(UsageError, match="depend on the whole window"):
        mode(with_excitation, mode="fully_convolutional")
    with pytest.raises(UsageError, match="--lookahead needs --mode sliding_window"):
        mode(engine, mode="fully_convolutional", lookahead_seconds=0.5)
    with pytest.raises(UsageError, match=r"unknown mode 'sliding'. Did you mean sliding_window"):
        mode(engine, mode="sliding")


def test_in_fully_convolutional_mode_the_hop_costs_nothing(engine):
    n_columns = []

    class Counting(TorchEngine):
        def infer(self, log_mel):
            n_columns.append(log_mel.shape[0] * log_mel.shape[1])
            return super().infer(log_mel)

    engine.__class__, kind = Counting, engine.__class__
    try:
        for hop in (1.0, 0.1):
            run(
                engine,
                [rising_noise(400_000)],
                mode="fully_convolutional",
                hop_seconds=hop,
                batch_size=16,
            )
    finally:
        engine.__class__ = kind
    half = len(n_columns) // 2
    assert sum(n_columns[:half]) == sum(n_columns[half:]) < 1.6 * 5_000  # columns, context included
