"""The workshop as a whole: a run, what it leaves, and how it goes on after a kill."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import soundfile
import torch

from sed.errors import CheckpointError, OutputError, SedError, TableError, UsageError
from sed.events.tracker import Event
from sed.models.checkpoint import load_checkpoint
from tests.conftest import ROOT
from train.config.recipe import load_recipe
from train.data.check import check_files
from train.data.clips import Clip, PseudoLabels
from train.data.folds import EXCLUDED
from train.data.loudness import active_frames, trim_silence
from train.data.split import add_pseudo_labels, split_by_fold
from train.data.tables import read_table
from train.loop.dataset import ClipDataset
from train.loop.optimizer import sync_batch_norms
from train.loop.sampler import EpochBatchSampler, TimedLoader, create_loader
from train.loop.schedule import lr_factor
from train.loop.step import class_weights, teacher_embeddings
from train.run.crossval import train_all_folds
from train.run.directory import check_space
from train.run.overfit import overfit_one_batch
from train.run.train import TrainCallbacks, train

TINY = """
[data]
window_seconds = 1.0
n_folds = 3
[mixing]
mixup_probability = 0.3
[optim]
epochs = 2
batch_size = 8
n_workers = 0
learning_rate = 3e-3
[model]
backbone = "mobilenetv3_small_050"
hidden = 16
dropout = 0.0
[log_mel]
sample_rate = 8000
win_length = 128
hop_length = 80
n_fft = 128
n_mels = 24
f_min = 60.0
f_max = 4000.0
"""
N_EPOCHS = 30
PITCHES = {"low": 300, "middle": 1_000, "high": 3_000}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the recipe of a model that learns in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Return a folder per class: beeps of three pitches in noise."""
    folder = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    for label, hz in PITCHES.items():
        (folder / label).mkdir()
        for i in range(9):
            seconds = np.arange(8_000) / 8_000
            beep = 0.3 * np.sin(2 * np.pi * hz * generator.uniform(0.95, 1.05) * seconds)
            samples = beep + 0.02 * generator.standard_normal(8_000)
            soundfile.write(folder / label / f"{i}.wav", samples, 8_000)
    return folder


def test_frame_targets_are_where_the_clip_is_loud():
    samples = np.zeros(8_000, np.float32)
    samples[3_040:3_840] = 0.5  # frames of 1000 samples, stretches of 160
    samples[6_080:6_880] = 0.5 * 10 ** (-40 / 20)  # too faint beside it
    edges = np.arange(9) * 1_000
    assert active_frames(samples, 8_000, edges).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert active_frames(np.zeros(8_000, np.float32), 8_000, edges).tolist() == [0] * 8


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_rises_once_and_falls_to_nothing(schedule):
    rates = [lr_factor(i / 1_000, schedule, 0.1) for i in range(1_000)]
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(100, abs=5)
    assert max(rates) == pytest.approx(1.0 if schedule == "one-cycle" else 0.976, abs=0.005)
    assert (np.diff(rates[:peak]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] < 1e-4


@pytest.fixture(scope="module")
def run(sounds, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    recipe = out / "longer.toml"
    recipe.write_text(
        f"extends = '{tiny}'\n[optim]\nepochs = {N_EPOCHS}\nbatch_size = 6\n"
        "[loss]\nname = 'clip_ce_frame_bce'\nframe_loss_weight = 0.2\n"
        "[mixing]\nmixup_probability = 0.0\n[spectrogram]\nspec_augment_probability = 0.0\n"
    )
    train(sounds, 0, recipe=recipe, output=out, device="cpu")
    recipe.unlink()
    return out


def test_a_run_learns_and_leaves_all_it_should(run):
    assert sorted(p.name for p in run.iterdir()) == [
        "best.json",
        "best.safetensors",
        "config.json",
        "confusion.png",
        "curves.png",
        "folds.csv",
        "folds.json",
        "history.csv",
        "last.json",
        "last.safetensors",
        "per_class.csv",
        "predictions.csv",
        "report.json",
        "state.safetensors",
        "tensorboard",
    ]
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].tolist() == list(range(1, N_EPOCHS + 1))
    assert history["loss"].iloc[-1] < 0.7 * history["loss"].iloc[0]
    assert history["accuracy"].max() >= 0.8
    checkpoint = load_checkpoint(run / "best.safetensors")
    assert checkpoint.labels == ("high", "low", "middle")
    assert len(checkpoint.post_processing.onset_threshold) == 3
    best = checkpoint.metrics["validation"]
    assert best["padded_cmap_5"] == pytest.approx(history["padded_cmap_5"].max())
    assert json.loads((run / "config.json").read_text())["fold"] == 0


def test_the_trained_model_finds_a_beep_in_a_recording(run, tmp_path):
    import sed

    generator = np.random.default_rng(5)
    samples = 0.02 * generator.standard_normal(80_000)
    samples[32_000:40_000] += 0.3 * np.sin(2 * np.pi * 1_000 * np.arange(8_000) / 8_000)
    soundfile.write(tmp_path / "x.wav", samples, 8_000)
    checkpoint = load_checkpoint(run / "best.safetensors")
    detector = sed.Detector(checkpoint, sed.DetectorConfig(hop_seconds=0.5))
    probs = np.concatenate(
        [detector.push(samples.astype(np.float32)).frame_probs, detector.flush().frame_probs]
    )
    middle = probs[:, checkpoint.labels.index("middle")]
    loudest = (np.argmax(middle) + 0.5) * checkpoint.timeline.frame_seconds
    assert 4.0 <= loudest <= 5.3


def test_the_same_seed_gives_the_same_first_epoch(sounds, tiny, tmp_path):
    def first_loss(name, seed):
        losses = []
        train(
            sounds, 0, recipe=tiny, epochs=1, seed=seed, output=tmp_path / name, device="cpu",
            callbacks=TrainCallbacks(on_epoch=lambda row: losses.append(row["loss"])),
        )  # fmt: skip
        return losses

    assert first_loss("a", 7) == first_loss("b", 7) != first_loss("c", 8)


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


def test_folds_of_a_run_are_kept_and_never_mixed_with_other_settings(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    before = (tmp_path / "folds.csv").read_bytes()
    (tmp_path / "state.safetensors").unlink()
    train(sounds, 1, recipe=tiny, epochs=1, output=tmp_path, device="cpu")
    assert (tmp_path / "folds.csv").read_bytes() == before
    with pytest.raises(
        UsageError, match=r"folds\.csv was made with another seed or other \[data\]"
    ):
        train(sounds, 1, recipe=tiny, epochs=1, seed=99, output=tmp_path, device="cpu")


def test_clips_that_cannot_be_read_are_listed_before_the_first_epoch(sounds, tiny, tmp_path):
    copied = tmp_path / "sounds"
    shutil.copytree(sounds, copied)
    (copied / "low" / "0.wav").write_bytes(b"")
    soundfile.write(copied / "high" / "3.wav", np.zeros(800), 8_000)
    with pytest.raises(TableError) as caught:
        train(copied, 0, recipe=tiny, output=tmp_path / "run", device="cpu")
    message = str(caught.value)
    assert "2 of 27 files cannot be used for training" in message
    assert "0.wav: is empty (0 bytes)" in message
    assert "3.wav: every sample is zero" in message
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_the_active_part_of_a_clip_is_what_is_between_its_silences():
    samples = np.zeros(8_000, np.float32)
    samples[3_200:4_800] = 0.5
    assert len(trim_silence(samples, 8_000)) == 1_600
    assert trim_silence(np.zeros(100, np.float32), 8_000).size == 100


# ----------------------------------------------------------------------------------------- resuming


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
    for moment in ("step1", "step7", "step8", "write2", "write5", "never"):
        done = subprocess.run(
            [sys.executable, program, sounds, recipe, tmp_path / "killed", moment],
            cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        killed = moment != "never"
        assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
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


def test_ctrl_c_waits_for_the_step_and_loses_nothing(sounds, tiny, tmp_path):
    def interrupt(step, n_steps, loss):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

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


def test_a_job_that_is_told_to_stop_keeps_its_step(sounds, tiny, tmp_path):
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


# ----------------------------------------------------------------------------- several processes


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_the_doubled_batch(sounds, tiny, tmp_path):
    recipe = tmp_path / "even.toml"
    recipe.write_text(
        f"extends = '{tiny}'\n[optim]\nepochs = 2\nbatch_norm = 'frozen'\nbatch_size = {{}}\n"
        "grad_accum_steps = {{}}\nprecision = 'fp32'\nlearning_rate = 1e-3\n"
        "[checkpoint]\ninit_weights = '{{}}'\n"
        "[mixing]\nmixup_probability = 0.0\n[spectrogram]\nspec_augment_probability = 0.0\n"
    )
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path / "start", device="cpu")
    start = tmp_path / "start" / "best.safetensors"
    text = recipe.read_text()
    recipe.write_text(text.format(8, 1, start))
    train(sounds, 0, recipe=recipe, output=tmp_path / "one", device="cpu")
    recipe.write_text(text.format(4, 2, start))  # and so does one that sums its gradients
    train(sounds, 0, recipe=recipe, output=tmp_path / "summed", device="cpu")
    recipe.write_text(text.format(4, 1, start))
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--master-port", str(29_400 + os.getpid() % 500), "-m", "sed", "train", "--data",
            str(sounds), "--recipe", str(recipe), "--output", str(tmp_path / "two"),
            "--device", "cpu",
        ],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.strip() == str(tmp_path / "two" / "best.safetensors")  # one of them speaks
    assert done.stderr.count("2 processes") == 1
    one, summed, two = (
        pd.read_csv(tmp_path / run / "history.csv") for run in ("one", "summed", "two")
    )
    np.testing.assert_allclose(one["loss"], summed["loss"], rtol=1e-4)
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=1e-5)
    np.testing.assert_allclose(one["padded_cmap_5"], two["padded_cmap_5"], rtol=1e-3)


def test_processes_draw_together_what_one_would():
    clips = [Clip(f"{i}.wav", (str(i % 3),), str(i)) for i in range(30)]
    alone = EpochBatchSampler(clips, 8, 5)
    pair = [EpochBatchSampler(clips, 4, 5, rank=rank, world_size=2) for rank in (0, 1)]
    for whole, *halves in zip(alone, *pair, strict=True):
        assert whole == halves[0] + halves[1]
    assert len(alone) == len(pair[0]) == 3


def test_few_clips_go_round_until_every_process_has_some():
    clips = [Clip("a.wav", ("a",), "a"), Clip("b.wav", ("b",), "b")]
    for rank in (0, 1):
        [batch] = EpochBatchSampler(clips, 2, 0, rank=rank, world_size=2)
        assert sorted(i for _, _, i in batch) == [0, 1]


# -------------------------------------------------------------------------------------- sampling


def drawn(clips, sampling, n_epochs=30):
    batches = EpochBatchSampler(clips, 10, 0, sampling=sampling)
    counts = np.zeros(len(clips))
    for batches.epoch in range(n_epochs):
        for batch in batches:
            for _, _, i in batch:
                counts[i] += 1
    return counts


def test_balanced_sampling_draws_each_class_alike():
    clips = [Clip(str(i), ("common" if i < 90 else "rare",), str(i)) for i in range(100)]
    for sampling, expected in (("all", 0.1), ("weighted", 0.25), ("balanced", 0.5)):
        counts = drawn(clips, sampling)
        assert counts[90:].sum() / counts.sum() == pytest.approx(expected, abs=0.02), sampling
    assert drawn(clips, "all", 1).tolist() == [1] * 100


def test_a_resumed_epoch_goes_on_with_the_next_batch():
    clips = [Clip(str(i), ("a",), str(i)) for i in range(40)]
    batches = EpochBatchSampler(clips, 8, 1)
    whole = list(batches)
    batches.first_batch = 3
    assert list(batches) == whole[3:]


# --------------------------------------------------------------------------------------- samples


EDGES = np.arange(11) * 800  # ten frames in a second at 8 kHz


def dataset_of(clips, tiny, *settings, training=True, labels=("a", "b")):
    config = load_recipe(tiny, overrides=settings)
    return ClipDataset(clips, labels, config, EDGES, training=training)


def test_a_sample_depends_on_seed_and_place_alone(sounds, tiny):
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
    assert sample.frame_targets[:, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert sample.frame_targets[:, 1].tolist() == [0] * 6 + [1] * 4
    assert sample.targets.tolist() == [1, 1]


def test_labels_behind_others_count_less(sounds, tiny):
    path = str(sounds / "low" / "0.wav")
    clip = Clip(path, ("a",), "x", secondary=("b", "unheard of"))
    settings = (
        "data.target_positive=0.995",
        "data.target_secondary=0.3",
        "data.target_negative=0.0025",
    )
    sample = dataset_of([clip], tiny, *settings, labels=("a", "b", "c"))[0, 0, 0]
    assert sample.targets.tolist() == pytest.approx([0.995, 0.3, 0.0025])


def test_placed_events_are_told_frame_by_frame(sounds, tiny):
    clips = read_table(sounds)
    settings = (
        "mixing.soundscape_probability=1.0",
        "mixing.soundscape_max_events=3",
        "waveform.gain_db=0.0",
    )
    dataset = dataset_of(clips, tiny, *settings, labels=tuple(PITCHES))
    for place in range(5):
        sample = dataset[0, place, place]
        heard = (sample.samples.reshape(10, 800).abs().amax(1) > 0.05).float()
        assert torch.equal(sample.frame_targets.amax(1) * heard, heard)
        assert torch.equal(sample.frame_targets.amax(0), sample.targets)


def test_noise_behind_clips_has_the_level_asked_for(sounds, tiny):
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


def test_a_clip_that_cannot_be_read_says_so_through_a_worker(tiny, tmp_path):
    clips = [Clip(str(tmp_path / "gone.wav"), ("a",), "x")] * 8
    dataset = dataset_of(clips, tiny, "optim.n_workers=1")
    loader = create_loader(dataset, EpochBatchSampler(clips, 8, 0), device=torch.device("cpu"))
    with pytest.raises(SedError, match=r"gone\.wav: no such file"):
        list(TimedLoader(loader))


# ---------------------------------------------------------------------- before the first epoch


def test_tasks_that_cannot_be_are_refused(tiny):
    clips = [Clip(f"{i}.wav", (f"class {i % 2}",), str(i)) for i in range(4)]
    config = load_recipe(tiny)
    with pytest.raises(UsageError, match="no fold 5: the folds are 0 to 1"):
        split_by_fold(clips, [0, 1, 0, 1], 5, config)
    with pytest.raises(TableError, match="no clip is left for training"):
        split_by_fold(clips, [EXCLUDED] * 4, 0, config)
    with pytest.raises(TableError, match="fold 0 holds all clips of class 0"):
        split_by_fold(clips, [0, 1, 0, 1], 0, config)
    one = [Clip(f"{i}.wav", ("dog",), str(i)) for i in range(4)]
    with pytest.raises(TableError, match="all clips are 'dog': a classifier needs two classes"):
        split_by_fold(one, [0, 1, 0, 1], 0, config)


def test_a_fold_without_a_class_is_told(tiny):
    labels = ("a", "b", "a", "b", "c")
    clips = [Clip(f"{i}.wav", (x,), str(i), secondary=("z",)) for i, x in enumerate(labels)]
    told = split_by_fold(clips, [0, 0, 1, 1, 1], 0, load_recipe(tiny)).description
    assert told.startswith("3 training clips, 2 validation clips of fold 0, 3 classes")
    assert "fold 0 has none of c" in told
    assert "secondary z" in told


def test_a_full_disk_is_told_before_the_first_epoch(tmp_path, tiny_checkpoint, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"run: cannot write: the run needs \d+ MiB and 0 MiB"):
        check_space(tmp_path / "run", tiny_checkpoint.model, with_ema=True)


def test_pseudo_labels_that_do_not_fit_are_refused(tiny):
    clips = [Clip(f"{i}.wav", ("ab"[i % 2],), str(i)) for i in range(4)]
    config = load_recipe(tiny)
    task = split_by_fold(clips, [0, 0, 1, 1], 0, config)

    def soft(path, labels=("a", "b"), seconds=1.0):
        frames = np.ones((2, len(labels)), np.float16)
        probs = np.ones(len(labels), np.float32)
        return Clip(
            path, (), path, duration_seconds=seconds, pseudo=PseudoLabels(labels, probs, frames)
        )

    both = add_pseudo_labels(task, [soft("x.wav")], config)
    assert len(both.train) == 3
    assert "1 of the training clips are pseudo-labelled" in both.description
    with pytest.raises(TableError, match=r"of other classes \(c\) than the clips \(a, b\)"):
        add_pseudo_labels(task, [soft("x.wav", ("c",))], config)
    with pytest.raises(TableError, match=r"validation recordings, the first 0\.wav"):
        add_pseudo_labels(task, [soft("0.wav")], config)
    with pytest.raises(TableError, match="windows of 5 s, and the model's are 1 s"):
        add_pseudo_labels(task, [soft("x.wav", seconds=5.0)], config)


def test_clips_that_begin_behind_their_file_are_told(sounds):
    path = str(sounds / "low" / "0.wav")
    [fault] = check_files([Clip(path, ("a",), "x", start_seconds=9.0)], 8_000)
    assert "0.wav: holds no sound from 9 s on" in fault


def test_samples_that_are_no_number_are_told(tmp_path):
    samples = np.full(800, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", samples, 8_000, subtype="FLOAT")
    assert len(check_files([Clip(str(tmp_path / "nan.wav"), ("a",), "x")], 8_000)) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("spectrogram.time_mask_columns=101", "time_mask_columns up to 100, the size of the"),
        ("optim.optimizer=adamv", "unknown optimizer 'adamv'. Did you mean adam"),
        ("optim.schedule=cosin", "unknown schedule 'cosin'. Did you mean cosine"),
        ("optim.schedule_args={nonsense = 1}", "schedule plateau: .*nonsense.* Check schedule"),
        ("optim.frozen_stages=9", "expected frozen_stages up to"),
        ("optim.precision=fp16", "precision fp16 needs a GPU"),
    ],
)
def test_what_the_libraries_do_not_know_is_told(sounds, tiny, tmp_path, setting, message):
    schedule = "optim.schedule=plateau" if "schedule_args" in setting else "seed=0"
    with pytest.raises(UsageError, match=message):
        train(sounds, 0, recipe=tiny, output=tmp_path, device="cpu", overrides=[schedule, setting])


@pytest.mark.parametrize(
    "settings",
    [
        ["optim.optimizer=RAdam", "optim.schedule=plateau"],
        ["optim.optimizer=lamb", "optim.schedule=StepLR",
         "optim.schedule_args={step_size = 1}"],
        ["optim.optimizer=sgd", "optim.schedule=tanh", "optim.layer_decay=0.8"],
        ["optim.frozen_stages=2", "loss.class_weights=balanced", "loss.name=bce"],
        ["loss.name=cross-entropy", "loss.label_smoothing=0.1", "checkpoint.patience=1"],
        ["model.in_channels=3", "spectrogram.albumentations=birdclef2023", "model.resize_freq=4.0",
         "mixing.domain=mel-power",
         "mixing.max_recordings=3", "spectrogram.gamma_probability=1.0"],
        ["model.in_channels=3", "model.input_channels_mode=delta", "model.resize_freq=2.0",
         "model.freq_pooling=concat", "spectrogram.shuffle_probability=1.0",
         "mixing.cutmix_probability=1.0"],
    ],
    ids=lambda settings: settings[0],
)  # fmt: skip
def test_what_recipes_can_ask_for_runs(sounds, tiny, tmp_path, settings):
    train(sounds, 0, recipe=tiny, output=tmp_path, device="cpu", overrides=settings)
    history = pd.read_csv(tmp_path / "history.csv")
    assert np.isfinite(history["loss"]).all()
    assert load_checkpoint(tmp_path / "best.safetensors").labels == ("high", "low", "middle")


def test_training_stops_when_nothing_gets_better(sounds, tiny, tmp_path):
    settings = ["checkpoint.patience=2", "optim.learning_rate=1e-12", "optim.epochs=9"]
    train(sounds, 0, recipe=tiny, output=tmp_path, device="cpu", overrides=settings)
    history = pd.read_csv(tmp_path / "history.csv")
    best = int(history["padded_cmap_5"].idxmax())
    assert len(history) == min(9, best + 1 + 2)


def test_frozen_stages_stay_as_they_are(sounds, tiny, tmp_path):
    settings = ["optim.frozen_stages=2", "optim.weight_decay=0.5"]
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path / "a", device="cpu", overrides=settings)
    train(sounds, 0, recipe=tiny, epochs=2, output=tmp_path / "b", device="cpu", overrides=settings)
    one, two = (
        safetensors.torch.load_file(tmp_path / run / "last.safetensors") for run in ("a", "b")
    )
    same = {key for key in one if torch.equal(one[key], two[key])}
    assert {k for k in one if k.startswith(("backbone.conv_stem", "backbone.bn1"))} <= same
    assert "heads.0.classes.weight" not in same


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_batch(sounds, tiny, tmp_path):
    data = tmp_path / "sounds"
    shutil.copytree(sounds, data)
    out = tmp_path / "run"
    with pytest.raises(SedError, match=r"the loss of step \d+ is (nan|inf); its batch \(.*\.wav"):
        train(
            data, 0, recipe=tiny, output=out, device="cpu",
            overrides=[f"optim.{k}=1e30" for k in ("learning_rate", "grad_clip_norm")],
        )  # fmt: skip
    with np.load(out / "bad-batch.npz") as batch:
        assert batch["samples"].shape == (8, 8_000)
        assert len(batch["files"]) == 8


# ------------------------------------------------------------------------- what it can do besides


def test_all_folds_come_to_a_mean_and_a_spread(sounds, tiny, tmp_path):
    told = []
    results = train_all_folds(
        sounds, recipe=tiny, epochs=1, output=tmp_path, device="cpu",
        on_fold=lambda *fold: told.append(fold),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]
    table = pd.read_csv(results.path)
    assert table["fold"].tolist() == ["0", "1", "2", "mean", "std"]
    assert table["accuracy"][3] == pytest.approx(table["accuracy"][:3].mean())
    assert table["accuracy"][4] == pytest.approx(np.std(table["accuracy"][:3], ddof=1))
    assert results.summary["padded_cmap_5"][0] == pytest.approx(table["padded_cmap_5"][3])


@pytest.mark.slow
def test_sanity_says_whether_a_batch_could_be_overfitted(sounds, tiny):
    good = overfit_one_batch(
        sounds, 0, recipe=tiny, device="cpu", overrides=["loss.name=clip_ce_frame_bce"]
    )
    assert good.passed
    assert "It can be overfitted" in str(good)
    bad = overfit_one_batch(
        sounds, 0, recipe=tiny, device="cpu", overrides=["optim.learning_rate=1e-9"]
    )
    assert not bad.passed
    assert "could NOT be overfitted" in str(bad)


def test_a_second_stage_learns_from_the_fold_held_out(sounds, tiny, tmp_path):
    told = []
    train(
        sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu",
        overrides=["data.train_on=held_out"], callbacks=TrainCallbacks(on_start=told.append),
    )  # fmt: skip
    assert told[0].startswith("9 training clips, 9 validation clips of fold 0")


def test_a_teacher_is_matched_by_name(sounds, tiny, tmp_path):
    clips = read_table(sounds)[:9]
    embeddings = np.random.default_rng(0).normal(3.0, 2.0, (9, 5))
    names = [f"{i}.ogg" for i in range(9)]
    np.savez(tmp_path / "t.npz", filename=names, embedding=embeddings)
    features = teacher_embeddings(str(tmp_path / "t.npz"), clips)
    prepared = [replace(clip, path=f"{clip.path}.wav") for clip in clips]  # as sed prepare does
    assert torch.equal(teacher_embeddings(str(tmp_path / "t.npz"), prepared), features)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(features.std(0, correction=0), 1, atol=1e-5)
    with pytest.raises(TableError, match="has no embedding of 1 clips"):
        teacher_embeddings(str(tmp_path / "t.npz"), [*clips, Clip("other.wav", ("x",), "y")])


def test_class_weights_are_even_on_average():
    clips = [Clip(str(i), ("a" if i < 6 else "b",), str(i)) for i in range(8)]
    weights = class_weights(clips, ("a", "b"), "balanced")
    assert weights.tolist() == pytest.approx([0.5, 1.5])
    assert class_weights(clips, ("a", "b"), "none").tolist() == [1, 1]


def test_synchronised_norms_keep_their_activations(tiny_checkpoint):
    model = copy.deepcopy(tiny_checkpoint.model).eval()
    samples = torch.randn(2, 8_000)
    with torch.inference_mode():
        before = model(samples).clip_logits
        after = sync_batch_norms(model).eval()(samples).clip_logits
    torch.testing.assert_close(before, after)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())


def test_a_run_learns_from_pseudo_labels_of_another(run, sounds, tiny, tmp_path):
    import sed

    generator = np.random.default_rng(3)
    for i in range(6):
        beep = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 8_000)
        samples = 0.3 * beep + 0.02 * generator.standard_normal(16_000)
        soundfile.write(tmp_path / f"{i}.wav", samples, 8_000)
    recordings = [tmp_path / f"{i}.wav" for i in range(6)]
    sed.predict([run], recordings, pseudo_labels=tmp_path / "soft.csv", device="cpu")
    told = []
    train(
        sounds, 0, recipe=tiny, pseudo_labels=tmp_path / "soft.csv", output=tmp_path / "run",
        device="cpu", overrides=["loss.frame_loss_weight=1.0"],
        callbacks=TrainCallbacks(on_start=told.append),
    )  # fmt: skip
    assert told[0].startswith("30 training clips")
    assert "12 of the training clips are pseudo-labelled" in told[0]
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["loss"]).all()


def test_a_run_learns_from_a_teacher_(sounds, tiny, tmp_path):
    names = [f"{i}" for i in range(9)]
    embeddings = np.random.default_rng(0).normal(size=(9, 4))
    np.savez(tmp_path / "t.npz", filename=names, embedding=embeddings)
    settings = [f"loss.distill_embeddings={tmp_path / 't.npz'}", "optim.ema_decay=0.9"]
    train(sounds, 0, recipe=tiny, output=tmp_path / "run", device="cpu", overrides=settings)
    state = safetensors.torch.load_file(tmp_path / "run" / "state.safetensors")
    assert state["distill_head/weight"].shape[0] == 4


def command(monkeypatch, capsys, *arguments):
    """Run a command of ours in this process; return its exit status and what it said."""
    from sed.__main__ import main

    monkeypatch.setattr(sys, "argv", ["sed", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    return stop.value.code or 0, said.out, said.err


def test_the_command_trains_all_folds(sounds, tiny, tmp_path, monkeypatch, capsys):
    status, out, err = command(
        monkeypatch, capsys, "train", "--fold", "all", "--data", sounds, "--recipe", tiny,
        "--set", "optim.epochs=1", "--output", tmp_path, "--device", "cpu",
    )  # fmt: skip
    assert status == 0
    assert out.strip() == str(tmp_path / "folds_summary.csv")
    assert "3 of 3 folds" in err
    mean = pd.read_csv(tmp_path / "folds_summary.csv")["accuracy"][3]
    assert f"accuracy      {mean:.4f} ±" in err


@pytest.mark.slow
def test_the_command_tries_to_overfit_a_batch(sounds, tiny, monkeypatch, capsys):
    arguments = ("train", "--overfit-batch", "--data", sounds, "--recipe", tiny, "--device", "cpu")
    status, out, _ = command(monkeypatch, capsys, *arguments, "--set", "optim.learning_rate=1e-9")
    assert status == 1
    assert "It could NOT be overfitted" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fold", "first"), "expected --fold as a number from 0, or all; got 'first'"),
        (("--set", "optim.epoch=3"), "unknown key 'epoch' in optim. Did you mean epochs"),
        (("--recipe", "birdclef"), "there is none. Did you mean birdclef2023"),
    ],
)
def test_the_command_refuses_what_cannot_be(sounds, monkeypatch, capsys, arguments, message):
    status, _, err = command(monkeypatch, capsys, "train", "--data", sounds, *arguments)
    assert status == 2
    assert message in err
