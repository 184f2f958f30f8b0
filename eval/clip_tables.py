"""Clips and their texts as tables of embeddings, and every direction that can be asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from peaframe.eval.clip_ears import MEDIA

__all__ = ["Direction", "Joins", "directions", "frame_scores", "text_table"]

Pairs = NDArray[np.int64]
Floats = NDArray[np.float32]
_KINDS = tuple(MEDIA)


class Joins(Protocol):
    """A model that joins clips with texts."""

    def joined(self, kind: str, clips: NDArray[Any], texts: NDArray[Any]) -> Floats:
        """See `peaframe.index.clips.ClipEncoder.joined`."""
        ...


@dataclass(frozen=True)
class Direction:
    """What is asked, of what, and what belongs together.

    Attributes:
        name: Such as `text_to_audio`.
        queries: (queries, dim).
        candidates: (candidates, dim).
        pairs: (n, 2) query and candidate.
    """

    name: str
    queries: Floats
    candidates: Floats
    pairs: Pairs


def text_table(texts: Sequence[Sequence[str]], same_text: bool) -> tuple[list[str], Pairs]:
    """All texts of clips in one list.

    Args:
        texts: The texts of each clip.
        same_text: Whether equal ones are one.

    Returns:
        The texts, and (n, 2) which text belongs to which clip.
    """
    rows: list[str] = []
    known: dict[str, int] = {}
    pairs = []
    for clip, own in enumerate(texts):
        for text in own:
            number = known.setdefault(text, len(rows)) if same_text else len(rows)
            if number == len(rows):
                rows.append(text)
            pairs.append((number, clip))
    return rows, np.array(pairs, dtype=np.int64)


def directions(
    clips: Sequence[Mapping[str, NDArray[Any]]],
    texts: Mapping[str, Floats],
    pairs: Pairs,
    joins: Joins | None,
) -> Iterator[Direction]:
    """Every direction for which there is something.

    Args:
        clips: Each clip's embeddings (1, dim) and tokens, as `ClipEncoder.clip` gives them.
        texts: Those of texts, as `ClipEncoder.texts` gives them.
        pairs: (n, 2) which text belongs to which clip.
        joins: What joins clips and texts; None leaves those directions out.

    Yields:
        text to and from audio, video and both; audio to and from video; video with text to audio, audio with text to
        video. Clips without what a direction needs are in neither of its tables.
    """
    for kind in _KINDS:
        if f"{kind}_text" not in texts or not (table := _rows(clips, kind))[0]:
            continue
        have, rows = table
        words, own = _among(pairs, have)
        said = texts[f"{kind}_text"][words]
        yield Direction(f"text_to_{MEDIA[kind]}", said, rows, own)
        yield Direction(f"{MEDIA[kind]}_to_text", rows, said, own[:, ::-1])
    both = [i for i, clip in enumerate(clips) if {"audio", "visual"} <= clip.keys()]
    if not both:
        return
    sound, seen = (np.concatenate([clips[i][kind] for i in both]) for kind in ("audio", "visual"))
    same = np.stack([np.arange(len(both))] * 2, axis=1)
    yield Direction("audio_to_video", sound, seen, same)
    yield Direction("video_to_audio", seen, sound, same)
    if joins is None:
        return
    chosen = pairs[np.isin(pairs[:, 1], both)]
    _, owner = _among(chosen, both)
    own = np.stack((np.arange(len(chosen)), owner[:, 1]), axis=1)
    for kind, other, name in (
        ("visual", sound, "video_text_to_audio"),
        ("audio", seen, "audio_text_to_video"),
    ):
        tokens = np.concatenate([clips[i][f"{kind}_token"] for i in chosen[:, 1].tolist()])
        yield Direction(name, joins.joined(kind, tokens, texts["text_token"][chosen[:, 0]]), other, own)


def frame_scores(clips: Sequence[NDArray[Any]], texts: Floats, pool: str) -> Floats:
    """Cosines of whole clips and texts from frame embeddings: (clips, texts).

    Args:
        clips: The frames of each, (frames, dim).
        texts: (texts, dim).
        pool: `mean`: of the embedding averaged over the clip, frames at unit length. `max`: the highest of any frame.
    """
    words = _unit(texts)
    scores = np.empty((len(clips), len(texts)), np.float32)
    for row, frames in zip(scores, clips, strict=True):
        units = _unit(frames)
        if pool == "mean":
            units = _unit(units.mean(axis=0, keepdims=True))
        row[:] = (units @ words.T).max(axis=0)
    return scores


def _rows(clips: Sequence[Mapping[str, NDArray[Any]]], kind: str) -> tuple[list[int], Floats]:
    """The clips that have an embedding, and those (clips, dim)."""
    have = [i for i, clip in enumerate(clips) if kind in clip]
    if not have:
        return [], np.zeros((0, 0), np.float32)
    return have, np.concatenate([clips[i][kind] for i in have]).astype(np.float32)


def _among(pairs: Pairs, have: Sequence[int]) -> tuple[Pairs, Pairs]:
    """The texts of some clips, and which of them belongs to which of those, both counted anew."""
    chosen = pairs[np.isin(pairs[:, 1], have)]
    words, text = np.unique(chosen[:, 0], return_inverse=True)
    return words, np.stack((text, np.searchsorted(have, chosen[:, 1])), axis=1)


def _unit(rows: NDArray[Any]) -> Floats:
    values = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    units: Floats = values / np.where(lengths > 0, lengths, np.float32(1))
    return units
