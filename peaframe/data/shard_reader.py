"""Samples of shards (`peaframe.data.shards`), in an order that can be taken up anywhere.

Shards are read from their beginning to their end, once in an epoch. Their order is drawn for every epoch and cut into
one even stretch for each rank, so all ranks give equally many samples; at most `world_size - 1` come twice. A rank's
samples pass through a buffer from which the next one is drawn. All that depends on the seed, the epoch, the rank
and the number of ranks, and not on `workers`, which are threads that decode ahead.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import Any, Generic, TypeVar

import numpy as np

from peaframe.data.shard_files import Sample, ShardIndex, damaged, decode, load_index, members
from peaframe.errors import FormatError, OptionError

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Ref = tuple[int, int]  # number of a shard, number of a sample in it


def in_order(call: Callable[[_In], _Out], tasks: Iterable[_In], threads: int) -> Iterator[_Out]:
    """What `call` makes of the tasks, in their order; threads are at most 2 tasks each ahead, 0 means none."""
    if threads < 1:
        yield from map(call, tasks)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        ahead: deque[Future[_Out]] = deque()
        for task in tasks:
            ahead.append(pool.submit(call, task))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Reader(ABC, Generic[_Out]):
    """Samples of an epoch, each time it is gone through; one left in the middle goes on there.

    Processes that share the work of a rank each take a reader
    of their own, as ranks do: process i of n on rank r is rank r * n + i of world_size * n.

    Attributes:
        epoch: the epoch that is, or will be, gone through.
        sample: how many of its samples have been given.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_buffer: int = 1000,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ) -> None:
        """Prepare; without an index, the shards' headers are read to count the samples.

        Args:
            source: a folder that has an index, or tar files; paths or addresses.
            seed: of everything that is drawn.
            shuffle: false for the order of shards and samples.
            shuffle_buffer: how many samples, coded, are held in memory to draw from.
            rank: of this process.
            world_size: number of ranks.
            workers: threads that decode ahead; 0 for none.

        Raises:
            OptionError: a number makes no sense, or there are no samples.
            FormatError: a shard or the index is missing or damaged.
        """
        if seed < 0 or shuffle_buffer < 1 or workers < 0 or not 0 <= rank < world_size:
            raise OptionError(
                f"got seed {seed}, shuffle_buffer {shuffle_buffer}, workers {workers}, rank {rank} of {world_size}; "
                "expected a buffer of 1 or more, others of 0 or more, and a rank from 0 to world_size - 1"
            )
        self._shards, self._counts = self._find(source)
        if not sum(self._counts):
            raise OptionError(f"got {len(self._shards)} shards without samples, expected one sample or more")
        self.epoch = self.sample = 0
        self._seed, self._buffer = seed, shuffle_buffer if shuffle else 0
        self._rank, self._world_size, self._workers = rank, world_size, workers
        names = [shard.rpartition("/")[2] for shard in self._shards]
        described = [seed, self._buffer, world_size, names, self._counts, *self._described()]
        self._data = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    def _find(
        self, source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    ) -> tuple[list[str], list[int]]:
        """Paths of the shards, and how many samples each has."""
        if isinstance(source, (str, os.PathLike)):
            return listed(os.fspath(source), "items")[:2]
        shards = [os.fspath(shard) for shard in source]
        return shards, [sum(1 for _ in members(shard, ())) for shard in shards]

    def _described(self) -> list[Any]:
        """What the samples depend on beside what is known here, as JSON."""
        return []

    @abstractmethod
    def _decode(self, shard: str, files: dict[str, bytes]) -> _Out:
        """A sample from what its files hold."""

    def __len__(self) -> int:
        """Samples of an epoch on each rank, given or not."""
        return -(-sum(self._counts) // self._world_size)

    def __iter__(self) -> Iterator[_Out]:
        """The samples of this epoch that have not been given."""
        samples = in_order(lambda found: self._decode(*found), self._given(), self._workers)
        for left, sample in zip(range(len(self) - self.sample - 1, -1, -1), samples, strict=True):
            self.epoch, self.sample = (self.epoch, self.sample + 1) if left else (self.epoch + 1, 0)
            yield sample

    def state_dict(self) -> dict[str, Any]:
        """Where it is: the same on every rank; numbers and a hash of shards and options."""
        return {"epoch": self.epoch, "sample": self.sample, "data": self._data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another reader was; shards it was through with are not read.

        Raises:
            OptionError: it had other shards or other options, so its samples were others.
        """
        if state.get("data") != self._data:
            raise OptionError(
                f"got the state {state.get('data')} of other shards or options, this reader is {self._data}; "
                "resume with the shards, seed, buffer and number of ranks of the run that is resumed"
            )
        self.epoch, self.sample = int(state["epoch"]), int(state["sample"])

    def _coming(self) -> Iterator[_Ref]:
        """The samples of this rank in the order they are read."""
        order = list(range(len(self._shards)))
        if self._buffer:
            order = np.random.default_rng((self._seed, self.epoch)).permutation(len(order)).tolist()
        ends = list(accumulate(self._counts[shard] for shard in order))
        for place in range(self._rank * len(self), (self._rank + 1) * len(self)):
            at = place % ends[-1]
            turn = bisect_right(ends, at)
            yield order[turn], at - ends[turn] + self._counts[order[turn]]

    def _steps(self) -> Iterator[tuple[_Ref | None, _Ref | None]]:
        """What is read, and what is given then."""
        random = np.random.default_rng((self._seed, self.epoch, self._rank + 1))
        held: list[_Ref] = []
        for ref in self._coming():
            if len(held) < self._buffer:
                held.append(ref)
                yield ref, None
            elif held:
                at = int(random.integers(len(held)))
                out, held[at] = held[at], ref
                yield ref, out
            else:
                yield ref, ref
        for at in random.permutation(len(held)).tolist():
            yield None, held[at]

    def _given(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Shard and files of what has not been given, in order."""
        steps, done = self._steps(), 0
        # read by the run that is resumed, and not given; in the order of reading
        pending: dict[_Ref, None] = {}
        while done < self.sample:
            read, given = next(steps)
            if read is not None:
                pending[read] = None
            if given is not None:
                del pending[given]
                done += 1
        again = _Cursor(self._shards, self._counts, set(pending))
        held = {ref: again.files(ref) for ref in pending}
        cursor = _Cursor(self._shards, self._counts)
        for read, given in steps:
            if read is not None:
                held[read] = cursor.files(read)
            if given is not None:
                yield self._shards[given[0]], held.pop(given)


class ShardReader(Reader[Sample]):
    """Samples of items: (item, its sound or latents), see `decode`."""

    def _decode(self, shard: str, files: dict[str, bytes]) -> Sample:
        return decode(shard, files)


class _Cursor:
    """Reads shards forwards, one at a time; what is skipped on a disk is not read."""

    def __init__(
        self, shards: Sequence[str], counts: Sequence[int], only: Container[_Ref] | None = None
    ) -> None:
        """Without `only`, all that follows a sample in its shard is taken to be wanted, too."""
        self._shards, self._counts, self._only = shards, counts, only
        self._at: _Ref = (-1, -1)
        self._stream: Iterator[tuple[int, dict[str, bytes]]] = iter(())

    def files(self, ref: _Ref) -> dict[str, bytes]:
        """The files of a sample. Raises FormatError as `members` does, and if there is no such sample."""
        shard, number = ref
        path, count = self._shards[shard], self._counts[shard]
        if shard != self._at[0] or number <= self._at[1]:
            rest, only = range(number, count), self._only
            wanted = rest if only is None else {at for at in rest if (shard, at) in only}
            self._stream = members(path, wanted)
        self._at = ref
        for found, files in self._stream:
            if found == number:
                return files
        raise damaged(path, f"sample {number + 1} is missing, expected {count}")


def listed(folder: str, kind: str) -> tuple[list[str], list[int], ShardIndex]:
    """Paths of a finished folder's shards, how many samples each has, and the index; FormatError if of other kind."""
    index = load_index(folder)
    if index.kind != kind:
        raise FormatError(f"{folder}: shards of {index.kind}, expected {kind}; give another folder")
    shards = [f"{folder.rstrip('/')}/{shard.name}" for shard in index.shards]
    for path, shard in zip(shards, index.shards, strict=True):
        if "://" in path:
            continue
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise FormatError(f"{path}: cannot be read ({error.strerror}); get a whole copy") from error
        if size != shard.bytes:
            raise damaged(path, f"{size} bytes, expected {shard.bytes}")
    return shards, [shard.samples for shard in index.shards], index
