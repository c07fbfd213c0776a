"""Decode containers (m4a, mp4, Matroska, MPEG-TS, wma, …), and URLs, with PyAV."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from sed.audio.decoders.codecs import decode_of
from sed.audio.decoders.container_header import (
    FROM_ZERO_SOUND,
    choose_track,
    container_end_seconds,
    end_seconds,
    list_tracks,
    start_seconds,
)
from sed.audio.decoders.frames import FrameConverter
from sed.audio.decoders.guard import reason_of
from sed.audio.decoders.live_times import RTSP_OPTIONS, TIMED_STREAMS, PacketLoss
from sed.audio.decoders.times import BARE_FORMATS, FrameTimes, PacketBytes, damage_of
from sed.errors import MissingExtraError, RecordingError, SedError
from sed.text import printable
from sed.types import Floats

# Sound that ends earlier than its header says by more than this is cut off: encoders pad.
MIN_CUT_SECONDS = 0.5
# Where only the whole container has a length, its last packets may have none.
MIN_CUT_OF_CONTAINER_SECONDS = 1.0

# Live sound that cannot be decoded for so long is a broken connection.
MAX_LIVE_LOSS_SECONDS = 10.0

MAX_PACKET_SECONDS = 10.0  # a packet that is said to be longer has a wrong duration
MAX_READ_ERRORS = 5  # of a container, one after the other, until it is given up
SILENCE_SAMPLES = 65_536  # per block

# How much FFmpeg reads of a file that does not say soon what its sound is: as it begins late.
LONG_ANALYSIS = {"analyzeduration": "3600000000", "probesize": "1000000000"}

CAN_JUMP = 0x200  # a flag of formats whose clock may jump, AVFMT_TS_DISCONT


class ContainerDecoder:
    """Decodes a track of sound of a file or URL that FFmpeg reads, at the times of the file.

    Each sample has the time that the container gives it: where the times of packets leave a gap,
    and where a packet cannot be decoded, silence is in its place, and both are reported after the
    last block. Silence until sound begins is no damage. See `sed.audio.decoders.times`.

    `n_samples` is what the header promises of this track, the silence before it included: `blocks`
    yields as many, but for the padding of encoders, or reports that the file is cut off. It is None
    where the header does not give the length of the track and FFmpeg would estimate it: ADTS, MP3,
    Ogg, MPEG-TS, streams, some files with a picture.

    Parameters
    ----------
    source
        A file, a URL, or an open binary file; one that can seek is read from its first byte.
    name
        Its name in messages; by default that of the source.
    track
        Track of sound, counted from 1; the default of the container if not given.
    timeout_seconds
        Longest wait for data from a network; unlimited if not given.
    like
        Another decoder; samples are converted to its sample rate and channels.
    on_lost
        For a stream without an end, which has another account of time: called with the number of
        samples of packets that were lost or could not be decoded, before the block that follows
        them. No silence is put in, and nothing is reported in the end. Files are not concerned.
    on_other
        Called for each packet of a live stream that is no sound of this track.

    Raises
    ------
    RecordingError
        If it cannot be opened, or holds no such track.
    MissingExtraError
        If PyAV is not installed.
    """

    def __init__(
        self,
        source: str | BinaryIO,
        *,
        name: str | None = None,
        track: int | None = None,
        timeout_seconds: float | None = None,
        like: ContainerDecoder | None = None,
        on_lost: Callable[[int], None] | None = None,
        on_other: Callable[[], None] | None = None,
    ) -> None:
        self._path = name or (source if isinstance(source, str) else str(source.name))
        self._on_lost, self._on_other = on_lost, on_other
        self._timeout_seconds = timeout_seconds
        self._container: Any = None
        try:
            import av
        except ImportError:
            raise MissingExtraError(f"{printable(self._path)}: reading this", "av") from None
        self._av = av
        try:
            self._open(source, track, like)
        except SedError:
            self.close()
            raise
        except Exception as error:  # PyAV raises all kinds: ValueError, UnicodeDecodeError, …
            self.close()
            raise RecordingError(
                self._path,
                f"cannot be read, not by FFmpeg either ({reason_of(error)}). Check its content, or "
                "convert it.",
            ) from error

    @property
    def n_bytes_read(self) -> int | None:
        """Bytes to the end of the last packet; None where a file holds more than packets."""
        return self.packet_bytes.end if self.packet_bytes.is_bare else None

    @property
    def has_end(self) -> bool:
        """Whether this is a file, and not a stream that goes on."""
        return bool(self._container.duration)

    @property
    def notice(self) -> str:
        """Which track is read, where there are several and none was chosen; else empty."""
        if self._is_chosen or len(self.tracks) < 2:
            return ""
        return (
            f"has {len(self.tracks)} tracks of sound; number {self.track.number} is read "
            f"({self.track}). Choose another with --track; `sed info` lists them."
        )

    def blocks(self) -> Iterator[Floats]:
        """Yield blocks of shape (samples, channels).

        Raises
        ------
        DamagedRecordingError
            After the last block, if sound is missing, cannot be decoded, or is cut off.
        RecordingError
            If no packet can be decoded, or a live stream breaks off.
        """
        cut = ""
        try:
            yield from self._blocks()
        except SedError:
            raise
        except Exception as error:
            if self._is_live:
                raise RecordingError(self._path, f"breaks off: {reason_of(error)}.") from error
            cut = "it cannot be decoded any further"
        if not self._is_live and (
            damage := damage_of(self._path, self._times, self.sample_rate, cut or self._cut())
        ):
            raise damage

    def close(self) -> None:
        """Close the container; PyAV leaks open ones."""
        if self._container is not None:
            self._container.close()

    def _open(
        self, source: str | BinaryIO, track: int | None, like: ContainerDecoder | None
    ) -> None:
        is_rtsp = isinstance(source, str) and source.startswith("rtsp")
        began = clock.monotonic()
        self._open_container(source, RTSP_OPTIONS if is_rtsp else {})
        self.track = choose_track(self._path, self.tracks, track)
        can_restart = isinstance(source, str) or source.seekable()
        if self._on_lost is None and not self.track.sample_rate and can_restart:
            self.close()
            if not isinstance(source, str):
                source.seek(0)
            self._open_container(source, LONG_ANALYSIS)
            self.track = choose_track(self._path, self.tracks, track)
        self._is_chosen = track is not None
        self._stream = self._container.streams.audio[self.track.number - 1]
        own = self._stream.codec_context
        if own is None or not self.track.sample_rate:
            raise RecordingError(
                self._path, f"its sound cannot be decoded ({self.track.codec}). Convert it."
            )
        self._decode = decode_of(self._av, self._stream)
        layout: str = like._frames.layout if like else own.layout.name
        self.sample_rate: int = like.sample_rate if like else int(own.sample_rate)
        self.n_channels: int = like.n_channels if like else int(own.channels)
        self.format = f"{self._container.format.name} {own.name}"
        self._is_live = self._on_lost is not None and not self.has_end
        is_counted = self._is_live and self._container.format.name in TIMED_STREAMS
        self._loss = PacketLoss(self.sample_rate, began) if is_counted else None
        is_bare = self._container.format.name in BARE_FORMATS and not self._is_live
        self.packet_bytes = PacketBytes(is_bare=is_bare, n_channels=self.n_channels)
        self._zero = start_seconds(self._container)
        self._end = end_seconds(self._container, self._stream)
        self.n_samples: int | None = None
        if self._end is not None:
            self.n_samples = max(0, round(self._position_of(self._end)))
        self._container_end = container_end_seconds(self._container)
        self._last_seen = 0.0  # end of the last packet of any stream, in seconds
        self._frames: FrameConverter = FrameConverter(
            self._av, layout, self.sample_rate, self.n_channels
        )
        self.n_frame = 0  # samples of the last frame
        self.sample_bytes: int = self.n_channels * own.format.bytes  # that a codec can need
        self._n_lost = 0  # samples since then that could not be decoded
        self._times = FrameTimes(
            self.sample_rate,
            can_jump=bool(self._container.format.flags & CAN_JUMP),
            max_seconds=self._container_end,
            has_start=self._container.format.name == FROM_ZERO_SOUND,
        )

    def _open_container(self, source: str | BinaryIO, options: dict[str, str]) -> None:
        """Open the container, and list its tracks."""
        more: dict[str, Any] = {"timeout": self._timeout_seconds, "metadata_errors": "replace"}
        self._container = self._av.open(source, "r", options=options, **more)
        self.tracks = list_tracks(self._container.streams.audio)
        self.n_streams = len(self._container.streams)
        if not self.tracks:
            has_picture = any(stream.type == "video" for stream in self._container.streams)
            which = ", only a picture" if has_picture else ""
            raise RecordingError(self._path, f"holds no sound{which}. Give a recording.")

    def _blocks(self) -> Iterator[Floats]:
        n_good = 0
        for packet in self._packets():
            try:
                self._n_lost += self.packet_bytes.missing(packet.pos, packet.size) * self.n_frame
                frames = [(frame.time, self._convert(frame)) for frame in self._decode(packet)]
            except Exception:  # a bad packet costs itself
                self._n_lost += self._n_samples_of(packet)
                if self._is_live and self._n_lost > MAX_LIVE_LOSS_SECONDS * self.sample_rate:
                    raise
                continue
            n_good += len(frames)
            for time, block in frames:
                yield from self._placed(time, block)
        if self._n_lost and not n_good:
            raise RecordingError(
                self._path,
                f"none of its sound can be decoded ({self.track.codec}). Check its content.",
            )
        yield from self._placed(None, self._frames.rest())

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the track; past damage of the container where FFmpeg goes on."""
        # Where only the whole has a length, the last packet of any stream shows if it is cut off.
        every = self._end is None and self._container_end is not None
        every = every or (self._is_live and self._on_other is not None)
        n_errors = 0
        while True:
            try:
                for packet in self._container.demux(*([] if every else [self._stream])):
                    n_errors = 0
                    if every and packet.pts is not None:
                        end = (packet.pts + (packet.duration or 0)) * float(packet.time_base)
                        self._last_seen = max(self._last_seen, end)
                    if packet.stream_index == self._stream.index:
                        yield packet
                    elif self._is_live and self._on_other is not None:
                        self._on_other()
                return
            except Exception:
                n_errors += 1
                if self._is_live or n_errors > MAX_READ_ERRORS:
                    raise
                self._n_lost += self.n_frame  # at least; the next time says how many

    def _convert(self, frame: Any) -> Floats:
        block = self._frames.convert(frame)
        self.n_frame = len(block)
        return block

    def _placed(self, time: float | None, block: Floats) -> Iterator[Floats]:
        """Yield a block after the silence that its time asks for.

        Parameters
        ----------
        time
            Of its first sample, in seconds of the container; None if it is not known.
        block
            Samples, shape (samples, channels).
        """
        n_lost, self._n_lost = self._n_lost, 0
        if self._is_live:
            if self._loss is not None:
                n_lost = max(n_lost, self._loss.before(time, len(block)))
            if n_lost and self._on_lost is not None:
                self._on_lost(n_lost)
        else:
            # The times of bare packets are only their number.
            is_timed = not self.packet_bytes.is_bare
            position = self._position_of(time) if is_timed and time is not None else None
            n_silent = self._times.place(position, len(block), n_lost)
            for start in range(0, n_silent, SILENCE_SAMPLES):
                n = min(SILENCE_SAMPLES, n_silent - start)
                yield np.zeros((n, self.n_channels), np.float32)
            block = block[max(0, -n_silent) :]
        if len(block):
            yield block

    def _n_samples_of(self, packet: Any) -> int:
        """Return the length of a packet that cannot be decoded."""
        if not packet.size:  # the one that ends the stream
            return 0
        seconds = float((packet.duration or 0) * packet.time_base)
        if 0 < seconds <= MAX_PACKET_SECONDS:
            return round(seconds * self.sample_rate)
        return self.n_frame

    def _position_of(self, seconds: float) -> float:
        """Return the position of a time of the container, in samples of this."""
        return (seconds - self._zero) * self.sample_rate

    def _cut(self) -> str:
        """Return how the container ends before its header says; empty if it does not."""
        if self._end is not None:
            seconds = self._times.missing(self._position_of(self._end)) / self.sample_rate
            promised, least = self._end - self._zero, MIN_CUT_SECONDS
        elif self._container_end is not None:
            promised, least = self._container_end, MIN_CUT_OF_CONTAINER_SECONDS
            seconds = promised - self._last_seen
        else:
            return ""
        if seconds <= least:
            return ""
        return f"it is cut off there; its header promises {promised:.3f} s"
