"""What the tests of reports share: a whole evaluation, and a strict reader of pages."""

from html.parser import HTMLParser
from typing import Any

import numpy as np

VOID = {"meta", "br", "hr", "img", "input", "link"}


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


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in turn; keeps texts, attributes and tables' rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        return [
            attrs
            for name, attrs in self.tags
            if name == tag and (not kind or kind in (attrs.get("class") or "").split())
        ]

    def said(self, tag: str = "") -> str:
        """What a reader sees, or what is in one kind of tag."""
        skip = ("style", "script")
        return " ".join(text for at, text in self.texts if (at == tag if tag else at not in skip))
