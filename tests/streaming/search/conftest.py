"""Stores of vectors whose neighbours are known, and a stand-in for the model."""

import os

import numpy as np
import pytest
import soundfile

from sed.events.embedding_store.store import StoreConfig, create_store, recording_written_whole
from sed.events.tracker import Event
from streaming.search import examples

DIMENSION = 16
CHECKSUM = "5" * 12


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make_store(path, recordings, dimension=DIMENSION):
    """Make a store of vectors (rows, dimension) by the name of their recording, 5 s each."""
    model = path.parent / "m.safetensors"
    model.touch()
    config = StoreConfig(str(model), CHECKSUM, "features", ("mean",), dimension, "every 5 s")
    create_store(path, config)
    for name, vectors in recordings.items():
        with recording_written_whole(path, name, dimension) as writer:
            events = [Event(5.0 * i, 5.0 * i + 5, "", 1.0, name) for i in range(len(vectors))]
            writer.write(events, np.asarray(vectors))
    return path


def random_recordings(n_recordings=6, n_rows=40, seed=0):
    generator = np.random.default_rng(seed)
    return {
        f"{i}.wav": generator.standard_normal((n_rows, DIMENSION)).astype(np.float16)
        for i in range(n_recordings)
    }


@pytest.fixture
def sound(tmp_path):
    """Return a function that writes a recording of seconds that sound, or do not."""

    def write(name, pattern, rate=8_000):
        path = tmp_path / name
        samples = np.repeat(np.array(pattern, np.float32), rate)
        samples[1::2] *= -1
        soundfile.write(path, samples, rate)
        return str(path)

    return write


@pytest.fixture
def embedded(monkeypatch):
    """Return a dict of the vectors that the model gives to examples, by the name of the file."""
    vectors = {}

    def embed(*, clips, pool, layer, **_):
        assert (pool, layer) == (("mean",), "features")
        # By recording, as the real one.
        for clip in sorted(clips, key=lambda clip: clip.file):
            vector = vectors.get(os.path.basename(clip.file))
            if vector is not None:
                yield clip, np.asarray(vector, np.float32)

    monkeypatch.setattr(examples, "embed", embed)
    monkeypatch.setattr(examples, "model_checksum", lambda model: CHECKSUM)
    return vectors
