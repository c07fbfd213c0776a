"""How fast a model runs on this machine: measured once, and kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sed.models.metadata import checkpoint_files
from sed.models.registry import find_model
from streaming.engines.base import benchmark_engine
from streaming.engines.cache import cache_folder, cached_json, read_values
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
    """

    engine: str
    times_real_time: float


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
        speeds: dict[str, float] = read_values(engine_speeds_file(folder)) or {}
        engine, times = max(speeds.items(), key=lambda item: item[1])
        return Speed(engine, times) if times else None
    return None


def measure_speed(model: str) -> Speed:
    """Return the speed of a model, measured now unless it is known.

    Parameters
    ----------
    model
        As for `open_engine`, which chooses the engine.

    Raises
    ------
    SedError
        If the model cannot be opened.
    """
    if (known := known_speed(model)) is not None:
        return known
    engine = open_engine(model)
    # Opening may have measured it.
    if (known := known_speed(model)) is not None:
        return known

    def measured() -> dict[str, Any]:
        return asdict(Speed(str(engine), round(benchmark_engine(engine), 1)))

    return Speed(**cached_json(_file(model), measured))


def _file(model: str) -> Path:
    key = engine_speeds_file(Path()).stem.removeprefix("engines-")
    return cache_folder() / "speeds" / f"{model_identity(model)[:24]}-{key}.json"
