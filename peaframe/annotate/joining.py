"""What workers gave, put away: events into the journal, scores and embeddings into files, parts joined.

A recording that was heard in one piece is done at once. Parts of a longer one wait on the disk until the last of them
is there; then its events are found one query at a time, so that never more than one curve is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.annotate.folder import Folder
from peaframe.annotate.journal import Journal
from peaframe.annotate.records import File, Part
from peaframe.annotate.work import Facts, Orders, PieceResult, PlainEvent, UnitResult, events_of
from peaframe.infer.embeddings import Embeddings
from peaframe.scores import Scores
from peaframe.version import __version__


class Joiner:
    """Takes the results of units, in any order."""

    def __init__(self, journal: Journal, folder: Folder, orders: Orders, facts: Facts) -> None:
        self._journal, self._folder, self._orders, self._facts = journal, folder, orders, facts

    def take(self, result: UnitResult, files: dict[int, File]) -> None:
        """Put a result away: what is to lie in files first, then all of the journal at once.

        Args:
            result: of a unit, or of one of its recordings that was tried by itself.
            files: the recordings of the unit by their numbers.
        """
        for piece in result.pieces:
            if piece.error is None:
                self._keep(piece, files[piece.part.file])
        with self._journal.transaction():
            for piece in result.pieces:
                self._enter(result.number, piece, files[piece.part.file])

    def join(self, among: Iterable[int] | None = None) -> int:
        """Finish recordings, all or some, whose parts are all there; returns how many have to be heard again."""
        lost = 0
        for file in self._journal.to_join(among):
            if self._there(file):
                self._join(file)
                continue
            with self._journal.transaction():
                self._journal.hear_again(file.id)
            lost += 1
        return lost

    def _embeds(self, file: File) -> bool:
        """Whether embeddings are to be kept that are not there yet."""
        there = file.embedded and self._folder.embeddings(file.name).is_file()
        return self._orders.keep_embeddings and not there

    def _there(self, file: File) -> bool:
        """Whether all that is to be joined lies on the disk; somebody may have tidied up."""
        kinds = ["scores", *(["embeddings"] if self._embeds(file) else [])]
        try:
            for part, _ in self._journal.parts(file.id):
                for kind in kinds:
                    self._folder.load_part(kind, part)
        except (OSError, ValueError, EOFError):
            return False
        return True

    def _keep(self, piece: PieceResult, file: File) -> None:
        part = piece.part
        if not part.whole:
            assert piece.scores is not None
            self._folder.save_part("scores", part, piece.scores)
            if piece.embeddings is not None:
                self._folder.save_part("embeddings", part, piece.embeddings)
            return
        assert piece.seconds is not None
        if self._orders.keep_scores and piece.scores is not None:
            self._save_scores(file, piece.scores.T, piece.seconds)
        if piece.embeddings is not None and self._embeds(file):
            self._save_embeddings(file, piece.embeddings, piece.seconds)

    def _enter(self, unit: int, piece: PieceResult, file: File) -> None:
        journal = self._journal
        if piece.error is not None:
            journal.file_failed(file.id, piece.error, piece.retry)
            self._folder.drop_parts(file.id)
            return
        journal.part_done(unit, piece.part, piece.seconds)
        if piece.part.whole:
            assert piece.seconds is not None
            assert piece.events is not None
            journal.file_done(file.id, piece.seconds, piece.events)
            if piece.embeddings is not None:
                journal.embedded(file.id)

    def _join(self, file: File) -> None:
        parts = [part for part, _ in self._journal.parts(file.id)]
        events: list[PlainEvent] = []
        for query in range(len(self._orders.queries)):
            curve = np.concatenate([self._folder.load_part("scores", part)[query] for part in parts])
            events += events_of(curve, query, self._orders, file.seconds)
        if self._orders.keep_scores:
            self._write(parts, "scores", lambda rows: self._save_scores(file, rows, file.seconds))
        if self._embeds(file):
            self._write(parts, "embeddings", lambda rows: self._save_embeddings(file, rows, file.seconds))
        with self._journal.transaction():
            self._journal.file_done(file.id, file.seconds, sorted(events))
            if self._orders.keep_embeddings:
                self._journal.embedded(file.id)
        self._folder.drop_parts(file.id)

    def _write(self, parts: list[Part], kind: str, save: Callable[[NDArray[Any]], None]) -> None:
        """Join the parts of one kind on the disk, and save them as one."""
        joined = self._folder.path / "work" / "new" / f"joined-{kind}"
        try:
            with joined.open("wb") as file:
                rows = columns = 0
                for part in parts:
                    values = self._folder.load_part(kind, part)
                    values = values.T if kind == "scores" else values
                    file.write(np.ascontiguousarray(values).tobytes())
                    rows, columns = rows + len(values), values.shape[1]
            save(np.memmap(joined, values.dtype, mode="r", shape=(rows, columns)))
        finally:
            joined.unlink(missing_ok=True)

    def _save_scores(self, file: File, values: NDArray[np.float32], seconds: float) -> None:
        meta = {"model": self._facts.model, "peaframe": __version__}
        with self._folder.new(self._folder.scores(file.name)) as temporary:
            Scores(values, self._orders.queries, 0.0, seconds, meta).save(temporary)

    def _save_embeddings(self, file: File, values: NDArray[np.float16], seconds: float) -> None:
        kept = Embeddings(values, self._facts.model, self._facts.fingerprint, 0.0, seconds, file.name)
        with self._folder.new(self._folder.embeddings(file.name)) as temporary:
            kept.save(temporary)
