"""The plan of a run: every recording looked at once, and cut into units of work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from peaframe.annotate import remote
from peaframe.annotate.journal import Journal
from peaframe.annotate.records import DONE, FAILED, PLANNED, File
from peaframe.annotate.sources import fingerprint
from peaframe.annotate.times import plain_time
from peaframe.annotate.units import Windows, pack
from peaframe.audio.name_moments import check_format
from peaframe.audio.recorded import recorded
from peaframe.audio.zones import named_zone
from peaframe.errors import AudioError

_AT_ONCE = 1000
_THREADS = 8  # looking at files is waiting for disks
_VANISHED = "vanished before it was heard"


@dataclass(frozen=True)
class Times:
    """How to find out when recordings were made; see `peaframe.audio.recorded.recorded`."""

    time_format: str | None = None
    timezone: str | None = None

    def check(self) -> None:
        """Refuse a pattern or a zone that is none; raises OptionError."""
        if self.time_format is not None:
            check_format(self.time_format)
        if self.timezone is not None:
            named_zone(self.timezone)


def plan(
    journal: Journal,
    recordings: Iterable[tuple[str, str]],
    windows: Windows,
    times: Times,
    looked: Callable[[int], object],
) -> tuple[int, int]:
    """Look at all recordings and plan what is new or has changed.

    What was done before and is as it was stays done. What cannot be read has failed, and is looked at again next time.

    Args:
        journal: what is known of them, and where the plan goes.
        recordings: names and paths, by name.
        windows: how the model hears.
        times: how to find out when they were made.
        looked: is told how many more were looked at.

    Returns:
        How many recordings are gone now that were done before, whose results stay, and how many that are to be
        answered from embeddings that are kept.
    """
    turn = (journal.note("turn") or 0) + 1
    plain_times = [times.time_format, times.timezone]
    new_times = journal.note("times") != plain_times
    with ThreadPoolExecutor(_THREADS) as pool:
        for some in _chunks(recordings, _AT_ONCE):
            known = [journal.file(_text(name)) for name, _ in some]
            looks = pool.map(partial(_look, times=times, new_times=new_times), some, known)
            with journal.transaction():
                for (_, path), old, values in zip(some, known, looks, strict=True):
                    _enter(journal, turn, _text(path), old, values)
            looked(len(some))
    with journal.transaction():
        gone = journal.lose_unseen(turn, _VANISHED)
        journal.pack(pack(journal.unpacked(), windows))
        journal.set_note("turn", turn)
        journal.set_note("times", plain_times)
    return gone


def _look(recording: tuple[str, str], known: File | None, times: Times, new_times: bool) -> dict[str, Any]:
    """What a recording says of itself, as columns of the journal; of one that is known only what is new."""
    name, path = recording
    try:
        now = fingerprint(path)
        same = known is not None and (known.size, known.modified, known.head) == (
            now.size,
            now.mtime_ns,
            now.head,
        )
        if same and not new_times:
            return {}
        if same:
            return {"recorded": _recorded(path, times)}
        values: dict[str, Any] = {"size": now.size, "modified": now.mtime_ns, "head": now.head}
    except AudioError as error:
        if known is not None and known.state == DONE:
            return {}  # what was found in it stays
        return _failed(name, path, str(error), retry=True)
    problem = next((what for what in ("\n", "\r", "\t", "\0") if what in name), None)
    if problem is not None:
        reason = f"{name!r}: has {problem!r} in its name, which tables cannot hold; rename it"
        return {**_failed(name, path, reason, retry=False), **values}
    if _text(path) != path:
        what = "its name is" if _text(name) != name else "a folder it lies in has a name that is"
        return {**_failed(name, path, f"{name!r}: {what} not valid Unicode; rename it", False), **values}
    try:
        info = remote.probe(path)
        values |= {"seconds": info.duration, "recorded": _recorded(path, times)}
    except AudioError as error:
        return {**_failed(name, path, str(error), retry=False), **values}
    return {"name": name, "path": path, "state": PLANNED, **values}


def _failed(name: str, path: str, reason: str, retry: bool) -> dict[str, Any]:
    columns = {"name": _text(name), "path": _text(path), "state": FAILED, "retry": int(retry)}
    return {**columns, "reason": _text(reason)}


def _enter(journal: Journal, turn: int, path: str, known: File | None, values: dict[str, Any]) -> None:
    if "name" in values:  # new, changed, or not to be read
        return journal.add({**values, "seen": turn})
    assert known is not None
    journal.seen(known.id, path, turn)
    if "recorded" in values and values["recorded"] != known.recorded:
        journal.set_recorded(known.id, values["recorded"])
    if known.state == FAILED and known.retry:
        journal.plan_again(known.id, turn)


def _recorded(path: str, times: Times) -> str | None:
    """When it was made, if it says so; a recording is no worse for saying it badly."""
    if remote.is_url(path):
        return None
    try:
        return plain_time(recorded(path, times.time_format, times.timezone))
    except AudioError:
        return None


def _text(name: str) -> str:
    """A name as text that can be stored: what is not valid Unicode is escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _chunks(items: Iterable[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, size)):
        yield some
