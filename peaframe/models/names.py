"""The models that can be loaded by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUILT_IN = "peaframe-mini"


@dataclass(frozen=True)
class ModelName:
    """What is known about a model before it is loaded.

    Attributes:
        name: what the user says.
        description: one line.
        licence: SPDX name of the weights' licence.
        parameters: number of parameters, in millions.
        folder: where its checkpoint lies on every installation.
    """

    name: str
    description: str
    licence: str
    parameters: float
    folder: Path


MODELS = {
    BUILT_IN: ModelName(
        BUILT_IN,
        "built in; trained by recipes/mini on real sounds, any English words",
        "Apache-2.0",
        24,
        Path(__file__).parent / "mini",
    ),
}
