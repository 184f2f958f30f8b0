"""A run from its plan to its last table: `annotate`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peaframe import formats
from peaframe.annotate.engine import Engine
from peaframe.annotate.estimate import Estimate, estimate
from peaframe.annotate.folder import Folder
from peaframe.annotate.joining import Joiner
from peaframe.annotate.journal import DONE, FAILED, PLANNED, File, Journal
from peaframe.annotate.planning import Times, plan
from peaframe.annotate.progress import Progress
from peaframe.annotate.sources import Found, find
from peaframe.annotate.summary import QuerySummary
from peaframe.annotate.tables import write_each
from peaframe.annotate.views import write_views
from peaframe.annotate.work import Facts, Orders, Piece, Unit
from peaframe.calibration import Calibration
from peaframe.errors import OptionError
from peaframe.events import EventOptions
from peaframe.files import atomic_path
from peaframe.queries import QueryFile
from peaframe.version import __version__

_TABLES_EVERY_SECONDS = 30.0
_TOLD_EVERY_SECONDS = 2.0
Options = EventOptions | Mapping[str, EventOptions]


@dataclass(frozen=True)
class Job:
    """What is to be annotated, and how.

    Attributes:
        inputs: folders, files, globs, lists (`@list.txt`) and URLs; see `peaframe.annotate.sources`.
        output: the folder of the run.
        queries: words, or names of `vectors`.
        vectors: query vectors tuned for the model.
        calibration: scores and settings fitted for the model.
        options: how scores become events, of all queries or by query, or what makes that of the model's facts; None
            takes the calibration's, and the model's own for queries it does not know.
        keep_scores: keep the scores of every recording.
        keep_embeddings: keep the embeddings of every recording, to be asked again.
        formats: of the tables.
        combined: write tables of all recordings, too.
        include: patterns of file names; none for all that are recordings by their suffix.
        recursive: look into folders inside folders.
        min_score: leave events with lower scores out of everything that is shown.
        clips: sample clips of each query, for listening.
        times: how to find out when recordings were made.
        resume: only go on with a run that is there.
        overwrite: begin anew where other settings made what is there; embeddings that are kept are used.
        dry_run: plan, and stop.
    """

    inputs: Sequence[str]
    output: Path
    queries: Sequence[str]
    vectors: QueryFile | None = None
    calibration: Calibration | None = None
    options: Options | Callable[[Facts], Options] | None = None
    keep_scores: bool = False
    keep_embeddings: bool = False
    formats: Sequence[str] = ("csv",)
    combined: bool = False
    include: Sequence[str] = ()
    recursive: bool = True
    min_score: float = 0.0
    clips: int = 0
    times: Times = field(default_factory=Times)
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False


@dataclass
class Outcome:
    """What a run has come to; everything counts the whole run, whenever it was done.

    Attributes:
        recordings: how many were heard.
        seconds: of sound in them.
        events: found in them.
        failed: recordings that could not be heard.
        gone: recordings that were heard before and are no longer there.
        summaries: by query.
        heard_seconds: of sound, by this command.
        wall_seconds: that it took to hear them.
        spent: seconds of all its workers: `decoding` (beside the others), `waiting` for it, `hearing`; `writing` by
            the run itself.
        estimate: what it was going to take, of a dry run.
        remarks: what a reader should know.
    """

    recordings: int = 0
    seconds: float = 0.0
    events: int = 0
    failed: int = 0
    gone: int = 0
    summaries: list[QuerySummary] = field(default_factory=list)
    heard_seconds: float = 0.0
    wall_seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    estimate: Estimate | None = None
    remarks: list[str] = field(default_factory=list)


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
    _check(job)
    found = find(job.inputs, job.include, job.recursive, skip=job.output)
    with ExitStack() as stack:
        folder = Folder(job.output)
        if job.resume and not folder.journal.exists():
            raise OptionError(f"--resume: there is no run in {job.output}; leave --resume out to begin one")
        if job.dry_run and not folder.journal.exists():  # nothing may be left behind
            folder = Folder(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peaframe-"))))
        folder.make()
        journal = stack.enter_context(Journal(folder.journal))
        folder.take()
        facts = engine.facts()
        orders = _orders(job, facts)
        settings = _settings(orders, facts)
        _settle(job, journal, folder, settings)
        run = _Run(job, engine, told, found, folder, journal, facts, orders, settings)
        run.plan()
        if job.dry_run or run.long():
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
    ) -> None:
        self._job, self._engine, self._told = job, engine, told
        self._found, self._folder, self._journal = found, folder, journal
        self._facts, self._orders, self._settings = facts, orders, settings
        self._begun = False
        self.outcome = Outcome()

    def plan(self) -> None:
        """Look at all recordings, and say what there is to do."""
        told, journal = self._told, self._journal
        told.start("look", None, unit="file")
        gone = plan(journal, self._found, self._facts.windows, self._job.times, told.advance)
        told.stop()
        counts = journal.counts()
        done, failed, planned = (counts.get(state, (0, 0.0)) for state in (DONE, FAILED, PLANNED))
        self.outcome.gone = gone
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
        found = estimate(self._engine, self._journal, self._orders, self._facts)
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
        files: dict[int, dict[int, File]] = {}

        def tell() -> None:
            nonlocal left
            now = journal.seconds_left()
            self.outcome.heard_seconds += left - now
            told.advance((left - now) / 3600, events=journal.count_events())
            left = now

        while joiner.join() or next(journal.pending(), None) is not None:
            self.begin()
            for result in self._engine.do(self._units(files)):
                before = time.perf_counter()
                joiner.take(result, files[result.number])
                joiner.join({piece.part.file for piece in result.pieces})
                for name, seconds in result.spent.items():
                    self.outcome.spent[name] = self.outcome.spent.get(name, 0.0) + seconds
                if before - said > _TOLD_EVERY_SECONDS:  # counting takes a look at the whole journal
                    tell()
                    said = time.perf_counter()
                if before - written > _TABLES_EVERY_SECONDS:
                    self._write_each()
                    written = time.perf_counter()
                writing += time.perf_counter() - before
            files.clear()
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
        self._folder.tidy()

    def _write_each(self) -> None:
        queries, least = self._orders.queries, self._job.min_score
        write_each(self._journal, self._folder, self._job.formats, queries, least, self._settings)

    def _units(self, files: dict[int, dict[int, File]]) -> Iterator[Unit]:
        for number, parts in self._journal.pending():
            files[number] = {file.id: file for file, _ in parts}
            yield Unit(number, tuple(self._piece(file, part) for file, part in parts))

    def _piece(self, file: File, part: Any) -> Piece:
        kept = self._folder.embeddings(file.name)
        stored = str(kept) if file.embedded and kept.is_file() else None
        return Piece(part, file.path, file.size, file.modified, stored)

    def _existing(self) -> Path:
        path = self._job.output.absolute()
        while not path.exists():
            path = path.parent
        return path


def _check(job: Job) -> None:
    """Refuse what can be refused before anything is begun."""
    if not any(query.strip() for query in job.queries):
        raise OptionError("got no query; give some words, such as 'dog barking'")
    if not 0 <= job.min_score <= 1:
        raise OptionError(f"--min-score: got {job.min_score}, expected a probability from 0 to 1")
    if job.clips < 0:
        raise OptionError(f"--clips: got {job.clips}, expected a number of clips for each query, 0 or more")
    if job.resume and job.overwrite:
        raise OptionError("got --resume and --overwrite; give one of them")
    for kind in job.formats:
        formats.to_bytes({}, kind) if not formats.holds_one(kind) else formats.suffix(kind)


def _orders(job: Job, facts: Facts) -> Orders:
    """What the workers are to listen for; raises OptionError for queries without options."""
    queries = tuple(dict.fromkeys(query.strip() for query in job.queries))
    chosen = job.options(facts) if callable(job.options) else job.options
    if job.calibration is not None:
        job.calibration.check_model(facts.model, facts.fingerprint)
    if chosen is None:
        chosen = facts.options
        if job.calibration is not None:
            chosen = job.calibration.options(queries, facts.options)
    if isinstance(chosen, EventOptions):
        chosen = dict.fromkeys(queries, chosen)
    if missing := [query for query in queries if query not in chosen]:
        raise OptionError(f"no event options for {missing[0]!r}; expected some for every query")
    options = {query: chosen[query] for query in queries}
    return Orders(queries, options, job.vectors, job.calibration, job.keep_scores, job.keep_embeddings)


def _settings(orders: Orders, facts: Facts) -> dict[str, Any]:
    """What the results hang on; runs with the same are one run."""
    plain = {
        "peaframe": __version__,
        "model": facts.model,
        "fingerprint": facts.fingerprint,
        "device": facts.device,
        "precision": facts.precision,
        "products": facts.products,
        "window_frames": facts.windows.frames,
        "overlap_frames": facts.windows.overlap,
        "queries": orders.queries,
        "options": {query: dataclasses.asdict(orders.options[query]) for query in orders.queries},
        "tuned": _hash(orders.vectors),
        "calibration": _hash(orders.calibration),
        "scores": orders.keep_scores,
        "embeddings": orders.keep_embeddings,
    }
    settings: dict[str, Any] = json.loads(json.dumps(plain))
    return settings


def _hash(content: Any) -> str | None:
    """A hash of a dataclass of plain values; of nothing, nothing."""
    if content is None:
        return None
    text = json.dumps(dataclasses.asdict(content), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        folder.take()
        journal.reset(keep)
    with journal.transaction():
        journal.set_note("settings", settings)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def hours(seconds: float) -> str:
    """A length of sound, for people."""
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def clock(seconds: float) -> str:
    """A time to wait, for people."""
    minutes, rest = divmod(round(seconds), 60)
    days, minutes = divmod(minutes, 1440)
    return (f"{days} d " if days else "") + f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def size(count: float) -> str:
    """A size of memory or disk, for people."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.1f} {units[0]}" if count < 10 and units[0] != "B" else f"{count:.0f} {units[0]}"
