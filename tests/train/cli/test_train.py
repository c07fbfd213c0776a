"""The command `sed train`: data that is found, recipes that are shown, refusals."""

import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from sed.__main__ import main
from train.config.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = (
    "--set", "model.backbone=mobilenetv3_small_050", "--set", "model.hidden=16",
    "--set", "log_mel.sample_rate=8000", "--set", "log_mel.win_length=128",
    "--set", "log_mel.hop_length=80", "--set", "log_mel.n_fft=128", "--set", "log_mel.n_mels=24",
    "--set", "log_mel.f_min=60.0", "--set", "log_mel.f_max=4000.0",
    "--set", "data.window_seconds=1.0", "--set", "data.n_folds=3", "--set", "optim.n_workers=0",
    "--set", "optim.batch_norm=train", "--set", "model.backbone_args={}", "--init-weights", "none",
    "--set", "optim.frozen_stages=0", "--epochs", "1", "--device", "cpu",
)  # fmt: skip


@pytest.fixture
def sed(monkeypatch, capsys):
    """Return what runs a command and returns its status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sed", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return stop.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Make an empty directory the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SED_DATA", raising=False)
    return tmp_path


def add_sounds(folder, seed=0):
    generator = np.random.default_rng(seed)
    for label, hz in (("low", 300), ("high", 3_000)):
        (folder / label).mkdir(parents=True)
        for i in range(6):
            tone = np.sin(2 * np.pi * hz * np.arange(8_000) / 8_000)
            noise = 0.02 * generator.standard_normal(8_000)
            soundfile.write(folder / label / f"{i}.wav", 0.3 * tone + noise, 8_000)


def test_without_arguments_the_data_is_found_and_named(sed, here):
    add_sounds(here / "data")
    status, out, err = sed("train", "--fold", "0", *SMALL)
    assert status == 0, err
    assert out == "runs/default-fold0/best.safetensors\n"
    assert f"sed: training on the folder data: {(here / 'data').resolve()}\n" in err
    assert "8 training clips, 4 validation clips of fold 0, 2 classes" in err


def test_without_data_the_error_shows_three_lines_that_work(sed, here):
    status, _, err = sed("train", "--fold", "0")
    assert status == 2
    assert "no data to train on" in err
    assert len([line for line in err.splitlines() if line.startswith("  ")]) == 3


def test_data_can_be_an_argument_but_not_twice_and_verbose_describes_it(sed, here):
    add_sounds(here / "sounds")
    status, _, err = sed("train", here / "sounds", "--data", here / "sounds")
    assert (status, "data is given twice" in err) == (2, True)
    status, out, err = sed("train", here / "sounds", "-o", here / "run", "-v", *SMALL)
    assert (status, out) == (0, f"{here}/run/best.safetensors\n")
    assert f"sed: {here}/sounds: 12 clips\n" in err
    assert "sed: 3 folds, from the table or seed 0\n" in err
    assert "sed: backbone mobilenetv3_small_050, initial weights: none\n" in err


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_run_of_other_data_of_the_same_names_is_refused(sed, here, resume):
    add_sounds(here / "one")
    shutil.copytree(here / "one", here / "two")
    soundfile.write(here / "two" / "low" / "0.wav", np.ones(4_000) / 2, 8_000)
    assert sed("train", here / "one", "-o", here / "run", *SMALL)[0] == 0
    if not resume:
        (here / "run" / "state.safetensors").unlink()
    before = (here / "run" / "best.safetensors").read_bytes()
    status, _, err = sed("train", here / "two", "-o", here / "run", *resume, *SMALL)
    assert status == 2
    assert f"run is a run of other data: {here}/one before (12 clips), {here}/two now" in err
    assert (here / "run" / "best.safetensors").read_bytes() == before
    (here / "one").rename(here / "moved")  # the same data elsewhere are the same
    status, _, err = sed("train", here / "moved", "-o", here / "run", *resume, *SMALL)
    if resume:
        assert status == 0, err
    else:  # without its state a model is not replaced by one of the same data either
        assert status == 2
        assert "holds a trained model, best.safetensors, and a new run would replace it" in err
        assert (here / "run" / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet34x", "unknown backbone 'resnet34x'. Did you mean resnet34"),
        ("vit_tiny_patch16_224", "backbone 'vit_tiny_patch16_224' does not keep the time axis"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--fold", "all"), ("--overfit-batch",)])
def test_a_backbone_of_no_use_is_named_before_tables_are_read(sed, here, backbone, message, more):
    status, _, err = sed("train", "nowhere.csv", "--set", f"model.backbone={backbone}", *more)
    assert status == 2
    assert message in err
    assert "nowhere.csv" not in err


def test_errors_of_the_recipe_come_before_data_is_searched_for(sed, here):
    status, _, err = sed("train", "--set", "model.backbone=resnet34x")
    assert (status, "unknown backbone 'resnet34x'" in err) == (2, True)
    status, _, err = sed("train", "--set", "optim.epoch=3")
    assert (status, "unknown key 'epoch'" in err) == (2, True)
    assert "no data to train on" not in err


def test_every_key_of_a_recipe_is_shown_and_can_be_read_back(sed, here):
    status, out, _ = sed("train", "--recipe", "urban-sounds", "--set", "seed=7", "--show-config")
    assert status == 0
    (here / "mine.toml").write_text(out)
    expected = load_recipe("urban-sounds", overrides=["seed=7"])
    assert load_recipe(here / "mine.toml") == expected
    assert "\nbatch_size = 32                          # Clips per step and process.\n" in out
    assert "# Initial weights: none, default, general or everyday (the backbone" in out
    assert re.search(r"\nbatch_norm = .* # .*\. One of train\|frozen\.\n", out)
    assert re.search(r"\nmonitor = .* One of padded_cmap_5\|padded_cmap_3\|map\|accuracy", out)
    assert "``" not in out
    assert all("# " in line for line in out.splitlines() if line and line[0] != "[")


def test_help_lists_the_panels_and_says_what_a_fold_is(sed):
    status, out, _ = sed("train", "--help")
    assert status == 0
    for panel in ("Input", "Model", "Output", "Performance"):
        assert f"─ {panel} ─" in out
    assert "the clips are divided into folds" in " ".join(out.replace("│", " ").split())


def test_the_command_trains_all_folds(sounds, tiny, tmp_path, sed):
    status, out, err = sed("train", "--fold", "all", "--data", sounds, "--recipe", tiny,
        "--set", "optim.epochs=1", "--output", tmp_path, "--device", "cpu",
    )  # fmt: skip
    assert status == 0
    assert out.strip() == str(tmp_path / "folds_summary.csv")
    assert "3 of 3 folds" in err
    mean = pd.read_csv(tmp_path / "folds_summary.csv")["accuracy"][3]
    assert f"accuracy      {mean:.4f} ±" in err


@pytest.mark.slow
def test_the_command_tries_to_overfit_a_batch(sounds, tiny, sed):
    arguments = ("train", "--overfit-batch", "--data", sounds, "--recipe", tiny, "--device", "cpu")
    status, out, _ = sed(*arguments, "--set", "optim.learning_rate=1e-9")
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
def test_the_command_refuses_invalid_options(sounds, sed, arguments, message):
    status, _, err = sed("train", "--data", sounds, *arguments)
    assert status == 2
    assert message in err
