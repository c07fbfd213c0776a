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
    from sed.audio.blocks import read_blocks, read_recording
    from sed.audio.decode import open_recording
    from sed.audio.resample import Resampler
    from sed.audio.start_time import recording_start
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
    from sed.events.match import match_events
    from sed.events.tracker import Event, EventTracker, TrackerConfig, track_events
    from sed.events.writers import read_events
    from sed.features.log_mel import LogMelConfig
    from sed.features.log_mel_torch import LogMel
    from sed.models.checkpoint import Checkpoint, load_checkpoint, load_model, save_checkpoint
    from sed.models.metrics import padded_cmap
    from sed.models.network import ModelConfig, SedModel, SedOutput
    from sed.timeline import Timeline
    from streaming.bench.bench import Bench, bench
    from streaming.engines.pytorch import TorchEngine
    from streaming.engines.select import open_engine
    from streaming.export.export import export
    from streaming.live.listen import listen, listen_async
    from streaming.live.listener import Listener
    from streaming.live.sources import open_source
    from streaming.messages import AudioBlock, EventEnded, EventStarted, Gap, Problem, Status
    from streaming.offline.detect import detect
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.scan import Scan, Summary
    from streaming.pipeline.config import DetectorConfig
    from streaming.pipeline.detector import Detection, Detector
    from train.config import TrainConfig, load_recipe
    from train.evaluate.evaluate import evaluate
    from train.evaluate.predict import predict
    from train.run.train import train

_HOMES = {
    "sed.audio.decode": ("Resampler", "open_recording", "read_blocks", "read_recording"),
    "sed.models.checkpoint": ("Checkpoint", "load_checkpoint", "load_model", "save_checkpoint"),
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
    "sed.events.tracker": ("Event", "EventTracker", "TrackerConfig", "track_events"),
    "sed.features.log_mel_torch": ("LogMel",),
    "sed.features.log_mel": ("LogMelConfig",),
    "sed.models.metrics": ("match_events", "padded_cmap"),
    "sed.model": ("ModelConfig", "SedModel", "SedOutput"),
    "sed.audio.start_time": ("recording_start",),
    "sed.timeline": ("Timeline",),
    "sed.events.writers": ("read_events",),
    "streaming.bench.bench": ("Bench", "bench"),
    "streaming.offline.detect": ("detect",),
    "streaming.pipeline.detector": ("Detection", "Detector", "DetectorConfig"),
    "streaming.live.sources": ("open_source",),
    "streaming.export.export": ("export",),
    "streaming.live.listen": ("listen", "listen_async"),
    "streaming.live.listener": ("Listener",),
    "streaming.messages": ("EventStarted", "EventEnded", "Gap", "AudioBlock", "Status", "Problem"),
    "streaming.engines.select": ("open_engine",),
    "streaming.offline.outputs": ("OutputConfig",),
    "streaming.offline.scan": ("Scan", "Summary"),
    "streaming.engines.pytorch": ("TorchEngine",),
    "train.config": ("TrainConfig", "load_recipe"),
    "train.evaluate.evaluate": ("evaluate",),
    "train.run.train": ("train",),
    "train.evaluate.predict": ("predict",),
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
