"""Labels as words: paraphrases, labels that mean the same, phrases that mean no sound."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peaframe.data.soundbank import Clip
from peaframe.errors import ManifestError

TEMPLATES = (
    "{}",
    "{}",
    "{}",
    "the sound of {}",
    "{} in the distance",
    "{} nearby",
    "sound of {}",
    "{} sound",
)


@dataclass(frozen=True)
class Prompts:
    """The language of a label set.

    Attributes:
        phrases: label -> phrases to train with, the label itself first.
        held_out: label -> phrases kept from training, to measure with.
        same: groups of labels never taken as negatives of each other.
        teacher: class name of a teacher model -> phrases for it.
        distractors: phrases that describe no sound.
    """

    phrases: Mapping[str, tuple[str, ...]]
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    same: Sequence[Sequence[str]] = ()
    teacher: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    distractors: Sequence[str] = ()

    @property
    def labels(self) -> list[str]:
        """All labels, sorted."""
        return sorted(self.phrases)

    def overlap(self) -> NDArray[np.bool_]:
        """(labels, labels): true where two different labels may not be negatives of each other."""
        index = {label: i for i, label in enumerate(self.labels)}
        out = np.zeros((len(index), len(index)), dtype=bool)
        for group in self.same:
            rows = [index[label] for label in group if label in index]
            out[np.ix_(rows, rows)] = True
        np.fill_diagonal(out, False)
        return out


def read_prompts(path: Path, clips: Iterable[Clip]) -> Prompts:
    """Join a prompts file with the labels and captions of clips.

    Args:
        path: JSON with `labels` (label -> paraphrases, held_out), `same`, `audioset`, `audioset_to_label`,
            `distractors`, and `vague` (label -> captions that would describe other sounds as well, left out).
        clips: give the labels; a label without an entry has its name and captions as phrases.

    Raises:
        ManifestError: the file is missing or malformed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["labels"]
        captions: dict[str, dict[str, None]] = {}
        for clip in clips:
            words = [word for word in clip.captions if word not in content["vague"].get(clip.label, ())]
            captions.setdefault(clip.label, {}).update(dict.fromkeys((clip.label, *words)))
        phrases = {
            label: tuple(dict.fromkeys((*own, *entries.get(label, {}).get("paraphrases", ()))))
            for label, own in captions.items()
        }
        teacher = {name: tuple(own) for name, own in content["audioset"].items()}
        for label, names in content["audioset_to_label"].items():
            if label not in phrases and names:  # no clip may be used: only the teacher knows it
                teacher[names[0]] += (label, *entries[label]["paraphrases"])
        return Prompts(
            phrases,
            {label: tuple(entry["held_out"]) for label, entry in entries.items() if label in phrases},
            content["same"],
            teacher,
            tuple(content["distractors"]),
        )
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{path}: no prompts file ({error!r}); see peaframe.data.prompts.read_prompts"
        ) from error
