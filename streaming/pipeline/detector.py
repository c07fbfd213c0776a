"""Detect events in a stream of samples.

::

    samples ─ FrontEnd ─▶ batches ─ Engine ─▶ outputs ─ EventDecoder ─▶ events

Each part takes any amount and returns what is ready. Every batch and every chunk of columns has the
same size however the samples were cut, so a file and a live stream give the same numbers. The front
end and the decoder share no state, so each may run in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sed.features.shown import ShownSpectrogram
from sed.timeline import seconds_from_samples
from sed.types import Floats
from streaming.engines.base import Engine, FrameOutput, Shape
from streaming.engines.select import open_engine
from streaming.pipeline.config import DetectorConfig, hop_columns
from streaming.pipeline.decoder import Detection, EventDecoder
from streaming.pipeline.front_end import FrontEnd
from streaming.pipeline.modes import choose_mode
from streaming.pipeline.windows import Batch

if TYPE_CHECKING:
    from sed.models.checkpoint import Checkpoint


class Detector:
    """Runs a model over a stream of samples.

    Parameters
    ----------
    model
        An engine, or a checkpoint, which PyTorch then runs on the best device.
    config
        Hop, thresholds, classes.
    sample_rate
        Of the samples that will be pushed, in Hz; the model's own if not given.

    Raises
    ------
    UsageError
        If a class is unknown, the hop does not divide the window into whole columns, or the network
        cannot run in the requested mode.
    """

    def __init__(
        self,
        model: Engine | Checkpoint,
        config: DetectorConfig | None = None,
        *,
        sample_rate: int | None = None,
    ) -> None:
        self.config = config or DetectorConfig()
        self.engine = open_engine(model, n_streams=1)
        self.spec = self.engine.spec.with_hop(
            hop_columns(self.engine.spec, self.config.hop_seconds)
        )
        self.timeline = self.spec.timeline
        mode = self._mode = choose_mode(self.engine, self.config)
        self.batch_size = self.config.batch_size or self.engine.batch_size
        self.front_end = FrontEnd(
            self.engine, mode, sample_rate=sample_rate, is_live=self.batch_size == 1
        )
        self.decoder = EventDecoder(self.spec, self.config, mode.aggregator, self.engine.n_features)
        self.labels = self.decoder.labels
        self._shown = ShownSpectrogram(self.spec.log_mel, self.spec.spectrogram)

    def reset(self) -> None:
        """Start a new recording."""
        self.front_end.reset()
        self.decoder.reset()

    @property
    def mode(self) -> str:
        """The inference mode: sliding_window or fully_convolutional."""
        return self._mode.name

    @property
    def batch_shape(self) -> Shape:
        """Shape of the model's input: batch, columns, mels."""
        return self._mode.batch_size, self._mode.slicer.input_columns, self.spec.log_mel.n_mels

    @property
    def hop_seconds(self) -> float:
        """Seconds from one input of the model to the next."""
        return self._seconds(self._mode.slicer.step_columns)

    @property
    def clip_hop_seconds(self) -> float:
        """Seconds from one window of the clip probabilities to the next."""
        return self._seconds(hop_columns(self.engine.spec, self.config.hop_seconds))

    @property
    def lookahead_seconds(self) -> float:
        """Seconds of sound that must follow a moment before it is decided, up to one hop later."""
        return self._seconds(self.decoder.lookahead_columns)

    @property
    def delay_seconds(self) -> float:
        """Seconds of sound after the end of an event, at most, until the event is returned."""
        gap_seconds = self.timeline.frame_time(self.decoder.gap_frames)
        return self.lookahead_seconds + self.hop_seconds + gap_seconds

    def shown(self, log_mel: Floats) -> Floats:
        """Return the columns to show for those of a `Detection`, shape (columns, mels).

        They are the same, unless the model takes samples; see `ModelSpec.spectrogram`.
        """
        return self._shown(log_mel)

    def push(self, samples: NDArray[Any]) -> Detection:
        """Take mono samples, shape (samples,); return what they complete.

        Integers are scaled by their full scale.

        Raises
        ------
        UsageError
            If the samples are not mono, or neither integers nor floats.
        """
        return self._detect(self.front_end.push(samples))

    def flush(self) -> Detection:
        """End the recording; return the rest. The next sample starts another recording."""
        detection = self._detect(self.front_end.flush())
        self.reset()
        return detection

    def end(self) -> Detection:
        """End the recording without running the model; return what was detected before.

        For callers whose model has failed. The next sample starts another recording.
        """
        batch = Batch([], [], self.front_end.n_samples, is_last=True)
        detection = self.decode([batch], [None])
        self.reset()
        return detection

    def decode(self, batches: Sequence[Batch], outputs: Sequence[FrameOutput | None]) -> Detection:
        """Return what the model's outputs for consecutive batches complete, as one detection.

        For callers that run the model themselves, on the batches of `front_end`. An output is None
        where a batch has no windows.
        """
        detections = [
            self.decoder.push(batch, output) for batch, output in zip(batches, outputs, strict=True)
        ]
        return Detection.concat(detections, len(self.labels), self.spec.log_mel.n_mels)

    def _detect(self, batches: Sequence[Batch]) -> Detection:
        outputs = [self.engine.infer(b.stack()) if b.windows else None for b in batches]
        return self.decode(batches, outputs)

    def _seconds(self, columns: int) -> float:
        return seconds_from_samples(columns * self.timeline.hop_length, self.timeline.sample_rate)
