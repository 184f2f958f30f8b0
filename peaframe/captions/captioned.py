"""What the engine made of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peaframe.captions.clips import Clip
from peaframe.captions.prompts import KINDS

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Heard:
    """What one captioner of sound said.

    Attributes:
        by: the captioner.
        caption: its words; empty if it had none.
        level: how far they can be trusted: low, medium, high or unknown.
        score: the number behind the level, from 0 to 1.
        failure: why there is no caption.
    """

    by: str
    caption: str
    level: str = UNKNOWN
    score: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class Written:
    """A caption as the language model left it.

    Attributes:
        text: the last answer, tidied.
        reasons: why each answer was not usable, in order; one less than attempts if the last one was.
        attempts: answers asked for, 1 or 2.
    """

    text: str
    reasons: tuple[str, ...] = ()
    attempts: int = 1

    @property
    def refused(self) -> bool:
        """Whether the last answer was not usable, either."""
        return len(self.reasons) >= self.attempts

    @property
    def caption(self) -> str:
        """The text, or nothing if it was refused."""
        return "" if self.refused else self.text


@dataclass(frozen=True)
class Captioned:
    """A clip with its captions.

    Attributes:
        clip: which.
        digest: of its content, see `OpenClip`.
        heard: what captioners of sound said; empty for a clip without sound.
        seen: what the captioner of pictures said; None for a clip without pictures, or where nobody looked.
        written: by kind (`audio`, `visual`, `audio_visual`), those that the clip can have.
        events: labels that peaframe heard in it; None where nobody listened.
    """

    clip: Clip
    digest: str
    heard: tuple[Heard, ...]
    seen: str | None
    written: Mapping[str, Written] = field(default_factory=dict)
    events: tuple[str, ...] | None = None

    @property
    def refused(self) -> str:
        """Kinds that were refused and why, "audio: empty: it has no words; ..."; empty if none was."""
        bad = [
            f"{kind}: {own.reasons[-1]}" for kind in KINDS if (own := self.written.get(kind)) and own.refused
        ]
        return "; ".join(bad)


@dataclass(frozen=True)
class Failed:
    """A clip that could not be captioned.

    Attributes:
        clip: which.
        reason: why.
    """

    clip: Clip
    reason: str


def provenance(captioned: Captioned, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Where a clip's captions come from, as plain values.

    Args:
        captioned: the clip.
        made_by: what is the same for all clips, from `Engine.made_by`.
    """
    return {
        **made_by,
        "media": captioned.clip.media,
        "clip": captioned.digest,
        "heard": [
            {"by": h.by, "caption": h.caption, "level": h.level, "score": h.score, "failure": h.failure}
            for h in captioned.heard
        ],
        "seen": captioned.seen,
        "events": None if captioned.events is None else list(captioned.events),
        "written": {
            kind: {"text": own.text, "attempts": own.attempts, "reasons": list(own.reasons)}
            for kind, own in captioned.written.items()
        },
    }
