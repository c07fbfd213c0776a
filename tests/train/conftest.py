"""Recipe, sounds and a run that tests of training share."""

import numpy as np
import pytest
import soundfile

from train.run.train import train

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


N_EPOCHS = 20


PITCHES = {"low": 300, "middle": 1_000, "high": 3_000}


@pytest.fixture(scope="module", autouse=True)
def one_thread_in_processes(one_thread):
    """Compute in one thread in processes too, whose weights are compared to the last bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """Draw no plots: they take longer than an epoch, and `run` has them."""
    monkeypatch.setattr("train.run.directory.plot_curves", lambda *_: None)
    monkeypatch.setattr("train.evaluate.report.plot_confusion", lambda *_: None)


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


@pytest.fixture(scope="module")
def run(sounds, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    recipe = out / "longer.toml"
    hierarchy = tmp_path_factory.mktemp("hierarchy") / "hierarchy.toml"
    hierarchy.write_text("low = 'beep'\nhigh = ['beep']\n")
    recipe.write_text(
        f"extends = '{tiny}'\n[data]\nhierarchy = '{hierarchy}'\n"
        f"[optim]\nepochs = {N_EPOCHS}\nbatch_size = 6\n"
        "[loss]\nname = 'clip_ce_frame_bce'\nframe_loss_weight = 0.2\n"
        "[mixing]\nmixup_probability = 0.0\n[spectrogram]\nspec_augment_probability = 0.0\n"
    )
    train(sounds, 0, recipe=recipe, output=out, device="cpu")
    recipe.unlink()
    return out
