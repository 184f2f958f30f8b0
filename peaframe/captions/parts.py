"""What the caption engine is made of: four small surfaces, and what may come back instead of an answer.

Every part has a `name`, which people read, and an `identity`: two parts that may answer differently have different
ones, so an answer that is kept is never taken for another part's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from peaframe.captions.clips import OpenClip


@dataclass(frozen=True)
class Failure:
    """No answer for one clip or one prompt; the others of the batch have theirs.

    Attributes:
        reason: why, in one line.
    """

    reason: str


Answer = str | Failure


class Part(Protocol):
    """What all parts have."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def identity(self) -> str:
        """What its answers depend on, apart from what it is given."""
        ...


class Captioner(Part, Protocol):
    """Says what is in clips, by their sound or by their pictures."""

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption, or a failure, for each clip."""
        ...


class Scorer(Part, Protocol):
    """Says how far a caption of a clip's sound can be trusted."""

    def score(self, clips: Sequence[OpenClip], captions: Sequence[str]) -> list[float | Failure]:
        """One score from 0 to 1, or a failure, for each clip and its caption."""
        ...

    def level(self, score: float) -> str:
        """The score as `low`, `medium` or `high`."""
        ...


class Writer(Part, Protocol):
    """A language model that follows instructions."""

    def write(self, prompts: Sequence[str]) -> list[Answer]:
        """One text, or a failure, for each prompt."""
        ...


class Ear(Part, Protocol):
    """Says which events are heard in clips."""

    def hear(self, clips: Sequence[OpenClip]) -> list[tuple[str, ...]]:
        """Labels of what is heard in each clip, in a fixed order."""
        ...


@dataclass(frozen=True)
class Parts:
    """All that makes captions.

    Attributes:
        audio: captioners of sound; the paper has two (EnCLAP and CoNeTTE).
        writer: rewrites what captioners say.
        video: captioner of pictures; None if pictures are not to be looked at.
        scorer: confidence of the captions of sound; None leaves it unknown.
        ear: for the report: what is heard in each clip.
    """

    audio: tuple[Captioner, ...]
    writer: Writer
    video: Captioner | None = None
    scorer: Scorer | None = None
    ear: Ear | None = None
