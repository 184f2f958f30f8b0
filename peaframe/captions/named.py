"""Parts by a line of text: `local:FOLDER_OR_ID`, `endpoint:MODEL@URL`, `vllm:FOLDER_OR_ID`."""

from __future__ import annotations

from dataclasses import dataclass

from peaframe.captions.endpoint import Endpoint, EndpointOptions
from peaframe.captions.endpoint_media import EndpointPictures, EndpointSound
from peaframe.captions.local_models import LocalPictures, LocalSound, LocalWriter
from peaframe.captions.parts import Captioner, Writer
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

    Raises:
        OptionError: the text is neither.
        ModelError: it cannot be loaded.
    """
    where, _, rest = text.partition(":")
    if where == "local" and rest:
        return LocalPictures(rest, manner.device) if pictures else LocalSound(rest, manner.device)
    if where == "endpoint":
        endpoint = _endpoint(rest, manner)
        return EndpointPictures(endpoint) if pictures else EndpointSound(endpoint)
    raise OptionError(f"got captioner {text!r}, expected local:FOLDER_OR_ID or endpoint:MODEL@URL")


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
