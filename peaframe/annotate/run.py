"""A run from its plan to its last table: `annotate`."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from peaframe.annotate.amounts import clock, hours, size
from peaframe.annotate.engine import Engine
from peaframe.annotate.estimate import estimate
from peaframe.annotate.folder import Folder
from peaframe.annotate.job import Job, Outcome, check, orders_of, settings_of
from peaframe.annotate.joining import Joiner
from peaframe.annotate.journal import Journal
from peaframe.annotate.planning import plan
from peaframe.annotate.progress import Progress
from peaframe.annotate.records import DONE, FAILED, PLANNED, File, Part
from peaframe.annotate.sources import Found, find
from peaframe.annotate.tables import show_times, write_each
from peaframe.annotate.views import write_views
from peaframe.annotate.work import Facts, Orders, Piece, Unit, UnitResult
from peaframe.errors import FormatError, OptionError
from peaframe.files import atomic_path

_TABLES_EVERY_SECONDS = 30.0
_TOLD_EVERY_SECONDS = 2.0
_TRIAL_SHARE = 0.01  # of a run, to say how long it will take


def annotate(job: Job, engine: Engine, progress: Progress | None = None) -> Outcome:
    """Annotate recordings; a run that was stopped, however, goes on where it was.

    Args:
        job: what is to be done.
        engine: what does it.
        progress: where to tell how far it is.

    Raises:
        OptionError: there is nothing to annotate, another run is at work in the folder, or what is in it was made
            with other settings.
        FormatError: the folder cannot be written (what was done is kept).
        ModelError: the model cannot hear for these queries.
    """
    told = Progress("none") if progress is None else progress
    check(job)
    try:
        return _annotate(job, engine, told)
    except OSError as error:  # of the folder that is written, or of folders that are walked
        raise FormatError(
            f"{error.filename or job.output}: {error.strerror or error}; then give the same command again"
        ) from error


def _annotate(job: Job, engine: Engine, told: Progress) -> Outcome:
    found = find(job.inputs, job.include, job.recursive, skip=job.output)
    with ExitStack() as stack:
        folder = Folder(job.output)
        if job.resume and not folder.journal.exists():
            raise OptionError(f"--resume: there is no run in {job.output}; leave --resume out to begin one")
        if job.dry_run and not folder.journal.exists():  # nothing may be left behind
            folder = Folder(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peaframe-"))))
        with folder.made():
            journal = stack.enter_context(Journal(folder.journal)) if folder.journal.exists() else None
            facts = engine.facts()
            orders = orders_of(job, facts)
            settings = settings_of(orders, facts)
            if anew := journal is None or job.overwrite:
                engine.begin(orders)  # the model may refuse them: before anything is there, or lost
            if journal is None:
                journal = stack.enter_context(Journal(folder.journal))
            _settle(job, journal, folder, settings)
        folder.take()
        run = _Run(job, engine, told, found, folder, journal, facts, orders, settings, begun=anew)
        run.plan()
        if (job.dry_run and run.outcome.planned) or run.long():
            run.begin()
            run.estimate()
        if job.dry_run:
            folder.leave()
        else:
            run.hear()
            run.show()
        return run.outcome


class _Run:
    """One run, once its folder is its own."""

    def __init__(
        self,
        job: Job,
        engine: Engine,
        told: Progress,
        found: Found,
        folder: Folder,
        journal: Journal,
        facts: Facts,
        orders: Orders,
        settings: dict[str, Any],
        begun: bool,
    ) -> None:
        self._job, self._engine, self._told = job, engine, told
        self._found, self._folder, self._journal = found, folder, journal
        self._facts, self._orders, self._settings = facts, orders, settings
        self._begun = begun
        self.outcome = Outcome()

    def plan(self) -> None:
        """Look at all recordings, and say what there is to do."""
        told, journal = self._told, self._journal
        told.start("look", None, unit="file")
        gone, kept = plan(journal, self._found, self._facts.windows, self._job.times, told.advance)
        told.stop()
        counts = journal.counts()
        done, failed, planned = (counts.get(state, (0, 0.0)) for state in (DONE, FAILED, PLANNED))
        self.outcome.gone = gone
        self.outcome.failed = failed[0]
        self.outcome.planned, self.outcome.planned_seconds = planned[0], journal.seconds_left()
        text = f"{planned[0]} recording{'s' * (planned[0] != 1)} to hear ({hours(journal.seconds_left())})"
        if done[0]:
            text += f", {done[0]} done before ({hours(done[1])})"
        if failed[0]:
            text += f", {failed[0]} that cannot be read"
        told.line(text)
        if gone:
            self.outcome.remarks.append(
                f"{gone} recordings annotated before are no longer there; their results stay"
            )
        if kept:
            self.outcome.remarks.append(
                f"{kept} recordings annotated before are no longer there; their embeddings, which are kept, are asked"
            )

    def long(self) -> bool:
        """Whether it is worth ten seconds to say how long it will take."""
        return self._journal.seconds_left() > 3600 and not self._journal.counts().get(DONE)

    def begin(self) -> None:
        """Have the workers know what to listen for."""
        if not self._begun:
            self._engine.begin(self._orders)
            self._begun = True

    def estimate(self) -> None:
        """Say what it will take."""
        jobs = self._engine.jobs
        share = 1.0 if self._job.dry_run else _TRIAL_SHARE
        found = estimate(self._engine, self._journal, self._orders, self._facts, share)
        self.outcome.estimate = found
        free = shutil.disk_usage(self._job.output if self._job.output.exists() else self._existing()).free
        disk = found.disk + found.disk_meanwhile
        self._told.line(
            f"about {clock(found.seconds)} at {found.rate:.0f} times real time with {jobs} "
            f"worker{'s' * (jobs != 1)} of {self._facts.model} on {self._facts.device}; "
            f"memory {size(found.memory)}, disk {size(disk)} of {size(free)} that are free"
        )
        if disk > free:
            remark = (
                f"the disk of {self._job.output} has too little room: {size(disk)} needed, {size(free)} free"
            )
            self.outcome.remarks.append(remark)
            self._told.line(remark)

    def hear(self) -> None:
        """Hear everything that is not done."""
        journal, told = self._journal, self._told
        joiner = Joiner(journal, self._folder, self._orders, self._facts)
        began = written = said = time.perf_counter()
        writing = 0.0
        left = journal.seconds_left()
        total = left + journal.counts().get(DONE, (0, 0.0))[1]
        told.start("hear", total / 3600, (total - left) / 3600)
        units = _Units(journal, self._folder)

        def tell() -> None:
            nonlocal left
            now = journal.seconds_left()
            told.advance((left - now) / 3600, events=journal.count_events())
            left = now

        while joiner.join() or next(journal.pending(), None) is not None:
            self.begin()
            for result in self._engine.do(units):
                before = time.perf_counter()
                joiner.take(result, units.recordings(result))
                joiner.join({piece.part.file for piece in result.pieces})
                for piece in result.pieces:
                    if piece.asked:
                        self.outcome.asked_seconds += piece.length
                    else:
                        self.outcome.heard_seconds += piece.length
                for name, seconds in result.spent.items():
                    self.outcome.spent[name] = self.outcome.spent.get(name, 0.0) + seconds
                if before - said > _TOLD_EVERY_SECONDS:  # counting takes a look at the whole journal
                    tell()
                    said = time.perf_counter()
                if before - written > _TABLES_EVERY_SECONDS:
                    self._write_each()
                    written = time.perf_counter()
                writing += time.perf_counter() - before
        tell()
        told.stop(events=journal.count_events())
        self.outcome.wall_seconds = time.perf_counter() - began
        self.outcome.spent["writing"] = writing

    def show(self) -> None:
        """Write all that people look at."""
        counts = self._journal.counts()
        self.outcome.recordings, self.outcome.seconds = counts.get(DONE, (0, 0.0))
        self.outcome.failed = counts.get(FAILED, (0, 0.0))[0]
        self._write_each()
        for name, _ in self._journal.failures():  # it may have been better before it changed
            self._folder.drop(name)
        own = self._folder.path / "run.json"
        text = json.dumps(self._settings, indent=1, ensure_ascii=False) + "\n"
        if not own.is_file() or own.read_text(encoding="utf-8") != text:
            with atomic_path(own) as temporary:
                temporary.write_text(text, encoding="utf-8")
        summaries, remarks = write_views(
            self._journal,
            self._folder,
            kinds=self._job.formats if self._job.combined else (),
            queries=self._orders.queries,
            min_score=self._job.min_score,
            settings=self._settings,
            clips=self._job.clips,
        )
        self.outcome.summaries = summaries
        self.outcome.events = sum(summary.events for summary in summaries)
        self.outcome.remarks += remarks
        copied = self._journal.count_copied()
        if copied and show_times(self._job.formats):
            self.outcome.remarks.append(
                f"the times of {copied} of {self.outcome.recordings} recordings are from their modification time, "
                "which copying changes"
            )
        self._folder.tidy()

    def _write_each(self) -> None:
        queries, least = self._orders.queries, self._job.min_score
        write_each(self._journal, self._folder, self._job.formats, queries, least, self._settings)

    def _existing(self) -> Path:
        path = self._job.output.absolute()
        while not path.exists():
            path = path.parent
        return path


class _Units:
    """The units that are left to do; each loop begins with the first one."""

    def __init__(self, journal: Journal, folder: Folder) -> None:
        self._journal, self._folder = journal, folder
        self._out: dict[int, dict[int, File]] = {}

    def __iter__(self) -> Iterator[Unit]:
        for number, parts in self._journal.pending():
            self._out[number] = {file.id: file for file, _ in parts}
            yield Unit(number, tuple(self._piece(file, part) for file, part in parts))

    def recordings(self, result: UnitResult) -> dict[int, File]:
        """The recordings of a result by their numbers; each comes once."""
        out = self._out[result.number]
        files = {piece.part.file: out.pop(piece.part.file) for piece in result.pieces}
        if not out:
            del self._out[result.number]
        return files

    def _piece(self, file: File, part: Part) -> Piece:
        kept = self._folder.embeddings(file.name)
        stored = str(kept) if file.embedded and kept.is_file() else None
        return Piece(part, file.path, file.size, file.modified, stored)


_OF_EMBEDDINGS = (
    "model",
    "fingerprint",
    "device",
    "precision",
    "products",
    "window_frames",
    "overlap_frames",
)


def _settle(job: Job, journal: Journal, folder: Folder, settings: dict[str, Any]) -> None:
    """Begin the run, or see that it is the one that was begun."""
    before: Mapping[str, Any] | None = journal.note("settings")
    if before == settings and not job.overwrite:
        return
    if before is not None:
        different = [name for name in settings if before.get(name) != settings[name]]
        keep = before.get("embeddings") is True and all(before.get(n) == settings[n] for n in _OF_EMBEDDINGS)
        if not job.overwrite:
            what = "; ".join(
                f"{n} {_short(settings[n])}, there {_short(before.get(n))}" for n in different[:2]
            )
            more = f" and {len(different) - 2} more" if len(different) > 2 else ""
            note = ", which hears nothing again: its embeddings are kept" if keep else ""
            raise OptionError(
                f"--output {job.output}: holds a run with other settings ({what}{more}); give --overwrite{note}, "
                "or another --output"
            )
        if job.dry_run:
            raise OptionError("--dry-run changes nothing, --overwrite begins anew; give one of them")
        folder.clear((file.name for file in journal.files()), keep)
        journal.reset(keep)
    with journal.transaction():
        journal.set_note("settings", settings)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
