"""The command `sed embed`, as its users meet it."""

import io

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from sed.cli import app
from sed.errors import UsageError
from sed.events.embedding_store.store import EmbeddingStore
from sed.models.checkpoint import save_checkpoint
from tests.conftest import rising_noise

RATE = 8_000


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


def embed(*arguments):
    return CliRunner().invoke(app(), ["embed", *map(str, arguments)])


def test_raw_samples_from_standard_input(model, tmp_path, monkeypatch):
    samples = (rising_noise(3 * RATE) * 20_000).astype("<i2").tobytes()
    monkeypatch.setattr("sed.audio.decoders.pcm.raw_stdin", lambda: io.BytesIO(samples))
    options = "--engine", "torch", "--model", model, "--every", "1", "--raw-rate", RATE
    done = embed("-", "-o", tmp_path / "store", *options)
    assert done.exit_code == 0, done.stderr
    store = EmbeddingStore(tmp_path / "store")
    assert [(e.onset, e.offset, e.file) for e in store.events(np.arange(store.n_rows))] == [
        (n, n + 1, "-") for n in range(3)
    ]
    done = embed("x.wav", "-o", tmp_path / "store", *options)
    assert isinstance(done.exception, UsageError)
    assert "--raw-rate is about standard input" in str(done.exception)


def test_clips_that_are_not_found_are_named_and_the_others_are_kept(model, tmp_path):
    soundfile.write(tmp_path / "a.wav", rising_noise(2 * RATE), RATE)
    table = tmp_path / "clips.csv"
    table.write_text("file,start,end,label\na.wav,0.5,1.5,owl\nb.wav,0,1,owl\n")
    done = embed("--clips", table, "-o", tmp_path / "store", "--engine", "torch", "--model", model)
    assert done.exit_code == 1
    assert f"sed: {table}: b.wav is not found, or not the only one of that name." in done.stderr
    (event,) = EmbeddingStore(tmp_path / "store").events([0])
    assert (event.onset, event.offset, event.label) == (0.5, 1.5, "owl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.wav",), "embeddings need a place: give --output STORE, a folder"),
        (("-o", "store"), "nothing to embed: give recordings, or a table with --events or --clips"),
        (("x.wav", "-o", "store", "--channel", "0"), "channels are counted from 1, got 0"),
        (("-o", "s", "--events", "a.csv", "--clips", "b.csv"), "leave out --events or --clips"),
    ],
)
def test_misuse_says_what_to_give(arguments, message):
    done = embed(*arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
