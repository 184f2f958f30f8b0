"""The tables of a run: one for each recording, one of all, one of those that failed. All are made from the journal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peaframe import formats
from peaframe.annotate import remote
from peaframe.annotate.annotated import Annotated
from peaframe.annotate.folder import Folder
from peaframe.annotate.journal import Journal
from peaframe.files import atomic_path
from peaframe.formats import moments
from peaframe.formats.delimited import line

_TIMELESS = ("tsv", "audacity", "rttm", "textgrid", "srt", "sam_audio")  # say nothing of when it was
_BY_PATH = ("raven", "kaleidoscope")  # programs that open the recording from its table


def show_times(kinds: Iterable[str]) -> bool:
    """Whether tables in these formats say when recordings were made."""
    return not set(kinds) <= set(_TIMELESS)


def write_each(
    journal: Journal,
    folder: Folder,
    kinds: Sequence[str],
    queries: Sequence[str],
    min_score: float,
    meta: Mapping[str, Any],
) -> int:
    """Write the tables of recordings that are done and have not all of these yet.

    Returns:
        Of how many recordings.
    """
    wanted = f"{','.join(sorted(kinds))} {min_score!r}"
    written = 0
    while some := journal.without_tables(wanted, queries, min_score):
        for _, one in some:
            for kind in kinds:
                content = formats.to_bytes({_name(one, kind): one.events}, kind, _meta(meta, one, kind))
                with folder.new(folder.table(kind, one.name)) as temporary:
                    temporary.write_bytes(content)
        if hasattr(os, "sync"):  # one for all of them: they are on the disk before the journal says so
            os.sync()
        with journal.transaction():
            journal.tables_written((id for id, _ in some), wanted)
        written += len(some)
    return written


def write_combined(
    annotated: Iterable[Annotated], folder: Folder, kinds: Sequence[str], meta: Mapping[str, Any]
) -> list[str]:
    """Write tables of all recordings, in one pass, in formats that can hold several.

    Returns:
        The formats that cannot.
    """
    can = [kind for kind in kinds if not formats.holds_one(kind)]
    if can:
        _write_combined(annotated, folder, can, {**meta, "recorded": {}})
    return [kind for kind in kinds if kind not in can]


def _write_combined(
    annotated: Iterable[Annotated], folder: Folder, kinds: Sequence[str], meta: Mapping[str, Any]
) -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        writers = [
            (kind, stack.enter_context(formats.open_writer(folder.combined(kind), kind, meta)))
            for kind in kinds
        ]
        for one in annotated:
            recorded = None if one.recorded is None else moments.describe(one.recorded)
            for kind, writer in writers:
                writer.add(_name(one, kind), one.events, one.seconds, recorded)


def write_failed(failures: Iterable[tuple[str, str]], folder: Folder) -> int:
    """Write `failed.csv`, or remove it where nothing failed; returns how many recordings did."""
    count = 0
    target = folder.path / "failed.csv"
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(line(("filename", "reason"), ","))
        for name, reason in failures:
            file.write(line((name, reason), ","))
            count += 1
    if not count:
        target.unlink()
    return count


def _name(one: Annotated, kind: str) -> str:
    return remote.shown(one.path) if kind in _BY_PATH else one.name


def _meta(meta: Mapping[str, Any], one: Annotated, kind: str) -> dict[str, Any]:
    name = _name(one, kind)
    recorded = {} if one.recorded is None else {name: moments.describe(one.recorded)}
    return {**meta, "durations": {name: one.seconds}, "recorded": recorded}
