"""A folder of recordings to prepare."""

import numpy as np
import pytest
import soundfile

from tests.conftest import rising_noise
from tests.train.prepare.web import serving


@pytest.fixture
def source(tmp_path):
    """Return a folder per class with six recordings of 3 s at several rates and formats."""
    folder = tmp_path / "source"
    for i, name in enumerate(("cat/1.wav", "cat/1.flac", "cat/2.ogg", "dog/1.wav", "dog/b c.flac")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rate = (8_000, 11_025)[i % 2]
        soundfile.write(folder / name, 0.5 * rising_noise(3 * rate, i), rate)
    both = np.stack([rising_noise(24_000, 8), rising_noise(24_000, 9)], axis=1)
    soundfile.write(folder / "dog/é.wav", both, 8_000, "PCM_24")
    return folder


@pytest.fixture
def server():
    """Return a web server on this machine."""
    pytest.importorskip("aiohttp", reason="needs the remote extra")
    with serving() as server:
        yield server
