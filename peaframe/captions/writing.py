"""What the language model writes: asked, checked, asked once more, and refused if it is of no use then, either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from peaframe.captions.answers import Answers, key
from peaframe.captions.captioned import Captioned, Written
from peaframe.captions.checks import COLLAPSE, NO_ANSWER, Checks, fold, problem, tidy
from peaframe.captions.parts import Failure, Writer
from peaframe.captions.prompts import AGAIN, KINDS, Prompt

ATTEMPTS = 2
_NOTHING = "(nothing)"


class Pen:
    """Writes captions of all kinds."""

    def __init__(
        self, writer: Writer, answers: Answers, prompts: Mapping[str, Prompt], checks: Checks
    ) -> None:
        """Write with `writer`, keep its answers, ask with `prompts`, and hold it to `checks`."""
        self._writer, self._answers, self._prompts, self._checks = writer, answers, prompts, checks

    def write(self, clips: Sequence[Captioned]) -> list[Captioned]:
        """Clips with every caption that what was heard and seen allows."""
        jobs = [(i, kind) for i, clip in enumerate(clips) for kind in kinds(clip)]
        texts = self._ask([(clips[i].digest, self._prompt(clips[i], kind)) for i, kind in jobs])
        first = {job: self._checked(text, ()) for job, text in zip(jobs, texts, strict=True)}
        written = first | self._again(clips, {job: own for job, own in first.items() if own.refused})
        return [
            replace(clip, written={kind: written[i, kind] for kind in KINDS if (i, kind) in written})
            for i, clip in enumerate(clips)
        ]

    def without(
        self, clips: Sequence[Captioned], kind: str, counts: Mapping[str, int], again: bool
    ) -> list[Captioned]:
        """Clips without the captions of a kind that too many clips have.

        Args:
            clips: some of all.
            kind: of caption.
            counts: those captions, from `collapsed`.
            again: whether to ask once more where only one answer was asked for; all others are refused.
        """
        hit: dict[tuple[int, str], Written] = {}
        for i, clip in enumerate(clips):
            own = clip.written.get(kind)
            if own is not None and own.caption and fold(own.caption) in counts:
                if own.attempts >= ATTEMPTS and again:
                    continue  # others may give way
                reason = f"{COLLAPSE}: too many clips have the same caption"
                hit[i, kind] = replace(own, reasons=(*own.reasons, reason))
        if again:
            hit = self._again(clips, hit)
        return [
            replace(clip, written={**clip.written, kind: hit[i, kind]}) if (i, kind) in hit else clip
            for i, clip in enumerate(clips)
        ]

    def _again(
        self, clips: Sequence[Captioned], refused: Mapping[tuple[int, str], Written]
    ) -> dict[tuple[int, str], Written]:
        """Second answers in place of refused ones."""
        asked = []
        for (i, kind), own in refused.items():
            values = {
                "prompt": self._prompt(clips[i], kind),
                "answer": own.text or _NOTHING,
                "reason": own.reasons[-1].partition(": ")[2] or own.reasons[-1],
                "language": self._checks.language,
            }
            asked.append((clips[i].digest, self._prompts[AGAIN].fill(values)))
        texts = self._ask(asked)
        return {
            job: self._checked(text, own.reasons)
            for (job, own), text in zip(refused.items(), texts, strict=True)
        }

    def _checked(self, answer: str | Failure, before: tuple[str, ...]) -> Written:
        if isinstance(answer, Failure):
            return Written("", (*before, f"{NO_ANSWER}: {answer.reason}"), len(before) + 1)
        text = tidy(answer)
        wrong = problem(text, self._checks)
        return Written(text, (*before, wrong) if wrong else before, len(before) + 1)

    def _prompt(self, clip: Captioned, kind: str) -> str:
        heard = "\n".join(f"- {h.caption} (trust: {h.level})" for h in clip.heard if h.caption)
        values = {
            "heard": heard or _NOTHING,
            "seen": clip.seen or _NOTHING,
            "language": self._checks.language,
        }
        return self._prompts[kind].fill(values)

    def _ask(self, asked: Sequence[tuple[str, str]]) -> list[str | Failure]:
        """Answers to (clip's digest, prompt) pairs, from those kept or from the language model."""
        keys = [key(self._writer.identity, digest, prompt) for digest, prompt in asked]
        known: dict[str, Any] = dict(zip(keys, self._answers.get(keys), strict=True))
        missing = {one: prompt for one, (_, prompt) in zip(keys, asked, strict=True) if known[one] is None}
        if missing:
            new = dict(zip(missing, self._writer.write(list(missing.values())), strict=True))
            self._answers.put([(one, text) for one, text in new.items() if not isinstance(text, Failure)])
            known |= new
        return [known[one] for one in keys]


def kinds(clip: Captioned) -> tuple[str, ...]:
    """Which captions a clip can have: of what is heard, of what is seen, and of both if there are both."""
    heard, seen = any(h.caption for h in clip.heard), bool(clip.seen)
    have = {"audio": heard, "visual": seen, "audio_visual": heard and seen}
    return tuple(kind for kind in KINDS if have[kind])
