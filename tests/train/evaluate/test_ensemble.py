"""Windows, test-time augmentation and blends, with models that return the level of each frame."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sed.errors import RecordingError
from sed.models.checkpoint import Checkpoint
from sed.models.heads.attention import SedOutput
from tests.conftest import rising_noise
from train.evaluate.ensemble import MIN_WINDOW_RATIO, Ensemble, blend_probs


class Loudness(torch.nn.Module):
    """A model whose probabilities are the level of each frame, and half of it."""

    def __init__(self, sample_rate=8_000, n_frames=5, gain=1.0):
        super().__init__()
        self.log_mel = SimpleNamespace(
            config=SimpleNamespace(sample_rate=sample_rate, hop_length=sample_rate // 100)
        )
        self._n_frames, self.frame_columns, self.gain = n_frames, 100 // n_frames, gain

    def n_frames(self, n_columns):
        return self._n_frames

    def frame_edges(self, n_columns):
        return np.arange(self._n_frames + 1) * (n_columns // self._n_frames)

    def forward(self, samples):
        level = samples.abs().reshape(len(samples), self._n_frames, -1).mean(2) * self.gain
        probs = torch.stack([level, level / 2], dim=2).clamp(1e-6, 1 - 1e-6)
        return SedOutput(probs.logit(), probs.logit()[:, 0], probs.amax(1), probs)


def loudness(*, data=None, labels=("loud", "soft"), window_seconds=1.0, **options):
    return Checkpoint(Loudness(**options), labels, window_seconds, data=data or {})


def steps(rate, *levels):
    """Return a second in as many steps as there are levels."""
    return np.repeat(np.array(levels, np.float32), rate // len(levels))


def predict(ensemble, *recordings):
    pieces = (
        piece for i, blocks in enumerate(recordings) for piece in ensemble.windows(i, blocks)
    )  # fmt: skip
    return list(ensemble.predict(pieces))


@given(st.integers(1, 40_000), st.integers(0, 10**6))
def test_windows_hold_the_recording_however_it_is_cut(n_samples, seed):
    generator = np.random.default_rng(seed)
    sound = generator.random(n_samples).astype(np.float32)
    blocks = np.split(sound, np.sort(generator.integers(0, n_samples + 1, 5)))
    ensemble = Ensemble([loudness()])
    pieces = list(ensemble.windows(7, {8_000: blocks}))
    rest = n_samples % 8_000
    left_out = rest if n_samples > 8_000 and rest < MIN_WINDOW_RATIO * 8_000 else 0
    kept = []
    for i, piece in enumerate(pieces):
        samples = piece.samples[8_000]
        first, length = round(piece.lead_seconds * 8_000), round(piece.duration_seconds * 8_000)
        assert (piece.source, piece.start_seconds, samples.shape) == (7, i, (8_000,))
        assert not samples[:first].any()
        assert not samples[first + length :].any()
        kept.append(samples[first : first + length])
    np.testing.assert_array_equal(np.concatenate(kept), sound[: n_samples - left_out])
    assert len(pieces) == ensemble.n_windows(n_samples / 8_000)
    if n_samples < 8_000:
        assert round(pieces[0].lead_seconds * 8_000) == (8_000 - n_samples) // 2


def test_a_stream_without_end_is_predicted_window_by_window():
    ensemble = Ensemble([loudness()], batch_size=2)
    endless = (np.full(1_000, 0.25, np.float32) for _ in itertools.count())
    predicted = list(itertools.islice(ensemble.predict(ensemble.windows(0, {8_000: endless})), 5))
    assert [piece.start_seconds for piece in predicted] == [0, 1, 2, 3, 4]
    assert predicted[4].clip_probs == pytest.approx([0.25, 0.125])


def test_one_model_says_what_it_says_alone(tiny_checkpoint):
    sound = rising_noise(24_000)
    predicted = predict(Ensemble([tiny_checkpoint], device="cpu", batch_size=2), {8_000: [sound]})
    with torch.inference_mode():
        alone = tiny_checkpoint.model(torch.from_numpy(sound.reshape(3, 8_000)))
    np.testing.assert_allclose([h.clip_probs for h in predicted], alone.clip_probs, atol=1e-5)
    np.testing.assert_allclose([h.frame_probs for h in predicted], alone.frame_probs, atol=1e-5)


def test_the_frames_of_silence_around_a_recording_are_left_out():
    ensemble = Ensemble([loudness()])
    short, rest = np.full(3_200, 0.5, np.float32), np.full(8_000 + 3_200, 0.5, np.float32)
    predicted = predict(ensemble, {8_000: [short]}, {8_000: [rest]})
    np.testing.assert_allclose(predicted[0].frame_probs[:, 0], [0.25, 0.5])  # from 0.3 s to 0.7 s
    np.testing.assert_allclose(predicted[2].frame_probs[:, 0], [0.5, 0.5])
    assert [h.duration_seconds for h in predicted] == [0.4, 1.0, 0.4]
    assert predict(ensemble, {8_000: [short[:1]]})[0].frame_probs.shape == (1, 2)


def test_short_recordings_are_padded_as_in_training():
    ensemble = Ensemble([loudness(data={"pad_mode": "repeat"})])
    (predicted,) = predict(ensemble, {8_000: [steps(8_000, 0.2, 0.6)[2_400:5_600]]})
    assert predicted.frame_probs[:, 0] == pytest.approx([0.2, 0.6])
    assert predicted.duration_seconds == pytest.approx(0.4)
    (piece,) = ensemble.windows(0, {8_000: [np.arange(3, dtype=np.float32)]})
    assert piece.samples[8_000][:7].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_turned_windows_have_their_frames_turned_back():
    sound = steps(8_000, 0.1, 0.2, 0.3, 0.4, 0.5)
    once, often = (predict(Ensemble([loudness()], tta=n), {8_000: [sound]})[0] for n in (1, 5))
    np.testing.assert_allclose(often.frame_probs, once.frame_probs, atol=1e-5)
    np.testing.assert_allclose(once.frame_probs[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-5)


def test_turns_are_evenly_spread_and_their_mean_is_taken(tiny_checkpoint):
    sound = rising_noise(8_000)
    turned = np.stack([np.roll(sound, shift) for shift in (0, 2_000, 4_000, 6_000)])
    with torch.inference_mode():
        expected = tiny_checkpoint.model(torch.from_numpy(turned)).clip_probs.numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3  # turning does change something
    (predicted,) = predict(Ensemble([tiny_checkpoint], tta=4, device="cpu"), {8_000: [sound]})
    np.testing.assert_allclose(predicted.clip_probs, expected.mean(0), atol=1e-5)


@pytest.mark.parametrize("blend", ["arithmetic", "geometric"])
def test_models_of_other_rates_and_frames_are_blended_on_the_frames_of_the_first(blend):
    models = [loudness(), loudness(sample_rate=16_000, n_frames=10, gain=0.5)]
    levels = (0.1, 0.2, 0.3, 0.4, 0.5)
    ensemble = Ensemble(models, blend=blend)
    assert ensemble.rates == [8_000, 16_000]
    (predicted,) = predict(ensemble, {rate: [steps(rate, *levels)] for rate in ensemble.rates})
    factor = {"arithmetic": 0.75, "geometric": np.sqrt(0.5)}[blend]
    np.testing.assert_allclose(predicted.frame_probs[:, 0], factor * np.array(levels), atol=1e-5)
    np.testing.assert_allclose(predicted.clip_probs, [factor * 0.5, factor * 0.25], atol=1e-5)


def test_a_geometric_mean_lets_one_model_say_no():
    probs = [np.array([0.9, 0.5], np.float32), np.array([0.0, 0.5], np.float32)]
    assert blend_probs(probs, "arithmetic") == pytest.approx([0.45, 0.5])
    assert blend_probs(probs, "geometric") == pytest.approx([np.sqrt(0.9 * 1e-7), 0.5], rel=1e-5)


def test_what_is_wrong_comes_behind_what_is_good():
    def blocks():
        yield np.full(12_000, 0.5, np.float32)
        raise RecordingError("x.wav", "broke")

    pieces = Ensemble([loudness()]).windows(0, {8_000: blocks()})
    assert next(pieces).duration_seconds == 1.0
    assert next(pieces).duration_seconds == 0.5
    with pytest.raises(RecordingError, match=r"x\.wav: broke"):
        next(pieces)


def test_models_that_do_not_fit_are_all_reported():
    first = loudness()
    others = [
        replace(loudness(labels=("loud", "dull")), path="b.safetensors"),
        loudness(labels=("soft", "loud"), window_seconds=2.0),
        loudness(data={"pad_mode": "repeat"}),
    ]
    with pytest.raises(ValueError, match="one class list and window length") as caught:
        Ensemble([first, *others])
    lines = str(caught.value).splitlines()
    assert lines[1:5] == [
        "  b.safetensors: lacks soft; also has dull",
        "  model 3: has its classes in another order",
        "  model 3: has windows of 2 s, not 1",
        "  model 4: pads short clips with repeat, not pad",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blend": "geometrical"}, "unknown blend 'geometrical'. Did you mean geometric?"),
        ({"tta": 0}, "expected tta and batch size of 1 or more, got 0, 32"),
        ({"batch_size": 0}, "expected tta and batch size of 1 or more, got 1, 0"),
    ],
)
def test_misuse(options, message):
    with pytest.raises(ValueError, match=r"expected|unknown") as caught:
        Ensemble([loudness()], **options)
    assert str(caught.value) == message
    with pytest.raises(ValueError, match="at least one checkpoint"):
        Ensemble([])
