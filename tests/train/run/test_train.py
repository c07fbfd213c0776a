"""Training a model: what a run leaves, and what recipes can set."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import soundfile
import torch

from sed.errors import SedError, UsageError
from sed.models.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.train.conftest import N_EPOCHS
from train.evaluate.evaluate import evaluate
from train.run.train import TrainCallbacks, train

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_run_trains_and_writes_all_files(run):
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


def test_the_model_keeps_the_hierarchy(run, sounds, tiny, tmp_path):
    hierarchy = load_checkpoint(run / "best.safetensors").hierarchy
    assert hierarchy.as_dict() == {"high": ["beep"], "low": ["beep"]}
    (tmp_path / "h.toml").write_text("hihg = 'beep'\n")
    setting = f"data.hierarchy={tmp_path / 'h.toml'}"
    with pytest.raises(UsageError, match=r"h\.toml: .*'hihg', which is no class.*mean high"):
        train(sounds, 0, recipe=tiny, overrides=[setting], output=tmp_path / "x", device="cpu")
    assert not (tmp_path / "x" / "history.csv").exists()


def test_a_model_of_audioset_has_its_hierarchy_and_ids(sounds, tiny, tmp_path):
    names = {"high": "dog", "low": "engine", "middle": "crickets"}
    for label, name in names.items():
        shutil.copytree(sounds / label, tmp_path / "sounds" / name)
    overrides = ["data.classes=audioset", "data.label_map=esc50", "optim.epochs=1"]
    train(
        tmp_path / "sounds",
        0,
        recipe=tiny,
        overrides=overrides,
        output=tmp_path / "run",
        device="cpu",
    )
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert len(checkpoint.labels) == len(checkpoint.audioset) == 521
    assert checkpoint.audioset["dog"] == {"name": "Dog", "id": "/m/0bt9lr"}
    assert "animal" in checkpoint.hierarchy.ancestors("dog")


def test_the_same_seed_gives_the_same_first_epoch(sounds, tiny, tmp_path):
    def first_loss(name, seed):
        losses = []
        train(
            sounds, 0, recipe=tiny, epochs=1, seed=seed, output=tmp_path / name, device="cpu",
            callbacks=TrainCallbacks(on_epoch=lambda row: losses.append(row["loss"])),
        )  # fmt: skip
        return losses

    assert first_loss("a", 7) == first_loss("b", 7) != first_loss("c", 8)


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_the_doubled_batch(sounds, tiny, tmp_path):
    recipe = tmp_path / "even.toml"
    recipe.write_text(
        f"extends = '{tiny}'\n[optim]\nepochs = 2\nbatch_norm = 'frozen'\nbatch_size = {{}}\n"
        "grad_accum_steps = {}\nprecision = 'fp32'\nlearning_rate = 1e-3\n"
        "[checkpoint]\ninit_weights = '{}'\n"
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
def test_names_unknown_to_the_libraries_are_reported(sounds, tiny, tmp_path, setting, message):
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
def test_settings_of_recipes_run(sounds, tiny, tmp_path, settings):
    train(sounds, 0, recipe=tiny, output=tmp_path, device="cpu", overrides=settings)
    history = pd.read_csv(tmp_path / "history.csv")
    assert np.isfinite(history["loss"]).all()
    assert load_checkpoint(tmp_path / "best.safetensors").labels == ("high", "low", "middle")


def test_training_stops_without_improvement(sounds, tiny, tmp_path):
    settings = ["checkpoint.patience=2", "optim.learning_rate=1e-12", "optim.epochs=9"]
    train(sounds, 0, recipe=tiny, output=tmp_path, device="cpu", overrides=settings)
    history = pd.read_csv(tmp_path / "history.csv")
    best = int(history["padded_cmap_5"].idxmax())
    assert len(history) == min(9, best + 1 + 2)


def test_frozen_stages_are_not_trained(sounds, tiny, tmp_path):
    settings = ["optim.frozen_stages=2", "optim.weight_decay=0.5"]
    train(sounds, 0, recipe=tiny, epochs=1, output=tmp_path / "a", device="cpu", overrides=settings)
    train(sounds, 0, recipe=tiny, epochs=2, output=tmp_path / "b", device="cpu", overrides=settings)
    one, two = (
        safetensors.torch.load_file(tmp_path / run / "last.safetensors") for run in ("a", "b")
    )
    same = {key for key in one if torch.equal(one[key], two[key])}
    assert {k for k in one if k.startswith(("backbone.conv_stem", "backbone.bn1"))} <= same
    assert "heads.0.classes.weight" not in same


def test_a_share_of_the_initial_weights_is_kept(run, sounds, tiny, tmp_path):
    initial = f"checkpoint.init_weights={run / 'best.safetensors'}"
    for name, share in (("trained", 0.0), ("averaged", 0.25)):
        settings = [initial, f"checkpoint.init_share={share}", "optim.batch_norm=frozen"]
        out = tmp_path / name
        train(sounds, 0, recipe=tiny, epochs=1, output=out, device="cpu", overrides=settings)
    first, trained, averaged = (
        safetensors.torch.load_file(path)
        for path in (
            run / "best.safetensors",
            tmp_path / "trained" / "last.safetensors",
            tmp_path / "averaged" / "last.safetensors",
        )
    )
    key = "backbone.conv_stem.weight"
    assert not torch.equal(first[key], trained[key])
    torch.testing.assert_close(averaged[key], 0.75 * trained[key] + 0.25 * first[key])


def test_the_report_is_of_the_best_epoch_also_with_a_share_of_the_initial_weights(
    run, sounds, tiny, tmp_path
):
    best = run / "best.safetensors"
    settings = [f"checkpoint.init_weights={best}", "checkpoint.init_share=0.25"]
    settings.append("optim.learning_rate=0.05")
    facts = {"recipe": tiny, "epochs": 1, "output": tmp_path, "device": "cpu"}
    train(sounds, 0, overrides=settings, **facts)
    expected, last = (
        evaluate([path], sounds, fold="0", device="cpu").predictions.clip_probs
        for path in (best, tmp_path / "last.safetensors")
    )
    # The run is finished, so that resuming it writes the report alone.
    for suffix in (".safetensors", ".json"):
        shutil.copy(best.with_suffix(suffix), tmp_path)
    train(sounds, 0, overrides=settings, resume=True, **facts)
    reported = pd.read_csv(tmp_path / "predictions.csv")[["high", "low", "middle"]].to_numpy()
    assert np.abs(reported - expected).max() < 1e-3
    assert np.abs(reported - last).max() > 0.01


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_batch(sounds, tiny, tmp_path):
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


def test_a_second_stage_trains_on_the_fold_held_out(sounds, tiny, tmp_path):
    messages = []
    train(
        sounds, 0, recipe=tiny, epochs=1, output=tmp_path, device="cpu",
        overrides=["data.train_on=held_out"], callbacks=TrainCallbacks(on_start=messages.append),
    )  # fmt: skip
    assert messages[0].startswith("9 training clips, 9 validation clips of fold 0")


def test_a_run_trains_on_pseudo_labels_of_another(run, sounds, tiny, tmp_path):
    import sed

    generator = np.random.default_rng(3)
    for i in range(6):
        beep = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 8_000)
        samples = 0.3 * beep + 0.02 * generator.standard_normal(16_000)
        soundfile.write(tmp_path / f"{i}.wav", samples, 8_000)
    recordings = [tmp_path / f"{i}.wav" for i in range(6)]
    sed.predict([run], recordings, pseudo_labels=tmp_path / "soft.csv", device="cpu")
    messages = []
    train(
        sounds, 0, recipe=tiny, pseudo_labels=tmp_path / "soft.csv", output=tmp_path / "run",
        device="cpu", overrides=["loss.frame_loss_weight=1.0"],
        callbacks=TrainCallbacks(on_start=messages.append),
    )  # fmt: skip
    assert messages[0].startswith("30 training clips")
    assert "12 of the training clips are pseudo-labelled" in messages[0]
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["loss"]).all()


def test_a_run_distills_a_teacher(sounds, tiny, tmp_path):
    names = [f"{i}" for i in range(9)]
    embeddings = np.random.default_rng(0).normal(size=(9, 4))
    np.savez(tmp_path / "t.npz", filename=names, embedding=embeddings)
    settings = [f"loss.distill_embeddings={tmp_path / 't.npz'}", "optim.ema_decay=0.9"]
    train(sounds, 0, recipe=tiny, output=tmp_path / "run", device="cpu", overrides=settings)
    state = safetensors.torch.load_file(tmp_path / "run" / "state.safetensors")
    assert state["distill_head/weight"].shape[0] == 4


FAILS = """
import sys
from train.evaluate.evaluate import evaluate
from train.run.train import TrainCallbacks, train

def fail(step, n_steps, loss):
    raise RuntimeError("a callback failed")

train(sys.argv[1], recipe=sys.argv[2], output=sys.argv[3], overrides=["optim.n_workers=1"],
      callbacks=TrainCallbacks(on_step=fail))
"""


@pytest.mark.slow
def test_a_program_that_fails_while_it_trains_ends(sounds, tiny, tmp_path):
    command = [sys.executable, "-c", FAILS, str(sounds), str(tiny), str(tmp_path / "run")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: a callback failed\n")
