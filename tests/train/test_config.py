"""Recipes, and the settings that change them."""

import pytest

from sed.errors import UsageError
from train.config import load_recipe, recipe_names


def test_recipes():
    default, esc50 = load_recipe("default"), load_recipe("esc50", initial="x", epochs=3, seed=5)
    assert default.model == esc50.model
    assert (esc50.learning.initial, esc50.learning.epochs, esc50.seed) == ("x", 3, 5)
    assert load_recipe("shipped").data.licences == ("CC0", "CC-BY")
    assert default.data.hold_out == default.data.licences == ()


def test_settings_lie_over_recipes_and_arguments_over_settings():
    settings = [
        "learning.epochs=9",
        "learning.batch_size = 8",
        "model.backbone=resnet34",
        "waveform.noise=['pink']",
        "model.backbone_args.pad_type=''",
        "seed=4",
    ]
    config = load_recipe("default", settings=settings, epochs=2)
    assert (config.learning.epochs, config.learning.batch_size, config.seed) == (2, 8, 4)
    assert config.model.backbone == "resnet34"
    assert config.waveform.noise == ("pink",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning.epochs", "expected a setting as table.key=value, got 'learning.epochs'"),
        ("learning.epoch=3", "unknown key 'epoch' in learning. Did you mean epochs"),
        ("learning.epochs=0", "at least one epoch"),
        ("epochs=2", "unknown key 'epochs'. Did you mean learning.epochs"),
        ("learning.epochs=abc", "expected learning.epochs as a whole number, got 'abc'"),
        ("learning.compile=1", "expected learning.compile as true or false, got 1"),
        ("learning.learning_rate=true", "expected learning.learning_rate as a number, got True"),
        ("waveform.noise=pink", "expected waveform.noise as a list, got 'pink'"),
        ("model.backbone=5", "expected model.backbone as text, got 5"),
        ("=3", "cannot read the setting '=3'"),
    ],
)
def test_faulty_settings_are_refused(setting, message):
    with pytest.raises(UsageError, match=message):
        load_recipe("default", settings=[setting])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_ships_can_be_read(name):
    assert load_recipe(name, initial="x").learning.epochs >= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[learning]\nepoch = 3", "unknown key 'epoch' in learning. Did you mean epochs"),
        ("[lerning]\nepochs = 3", "unknown key 'lerning'. Did you mean learning"),
        ("learning = 3", "expected a table for 'learning'"),
        ("[learning]\nloss = 'focus'", "unknown loss 'focus'. Did you mean focal"),
        ("[learning", "Expected"),
        ("extends = 'nothing'", "there is none"),
        ("seed = -1", "seed of 0 or more"),
        ("[learning]\nepochs = 0", "at least one epoch"),
        ("[learning]\nema_decay = 1.0", "ema_decay from 0 to below 1"),
        ("[learning]\njudge = 'f1'", "judge to be one of cmap5"),
        ("[learning]\ndistil = 't.npz'\n[mixing]\nmixup_targets = 'or'", "convex mixtures alone"),
        ("[mixing]\ncutmix_probability = 1.5", "cutmix_probability between 0 and 1"),
        ("[waveform]\nnoise_snr_db = [9, 3]", "noise_snr_db as .lowest, highest., got"),
        ("[waveform]\nbackground_probability = 0.5", "needs a folder: set background"),
        ("[picture]\nalbumentations = 'birdclef2023'", "set in_channels to 3"),
        ("[data]\npresent = 2.0", "present between 0 and 1"),
        ("[learning]\nbatch_norm = 'frozen'", "weights to start from: give --initial"),
        ("[events]\nmedian_frames = 2", "odd median_filter_frames"),
        ("[data]\nwindow_seconds = 5.003", "not a whole number of columns"),
        ("[model]\nbackbone_args = { checkpoint_path = 'x.pth' }", "cannot hold checkpoint_path"),
    ],
)
def test_faulty_recipes_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path)
