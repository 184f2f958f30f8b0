"""What a run will take, from ten seconds of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from peaframe.annotate.engine import Engine
from peaframe.annotate.journal import Journal
from peaframe.annotate.records import Part
from peaframe.annotate.units import Windows
from peaframe.annotate.work import Facts, Orders, Piece, Unit
from peaframe.clock import FRAME_RATE, frame_start_seconds

TRIAL_SECONDS = 10.0
BATCH_WINDOWS = 4


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        rate: seconds of sound heard in a second, by all workers together; 0 where nothing could be heard.
        seconds: until all is heard.
        memory: bytes, of all workers.
        disk: bytes that stay, of scores and embeddings.
        disk_meanwhile: bytes on top of those while the longest recording is heard.
    """

    rate: float
    seconds: float
    memory: int
    disk: int
    disk_meanwhile: int


def estimate(engine: Engine, journal: Journal, orders: Orders, facts: Facts, share: float = 1.0) -> Estimate:
    """Hear some of what is planned for up to ten seconds and reckon from that; nothing of it is kept.

    Args:
        engine: begun.
        journal: planned.
        orders: what is listened for.
        facts: what the workers run.
        share: of the whole run, as it seems by then, that this may take.
    """
    jobs = engine.jobs
    left = journal.seconds_left()
    rate = _Trial(jobs, left, share).rate(engine, journal, facts.windows)
    all_seconds = longest = 0.0
    for file in journal.files():
        all_seconds, longest = all_seconds + file.seconds, max(longest, file.seconds)
    scores = 4 * FRAME_RATE * len(orders.queries)
    embeddings = 2 * FRAME_RATE * facts.dim
    kept = scores * orders.keep_scores + embeddings * orders.keep_embeddings
    meanwhile = 2 * (scores + embeddings * orders.keep_embeddings) * longest
    return Estimate(
        rate, left / rate if rate else 0.0, facts.memory * jobs, int(kept * all_seconds), int(meanwhile)
    )


class _Trial:
    """Some of a run, heard to see how fast that goes."""

    def __init__(self, jobs: int, left: float, share: float) -> None:
        self._jobs, self._left, self._share = jobs, left, share
        self._heard = self._busy = 0.0

    def rate(self, engine: Engine, journal: Journal, windows: Windows) -> float:
        """Seconds of sound that all workers hear in a second."""
        for result in engine.do(self._units(journal, windows)):
            self._busy += result.spent.get("hearing", 0.0) + result.spent.get("waiting", 0.0)
            for piece in result.pieces:
                if piece.error is None and piece.part.stop is not None:
                    self._heard += frame_start_seconds(piece.part.stop)
                elif piece.seconds is not None:
                    self._heard += piece.seconds
        return self._rate()

    def _rate(self) -> float:
        return self._jobs * self._heard / self._busy if self._busy else 0.0

    def _units(self, journal: Journal, windows: Windows) -> Iterator[Unit]:
        """The beginnings of recordings, until the time is up; the first ones are short, for models that are slow."""
        began = time.perf_counter()
        for count, (_, parts) in enumerate(journal.pending()):
            spent, rate = time.perf_counter() - began, self._rate()
            if spent > TRIAL_SECONDS or (rate and spent > self._share * self._left / rate):
                return
            for file, part in parts[:1]:
                stop = windows.hop * (1 if count < 2 * self._jobs else BATCH_WINDOWS)
                behind = stop + 2 * windows.frames + windows.lead
                room = part.stop is not None or file.seconds * FRAME_RATE > behind
                trial = Part(file.id, 0, stop if room else None)
                yield Unit(0, (Piece(trial, file.path, file.size, file.modified),))
