"""Containers for tests: clicks at known times, in tracks whose packets have the times given."""

from fractions import Fraction

import numpy as np
import pytest

RATE = 16_000


def clicks(seconds, *times, seed=0):
    """Return soft noise at 16 kHz with a click of 3 ms at each time, shape (samples,)."""
    samples = np.random.default_rng(seed).normal(0, 1e-3, round(seconds * RATE)).astype(np.float32)
    for time in times:
        samples[round(time * RATE) :][:48] = 0.8
    return samples


def onsets(samples):
    """Return the times in seconds at which clicks begin in samples, shape (samples,)."""
    loud = np.flatnonzero(np.abs(samples) > 0.3)
    return [
        float(loud[i]) / RATE for i in range(len(loud)) if i == 0 or loud[i] > loud[i - 1] + 800
    ]


def write_movie(
    path, *tracks, codec="pcm_s16le", video_seconds=0.0, edit=None, rewrite=None, options=None,
    tags=(), n_frame=1_024,
):  # fmt: skip
    """Write a container.

    Parameters
    ----------
    path
        Its ending is the format.
    tracks
        Each a list of parts: start in seconds, and samples at 16 kHz.
    codec
        Of the sound.
    video_seconds
        Length of a picture.
    edit
        Takes packets of sound in order; returns the bytes of each, or None to leave it out.
    rewrite
        Takes the time of a packet of sound in its time base; returns another.
    options
        Of the format, as for FFmpeg.
    tags
        Metadata of each track.
    n_frame
        Samples of a frame, where the codec takes any number.
    """
    av = pytest.importorskip("av", reason="needs the av extra")
    with av.open(str(path), "w", options=options or {}) as container:
        packets = []
        if video_seconds:
            video = container.add_stream("mpeg4", rate=5)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = [container.add_stream(codec, rate=RATE, layout="mono") for _ in tracks]
        for stream, each in zip(streams, tags, strict=False):
            stream.metadata.update(each)
        for i in range(round(video_seconds * 5)):
            image = np.full((48, 64, 3), i % 255, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 5)
            packets += video.encode(frame)
        packets += video.encode(None) if video_seconds else []
        for stream, parts in zip(streams, tracks, strict=True):
            own = _encode(av, stream, parts, n_frame)
            for i, packet in enumerate(own):
                data = bytes(packet) if edit is None else edit(i, bytes(packet))
                if data is not None:
                    packets.append(_packet(av, packet, data, rewrite))
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)


def _encode(av, stream, parts, n_frame):
    own = stream.codec_context
    to_format = av.AudioResampler(own.format.name, "mono", RATE, own.frame_size or n_frame)
    packets = []
    for start, samples in parts:
        for i in range(0, len(samples), n_frame):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[None, i : i + n_frame]), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = round(start * RATE) + i
            for part in to_format.resample(frame):
                packets += stream.encode(part)
    return [*packets, *stream.encode(None)]


def _packet(av, packet, data, rewrite):
    if rewrite is None and data == bytes(packet):
        return packet
    new = av.Packet(data)
    new.stream, new.time_base, new.duration = packet.stream, packet.time_base, packet.duration
    new.pts = packet.pts if rewrite is None else rewrite(packet.pts)
    new.dts = new.pts
    return new
