"""Choose the codec that decodes the packets of a stream of FFmpeg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sed.audio.decoders.layout.amr import LOST_KINDS

# Of AMR, FFmpeg's own codecs decode no pauses, where phones send a little noise or nothing.
WITH_PAUSES = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}

Decode = Callable[[Any], list[Any]]


def decode_of(av: Any, stream: Any) -> Decode:
    """Return what decodes a packet of a stream; the function raises what PyAV does.

    Parameters
    ----------
    av
        The module.
    stream
        A stream of sound.
    """
    name = stream.codec_context.name
    other = WITH_PAUSES.get(name)
    if other not in av.codecs_available:
        return _decode
    context = av.CodecContext.create(other, "r")
    context.sample_rate = stream.codec_context.sample_rate
    context.layout = stream.codec_context.layout.name
    lost = LOST_KINDS[name]

    def decode(packet: Any) -> list[Any]:
        if not packet.size:
            return list(context.decode(None))
        # The codec would fill in what is lost.
        if bytes(packet)[0] >> 3 & 15 in lost:
            raise ValueError("a frame of AMR that is lost")
        return list(context.decode(packet))

    return decode


def _decode(packet: Any) -> list[Any]:
    return list(packet.decode())
