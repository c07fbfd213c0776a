"""Recipes, and the settings that change them."""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import pytest

import sed
import train
from sed.config import field_docs
from sed.errors import UsageError
from train.config.recipe import load_recipe, recipe_names
from train.config.show import format_config
from train.loop.initial import check_backbone


def test_recipes():
    default, esc50 = (
        load_recipe("default"),
        load_recipe("esc50", init_weights="x", epochs=3, seed=5),
    )
    assert default.model == esc50.model
    assert (esc50.checkpoint.init_weights, esc50.optim.epochs, esc50.seed) == ("x", 3, 5)
    assert load_recipe("everyday").data.licences == ("CC0", "CC-BY")
    assert default.data.hold_out == default.data.licences == ()


def test_settings_lie_over_recipes_and_arguments_over_settings():
    settings = [
        "optim.epochs=9",
        "optim.batch_size = 8",
        "model.backbone=resnet34",
        "waveform.noise=['pink']",
        "model.backbone_args.pad_type=''",
        "seed=4",
    ]
    config = load_recipe("default", overrides=settings, epochs=2)
    assert (config.optim.epochs, config.optim.batch_size, config.seed) == (2, 8, 4)
    assert config.model.backbone == "resnet34"
    assert config.waveform.noise == ("pink",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.epochs", "expected a setting as table.key=value, got 'optim.epochs'"),
        ("optim.epoch=3", "unknown key 'epoch' in optim. Did you mean epochs"),
        ("optim.epochs=0", "expected epochs, batch_size and grad_accum_steps of 1 or more"),
        ("epochs=2", "unknown key 'epochs'. Did you mean optim.epochs"),
        ("optim.epochs=abc", "expected optim.epochs as a whole number, got 'abc'"),
        ("optim.compile=1", "expected optim.compile as true or false, got 1"),
        ("optim.learning_rate=true", "expected optim.learning_rate as a number, got True"),
        ("waveform.noise=pink", "expected waveform.noise as a list, got 'pink'"),
        ("model.backbone=5", "expected model.backbone as text, got 5"),
        ("=3", "cannot read the setting '=3'"),
    ],
)
def test_faulty_settings_are_refused(setting, message):
    with pytest.raises(UsageError, match=message):
        load_recipe("default", overrides=[setting])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_ships_can_be_read(name):
    assert load_recipe(name, init_weights="x").optim.epochs >= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optim]\nepoch = 3", "unknown key 'epoch' in optim. Did you mean epochs"),
        ("[optm]\nepochs = 3", "unknown key 'optm'. Did you mean optim"),
        ("optim = 3", "expected a table for 'optim'"),
        ("[loss]\nname = 'focus'", "unknown loss 'focus'. Did you mean focal"),
        ("[optim", "Expected"),
        ("extends = 'nothing'", "there is none"),
        ("seed = -1", "seed of 0 or more"),
        ("[optim]\nepochs = 0", "expected epochs, batch_size and grad_accum_steps of 1 or more"),
        ("[optim]\nema_decay = 1.0", "ema_decay from 0 to below 1"),
        ("[checkpoint]\nmonitor = 'f1'", "monitor to be one of padded_cmap_5"),
        (
            "[loss]\ndistill_embeddings = 't.npz'\n[mixing]\nmixup_targets = 'or'",
            "needs convex mixtures",
        ),
        ("[mixing]\ncutmix_probability = 1.5", "cutmix_probability between 0 and 1"),
        ("[waveform]\nnoise_snr_db = [9, 3]", "noise_snr_db as .lowest, highest., got"),
        ("[waveform]\nbackground_probability = 0.5", "needs a folder: set background"),
        ("[spectrogram]\nalbumentations = 'birdclef2023'", "set in_channels to 3"),
        ("[data]\ntarget_positive = 2.0", "target_positive between 0 and 1"),
        ("[optim]\nbatch_norm = 'frozen'", "weights to start from: give --init-weights"),
        ("[post_processing]\nmedian_filter_frames = 2", "odd median_filter_frames"),
        ("[data]\nwindow_seconds = 5.003", "not a whole number of columns"),
        ("[model]\nbackbone_args = { checkpoint_path = 'x.pth' }", "cannot hold checkpoint_path"),
        ("[learning]\nepochs = 3", r"\[learning\] is of a recipe of version 1; its keys are in"),
    ],
)
def test_faulty_recipes_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_shown_with_every_key_its_value_and_meaning(name, tmp_path):
    config = load_recipe(name, init_weights="x")
    shown = format_config(config)
    path = tmp_path / "shown.toml"
    path.write_text(shown)
    assert load_recipe(path) == config
    for field in dataclasses.fields(config):
        table = getattr(config, field.name)
        for key in dataclasses.fields(table) if dataclasses.is_dataclass(table) else (field,):
            line = re.search(rf"^(# )?{key.name} = .*$", shown, re.MULTILINE)
            assert re.search(r" # .{3}", line[0][2:]), line[0]


@pytest.mark.parametrize("overrides", [
    ["model.backbone=resnet34"],
    ["optim.epochs=1", "model.backbone=resnet34", "model.hidden=16"],
])  # fmt: skip
def test_another_backbone_does_not_get_the_arguments_of_that_of_the_recipe(overrides):
    assert load_recipe("default").model.backbone_args == {"pad_type": "same"}
    config = load_recipe("default", overrides=overrides)
    assert (config.model.backbone, config.model.backbone_args) == ("resnet34", {})
    check_backbone(config)


def test_arguments_of_a_backbone_are_kept_with_it_and_where_they_are_given():
    same = load_recipe("default", overrides=["model.backbone=mobilenetv1_100"])
    assert same.model.backbone_args == {"pad_type": "same"}
    for order in (1, -1):
        overrides = ["model.backbone=efficientnet_b0", 'model.backbone_args={pad_type="same"}']
        config = load_recipe("default", overrides=overrides[::order])
        assert config.model.backbone_args == {"pad_type": "same"}


def test_arguments_that_a_backbone_does_not_accept_are_named():
    overrides = ["model.backbone=resnet34", 'model.backbone_args={pad_type="same"}']
    with pytest.raises(UsageError) as caught:
        check_backbone(load_recipe("default", overrides=overrides))
    assert "'resnet34' does not accept backbone_args pad_type" in str(caught.value)
    assert "Set model.backbone_args to {}" in str(caught.value)


def test_every_field_of_every_config_is_documented_by_a_sentence():
    kinds = [
        kind
        for package in (sed, train)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
        for name, kind in vars(importlib.import_module(module.name)).items()
        if name.endswith("Config") and dataclasses.is_dataclass(kind)
    ]
    assert len(set(kinds)) >= 13
    for kind in {kind for kind in kinds if kind.__module__.startswith(("sed.", "train."))}:
        assert "Attributes\n----------\n" in inspect.getdoc(kind), kind
        docs = field_docs(kind)
        assert set(docs) == {field.name for field in dataclasses.fields(kind)}, kind
        assert all(text[0].isupper() or text[0] == "`" for text in docs.values()), docs
        assert all(text.endswith(".") for text in docs.values()), docs
