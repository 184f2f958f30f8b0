"""What a run is told, what its workers are told by it, and what it has come to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peaframe import formats
from peaframe.annotate.estimate import Estimate
from peaframe.annotate.planning import Times
from peaframe.annotate.summary import QuerySummary
from peaframe.annotate.work import Facts, Orders
from peaframe.calibration import Calibration
from peaframe.errors import OptionError
from peaframe.events import EventOptions
from peaframe.queries import QueryFile
from peaframe.version import __version__

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
        overwrite: begin anew, whatever is there; embeddings of the same model that are kept are asked, not heard again,
            even of recordings that are no longer there.
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
        planned: recordings that were to be heard when the command began.
        planned_seconds: of sound in them, as far as they say.
        summaries: by query.
        heard_seconds: of sound, by this command.
        asked_seconds: of sound, answered by this command from embeddings that were kept.
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
    planned: int = 0
    planned_seconds: float = 0.0
    summaries: list[QuerySummary] = field(default_factory=list)
    heard_seconds: float = 0.0
    asked_seconds: float = 0.0
    wall_seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    estimate: Estimate | None = None
    remarks: list[str] = field(default_factory=list)


def check(job: Job) -> None:
    """Refuse what can be refused before anything is begun."""
    if not any(query.strip() for query in job.queries):
        raise OptionError("got no query; give some words, such as 'dog barking'")
    if not 0 <= job.min_score <= 1:
        raise OptionError(f"--min-score: got {job.min_score}, expected a probability from 0 to 1")
    if job.clips < 0:
        raise OptionError(f"--clips: got {job.clips}, expected a number of clips for each query, 0 or more")
    if job.resume and job.overwrite:
        raise OptionError("got --resume and --overwrite; give one of them")
    job.times.check()
    for kind in job.formats:
        formats.to_bytes({}, kind) if not formats.holds_one(kind) else formats.suffix(kind)


def orders_of(job: Job, facts: Facts) -> Orders:
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


def settings_of(orders: Orders, facts: Facts) -> dict[str, Any]:
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
