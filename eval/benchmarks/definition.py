"""What a benchmark fixes, and what its loader finds in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peaframe.errors import OptionError
from peaframe.events import Event, EventOptions

__all__ = ["Benchmark", "Recordings"]


@dataclass(frozen=True)
class Recordings:
    """What a loader found: recordings that are there, what is true of them, and what is not there.

    A recording's id is its file name without the audio suffix (AudioSet-Strong: the segment id of its tables).

    Attributes:
        audio: Each recording that is there, by id, sorted: its file.
        durations: Its length in seconds, for the same ids.
        truth: Its true events, sorted, for the same ids; an empty list where nothing is heard.
        missing: Ids that the metadata names and the folder lacks, sorted.
        notes: What was handled on the way, one line each, such as "true events cut that
            reach beyond their clip's end: 3".
        framed: AudioSet's table of explicit negatives, where the folder has it.
    """

    audio: dict[str, Path]
    durations: dict[str, float]
    truth: dict[str, list[Event]]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    framed: Path | None = None


@dataclass(frozen=True)
class Benchmark:
    """Everything that must not change between two systems that are compared.

    Attributes:
        name: What it is called on the command line.
        description: One line on what is in it.
        source: Where its authors publish it.
        licence: What they say about its use.
        recordings: How many recordings it has; None where that is up to the folder.
        load: Finds recordings and their truth in a folder.
        prompts: The query texts of a label; scores of several are pooled by who asks.
        labels: The labels that are scored; None means those of the truth.
        metrics: Keys of the metrics it reports, the headline first.
        events: How scores become events; None leaves that to the model. The median filter belongs to the scores
            that metrics without a threshold take, too, as in the published numbers.
    """

    name: str
    description: str
    source: str
    licence: str
    recordings: int | None
    load: Callable[[Path], Recordings]
    prompts: Callable[[str], tuple[str, ...]]
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    events: EventOptions | None


def check_whole(
    name: str, whole: int | None, found: int, missing: Sequence[str], data: Path, allow_missing: bool
) -> int:
    """How many recordings a benchmark has that the metadata in a folder do not even name.

    Args:
        name: The benchmark's.
        whole: How many recordings it has; None where that is up to the folder.
        found: How many are there.
        missing: Those that are named and not there.
        data: The folder.
        allow_missing: Whether some may be missing.

    Raises:
        OptionError: Some are missing, and that is not allowed.
    """
    named = found + len(missing)
    unnamed = max(0, (whole or 0) - named)
    if (missing or unnamed) and not allow_missing:
        which = f"first {missing[0]!r}" if missing else "which the metadata does not name"
        raise OptionError(
            f"{data}: {len(missing) + unnamed} of {named + unnamed} recordings of {name} are missing, "
            f"{which}; a score of the others is not the benchmark's: get them, or score what is there "
            "with --allow-missing"
        )
    return unnamed
