"""How fast a model runs on this machine, as it was last measured."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from sed.errors import OutputError
from sed.models.metadata import checkpoint_files
from sed.models.registry import find_model
from streaming.engines.base import benchmark_engine
from streaming.engines.cache import cache_folder, read_values, write_values
from streaming.engines.exported import export_folder
from streaming.engines.identity import model_identity
from streaming.engines.select import engine_speeds_file, open_engine


@dataclass(frozen=True)
class Speed:
    """Speed of a model on this machine.

    Attributes
    ----------
    engine
        What ran it.
    times_real_time
        Seconds of sound processed in a second, windows without overlap, on all cores.
    measured
        Date, as 2026-11-27; empty if it is not known.
    """

    engine: str
    times_real_time: float
    measured: str = ""


def known_speed(model: str) -> Speed | None:
    """Return the speed of a model that was measured before, None if it was not.

    It was if `measure_speed` was called, or if the fastest engine was chosen for the model; see
    `streaming.engines.select`.

    Parameters
    ----------
    model
        As for `open_engine`.

    Raises
    ------
    CheckpointError
        If there is no model of this name.
    """
    with suppress(OSError, TypeError):
        if (kept := read_values(_file(model))) is not None:
            return Speed(**kept)
    path = find_model(model)
    if path.suffix != ".safetensors":
        return None
    with suppress(OSError, ValueError, AttributeError):
        folder = export_folder(*checkpoint_files(path))
        file = engine_speeds_file(folder)
        speeds: dict[str, float] = read_values(file) or {}
        engine, times = max(speeds.items(), key=lambda item: item[1])
        measured = date.fromtimestamp(file.stat().st_mtime).isoformat()
        return Speed(engine, times, measured) if times else None
    return None


def measure_speed(model: str) -> Speed:
    """Measure the speed of a model now, and keep it.

    Parameters
    ----------
    model
        As for `open_engine`, which chooses the engine.

    Raises
    ------
    SedError
        If the model cannot be opened.
    """
    engine = open_engine(model)
    today = date.today().isoformat()
    speed = Speed(str(engine), round(benchmark_engine(engine), 1), today)
    with suppress(OutputError):  # the cache cannot be written
        write_values(_file(model), asdict(speed))
    return speed


def _file(model: str) -> Path:
    key = engine_speeds_file(Path()).stem.removeprefix("engines-")
    return cache_folder() / "speeds" / f"{model_identity(model)[:24]}-{key}.json"
