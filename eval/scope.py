"""What an evaluation is of: recordings and labels that fit each other, and how often they are drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from peaframe.errors import OptionError
from peaframe.eval.corpus import FrameScores, ScoresByLabel
from peaframe.events import Event

__all__ = ["check_recordings", "draws_of", "labels_of", "odd_lengths"]

RESAMPLES = 200  # draws of recordings, unless another number is asked for
MANY = 1e8  # scores, over which so many draws take hours
FAR = 0.5  # seconds; scores often cover a frame more or less than their recording
Found = Mapping[str, Sequence[Event]]


def check_recordings(
    truth: Found, durations: Mapping[str, float], found: Found, scores: Mapping[str, FrameScores] | None
) -> None:
    """Refuse recordings that are in one part only.

    Raises:
        OptionError: No recordings, events or scores without a duration, or recordings without scores.
    """
    if not durations:
        raise OptionError("got no recordings; expected the seconds of one or more")
    for what, named in (("events", set(truth) | set(found)), ("scores", set(scores or ()))):
        if unknown := sorted(named.difference(durations)):
            raise OptionError(
                f"{unknown[0]!r} and {len(unknown) - 1} more recordings have {what} and no duration; give the seconds "
                "of all recordings that are scored"
            )
    if scores is not None and (lacking := sorted(set(durations).difference(scores))):
        raise OptionError(
            f"{lacking[0]!r} and {len(lacking) - 1} more recordings have no scores; score all of them"
        )


def labels_of(
    labels: Sequence[str] | None, scores: Mapping[str, FrameScores] | None, truth: Found, found: Found
) -> tuple[str, ...]:
    """The labels that are scored, sorted: those asked for, or those of the scores, or all that occur.

    Raises:
        OptionError: True events of a label that has no scores.
    """
    if labels is not None:
        return tuple(sorted(set(labels)))
    true = {event.label for own in truth.values() for event in own}
    if scores is None:
        return tuple(sorted(true.union(event.label for own in found.values() for event in own)))
    have = set(getattr(scores, "labels", None) or next(iter(scores.values())).labels)
    if lacking := sorted(true - have):
        raise OptionError(
            f"true events of {len(lacking)} labels that have no scores, first {lacking[0]!r}; score them too, or leave "
            "them out of the true events"
        )
    return tuple(sorted(have))


def draws_of(
    resamples: int | None, names: Sequence[str], labels: int, scores: Mapping[str, FrameScores] | None
) -> tuple[int, list[str]]:
    """How many resamples, and what to say about it."""
    if len(names) == 1:
        return 0, ["no intervals: of one recording there is nothing to draw"]
    if resamples is not None:
        return resamples, []
    if scores is None:
        return RESAMPLES, []
    frames = getattr(scores, "frames", None) or sum(item.frames for item in scores.values())
    if frames * labels <= MANY:
        return RESAMPLES, []
    return 0, [
        f"no intervals: {frames} frames of {labels} labels take hours to resample; --resamples asks for it"
    ]


def odd_lengths(scores: Mapping[str, FrameScores], durations: Mapping[str, float]) -> list[str]:
    """What to say of scores that do not begin and end with their recording."""
    edges = scores.edges if isinstance(scores, ScoresByLabel) else lambda name: scores[name].edges
    reach = {name: (float(edges(name)[0]), float(edges(name)[-1])) for name in sorted(durations)}
    late = [name for name, (begin, _) in reach.items() if begin > FAR]
    odd = [name for name, (_, end) in reach.items() if abs(end - durations[name]) > FAR]
    said = []
    if late:
        said.append(
            f"recordings whose scores begin over {FAR:g} s late: {len(late)}, first {late[0]!r} "
            f"(at {reach[late[0]][0]:g} s)"
        )
    if odd:
        said.append(
            f"recordings whose scores end over {FAR:g} s before or after them, as with a wrong frame rate: {len(odd)}, "
            f"first {odd[0]!r} ({reach[odd[0]][1]:g} of {durations[odd[0]]:g} s)"
        )
    return said
