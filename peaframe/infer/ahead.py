"""Work ahead of its use: the next blocks are decoded in a thread while the model hears the last one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Give the same items in the same order, taken in a thread up to `depth` before they are asked for.

    An error in `items` is raised here, in its place. When the caller stops early, so does the thread.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def offer(entry: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def take() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not offer((item, None)):
                    break
        except BaseException as raised:
            error = raised
        offer((_END, error))

    thread = threading.Thread(target=take, name="peaframe-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
