"""How events were made (`meta`), out of the formats that are one JSON document."""

from __future__ import annotations

import json
from typing import Any


def of_json(text: str, source: str) -> dict[str, Any]:
    """What is under `meta` of our own JSON; nothing in anything else."""
    return _inside(text, "meta")


def of_jams(text: str, source: str) -> dict[str, Any]:
    """What we put into a JAMS file's sandbox; nothing in files of others."""
    return _inside(text, "sandbox", "peaframe")


def _inside(text: str, *keys: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text)
    except (RecursionError, ValueError):
        return {}
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
