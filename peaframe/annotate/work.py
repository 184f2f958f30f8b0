"""What a worker does: hear the parts of a unit, and make events of those that are whole recordings.

A worker needs nothing but the recordings and the model; all it gives goes back to the one process that writes. The
same unit gives the same bytes from every worker of one kind of machine.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.annotate import remote
from peaframe.annotate.records import Part
from peaframe.annotate.units import Windows
from peaframe.calibration import Calibration
from peaframe.clock import frame_count, frame_start_seconds, samples_of_seconds, seconds_of_samples
from peaframe.errors import AudioError, FormatError, OptionError
from peaframe.events import EventOptions, events_from_scores
from peaframe.queries import QueryFile
from peaframe.scores import Scores
from peaframe.workers.local import resident

BLOCK_SECONDS = 10.0
PlainEvent = tuple[float, float, int, float]  # onset, offset, number of the query, score


@dataclass(frozen=True)
class Machine:
    """What a worker runs, before it knows what to listen for.

    Attributes:
        model: a name or folder that `load_model` knows.
        device: `cpu`, `cuda`, `cuda:1` ..., or `auto`.
        precision: `exact` or `fast`.
        threads: of the processor; 0 leaves torch's own choice.
    """

    model: str
    device: str
    precision: str
    threads: int = 1

    def on(self, device: str) -> Machine:
        """The same on another device."""
        return dataclasses.replace(self, device=device)

    def worker(self) -> Worker:
        """Load a worker; raises ModelError and OptionError as `peaframe.load` does."""
        return Worker(self)


@dataclass(frozen=True)
class Facts:
    """What a worker says of itself.

    Attributes:
        model: the model's name.
        fingerprint: of its weights.
        precision: `exact` or `fast`.
        products: the type of its matrix products.
        device: `cpu` or `cuda`.
        devices: how many of that kind this machine has; of a CPU, 1.
        options: how its scores become events unless something else is said.
        windows: how it hears long recordings.
        dim: of its embeddings.
        memory: bytes the worker holds with the model loaded.
    """

    model: str
    fingerprint: str
    precision: str
    products: str
    device: str
    devices: int
    options: EventOptions
    windows: Windows
    dim: int
    memory: int


@dataclass(frozen=True)
class Orders:
    """What to listen for, and what to give back.

    Attributes:
        queries: words, or names of `vectors`.
        options: how scores become events, for each query.
        vectors: query vectors.
        calibration: what was fitted for the model.
        keep_scores: give the scores of whole recordings, too.
        keep_embeddings: give embeddings; scores are then made of them, as they will be when they are asked again.
    """

    queries: tuple[str, ...]
    options: Mapping[str, EventOptions]
    vectors: QueryFile | None = None
    calibration: Calibration | None = None
    keep_scores: bool = False
    keep_embeddings: bool = False


@dataclass(frozen=True)
class Piece:
    """One part of one recording, to be heard.

    Attributes:
        part: which one.
        path: where the recording is.
        size: its size when the run was planned.
        modified: its modification time then.
        embeddings: where its embeddings are, if they are to be asked instead of the audio.
    """

    part: Part
    path: str
    size: int | None
    modified: int | None
    embeddings: str | None = None


@dataclass(frozen=True)
class Unit:
    """One unit of work."""

    number: int
    pieces: tuple[Piece, ...]

    def alone(self) -> list[Unit]:
        """A unit of each piece."""
        return [Unit(self.number, (piece,)) for piece in self.pieces]

    def failed(self, tries: int, reason: str) -> UnitResult:
        """The result of a unit of one piece that so many workers were lost over."""
        (piece,) = self.pieces
        error = f"{piece.path}: ended {tries} workers that heard it ({reason}); it may be damaged"
        return UnitResult(self.number, (PieceResult(piece.part, error=error, retry=True),))


@dataclass(frozen=True)
class PieceResult:
    """What became of one piece.

    Attributes:
        part: which one.
        seconds: how long the recording is; only of its last part.
        events: what was found; only of a whole recording.
        scores: probabilities (queries, frames) float32, of a part, or of a whole recording if they are to be kept.
        embeddings: (frames, dim) float16, if they are to be kept.
        error: why it could not be heard.
        retry: the reason may pass: it changed or vanished meanwhile.
        asked: stored embeddings were asked, and no audio was heard.
    """

    part: Part
    seconds: float | None = None
    events: list[PlainEvent] | None = None
    scores: NDArray[np.float32] | None = None
    embeddings: NDArray[np.float16] | None = None
    error: str | None = None
    retry: bool = False
    asked: bool = False

    @property
    def length(self) -> float:
        """Seconds of sound that were made something of."""
        if self.error is not None:
            return 0.0
        first, stop = self.part.first, self.part.stop
        end = self.seconds if stop is None else frame_start_seconds(stop)
        return max(0.0, (end or 0.0) - frame_start_seconds(first))


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit; `spent` are seconds of decoding (beside the model), waiting and hearing."""

    number: int
    pieces: tuple[PieceResult, ...]
    spent: Mapping[str, float] = field(default_factory=dict)


def events_of(curve: NDArray[np.float32], query: int, orders: Orders, seconds: float) -> list[PlainEvent]:
    """The events of one query in the scores of a whole recording, (frames,), as they stand in the journal."""
    label = orders.queries[query]
    scores = Scores(curve[:, None], (label,), 0.0, seconds)
    found = events_from_scores(scores, orders.options[label])
    return [(event.onset, event.offset, query, event.score or 0.0) for event in found]


class Worker:
    """A model, ready to hear units."""

    def __init__(self, machine: Machine) -> None:
        """Load the model; raises ModelError and OptionError as `peaframe.load` does."""
        import torch

        from peaframe.infer.detector import load

        if machine.threads:
            torch.set_num_threads(machine.threads)
        self._detector = load(machine.model, machine.device, machine.precision)
        self._orders: Orders | None = None
        self._fetched: tuple[str, ExitStack, Path] | None = None

    def facts(self) -> Facts:
        """What it runs."""
        import torch

        detector, model = self._detector, self._detector.model
        kind = detector.device.type
        return Facts(
            model.name,
            model.fingerprint(),
            model.precision,
            str(model.products).removeprefix("torch."),
            kind,
            torch.cuda.device_count() if kind == "cuda" else 1,
            model.event_options,
            Windows(detector.window_frames, detector.overlap_frames, model.lead_frames),
            model.embedding_dim,
            resident(),
        )

    def begin(self, orders: Orders) -> None:
        """Learn what to listen for; raises ModelError and OptionError where the model cannot."""
        if orders.vectors is not None:
            self._detector.use_queries(orders.vectors)
        if orders.calibration is not None:
            model = self._detector.model
            orders.calibration.check_model(model.name, model.fingerprint())
        self._asked = self._detector.ask(orders.queries)
        self._orders = orders

    def do(self, unit: Unit) -> UnitResult:
        """Hear a unit; what is wrong with a recording is in its result."""
        assert self._orders is not None, "begin comes first"
        results: dict[int, PieceResult] = {}
        heard = [(i, piece) for i, piece in enumerate(unit.pieces) if piece.embeddings is None]
        listener = self._detector.listener()
        results.update(self._hear(heard, listener))
        for i, piece in enumerate(unit.pieces):
            if piece.embeddings is not None:
                results[i] = self._ask(piece)
        pieces = tuple(results[i] for i in range(len(unit.pieces)))
        return UnitResult(unit.number, pieces, dataclasses.asdict(listener.spent))

    def _hear(self, pieces: Sequence[tuple[int, Piece]], listener: Any) -> Iterator[tuple[int, PieceResult]]:
        from peaframe.infer.listening import Stretch

        assert self._orders is not None
        size = Windows(listener.window_frames, listener.overlap_frames, self._detector.model.lead_frames)
        keep = self._orders.keep_embeddings
        stitcher, use = self._detector.embedding() if keep else self._detector.scoring(self._asked)

        def stretches() -> Iterator[Stretch]:
            for _, piece in pieces:
                begin, end = size.around(piece.part)
                lead = min(begin, size.lead)
                frames = None if end is None else end - begin
                late = None if end is None else end + size.lead
                yield Stretch(self._blocks(piece, begin - lead, late), lead, frames)

        for (i, piece), heard in zip(pieces, listener.hear(stretches(), use, stitcher), strict=True):
            part = piece.part
            begin, _ = size.around(part)
            if heard.error is not None:
                yield (
                    i,
                    PieceResult(part, error=str(heard.error), retry=isinstance(heard.error, ChangedError)),
                )
                continue
            stop = part.stop
            seconds = None
            if stop is None:
                seconds = frame_start_seconds(begin) + seconds_of_samples(heard.samples)
                stop = frame_count(samples_of_seconds(seconds))
            rows = heard.values[part.first - begin : stop - begin]
            yield i, self._result(part, rows, seconds, keep)

    def _result(self, part: Part, rows: NDArray[Any], seconds: float | None, embedded: bool) -> PieceResult:
        """Scores, events or embeddings of the frames of a part, from embeddings or else logits (frames, columns)."""
        orders = self._orders
        assert orders is not None
        embeddings = rows if orders.keep_embeddings else None
        scores = self._detector.probabilities(rows, self._asked, embedded)
        if orders.calibration is not None:
            length = frame_start_seconds(len(scores))
            scores = orders.calibration.apply(Scores(scores, orders.queries, 0.0, length)).values
        kept = np.ascontiguousarray(scores.T)
        if not part.whole or seconds is None:
            return PieceResult(part, seconds, None, kept, embeddings)
        events = sorted(
            event for query, curve in enumerate(kept) for event in events_of(curve, query, orders, seconds)
        )
        return PieceResult(part, seconds, events, kept if orders.keep_scores else None, embeddings)

    def _ask(self, piece: Piece) -> PieceResult:
        """What stored embeddings say."""
        from peaframe.infer.embeddings import Embeddings

        assert piece.embeddings is not None
        try:
            stored = Embeddings.load(piece.embeddings)
            if stored.fingerprint != self._detector.model.fingerprint():
                raise OptionError(f"{piece.embeddings}: was made by another model, {stored.model}")
        except (FormatError, OptionError) as error:
            return PieceResult(piece.part, error=f"its embeddings cannot be used: {error}", retry=True)
        rows = np.asarray(stored.values[piece.part.first : piece.part.stop])
        seconds = stored.duration if piece.part.stop is None else None
        return dataclasses.replace(self._result(piece.part, rows, seconds, True), asked=True)

    def _blocks(self, piece: Piece, first: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Samples of frames [first, stop) of a recording; it must be the one that was planned, to the end."""
        from peaframe import audio

        path = self._local(piece)
        _check_same(piece)
        start = frame_start_seconds(first) if first else None
        end = None if stop is None else frame_start_seconds(stop)
        try:
            yield from audio.blocks(path, BLOCK_SECONDS, start, end)
        except AudioError as error:
            _check_same(piece)
            raise AudioError(str(error).replace(str(path), remote.shown(piece.path))) from error
        _check_same(piece)

    def _local(self, piece: Piece) -> Path:
        """The recording as a file; of those that have to be fetched, the latest is kept."""
        if not remote.is_url(piece.path):
            return Path(remote.local(piece.path))
        if self._fetched is None or self._fetched[0] != piece.path:
            self.close()
            stack = ExitStack()
            self._fetched = piece.path, stack, stack.enter_context(remote.opened(piece.path))
        return self._fetched[2]

    def close(self) -> None:
        """Remove what was fetched."""
        if self._fetched is not None:
            self._fetched[1].close()
            self._fetched = None


class ChangedError(AudioError):
    """A recording is not what it was when the run was planned."""


def _check_same(piece: Piece) -> None:
    if remote.is_url(piece.path):
        return
    try:
        now = os.stat(remote.local(piece.path))
    except OSError as error:
        raise ChangedError(f"{piece.path}: vanished while the run was at work ({error.strerror})") from error
    if (now.st_size, now.st_mtime_ns) != (piece.size, piece.modified):
        raise ChangedError(
            f"{piece.path}: changed while the run was at work: {piece.size} bytes when it was planned, "
            f"{now.st_size} now; annotate it again when it is complete"
        )
