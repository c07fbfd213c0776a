"""Streaming sound-event detection: train one frame-wise model, scan archives, listen live.

>>> import sed
>>> for event in sed.detect("examples/village.ogg"):
...     print(f"{event.onset:7.2f} {event.label}")  # doctest: +SKIP

The default model is `sed.load_model()`. Public names are imported on first use, so that
``import sed`` itself loads nothing else.
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
    from sed.events.post_processing import (
        PostProcessing,
        read_post_processing,
        write_post_processing,
    )
    from sed.events.reading.event_tables import read_event_tables
    from sed.events.reading.events import read_events
    from sed.events.scoring.match import match_events
    from sed.events.scoring.score import Score, ScoreConfig, score
    from sed.events.sqlite import DatabaseError
    from sed.events.tracker import Event, EventTracker, TrackerConfig, track_events
    from sed.features.log_mel import LogMelConfig
    from sed.features.log_mel_torch import LogMel
    from sed.models.backbone import ModelConfig
    from sed.models.checkpoint import Checkpoint, load_checkpoint, load_model, save_checkpoint
    from sed.models.devices import DeviceError
    from sed.models.heads.attention import SedOutput
    from sed.models.metrics import padded_cmap
    from sed.models.network import SedModel
    from sed.timeline import Timeline
    from streaming.bench.bench import Bench, bench
    from streaming.engines.pytorch import TorchEngine
    from streaming.engines.select import open_engine
    from streaming.export.export import export
    from streaming.live.listen import listen, listen_async
    from streaming.live.listener import Listener
    from streaming.live.sources import open_source
    from streaming.messages import (
        AudioBlock,
        ClipSaved,
        EventEnded,
        EventStarted,
        Gap,
        Problem,
        Status,
    )
    from streaming.offline.detect import detect
    from streaming.offline.embed import embed
    from streaming.offline.executor import ThreadExecutor
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.scan import Scan
    from streaming.offline.summary import ScanCallbacks, Summary
    from streaming.offline.workers import ProcessExecutor
    from streaming.pipeline.config import DetectorConfig
    from streaming.pipeline.decoder import Detection
    from streaming.pipeline.detector import Detector
    from streaming.results.clips.choose import ChoiceConfig
    from streaming.results.clips.save import save_clips
    from streaming.results.summary.effort import recorded_spans
    from streaming.results.summary.summarise import summarise
    from streaming.search.search import SearchConfig, search
    from train.config.recipe import load_recipe
    from train.config.train import TrainConfig
    from train.evaluate.evaluate import evaluate
    from train.evaluate.predict import predict
    from train.fit.fit import FitResult, fit
    from train.run.train import TrainCallbacks, train
    from train.tune.report import TuneResult
    from train.tune.tune import tune

    __version__: str

# Module of each public name; the imports above say the same to type checkers.
_MODULES = {
    "sed.audio.blocks": "read_blocks read_recording",
    "sed.audio.decode": "open_recording",
    "sed.audio.resample": "Resampler",
    "sed.audio.start_time": "recording_start",
    "sed.errors": "CheckpointError DamagedRecordingError MissingExtraError OutputError "
    "RecordingError SedError TableError UsageError",
    "sed.events.sqlite": "DatabaseError",
    "sed.events.scoring.match": "match_events",
    "sed.events.scoring.score": "Score ScoreConfig score",
    "sed.events.post_processing": "PostProcessing read_post_processing write_post_processing",
    "sed.events.tracker": "Event EventTracker TrackerConfig track_events",
    "sed.events.reading.events": "read_events",
    "sed.events.reading.event_tables": "read_event_tables",
    "sed.features.log_mel": "LogMelConfig",
    "sed.features.log_mel_torch": "LogMel",
    "sed.models.backbone": "ModelConfig",
    "sed.models.checkpoint": "Checkpoint load_checkpoint load_model save_checkpoint",
    "sed.models.devices": "DeviceError",
    "sed.models.metrics": "padded_cmap",
    "sed.models.heads.attention": "SedOutput",
    "sed.models.network": "SedModel",
    "sed.timeline": "Timeline",
    "streaming.bench.bench": "Bench bench",
    "streaming.engines.pytorch": "TorchEngine",
    "streaming.engines.select": "open_engine",
    "streaming.export.export": "export",
    "streaming.live.listen": "listen listen_async",
    "streaming.live.listener": "Listener",
    "streaming.live.sources": "open_source",
    "streaming.messages": "AudioBlock ClipSaved EventEnded EventStarted Gap Problem Status",
    "streaming.offline.detect": "detect",
    "streaming.offline.embed": "embed",
    "streaming.offline.executor": "ThreadExecutor",
    "streaming.offline.job_config": "JobConfig",
    "streaming.offline.outputs": "OutputConfig",
    "streaming.offline.scan": "Scan",
    "streaming.offline.summary": "ScanCallbacks Summary",
    "streaming.offline.workers": "ProcessExecutor",
    "streaming.pipeline.config": "DetectorConfig",
    "streaming.pipeline.decoder": "Detection",
    "streaming.pipeline.detector": "Detector",
    "streaming.results.clips.choose": "ChoiceConfig",
    "streaming.results.clips.save": "save_clips",
    "streaming.results.summary.effort": "recorded_spans",
    "streaming.results.summary.summarise": "summarise",
    "streaming.search.search": "SearchConfig search",
    "train.config.recipe": "load_recipe",
    "train.config.train": "TrainConfig",
    "train.evaluate.evaluate": "evaluate",
    "train.evaluate.predict": "predict",
    "train.fit.fit": "FitResult fit",
    "train.run.train": "TrainCallbacks train",
    "train.tune.report": "TuneResult",
    "train.tune.tune": "tune",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("sed-engine")
    elif name in _MODULE_OF:
        try:
            value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        except ModuleNotFoundError as error:
            from sed.errors import missing_extra

            # What trains needs all of its extra, whatever is missing first.
            extra = "train" if _MODULE_OF[name].startswith("train.") else None
            raise missing_extra(f"sed.{name}", error, extra) or error from error
    else:
        raise AttributeError(f"module 'sed' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
