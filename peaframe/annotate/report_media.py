"""An event's sound for the report: a picture and a sound that a page holds inside itself, as data URIs."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from peaframe import audio
from peaframe.annotate.clips import span
from peaframe.annotate.sampling import Sample
from peaframe.audio.source import Samples
from peaframe.clock import SAMPLE_RATE
from peaframe.errors import PeaframeError
from peaframe.infer.spectrogram import spectrogram

__all__ = ["Media", "media", "picture", "sound"]

LONGEST_SECONDS = 8.0
_COLUMNS = 320
_LEVELS = 28
_BITS_A_SECOND = 32_000
# From silence to loud: near black, deep blue, the page's blue, a light blue, near white; rising in lightness.
_RAMP = ((8, 12, 22), (10, 42, 84), (0, 114, 178), (118, 190, 228), (250, 252, 255))


@dataclass(frozen=True)
class Media:
    """One event as picture and sound.

    Attributes:
        sample: The event.
        start: Where the picture and the sound begin in the recording, in seconds.
        end: Where they end.
        picture: A PNG, as a data URI.
        sound: Opus in Ogg, as a data URI.
    """

    sample: Sample
    start: float
    end: float
    picture: str
    sound: str


def media(
    top: Mapping[str, Sequence[Sample]],
    opened: Callable[[str], AbstractContextManager[Path]],
    most_bytes: int,
) -> tuple[dict[str, list[Media]], dict[str, str], int]:
    """Pictures and sounds of events, as many as there is room for: every query's first, then every second one.

    Args:
        top: By query, events, the most wanted first.
        opened: From a recording's path or URL, a context with a local file.
        most_bytes: How much room there is.

    Returns:
        By query, what there is; recordings that could not be read any more, each with the reason; and for how many
        events there was no room.
    """
    found: dict[str, list[Media]] = {query: [] for query in top}
    gone: dict[str, str] = {}
    room, left_out = most_bytes, 0
    rounds = max((len(samples) for samples in top.values()), default=0)
    for turn in range(rounds):
        for query, samples in top.items():
            if turn >= len(samples) or samples[turn].name in gone:
                continue
            if room <= 0:
                left_out += 1
                continue
            one = samples[turn]
            start, end = span(one.event.onset, one.event.offset, one.seconds, LONGEST_SECONDS)
            try:
                with opened(one.path) as path:
                    heard = audio.read(path, start=start, end=end)
            except (PeaframeError, OSError) as error:
                gone[one.name] = " ".join(str(error).split())
                continue
            seen = Media(one, start, end, _uri("image/png", picture(heard)), _uri("audio/ogg", sound(heard)))
            room -= len(seen.picture) + len(seen.sound)
            found[query].append(seen)
    return found, gone, left_out


def picture(heard: Samples) -> bytes:
    """A spectrogram of 48 kHz sound (samples,) as PNG: low below, loud bright; a palette of 28 colours."""
    levels = spectrogram([heard], len(heard), _COLUMNS)
    top = max(float(np.percentile(levels, 99.8)), -60.0)  # digital silence stays dark
    floor = float(np.clip(np.percentile(levels, 10), top - 80, top - 40))
    shades = np.clip(np.rint((levels - floor) / (top - floor) * (_LEVELS - 1)), 0, _LEVELS - 1)
    return _png(np.ascontiguousarray(shades.T[::-1].astype(np.uint8)))


def sound(heard: Samples) -> bytes:
    """48 kHz sound (samples,) as Opus in Ogg at 32 kbit/s; quiet sound is made louder, the same bytes each time."""
    peak = float(np.abs(heard).max(initial=0.0))
    louder = heard * (min(0.7 / peak, 10.0) if 0 < peak < 0.7 else 1.0)
    pcm = np.rint(np.clip(louder, -1, 1) * 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = _BITS_A_SECOND
        stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _png(shades: NDArray[np.uint8]) -> bytes:
    """Places in the palette, (height, width), as a PNG file (ISO/IEC 15948)."""
    height, width = shades.shape
    stops = np.linspace(0, _LEVELS - 1, len(_RAMP))
    channels = [np.interp(np.arange(_LEVELS), stops, channel) for channel in zip(*_RAMP, strict=True)]
    palette = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    rows = np.concatenate((np.zeros((height, 1), np.uint8), shades), axis=1)  # each row: no filter
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
