"""What makes a caption unusable: empty, a refusal, another language, too short or long, or going round in circles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from peaframe.captions.languages import LANGUAGES, words_of, wrong_language
from peaframe.errors import OptionError

EMPTY, REFUSAL, LANGUAGE, SHORT, LONG, REPEATED, COLLAPSE, NO_ANSWER = (
    "empty",
    "refusal",
    "language",
    "too short",
    "too long",
    "repeated",
    "collapse",
    "no answer",
)
_I_CANNOT = (
    r"i (?:can ?not|can't|could not|couldn't|am unable|'m unable|am not able|'m not able|won't|will not)"
)
_REFUSALS = (
    re.compile(r"^(?:i'm|i am|we are|we're)? ?(?:very |so )?sorry\b(?=,| but|\.| i\b|$)"),
    re.compile(r"^(?:unfortunately|apologies|my apologies|i apologi[sz]e)\b"),
    re.compile(rf"^(?:sorry[,.]? |however[,.]? )?{_I_CANNOT.replace(' ', ' ?')}\b"),
    re.compile(r"\bas an? (?:ai|language|artificial intelligence|large language)\b"),
    re.compile(
        r"^(?:unable|not able|impossible) to (?:write|provide|generate|create|describe|determine|caption)\b"
    ),
    re.compile(r"(?:^|[.!?] )(?:please|could you|can you) (?:provide|share|give|supply|upload|clarify)\b"),
    re.compile(
        r"\b(?:no|not enough|insufficient|without (?:more|any)) (?:information|details?|context|input)\b"
    ),
    re.compile(r"\b(?:i|we) (?:do not|don't) have (?:access|the ability|enough|any|sufficient)\b"),
    re.compile(r"^(?:n/?a|none|null|nan|unknown|no caption|\[.*\]|<.*>)[.!]?$"),
)
_HEADING = re.compile(
    r"^\W{0,3}(?:(?:audio|visual|video|audio-visual|audiovisual) )?caption\W{0,3}?:[\s*_]*", re.IGNORECASE
)


@dataclass(frozen=True)
class Checks:
    """What a caption must be. All values are ours.

    Attributes:
        language: one of `peaframe.captions.languages.LANGUAGES`.
        least_words: it has this many words, or signs where a language has no spaces.
        most_words: and no more than this.
        least_different: share of different words, where there are twelve or more.
        collapse_share: a caption that more than this share of all clips have is no caption of any of them,
        collapse_clips: unless no more clips than this have it.
    """

    language: str = "English"
    least_words: int = 3
    most_words: int = 80
    least_different: float = 0.4
    collapse_share: float = 0.01
    collapse_clips: int = 3

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise OptionError(f"got language {self.language!r}, expected one of {', '.join(LANGUAGES)}")
        if not 1 <= self.least_words <= self.most_words:
            raise OptionError(
                f"got captions of {self.least_words} to {self.most_words} words, expected 1 <= least <= most"
            )
        for name in ("least_different", "collapse_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"got {name} {getattr(self, name)}, expected a share from 0 to 1")
        if self.collapse_clips < 1:
            raise OptionError(f"got collapse_clips {self.collapse_clips}, expected 1 or more")


def tidy(answer: str) -> str:
    """An answer as a caption: one line, without a heading such as "Caption:" and without quotes around all of it."""
    text = " ".join(answer.split())
    text = _HEADING.sub("", text)
    for left, right in ('""', "''", "“”", "‘’", "«»", "``"):
        inner = text[1:-1]
        if (
            len(text) > 1
            and text[0] == left
            and text[-1] == right
            and left not in inner
            and right not in inner
        ):
            text = inner.strip()
    return text


def problem(caption: str, checks: Checks) -> str | None:
    """Why a caption cannot be used, as "kind: more", or None; the kinds are this module's constants."""
    words = words_of(caption, checks.language)
    if not words:
        return f"{EMPTY}: it has no words"
    plain = caption.lower().replace("’", "'").strip()
    if any(refusal.search(plain) for refusal in _REFUSALS):
        return f"{REFUSAL}: it is no caption but says why there is none"
    if wrong := wrong_language(caption, checks.language):
        return f"{LANGUAGE}: it {wrong}" if wrong.startswith("reads") else f"{LANGUAGE}: {wrong}"
    if len(words) < checks.least_words:
        return f"{SHORT}: it has {len(words)} words, at least {checks.least_words} are needed"
    if len(words) > checks.most_words:
        return f"{LONG}: it has {len(words)} words, {checks.most_words} at most are wanted"
    if repeated := _repeated(caption, words, checks.least_different):
        return f"{REPEATED}: {repeated}"
    return None


def kind(reason: str) -> str:
    """Of a reason that `problem` or the engine gave, the part before the colon."""
    return reason.partition(":")[0]


def collapsed(captions: Sequence[tuple[str, str]], checks: Checks) -> dict[str, int]:
    """Captions that too many different clips have: the failure of captioners that only retrieve.

    Args:
        captions: (clip's digest, caption) pairs; the same clip twice counts once, captions without words not at all.
        checks: how many are too many.

    Returns:
        For each of them, by `fold`, how many clips have it.
    """
    pairs = {(digest, folded) for digest, caption in captions if (folded := fold(caption))}
    clips = len({digest for digest, _ in captions})
    most = max(checks.collapse_clips, checks.collapse_share * clips)
    counts = Counter(folded for _, folded in pairs)
    return {folded: count for folded, count in counts.items() if count > most}


def fold(caption: str) -> str:
    """A caption without case and punctuation, to see whether two are the same."""
    return " ".join(re.findall(r"\w+", caption.lower()))


def _repeated(caption: str, words: Sequence[str], least_different: float) -> str | None:
    for i in range(len(words) - 2):
        if words[i] == words[i + 1] == words[i + 2]:
            return f"{words[i]!r} three times in a row"
    sentences = Counter(folded for part in re.split(r"[.!?;。！？]", caption) if (folded := fold(part)))
    if sentences and max(sentences.values()) > 1:
        return "the same sentence twice"
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    if threes and (most := threes.most_common(1)[0])[1] > 2:
        return f"{' '.join(most[0])!r} {most[1]} times"
    share = len(set(words)) / len(words)
    if len(words) >= 12 and share < least_different:
        return f"only {share:.0%} of its words are different"
    return None
