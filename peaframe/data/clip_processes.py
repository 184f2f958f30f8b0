"""Samples of clips, made by several processes, in the order of the clips."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

import torch

from peaframe.data.clip_maker import ClipContent, ClipMaker
from peaframe.data.clip_media import shown
from peaframe.data.clips_table import ClipRow
from peaframe.data.shard_folder import Made
from peaframe.errors import ModelError

_Task = tuple[int, ClipRow]
_AHEAD = 2  # clips that each process has before it

_maker: ClipMaker | None = None  # of a process that works for another one


def in_processes(wanted: ClipContent, tasks: Iterator[_Task], jobs: int) -> Iterator[Made]:
    """Samples in the order of the tasks. A clip of which a process dies is tried again alone, and then left out."""

    def start(count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, get_context("spawn"), _begin, (wanted,))

    pool = start(jobs)
    ahead: list[tuple[_Task, Future[Made]]] = []
    try:
        while True:
            try:
                while len(ahead) <= _AHEAD * jobs and (task := next(tasks, None)) is not None:
                    ahead.append((task, _submit(pool, task)))
                if not ahead:
                    return
                made = ahead[0][1].result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                made = _alone(start, ahead[0][0])
                pool = start(jobs)
                ahead[1:] = [(task, own if _done(own) else _submit(pool, task)) for task, own in ahead[1:]]
            ahead.pop(0)
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(wanted: ClipContent) -> None:
    global _maker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _maker = ClipMaker(wanted)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # nobody would ever read what this process makes


def _make(task: _Task) -> Made:
    if _maker is None:
        raise RuntimeError("this process has not begun")
    return _maker(task)


def _ready() -> None:
    """Answer; a process that cannot load its model does not."""


def _submit(pool: ProcessPoolExecutor, task: _Task) -> Future[Made]:
    """A task's future; that of a broken pool if it is one."""
    try:
        return pool.submit(_make, task)
    except BrokenProcessPool as error:
        future: Future[Made] = Future()
        future.set_exception(error)
        return future


def _done(future: Future[Made]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _alone(start: Callable[[int], ProcessPoolExecutor], task: _Task) -> Made:
    with start(1) as pool:
        try:
            pool.submit(_ready).result()
        except BrokenProcessPool as error:
            raise ModelError(
                "processes that make samples die before they begin; give fewer --jobs, or look for memory"
            ) from error
        try:
            return pool.submit(_make, task).result()
        except BrokenProcessPool:
            return Made(
                task[0],
                shown(task[1].media),
                reason="the process that decoded it died of it; repair the file",
            )
