"""Streaming sound-event detection: one model that trains, scans archives and listens live.

>>> import sed
>>> model = sed.load_model()
>>> for event in sed.detect("examples/street.ogg", model):
...     print(event.onset, event.label)  # doctest: +SKIP

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sed.audio import Resampler, open_recording, read_blocks, read_recording
    from sed.checkpoint import Checkpoint, load_checkpoint, load_model, save_checkpoint
    from sed.errors import (
        CheckpointError,
        DamagedRecordingError,
        MissingExtraError,
        OutputError,
        RecordingError,
        SedError,
        TableError,
        UsageError,
    )
    from sed.events import Event, EventTracker, TrackerConfig, track_events
    from sed.features import LogMel
    from sed.mels import LogMelConfig
    from sed.metrics import match_events, padded_cmap
    from sed.model import ModelConfig, SedModel, SedOutput
    from sed.recorders import recording_start
    from sed.timeline import Timeline
    from sed.writers import read_events
    from streaming.bench import Bench, bench
    from streaming.detect import detect
    from streaming.detector import Detection, Detector, DetectorConfig
    from streaming.ears import open_ear
    from streaming.export import export
    from streaming.listen import listen, listen_async
    from streaming.listener import Listener
    from streaming.messages import Began, Ended, Gap, Heard, Status, Trouble
    from streaming.open_engine import open_engine
    from streaming.results import Results
    from streaming.scan import Scan, Summary
    from streaming.torch_engine import TorchEngine
    from train.config import TrainConfig, load_recipe
    from train.evaluate import evaluate
    from train.loop import train
    from train.predict import predict

_HOMES = {
    "sed.audio": ("Resampler", "open_recording", "read_blocks", "read_recording"),
    "sed.checkpoint": ("Checkpoint", "load_checkpoint", "load_model", "save_checkpoint"),
    "sed.errors": (
        "CheckpointError",
        "DamagedRecordingError",
        "MissingExtraError",
        "OutputError",
        "RecordingError",
        "SedError",
        "TableError",
        "UsageError",
    ),
    "sed.events": ("Event", "EventTracker", "TrackerConfig", "track_events"),
    "sed.features": ("LogMel",),
    "sed.mels": ("LogMelConfig",),
    "sed.metrics": ("match_events", "padded_cmap"),
    "sed.model": ("ModelConfig", "SedModel", "SedOutput"),
    "sed.recorders": ("recording_start",),
    "sed.timeline": ("Timeline",),
    "sed.writers": ("read_events",),
    "streaming.bench": ("Bench", "bench"),
    "streaming.detect": ("detect",),
    "streaming.detector": ("Detection", "Detector", "DetectorConfig"),
    "streaming.ears": ("open_ear",),
    "streaming.export": ("export",),
    "streaming.listen": ("listen", "listen_async"),
    "streaming.listener": ("Listener",),
    "streaming.messages": ("Began", "Ended", "Gap", "Heard", "Status", "Trouble"),
    "streaming.open_engine": ("open_engine",),
    "streaming.results": ("Results",),
    "streaming.scan": ("Scan", "Summary"),
    "streaming.torch_engine": ("TorchEngine",),
    "train.config": ("TrainConfig", "load_recipe"),
    "train.evaluate": ("evaluate",),
    "train.loop": ("train",),
    "train.predict": ("predict",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sed' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
