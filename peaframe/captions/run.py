"""From clips to captions, batch by batch, whoever does the batches; then what only all of them together tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from peaframe.captions.captioned import Captioned, Failed
from peaframe.captions.checks import Checks, collapsed
from peaframe.captions.clips import Clip
from peaframe.captions.prompts import KINDS


@dataclass(frozen=True)
class Captions:
    """What became of a unit.

    Attributes:
        first: number of its first clip.
        made: captions of each clip, or why there are none.
    """

    first: int
    made: tuple[Captioned | Failed, ...]

    def __len__(self) -> int:
        """How many clips."""
        return len(self.made)


@dataclass(frozen=True)
class Captioning:
    """A batch to be captioned.

    Attributes:
        first: number of its first clip.
        clips: which.
    """

    first: int
    clips: tuple[Clip, ...]

    def __len__(self) -> int:
        """How many clips."""
        return len(self.clips)

    def alone(self) -> list[Captioning]:
        """A unit of each clip."""
        return [Captioning(self.first + i, (clip,)) for i, clip in enumerate(self.clips)]

    def failed(self, tries: int, reason: str) -> Captions:
        """A clip is left out; the reason is in the words of one engine, and what is written does not depend on it."""
        said = f"{tries} processes died or failed when they captioned it; repair the file"
        return Captions(self.first, tuple(Failed(clip, f"{clip.media}: {said}") for clip in self.clips))


@dataclass(frozen=True)
class Rewriting:
    """A batch some of whose captions too many clips have.

    Attributes:
        first: number of its first clip, among those that are rewritten.
        clips: with their captions.
        kind: of caption.
        counts: those captions, from `collapsed`.
        again: whether to ask once more; if not, they are refused.
    """

    first: int
    clips: tuple[Captioned, ...]
    kind: str
    counts: Mapping[str, int]
    again: bool

    def __len__(self) -> int:
        """How many clips."""
        return len(self.clips)

    def alone(self) -> list[Rewriting]:
        """A unit of each clip."""
        return [
            Rewriting(self.first + i, (clip,), self.kind, self.counts, self.again)
            for i, clip in enumerate(self.clips)
        ]

    def failed(self, tries: int, reason: str) -> Captions:
        """It stays as it is, to be refused."""
        return Captions(self.first, self.clips)


Unit = Captioning | Rewriting
Do = Callable[[Iterable[Unit]], Iterator[Captions]]


def caption(
    clips: Iterable[Clip],
    do: Do,
    batch: int,
    checks: Checks,
    progress: Callable[[int], object] | None = None,
    whole: bool = True,
) -> tuple[list[Captioned], list[Failed]]:
    """Caption clips.

    Args:
        clips: in the order wanted.
        do: does units, and gives what became of them in their order.
        batch: clips of a unit.
        checks: what captions must be.
        progress: told how many clips were finished since it was told last.
        whole: false if these are only some of the clips, so that nothing can be said yet about captions that too many
            of them have.

    Returns:
        Those that have captions, and those that could not be opened, decoded or captioned, in order.
    """
    done: list[Captioned] = []
    failed: list[Failed] = []
    for result in do(_batches(clips, batch)):
        for made in result.made:
            if isinstance(made, Captioned):
                done.append(made)
            else:
                failed.append(made)
        if progress is not None:
            progress(len(result))
    if whole:
        _without_collapse(done, do, batch, checks)
    return done, failed


def _batches(clips: Iterable[Clip], batch: int) -> Iterator[Captioning]:
    first = 0
    waiting: list[Clip] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == batch:
            yield Captioning(first, tuple(waiting))
            first += len(waiting)
            waiting.clear()
    if waiting:
        yield Captioning(first, tuple(waiting))


def _without_collapse(done: list[Captioned], do: Do, batch: int, checks: Checks) -> None:
    """Ask once more for captions that too many clips have, then refuse those that still do."""
    for again in (True, False):
        for kind in KINDS:
            pairs = [(c.digest, c.written[kind].caption) for c in done if kind in c.written]
            counts = collapsed(pairs, checks)
            if not counts:
                continue
            units = (
                Rewriting(begin, tuple(done[begin : begin + batch]), kind, counts, again)
                for begin in range(0, len(done), batch)
            )
            done[:] = [made for result in do(units) for made in result.made if isinstance(made, Captioned)]
