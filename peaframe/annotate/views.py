"""What people look at when a run is done: combined tables, summary, failures, report, sample clips.

All of it is made from the journal alone. Where nothing has changed since it was made it is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peaframe import formats
from peaframe.annotate import remote
from peaframe.annotate.annotated import Annotated
from peaframe.annotate.clips import cut_clips
from peaframe.annotate.folder import Folder
from peaframe.annotate.journal import Journal
from peaframe.annotate.report import write_report
from peaframe.annotate.summary import QuerySummary, summarise, summary_csv
from peaframe.annotate.tables import write_combined, write_failed
from peaframe.files import atomic_path


def write_views(
    journal: Journal,
    folder: Folder,
    *,
    kinds: Sequence[str],
    queries: Sequence[str],
    min_score: float,
    settings: Mapping[str, Any],
    clips: int,
) -> tuple[list[QuerySummary], list[str]]:
    """Write them.

    Args:
        journal: of the run.
        folder: of the run.
        kinds: formats of combined tables.
        queries: of the run.
        min_score: events with less are left out.
        settings: of the run, for tables and report.
        clips: how many of each query.

    Returns:
        The summary by query, and what a reader should know.
    """

    def annotated() -> Iterator[Annotated]:
        return journal.annotated(queries, min_score)

    summaries = summarise(annotated, queries)
    key = [sorted(kinds), min_score, clips]
    if journal.note("views") == key and (folder.path / "report.html").is_file():
        return summaries, []
    remarks = []
    if journal.note("views") is None:  # there are new results: tables that are not written now would be stale
        for kind in set(formats.names()).difference(kinds):
            folder.combined(kind).unlink(missing_ok=True)
    if alone := write_combined(annotated(), folder, kinds, settings):
        remarks.append(
            f"--combined: {', '.join(alone)} holds one recording a file, so there is no table of all"
        )
    write_failed(journal.failures(), folder)
    with atomic_path(folder.path / "summary.csv") as temporary:
        temporary.write_text(summary_csv(summaries), encoding="utf-8", newline="\n")
    report = folder.path / "report.html"
    gone = dict(write_report(report, annotated, summaries, settings, journal.failures(), remote.opened))
    if clips:
        gone.update(cut_clips(folder.path / "clips", annotated, summaries, clips, remote.opened).gone)
    if gone:
        name, reason = next(iter(gone.items()))
        remarks.append(
            f"{len(gone)} recordings could not be read again for clips or report, first {name}: {reason}"
        )
    with journal.transaction():
        journal.set_note("views", key)
    return summaries, remarks
