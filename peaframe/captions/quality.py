"""How good are captions? Shares refused, lengths, agreement, and what peaframe hears in the same clips.

Nothing here says that a caption is true. Agreement of captioners and overlap with events come with what chance gives:
the same numbers with each clip's captions compared with those of its neighbour in the table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.captions.captioned import Captioned, Failed
from peaframe.captions.checks import fold, kind
from peaframe.captions.languages import words_of
from peaframe.captions.prompts import KINDS

Vectors = Callable[[Sequence[str]], NDArray[np.float32]]
_EMPTY_WORDS = (
    "a an and are as at by for from in is it its of on or some the then there to while with sound sounds"
)
_COMMON = frozenset(_EMPTY_WORDS.split())
_STEM, _LONG = 3, 5  # letters
SAMPLES = 24


def quality(
    captioned: Sequence[Captioned],
    failed: Sequence[Failed],
    vectors: Vectors | None = None,
    language: str = "English",
    seed: int = 0,
) -> dict[str, Any]:
    """Measure captions.

    Args:
        captioned: from `Engine.run`.
        failed: likewise.
        vectors: captions to unit vectors (captions, dim), such as `FrameScorer.vectors`; None leaves cosines out.
        language: of the captions, to count words.
        seed: chooses the samples.

    Returns:
        Plain values for JSON: `clips`, `failed`, `kinds` (per kind of caption: how many, refused and why, first answers
        that were not usable, words, share that is different), `captioners` (levels, words, commonest caption),
        `agreement` (of each pair of captioners), `events` (None where nobody listened), and `samples`.
    """
    return {
        "clips": len(captioned),
        "failed": len(failed),
        "failures": [[one.clip.media, one.reason] for one in failed[:100]],
        "kinds": {kind: _kind(captioned, kind, language) for kind in KINDS},
        "captioners": _captioners(captioned, language),
        "agreement": _agreement(captioned, vectors),
        "events": _events(captioned),
        "samples": _samples(captioned, seed),
    }


def token_f1(one: str, other: str) -> float:
    """Harmonic mean of the shares of words, each counted as often as it is there, that two captions have in common."""
    a, b = Counter(fold(one).split()), Counter(fold(other).split())
    total = sum(a.values()) + sum(b.values())
    return 2 * sum((a & b).values()) / total if total else 0.0


def mentions(caption: str, label: str) -> bool:
    """Whether a caption has every word of a label that says something, up to endings.

    Words are alike without -s, -es, -ed and -ing, or if one then begins with the other and is little longer: "laugh"
    and "laughter", but also "car" and "card". Synonyms are missed.
    """
    wanted = [word for word in re.findall(r"\w+", label.lower()) if word not in _COMMON]
    own = re.findall(r"\w+", caption.lower())
    return bool(wanted) and all(any(_alike(word, one) for one in own) for word in wanted)


def _alike(one: str, other: str) -> bool:
    short, long = sorted((_stem(one), _stem(other)), key=len)
    more = 3 if len(short) >= _LONG else 1
    return long == short or (
        len(short) >= _STEM and long.startswith(short) and len(long) - len(short) <= more
    )


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word.removesuffix(ending)
    return word


def _kind(captioned: Sequence[Captioned], name: str, language: str) -> dict[str, Any]:
    own = [one.written[name] for one in captioned if name in one.written]
    good = [one.caption for one in own if not one.refused]
    refused = Counter(kind(one.reasons[-1]) for one in own if one.refused)
    first = Counter(kind(one.reasons[0]) for one in own if one.reasons)
    return {
        "asked": len(own),
        "written": len(good),
        "refused": len(own) - len(good),
        "share_refused": _share(len(own) - len(good), len(own)),
        "refused_by_reason": dict(sorted(refused.items())),
        "first_answers_by_reason": dict(sorted(first.items())),
        "words": _lengths(good, language),
        "share_different": _share(len({fold(caption) for caption in good}), len(good)),
    }


def _captioners(captioned: Sequence[Captioned], language: str) -> dict[str, Any]:
    said: dict[str, list[str]] = {}
    levels: dict[str, Counter[str]] = {}
    for one in captioned:
        for heard in one.heard:
            said.setdefault(heard.by, []).append(heard.caption)
            levels.setdefault(heard.by, Counter())[heard.level] += 1
        if one.seen is not None:
            said.setdefault("pictures", []).append(one.seen)
    result = {}
    for name, captions in said.items():
        commonest, count = Counter(captions).most_common(1)[0]
        result[name] = {
            "captions": len(captions),
            "empty": sum(not caption for caption in captions),
            "levels": dict(sorted(levels.get(name, Counter()).items())),
            "words": _lengths([caption for caption in captions if caption], language),
            "commonest": commonest,
            "share_commonest": _share(count, len(captions)),
        }
    return result


def _agreement(captioned: Sequence[Captioned], vectors: Vectors | None) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(heard.by for one in captioned for heard in one.heard))
    result = []
    for left, right in combinations(names, 2):
        both: list[tuple[str, str]] = []
        for one in captioned:
            own = {heard.by: heard.caption for heard in one.heard}
            if own.get(left) and own.get(right):
                both.append((own[left], own[right]))
        if not both:
            continue
        shifted = [(a, b) for (a, _), (_, b) in zip(both, both[1:] + both[:1], strict=True)]
        found: dict[str, Any] = {"captioners": [left, right], "clips": len(both)}
        found["token_f1"] = float(np.mean([token_f1(a, b) for a, b in both]))
        found["token_f1_by_chance"] = (
            float(np.mean([token_f1(a, b) for a, b in shifted])) if len(both) > 1 else None
        )
        if vectors is not None:
            a, b = vectors([a for a, _ in both]), vectors([b for _, b in both])
            found["cosine"] = float((a * b).sum(1).mean())
            found["cosine_by_chance"] = (
                float((a * np.roll(b, -1, 0)).sum(1).mean()) if len(both) > 1 else None
            )
        result.append(found)
    return result


def _events(captioned: Sequence[Captioned]) -> dict[str, Any] | None:
    """Share of heard events that a clip's own audio caption mentions, and that its neighbour's does."""
    clips = [
        (one.events, own.caption)
        for one in captioned
        if one.events is not None and (own := one.written.get("audio")) and own.caption
    ]
    if not clips:
        return None
    captions = [caption for _, caption in clips]
    mentioned = sum(mentions(caption, label) for labels, caption in clips for label in labels)
    shifted = captions[1:] + captions[:1]
    chance = sum(
        mentions(caption, label)
        for (labels, _), caption in zip(clips, shifted, strict=True)
        for label in labels
    )
    heard = sum(len(labels) for labels, _ in clips)
    counts = Counter(label for labels, _ in clips for label in labels)
    named = Counter(label for labels, caption in clips for label in labels if mentions(caption, label))
    return {
        "clips": len(clips),
        "clips_with_events": sum(bool(labels) for labels, _ in clips),
        "events": heard,
        "mentioned": mentioned,
        "share_mentioned": _share(mentioned, heard),
        "share_by_chance": _share(chance, heard) if len(clips) > 1 else None,
        "labels": {label: [named[label], count] for label, count in counts.most_common()},
    }


def _samples(captioned: Sequence[Captioned], seed: int) -> list[dict[str, Any]]:
    """Some clips drawn at random, in the order of the table."""
    chosen = np.random.default_rng(seed).permutation(len(captioned))[:SAMPLES]
    return [_sample(captioned[int(i)]) for i in sorted(chosen)]


def _sample(one: Captioned) -> dict[str, Any]:
    return {
        "media": one.clip.media,
        "start": one.clip.start,
        "end": one.clip.end,
        "transcript": one.clip.transcript,
        "heard": [[h.by, h.caption, h.level] for h in one.heard],
        "seen": one.seen,
        "events": None if one.events is None else list(one.events),
        "written": {name: own.caption for name, own in one.written.items()},
        "refused": one.refused,
    }


def _lengths(captions: Sequence[str], language: str) -> dict[str, float] | None:
    """Fewest, median and most words, and the mean."""
    if not captions:
        return None
    counts = [len(words_of(caption, language)) for caption in captions]
    return {
        "least": float(min(counts)),
        "median": float(np.median(counts)),
        "mean": float(np.mean(counts)),
        "most": float(max(counts)),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
