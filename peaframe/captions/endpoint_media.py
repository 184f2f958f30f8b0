"""Captioners behind an OpenAI-compatible endpoint: models that take sound or pictures beside words.

Sound goes as `input_audio` (WAV), pictures as `image_url` with a `data:` address (PNG), as servers such as vLLM and
llama.cpp take them; a server that takes only words refuses them.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile
import soxr

from peaframe.audio.source import Samples
from peaframe.captions.clips import OpenClip, Picture
from peaframe.captions.endpoint import Endpoint
from peaframe.captions.parts import Answer
from peaframe.clock import SAMPLE_RATE
from peaframe.errors import OptionError

HEAR = "Describe what is heard in this recording, in one sentence. Answer with the sentence alone."
SEE = (
    "These pictures are from one video, in order. Describe what is seen and what happens, in one or two sentences. "
    "Answer with them alone."
)
_RATE = 16_000


class EndpointSound:
    """Says what is heard."""

    def __init__(self, endpoint: Endpoint, words: str = HEAR) -> None:
        """Ask `endpoint` with these words before each recording."""
        self._endpoint, self._words = endpoint, _checked(words)
        self.name = endpoint.name
        self.identity = f"{endpoint.identity} sound {_digest(words)}"

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption for each clip's sound; errors as in `Endpoint.ask`."""
        return self._endpoint.ask([self._talk(clip.sound) for clip in clips])

    def _talk(self, sound: Samples) -> list[dict[str, Any]]:
        part = {"type": "input_audio", "input_audio": {"data": wav(sound), "format": "wav"}}
        return [{"role": "user", "content": [{"type": "text", "text": self._words}, part]}]


class EndpointPictures:
    """Says what is seen."""

    def __init__(self, endpoint: Endpoint, words: str = SEE, side: int = 448) -> None:
        """Ask `endpoint` with these words before the pictures.

        Args:
            endpoint: whom.
            words: what.
            side: pixels that the longer side of a picture has at most; larger ones are made smaller.
        """
        if side < 16:
            raise OptionError(f"got pictures of {side} pixels, expected 16 or more")
        self._endpoint, self._words, self._side = endpoint, _checked(words), side
        self.name = endpoint.name
        self.identity = f"{endpoint.identity} pictures {side} {_digest(words)}"

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption for each clip's pictures; errors as in `Endpoint.ask`."""
        return self._endpoint.ask([self._talk(clip.pictures) for clip in clips])

    def _talk(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = [{"type": "text", "text": self._words}]
        for picture in pictures:
            address = f"data:image/png;base64,{png(picture, self._side)}"
            content.append({"type": "image_url", "image_url": {"url": address}})
        return [{"role": "user", "content": content}]


def wav(sound: Samples) -> str:
    """Sound (samples,) at 48 kHz as a WAV file of 16 kHz, 16 bit, in base64."""
    low = soxr.resample(sound, SAMPLE_RATE, _RATE)
    file = io.BytesIO()
    soundfile.write(file, np.clip(low, -1, 1), _RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def png(picture: Picture, side: int) -> str:
    """A picture (height, width, 3), its longer side no more than `side` pixels, as a PNG file in base64."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    scale = min(1.0, side / max(frame.width, frame.height))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    frame = frame.reformat(*size, format="rgb24")
    codec: Any = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = *size, "rgb24", Fraction(1, 25)
    return base64.b64encode(
        b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
    ).decode()


def _checked(words: str) -> str:
    if not words.strip():
        raise OptionError("got nothing to ask about a recording or picture; expected an instruction")
    return words


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:12]
