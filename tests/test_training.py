"""The workshop: tables, folds, augmentation, the loop."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import soundfile
import torch

from sed.checkpoint import DEFAULT, load_checkpoint
from sed.errors import CheckpointError, TableError, UsageError
from sed.model import ModelConfig, create_backbone
from train.activity import frame_activity
from train.augment import SpecAugment, add_noise, gain, mixup, slide, turn
from train.config import AugmentConfig, DataConfig, load_recipe
from train.dataset import ClipDataset, EpochSampler, fit_window
from train.folds import ALWAYS_TRAIN, NEVER, assign_folds, load_folds, save_folds
from train.initial import freeze_batch_norms, load_backbone
from train.loop import Progress, rate_share, split, train
from train.table import Clip, read_table

TINY = """
[data]
window_seconds = 1.0
n_folds = 3
[learning]
epochs = 2
batch_size = 8
n_workers = 0
learning_rate = 3e-3
[model]
backbone = "mobilenetv3_small_050"
hidden = 16
dropout = 0.0
[front_end]
sample_rate = 8000
column_samples = 128
hop_samples = 80
fft_size = 128
n_mels = 24
f_min_hz = 60.0
f_max_hz = 4000.0
"""
N_EPOCHS = 20
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
            time = np.arange(8_000) / 8_000
            beep = 0.3 * np.sin(2 * np.pi * hz * generator.uniform(0.95, 1.05) * time)
            samples = beep + 0.02 * generator.standard_normal(8_000)
            soundfile.write(folder / label / f"{i}.wav", samples, 8_000)
    return folder


def esc50_like(folder, rows, columns="filename,fold,category,src_file,licence"):
    (folder / "audio").mkdir(exist_ok=True)
    for row in rows:
        if row[0] and not row[0].startswith("gone"):
            soundfile.write(folder / "audio" / row[0], np.zeros(80), 8_000)
    with open(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])
    return folder


def test_a_table_like_esc50s(tmp_path):
    esc50_like(tmp_path, [("a.wav", 1, "dog", 7, "CC0"), ("b.wav", 2, "cat", 8, "CC-BY")])
    clips = read_table(tmp_path)
    assert clips == read_table(tmp_path / "table.csv")
    assert clips[0] == Clip(str(tmp_path / "audio" / "a.wav"), ("dog",), "7", "1", "CC0")


def test_all_faulty_rows_are_told_at_once(tmp_path):
    rows = [("a.wav", 1, "dog", 7, ""), ("gone.wav", 1, "cat", 8, ""), ("b.wav", "", "", 9, "")]
    with pytest.raises(TableError) as caught:
        read_table(esc50_like(tmp_path, rows))
    message = str(caught.value)
    assert "2 faulty rows of 3" in message
    assert "row 3: gone.wav: no such file" in message
    assert "row 4: b.wav: no fold and no category" in message


def test_a_folder_per_class(sounds):
    clips = read_table(sounds)
    assert len(clips) == 27
    assert {clip.labels for clip in clips} == {("low",), ("middle",), ("high",)}
    assert len({clip.group for clip in clips}) == 27


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "neither a table"),
        (lambda p: (p / "x.csv").write_text("a,b\n"), "neither a table"),
        (lambda p: esc50_like(p, []), "holds no rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(TableError, match=message):
        read_table(tmp_path)
    with pytest.raises(TableError, match="no such table or folder"):
        read_table(tmp_path / "nowhere")


def some_clips(n=60, classes=3, folds=0, per_source=2):
    return [
        Clip(
            f"{i}.wav",
            (f"class {i % classes}",),
            f"source {i // per_source * classes + i % classes}",
            str(i % folds + 1) if folds else "",
            ("CC0", "CC-BY-NC")[i % 2],
        )
        for i in range(n)
    ]


def test_official_folds_are_kept_in_the_order_of_their_names():
    clips = some_clips(60, folds=12)
    assert assign_folds(clips, DataConfig(), seed=0) == [i % 12 for i in range(60)]


def test_folds_of_our_own_keep_sources_together_and_classes_even():
    clips = some_clips(90)
    folds = assign_folds(clips, DataConfig(n_folds=5), seed=1)
    assert folds == assign_folds(clips, DataConfig(n_folds=5), seed=1)
    assert folds != assign_folds(clips, DataConfig(n_folds=5), seed=2)
    source = {}
    for clip, fold in zip(clips, folds, strict=True):
        assert source.setdefault(clip.group, fold) == fold
    table = pd.crosstab([c.labels[0] for c in clips], folds)
    assert table.shape == (3, 5)
    assert table.to_numpy().min() >= 4
    assert table.to_numpy().max() <= 8


def test_rare_classes_are_always_learnt_from():
    clips = [*some_clips(60), Clip("rare.wav", ("rare",), "r")]
    folds = assign_folds(clips, DataConfig(n_folds=5), seed=0)
    assert folds[-1] == ALWAYS_TRAIN
    assert clips[-1] in split(clips, folds, 0)[0]


def test_held_out_folds_and_other_licences_are_never_touched():
    clips = some_clips(60, folds=5)
    config = DataConfig(hold_out=("1",), licences=("CC0",), remake_folds=True, n_folds=4)
    folds = assign_folds(clips, config, seed=0)
    for clip, fold in zip(clips, folds, strict=True):
        assert (fold == NEVER) == (clip.fold == "1" or clip.licence != "CC0")
    learnt, judged = split(clips, folds, 0)
    assert all(clip.fold != "1" and clip.licence == "CC0" for clip in learnt + judged)


def test_folds_are_written_and_read_again(tmp_path):
    clips = some_clips(30)
    folds = assign_folds(clips, DataConfig(), seed=0)
    save_folds(tmp_path / "folds.csv", clips, folds)
    assert load_folds(tmp_path / "folds.csv", clips) == folds
    with pytest.raises(TableError, match=r"folds\.csv: says nothing of 1 clips"):
        load_folds(tmp_path / "folds.csv", [*clips, Clip("new.wav", ("x",), "y")])


def test_folds_that_cannot_be_are_refused():
    with pytest.raises(TableError, match="no class has 9 sources"):
        assign_folds(some_clips(12), DataConfig(n_folds=9), seed=0)
    with pytest.raises(TableError, match="no fold 7 to hold out"):
        assign_folds(some_clips(12, folds=2), DataConfig(hold_out=("7",)), seed=0)
    with pytest.raises(UsageError, match="no fold 5: the folds are 0 to 1"):
        split(some_clips(4), [0, 1, 0, 1], 5)
    with pytest.raises(TableError, match="no clip is left to learn from"):
        split(some_clips(4), [NEVER] * 4, 0)
    with pytest.raises(TableError, match="fold 0 holds all clips of class 0"):
        split(some_clips(4, classes=2), [0, 1, 0, 1], 0)


def test_augmentations_do_what_they_say():
    generator = np.random.default_rng(0)
    clip = generator.standard_normal(1_000).astype(np.float32)
    turned = turn(clip, generator)
    assert sorted(turned) == sorted(clip)
    assert (turned != clip).any()
    levels = [np.log10(np.std(gain(clip, 6.0, generator)) / np.std(clip)) * 20 for _ in range(200)]
    assert min(levels) == pytest.approx(-6, abs=0.3)
    assert max(levels) == pytest.approx(6, abs=0.3)
    noise = add_noise(torch.zeros(1, 100_000), (-40.0, -40.0))
    assert 20 * torch.log10(noise.std()) == pytest.approx(-40, abs=0.1)


def test_a_slide_keeps_at_least_half_of_the_energy():
    generator = np.random.default_rng(0)
    clip = np.zeros(1_000, np.float32)
    clip[50:80] = 1.0  # a bark near the start, soon lost on a slide to the left
    moves = set()
    for _ in range(200):
        moved = slide(clip, generator)
        assert moved.sum() >= 15
        moves.add(int(np.flatnonzero(moved)[0]))
    assert max(moves) > 400
    assert min(moves) < 50


def test_mixup_mixes_targets_as_it_mixes_samples():
    samples = torch.eye(8)  # each clip is its own name
    targets = torch.eye(8)
    mixed, [mixed_targets] = mixup(samples, [targets], AugmentConfig(), np.random.default_rng(0))
    torch.testing.assert_close(mixed, mixed_targets)
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    config = AugmentConfig(mixup_targets="or", mixup_alpha=4.0)
    mixed, [either] = mixup(samples, [targets], config, np.random.default_rng(0))
    torch.testing.assert_close(either, (mixed > 0).float())


def test_spec_augment_blanks_stripes_no_wider_than_asked():
    torch.manual_seed(0)
    config = AugmentConfig(time_stripe_columns=20, n_time_stripes=1, n_mel_stripes=0)
    pictures = torch.randn(16, 100, 24)
    pictures -= pictures.mean(dim=(1, 2), keepdim=True)
    augment = SpecAugment(config).train()
    changed = (augment(pictures) != pictures).all(dim=2)  # whole columns
    widths = changed.sum(1)
    assert widths.max() < 20
    assert widths.max() > 10


def test_frame_targets_are_where_the_clip_is_loud():
    samples = torch.zeros(2, 8_000)
    samples[0, 3_040:3_840] = 0.5  # frames of 1000 samples, stretches of 160
    samples[0, 6_080:6_880] = 0.5 * 10 ** (-40 / 20)  # too faint beside it
    active = frame_activity(samples, 8_000, 1_000, 8)
    assert active.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0], [0] * 8]


def test_windows_are_cut_and_padded_evenly_in_validation():
    assert fit_window(np.arange(10.0), 4, None).tolist() == [3, 4, 5, 6]
    assert fit_window(np.ones(2), 5, None).tolist() == [0, 1, 1, 0, 0]


def test_a_sample_depends_on_seed_epoch_and_index_alone(sounds, tiny):
    clips = read_table(sounds)
    dataset = ClipDataset(clips, list(PITCHES), load_recipe(tiny), training=True)
    first, again = dataset[1, 5][0], dataset[1, 5][0]
    assert torch.equal(first, again)
    assert not torch.equal(first, dataset[2, 5][0])
    sampler = EpochSampler(27, 0, shuffled=True)
    order = list(sampler)
    assert order == list(sampler)
    sampler.epoch = 1
    assert order != list(sampler)
    assert sorted(i for _, i in order) == list(range(27))


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_rises_once_and_falls_to_nothing(schedule):
    rates = [rate_share(i / 1_000, schedule, 0.1) for i in range(1_000)]
    peak = int(np.argmax(rates))
    assert max(rates) == pytest.approx(1.0)
    assert peak == (100 if schedule == "one-cycle" else 0)
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] < 1e-4


@pytest.fixture(scope="module")
def run(sounds, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    recipe = out / "longer.toml"
    recipe.write_text(
        f"extends = '{tiny}'\n[learning]\nepochs = {N_EPOCHS}\nbatch_size = 6\n"
        "loss = 'exclusive'\nframe_weight = 0.2\n"
        "[augment]\nmixup_probability = 0.0\nspec_augment_probability = 0.0\n"
    )
    train(sounds, 0, recipe=recipe, out=out, device="cpu")
    recipe.unlink()
    return out


def test_a_run_learns_and_leaves_all_it_should(run):
    assert sorted(p.name for p in run.iterdir()) == [
        "best.json",
        "best.safetensors",
        "config.json",
        "curves.png",
        "folds.csv",
        "folds.json",
        "history.csv",
    ]
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].tolist() == list(range(1, N_EPOCHS + 1))
    assert history["loss"].iloc[-1] < 0.7 * history["loss"].iloc[0]
    assert history["accuracy"].max() >= 0.8
    checkpoint = load_checkpoint(run / "best.safetensors")
    assert checkpoint.labels == ("high", "low", "middle")
    assert len(checkpoint.tracker.on) == 3
    best = checkpoint.metrics["validation"]
    assert best["cmap5"] == pytest.approx(history["cmap5"].max())
    assert json.loads((run / "config.json").read_text())["fold"] == 0


def test_the_trained_model_finds_a_beep_in_a_recording(run, tmp_path):
    import sed

    generator = np.random.default_rng(5)
    samples = 0.02 * generator.standard_normal(80_000)
    samples[32_000:40_000] += 0.3 * np.sin(2 * np.pi * 1_000 * np.arange(8_000) / 8_000)
    soundfile.write(tmp_path / "x.wav", samples, 8_000)
    checkpoint = load_checkpoint(run / "best.safetensors")
    detector = sed.Detector(checkpoint, sed.DetectorConfig(hop=0.5))
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
            sounds, 0, recipe=tiny, epochs=1, seed=seed, out=tmp_path / name, device="cpu",
            progress=Progress(on_epoch=lambda row: losses.append(row["loss"])),
        )  # fmt: skip
        return losses

    assert first_loss("a", 7) == first_loss("b", 7) != first_loss("c", 8)


def test_ctrl_c_leaves_a_usable_run(sounds, tiny, tmp_path):
    def stop(step, n_steps, loss):
        if step > n_steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(sounds, 0, recipe=tiny, out=tmp_path, device="cpu", progress=Progress(on_step=stop))
    assert len(pd.read_csv(tmp_path / "history.csv")) == 1
    assert load_checkpoint(tmp_path / "best.safetensors").labels == ("high", "low", "middle")


def test_folds_of_a_run_are_kept_and_never_mixed_with_other_settings(sounds, tiny, tmp_path):
    train(sounds, 0, recipe=tiny, epochs=1, out=tmp_path, device="cpu")
    before = (tmp_path / "folds.csv").read_bytes()
    train(sounds, 1, recipe=tiny, epochs=1, out=tmp_path, device="cpu")
    assert (tmp_path / "folds.csv").read_bytes() == before
    with pytest.raises(
        UsageError, match=r"folds\.csv was made with another seed or other \[data\]"
    ):
        train(sounds, 1, recipe=tiny, epochs=1, seed=99, out=tmp_path, device="cpu")


def test_clips_that_cannot_be_read_are_listed_before_the_first_epoch(sounds, tiny, tmp_path):
    copied = tmp_path / "sounds"
    shutil.copytree(sounds, copied)
    (copied / "low" / "0.wav").write_bytes(b"")
    soundfile.write(copied / "high" / "3.wav", np.zeros(800), 8_000)
    with pytest.raises(TableError) as caught:
        train(copied, 0, recipe=tiny, out=tmp_path / "run", device="cpu")
    message = str(caught.value)
    assert "2 of 27 clips cannot be learnt from" in message
    assert "0.wav: is empty (0 bytes)" in message
    assert "3.wav: every sample is zero" in message
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_the_default_recipe_trains_from_the_model_that_ships(sounds, tmp_path):
    config = load_recipe("default")
    assert config.learning.initial == "default"
    backbone = create_backbone(config.model)
    assert load_backbone(backbone, DEFAULT) == []


def test_initial_weights_are_filled_in_and_others_refused(tmp_path):
    source = create_backbone(ModelConfig("resnet10t"))
    weights = source.state_dict() | {"fc.weight": torch.zeros(3, 3)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    target = create_backbone(ModelConfig("resnet10t"))
    assert load_backbone(target, tmp_path / "w.safetensors") == []
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="Choose the backbone, in_channels"):
        load_backbone(create_backbone(ModelConfig("mobilenetv1_100")), tmp_path / "w.safetensors")
    (tmp_path / "bad.safetensors").write_text("nothing")
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        load_backbone(target, tmp_path / "bad.safetensors")


def test_yamnets_weights_fit_its_backbone(shared):
    backbone = create_backbone(ModelConfig(backbone_args={"pad_type": "same"}))
    path = shared / "weights" / "mobilenetv1_100.audioset_yamnet.safetensors"
    assert load_backbone(backbone, path) == []


def test_frozen_batch_norms_keep_their_statistics():
    backbone = create_backbone(ModelConfig("resnet10t")).train()
    freeze_batch_norms(backbone)
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    backbone.forward_features(torch.randn(2, 1, 64, 64))
    for name, value in before.items():
        assert torch.equal(backbone.state_dict()[name], value)


def test_recipes():
    default, esc50 = load_recipe("default"), load_recipe("esc50", initial="x", epochs=3, seed=5)
    assert default.model == esc50.model
    assert (esc50.learning.initial, esc50.learning.epochs, esc50.seed) == ("x", 3, 5)
    assert load_recipe("shipped").data.licences == ("CC0", "CC-BY")
    assert default.data.hold_out == default.data.licences == ()


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
        ("[learning]\nbatch_norm = 'frozen'", "weights to start from: give --initial"),
        ("[events]\nmedian_frames = 2", "odd median_frames"),
        ("[data]\nwindow_seconds = 5.003", "not a whole number of columns"),
        ("[model]\nbackbone_args = { checkpoint_path = 'x.pth' }", "cannot hold checkpoint_path"),
    ],
)
def test_faulty_recipes_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path)
