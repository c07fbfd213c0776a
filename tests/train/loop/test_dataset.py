"""Windows of clips, and their targets."""

import numpy as np
import pytest
import soundfile
import torch

from sed.errors import SedError
from sed.events.tracker import Event
from tests.train.conftest import PITCHES
from train.config.recipe import load_recipe
from train.data.clips import Clip, PseudoLabels
from train.data.tables import read_table
from train.loop.dataset import ClipDataset
from train.loop.sampler import EpochBatchSampler, TimedLoader, create_loader

EDGES = np.arange(11) * 800  # ten frames in a second at 8 kHz


def dataset_of(clips, tiny, *settings, training=True, labels=("a", "b"), never_labelled=()):
    config = load_recipe(tiny, overrides=settings)
    labelled = [i for i, label in enumerate(labels) if label not in never_labelled]
    return ClipDataset(clips, labels, config, EDGES, labelled, training=training)


def test_an_example_depends_on_seed_and_position_alone(sounds, tiny):
    clips = read_table(sounds)
    dataset = dataset_of(clips, tiny, labels=tuple(PITCHES))
    first, again, other = dataset[1, 0, 5], dataset[1, 0, 5], dataset[2, 0, 5]
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)
    assert first.targets.tolist() == other.targets.tolist()


def test_strong_labels_become_frame_targets(tiny, tmp_path):
    soundfile.write(tmp_path / "x.wav", 0.1 * np.ones(24_000), 8_000)  # three windows long
    events = (Event(1.25, 1.45, "a", 1.0), Event(1.6, 2.5, "b", 1.0), Event(2.9, 3.0, "a", 1.0))
    clip = Clip(str(tmp_path / "x.wav"), ("a", "b"), "x", events=events)
    sample = dataset_of([clip], tiny, training=False)[0, 0, 0]  # the middle: 1 s to 2 s
    # 0.25 s to 0.45 s of frames of 0.1 s; at the share of 0.5, onset and offset are exact.
    assert sample.frame_targets[:, 0].tolist() == [0, 0, 0.5, 1, 0.5, 0, 0, 0, 0, 0]
    assert sample.frame_targets[:, 1].tolist() == [0] * 6 + [1] * 4
    assert sample.targets.tolist() == [1, 1]


def test_a_click_is_as_present_as_a_long_sound(tiny, tmp_path):
    soundfile.write(tmp_path / "x.wav", 0.1 * np.ones(8_000), 8_000)
    events = (Event(0.31, 0.32, "a", 1.0), Event(0.79, 0.83, "b", 1.0))
    clip = Clip(str(tmp_path / "x.wav"), ("a", "b"), "x", events=events)
    targets = dataset_of([clip], tiny, training=False)[0, 0, 0].frame_targets
    assert targets[:, 0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(targets[7:9, 1], [1 / 3, 1], atol=1e-6)


def test_secondary_labels_have_targets_of_their_own(sounds, tiny):
    path = str(sounds / "low" / "0.wav")
    clip = Clip(path, ("a",), "x", secondary=("b", "unheard of"))
    settings = (
        "data.target_positive=0.995",
        "data.target_secondary=0.3",
        "data.target_negative=0.0025",
    )
    sample = dataset_of([clip], tiny, *settings, labels=("a", "b", "c"))[0, 0, 0]
    assert sample.targets.tolist() == pytest.approx([0.995, 0.3, 0.0025])


def test_placed_events_become_frame_targets(sounds, tiny):
    clips = read_table(sounds)
    settings = (
        "mixing.soundscape_probability=1.0",
        "mixing.soundscape_max_events=3",
        "waveform.gain_db=0.0",
    )
    dataset = dataset_of(clips, tiny, *settings, labels=tuple(PITCHES))
    for place in range(5):
        sample = dataset[0, place, place]
        audible = sample.samples.reshape(10, 800).abs().amax(1) > 0.05
        assert (sample.frame_targets.amax(1)[audible] > 0).all()
        assert torch.equal(sample.frame_targets.amax(0), sample.targets)


def test_what_labels_say_nothing_about_is_unknown(sounds, tiny):
    clip = Clip(str(sounds / "low" / "0.wav"), ("b",), "x", unknown=("b", "c"))
    dataset = dataset_of([clip], tiny, labels=tuple("abcd"), never_labelled="d")
    for settings in ([], ["mixing.soundscape_probability=1.0"]):
        dataset.config = load_recipe(tiny, overrides=settings)
        sample = dataset[0, 0, 0]
        torch.testing.assert_close(
            sample.targets, torch.tensor([0.0, 1.0, np.nan, np.nan]), equal_nan=True
        )
        frames = sample.frame_targets
        assert (frames[:, 0] == 0).all()
        assert frames[:, 1].max() == 1
        assert frames[:, 2:].isnan().all()


def test_nothing_is_known_about_a_disguised_clip(sounds, tiny):
    clips = read_table(sounds)
    settings = "mixing.disguise_probability=1.0", "loss.distill_yamnet=yamnet.safetensors"
    dataset = dataset_of(clips, tiny, *settings, labels=tuple(PITCHES))
    first, again = dataset[0, 0, 5], dataset[0, 0, 5]
    assert torch.equal(first.samples, again.samples)
    assert first.samples.shape == (8_000,)
    assert first.samples.abs().max() > 0
    assert first.targets.isnan().all()
    assert first.frame_targets.isnan().all()


def test_an_event_is_on_while_its_clip_is_loud(tiny, tmp_path):
    barks = np.zeros(8_000, np.float32)
    barks[:800] = barks[7_200:] = 0.5
    soundfile.write(tmp_path / "x.wav", barks, 8_000)
    clip = Clip(str(tmp_path / "x.wav"), ("a",), "x")
    sample = dataset_of([clip], tiny, "mixing.soundscape_probability=1.0")[0, 0, 0]
    loud = sample.samples.reshape(10, 800).abs() > 0.01
    # Both barks are one frame long.
    targets = sample.frame_targets[:, 0]
    covered = loud.float().mean(1)
    assert torch.equal(targets > 0, covered > 0)
    assert targets.max() == 1
    assert (targets - covered / covered.max()).abs().max() < 0.5


def test_a_clip_in_a_room_keeps_its_energy_but_not_its_silence(sounds, tiny):
    clips = read_table(sounds)
    settings = ("waveform.shift=none", "waveform.gain_db=0.0")
    dry = dataset_of(clips, tiny, *settings, labels=tuple(PITCHES))[0, 0, 0].samples
    room = (*settings, "waveform.room_probability=1.0", "waveform.room_rt60_seconds=[0.5, 0.5]")
    wet = dataset_of(clips, tiny, *room, labels=tuple(PITCHES))[0, 0, 0].samples
    assert wet.square().sum() == pytest.approx(float(dry.square().sum()), rel=1e-3)
    assert not torch.allclose(wet, dry, atol=1e-3)


def test_added_noise_has_the_level_requested(sounds, tiny):
    clips = read_table(sounds)
    settings = ("waveform.shift=none", "waveform.gain_db=0.0")
    noisy = (
        *settings,
        "waveform.noise_probability=1.0",
        "waveform.noise=['white']",
        "waveform.noise_snr_db=[6.0, 6.0]",
    )
    labels = tuple(PITCHES)
    clean = dataset_of(clips, tiny, *settings, labels=labels)[0, 0, 0].samples
    noise = dataset_of(clips, tiny, *noisy, labels=labels)[0, 0, 0].samples - clean
    ratio = 10 * torch.log10(clean.square().mean() / noise.square().mean())
    assert ratio.item() == pytest.approx(6.0, abs=0.1)


def test_pseudo_labels_are_soft_targets(sounds, tiny):
    frames = np.linspace(0, 1, 10, dtype=np.float32)[:, None] * np.array([[1.0, 0.5]], np.float32)
    soft = PseudoLabels(("a", "b"), np.array([0.7, 0.4], np.float32), frames)
    clip = Clip(str(sounds / "low" / "0.wav"), (), "x", duration_seconds=1.0, pseudo=soft)
    sample = dataset_of([clip], tiny, "data.pseudo_label_weight=0.5", labels=("b", "a"))[0, 0, 0]
    assert sample.targets.tolist() == pytest.approx([0.4, 0.7])
    assert sample.frame_targets[:, 1].tolist() == pytest.approx(frames[:, 0].tolist(), abs=1e-6)
    assert sample.weight == 0.5


def test_pseudo_labels_end_where_the_clip_does(sounds, tiny):
    frames = np.full((4, 2), 0.9, np.float16)
    soft = PseudoLabels(("a", "b"), np.array([0.9, 0.9], np.float32), frames)
    clip = Clip(str(sounds / "low" / "0.wav"), (), "x", duration_seconds=0.4, pseudo=soft)
    sample = dataset_of([clip], tiny)[0, 0, 0]
    assert sample.frame_targets[:4].min() == pytest.approx(0.9, abs=1e-3)
    assert sample.frame_targets[4:].max() == 0
    assert sample.samples[3_200:].abs().max() == 0


def test_noise_does_not_make_a_clip_sound_longer(tiny, tmp_path):
    beep = np.zeros(8_000, np.float32)
    beep[3_200:4_800] = 0.5 * np.sin(np.arange(1_600))
    soundfile.write(tmp_path / "beep.wav", beep, 8_000)
    clip = Clip(str(tmp_path / "beep.wav"), ("a",), "x")
    settings = ("waveform.shift=none", "waveform.noise_probability=1.0",
                "waveform.noise_snr_db=[10.0, 10.0]")  # fmt: skip
    sample = dataset_of([clip], tiny, *settings)[0, 0, 0]
    assert sample.samples[:800].abs().max() > 0.01
    assert sample.frame_targets[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]


def test_strong_events_are_placed_one_by_one(tiny, tmp_path):
    sounds = np.zeros(48_000, np.float32)
    sounds[8_000:8_800], sounds[40_000:40_800] = 0.5, 0.25
    soundfile.write(tmp_path / "x.wav", sounds, 8_000)
    events = (Event(1.0, 1.1, "a", 1.0), Event(5.0, 5.1, "b", 1.0))
    clip = Clip(str(tmp_path / "x.wav"), ("a", "b"), "x", events=events, secondary=("b",))
    settings = (
        "mixing.soundscape_probability=1.0",
        "mixing.soundscape_max_events=1",
        "waveform.gain_db=0.0",
    )
    dataset = dataset_of([clip], tiny, *settings)
    for place in range(20):  # windows of one second hold one of them, or none
        sample = dataset[0, place, 0]
        loud = sample.samples.abs().amax().item()
        expected = {0.5: [1.0, 0.3], 0.25: [0.0, 1.0], 0.0: [0.0, 0.3]}[loud]
        assert sample.targets.tolist() == pytest.approx(expected)


def test_the_error_of_a_clip_comes_through_a_worker(tiny, tmp_path):
    clips = [Clip(str(tmp_path / "gone.wav"), ("a",), "x")] * 8
    dataset = dataset_of(clips, tiny, "optim.n_workers=1")
    loader = create_loader(dataset, EpochBatchSampler(clips, 8, 0), device=torch.device("cpu"))
    with pytest.raises(SedError, match=r"gone\.wav: no such file"):
        list(TimedLoader(loader))
