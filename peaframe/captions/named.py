"""Parts by a line of text: `local:FOLDER_OR_ID`, `endpoint:MODEL@URL`, `vllm:FOLDER_OR_ID`, `prefix:KIND@FOLDER`."""

from __future__ import annotations

import os
from dataclasses import dataclass

from peaframe.captions.endpoint import Endpoint, EndpointOptions
from peaframe.captions.endpoint_media import EndpointPictures, EndpointSound
from peaframe.captions.local_models import LocalPictures, LocalSound, LocalWriter
from peaframe.captions.parts import Captioner, Writer
from peaframe.captions.prefix_captioner import load_captioner
from peaframe.captions.vllm_writer import VllmWriter
from peaframe.errors import OptionError


@dataclass(frozen=True)
class Manner:
    """How parts work.

    Attributes:
        device: of models on this machine.
        batch: prompts that a model on this machine answers at a time.
        key_variable: environment variable that holds the endpoints' key.
        timeout_seconds: of an endpoint's answer.
        threads: requests to an endpoint at a time.
    """

    device: str = "auto"
    batch: int = 8
    key_variable: str | None = None
    timeout_seconds: float = 120.0
    threads: int = 8


def captioner(text: str, manner: Manner, pictures: bool = False) -> Captioner:
    """A captioner of sound, or of pictures, such as `local:FOLDER_OR_ID` or `endpoint:MODEL@URL`.

    `prefix:KIND@FOLDER` or `prefix:FOLDER` is one of sound that was trained on a PE-AV (`recipes.train_captioner`).

    Raises:
        OptionError: the text is none of these.
        ModelError: it cannot be loaded.
    """
    where, _, rest = text.partition(":")
    if where == "local" and rest:
        return LocalPictures(rest, manner.device) if pictures else LocalSound(rest, manner.device)
    if where == "endpoint":
        endpoint = _endpoint(rest, manner)
        return EndpointPictures(endpoint) if pictures else EndpointSound(endpoint)
    if where == "prefix" and rest and not pictures:
        kind, at, folder = rest.partition("@")
        # a folder's own name may have the sign, too
        plain = not at or os.path.isdir(rest)
        return load_captioner(rest if plain else folder, None if plain else kind, manner.device)
    also = "" if pictures else ", or prefix:KIND@FOLDER"
    raise OptionError(f"got captioner {text!r}, expected local:FOLDER_OR_ID or endpoint:MODEL@URL{also}")


def writer(text: str, manner: Manner) -> Writer:
    """A language model, such as `local:FOLDER_OR_ID`, `vllm:FOLDER_OR_ID` or `endpoint:MODEL@URL`; errors likewise."""
    where, _, rest = text.partition(":")
    if where == "local" and rest:
        return LocalWriter(rest, manner.device, batch=manner.batch)
    if where == "vllm" and rest:
        return VllmWriter(rest)
    if where == "endpoint":
        return _endpoint(rest, manner)
    raise OptionError(
        f"got writer {text!r}, expected local:FOLDER_OR_ID, vllm:FOLDER_OR_ID or endpoint:MODEL@URL"
    )


def _endpoint(text: str, manner: Manner) -> Endpoint:
    model, at, url = text.partition("@")
    if not at:
        raise OptionError(
            f"got endpoint {text!r}, expected MODEL@URL, such as llama@http://localhost:8000/v1"
        )
    options = EndpointOptions(url, model, manner.key_variable, manner.timeout_seconds, threads=manner.threads)
    return Endpoint(options)
