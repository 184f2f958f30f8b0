"""What the tests of runs share: what a run left in its folder."""

import json
from pathlib import Path
from typing import Any


def times(output: Path) -> dict[str, int]:
    """When each score table was written."""
    scores = output / "scores"
    return {
        p.relative_to(scores).as_posix(): p.stat().st_mtime_ns
        for p in sorted(scores.rglob("*"))
        if p.is_file()
    }


def metrics_of(output: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return document
