"""Create the recordings of the speed benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import soundfile

from sed.audio.resample import Resampler

EXAMPLE = Path(__file__).parents[2] / "examples" / "village.ogg"


@dataclass(frozen=True)
class Setup:
    """Options of all parts."""

    folder: Path  # for recordings and models that the parts create
    minutes: float  # of the recordings
    birdnet_python: str | None  # an interpreter with BirdNET's library
    birdnet_model: str | None  # its model; the labels lie beside it

    def recording(self, suffix: str, kilohertz: int, times: int = 1) -> Path:
        """Return the example, repeated; the file is created when it is first needed."""
        path = self.folder / f"{times}x{kilohertz}.{suffix}"
        if not path.exists():
            write_example(path, 1000 * kilohertz, 60 * self.minutes * times)
        return path


def write_example(path: Path, rate: int, seconds: float) -> None:
    """Write the example repeatedly, until the file has a length in seconds."""
    samples, own_rate = soundfile.read(EXAMPLE, dtype="float32")
    resampler = Resampler(own_rate, rate)
    parts = [resampler.push(samples), resampler.flush()]
    missing = round(seconds * rate)
    subtype = {".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}.get(path.suffix, "PCM_16")
    constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}  # 160 kbit/s at 48 kHz
    encoding = constant if path.suffix == ".mp3" else {}
    with soundfile.SoundFile(path, "w", rate, 1, subtype=subtype, **encoding) as out:
        while missing:
            for part in parts:
                for i in range(0, min(len(part), missing), rate):
                    out.write(part[i : min(i + rate, missing)])
                missing -= min(len(part), missing)
