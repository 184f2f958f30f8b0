"""How far a run is: a bar where a person looks, lines of JSON for programs, or nothing."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

KINDS = ("auto", "bar", "json", "none")
_EVERY_SECONDS = 1.0


class Progress:
    """Tells how far a run is, on standard error."""

    def __init__(self, kind: str = "auto", stream: TextIO | None = None) -> None:
        """Take one of `KINDS`: auto is a bar on a terminal, and nothing elsewhere."""
        self._stream = sys.stderr if stream is None else stream
        self._kind = kind
        if kind == "auto":
            self._kind = "bar" if self._stream.isatty() else "none"
        self._plain = kind in ("auto", "bar")
        self._bar: Any = None
        self._what = ""
        self._said = self._began = 0.0

    def line(self, text: str) -> None:
        """Say something that is to stay."""
        if self._kind == "json":
            self._json({"event": "note", "text": text})
        elif self._bar is not None:
            self._bar.write(text, file=self._stream)
        elif self._plain:
            print(text, file=self._stream, flush=True)

    def start(self, what: str, total: float | None, done: float = 0.0, unit: str = "h") -> None:
        """Begin something that takes long.

        Args:
            what: a word for it.
            total: how much there is, in `unit`; None if nobody knows.
            done: how much of it was there already.
            unit: what is counted: hours (h), recordings (file).
        """
        self._what, self._total, self._done = what, total, done
        self._began = time.monotonic()
        self._first = done
        if self._kind == "bar":
            layout = (
                "{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}{postfix}]"
            )
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=what,
                unit=unit,
                file=self._stream,
                bar_format=layout if unit == "h" and total else None,
            )

    def advance(self, amount: float, **counts: float) -> None:
        """More of it is done; counts are told beside it."""
        self._done += amount
        if self._bar is not None:
            self._bar.set_postfix(counts, refresh=False)
            self._bar.update(amount)
        elif self._kind == "json" and time.monotonic() - self._said >= _EVERY_SECONDS:
            self._tell(counts)

    def stop(self, **counts: float) -> None:
        """It is done."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self._kind == "json" and self._what:
            self._tell(counts)

    def _tell(self, counts: dict[str, float]) -> None:
        self._said = time.monotonic()
        spent = self._said - self._began
        message: dict[str, Any] = {"event": "progress", "what": self._what, "done": round(self._done, 4)}
        if self._total is not None:
            message["total"] = round(self._total, 4)
            if self._done > self._first:
                left = (self._total - self._done) * spent / (self._done - self._first)
                message["seconds_left"] = round(max(0.0, left), 1)
        self._json({**message, **counts})

    def _json(self, message: dict[str, Any]) -> None:
        print(json.dumps(message, ensure_ascii=False), file=self._stream, flush=True)
