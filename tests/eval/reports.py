"""What the tests of reports share: a whole evaluation, and a strict reader of pages."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np

Page = runpy.run_path(str(Path(__file__).parents[1] / "pages.py"))["Page"]


def evaluation(labels: tuple[str, ...] = ("dog", "cat", "Bell"), steps: int = 6) -> dict[str, Any]:
    """A whole evaluation with numbers that can be told apart."""
    count = len(labels)
    rates = np.linspace(1, 99, steps)
    hits = np.linspace(0.1, 0.9, steps)
    falling = np.linspace(0.95, 0.05, steps)
    matrix = np.eye(count + 1, dtype=int) * 7
    matrix[0, 1], matrix[1, -1], matrix[-1, 0], matrix[-1, -1] = 3, 2, 4, 0
    return {
        "peaframe": "0.9.1",
        "title": "soundscapes, 300 recordings",
        "benchmark": "folder",
        "complete": True,
        "missing": [],
        "notes": ["12 true events were merged"],
        "model": "peaframe-mini",
        "settings": {"events": {"threshold": 0.5, "median": None}, "device": "cpu", "exact": True},
        "recordings": 300,
        "hours": 0.8333,
        "events": 1234,
        "seconds": {"scoring": 30.1, "metrics": 4.2},
        "metrics": {
            "d_prime": {"value": 1.5, "low": 1.25, "high": 1.75},
            "home_made": {"value": float("nan"), "low": None, "high": None},
            "event_f1_macro": {"value": 0.3456, "low": 0.3, "high": 0.4},
            "psds1": {"value": 0.20149, "low": 0.18051, "high": 0.2225},
        },
        "per_label": {
            label: {"events": 10 + place, "psds1": 0.25 + place / 1000, "auroc": None}
            for place, label in enumerate(labels)
        },
        "unscored": ["unicorn"],
        "curves": {
            "psd_roc": {
                "mean": {"efpr": rates.tolist(), "etpr": (hits / 2).tolist()},
                "labels": {label: {"efpr": rates.tolist(), "tpr": hits.tolist()} for label in labels},
                "max_efpr": 100,
            },
            "pr": {label: {"recall": hits.tolist(), "precision": falling.tolist()} for label in labels},
        },
        "confusion": {"labels": list(labels), "matrix": matrix.tolist()},
        "worst": [{"recording": "Y-a_b_30.000_40.000", "f1": 0.0625, "missed": 3, "false": 7}],
    }
