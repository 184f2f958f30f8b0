"""peaframe: when is the described sound heard? Open-vocabulary sound event detection.

    import peaframe
    detector = peaframe.load()
    result = detector.detect("street.wav", ["dog barking", "siren"])
    result.events

Importing this package is cheap: torch is loaded with the first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from peaframe.version import __version__

if TYPE_CHECKING:
    from peaframe.boxes import BoxOptions
    from peaframe.calibration import Calibration
    from peaframe.errors import PeaframeError
    from peaframe.events import Event, EventOptions, events_from_scores
    from peaframe.infer.detector import Detection, Detector, load
    from peaframe.models.load import load_model
    from peaframe.scores import Scores

_HOMES = {
    "BoxOptions": "peaframe.boxes",
    "Calibration": "peaframe.calibration",
    "Detection": "peaframe.infer.detector",
    "Detector": "peaframe.infer.detector",
    "Event": "peaframe.events",
    "EventOptions": "peaframe.events",
    "PeaframeError": "peaframe.errors",
    "Scores": "peaframe.scores",
    "events_from_scores": "peaframe.events",
    "load": "peaframe.infer.detector",
    "load_model": "peaframe.models.load",
}

__all__ = [
    "BoxOptions",
    "Calibration",
    "Detection",
    "Detector",
    "Event",
    "EventOptions",
    "PeaframeError",
    "Scores",
    "__version__",
    "events_from_scores",
    "load",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'peaframe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
