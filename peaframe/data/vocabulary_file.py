"""Words of labels (`peaframe.data.vocabulary`), read from a words file and an ontology.

A words file, JSON or YAML; every key may be left out:

    {
      "labels": {
        "dog": {"phrases": ["dog barking", "a dog barks"], "hard_negatives": ["wolf howling"], "parents": ["animal"]}
      },
      "same": [["speech", "talking"]],
      "distractors": ["a train of thought"]
    }

- `phrases`: what to call the label, its plain name first. Without them, and for a label that has no entry, the only
  phrase is the label itself, with spaces for underscores.
- `hard_negatives`: phrases that are near the label and are not it.
- `parents`: what the label is a kind of; theirs count as well. A label is named as it is written in the data.
- `same`: groups of labels, no two of a group negatives of each other. A group says nothing of other groups, of parents
  or of children.
- `distractors`: phrases that mean no sound at all here.

The words of peaframe-mini (`mini_data/prompts.json` of the recipes, read in full by `peaframe.data.prompts`) are taken
as well: there a label's phrases are its name and its `paraphrases`, and `held_out` is kept for measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from peaframe.data.checked_file import check_keys, expect, from_file, text_at, texts_at
from peaframe.data.manifest_item import refuse_doubles
from peaframe.data.ontology import Ontology, plain, read_ontology
from peaframe.data.vocabulary import Vocabulary
from peaframe.errors import OptionError

__all__ = ["read_vocabulary"]

_KEYS = ("labels", "same", "distractors")
_ENTRY_KEYS = ("phrases", "hard_negatives", "parents")
_MINI_KEYS = (*_KEYS, "audioset", "audioset_to_label", "vague")
_MINI_ENTRY_KEYS = ("paraphrases", "held_out")


def read_vocabulary(
    labels: Sequence[str], path: Path | None = None, ontology: Path | None = None
) -> Vocabulary:
    """The words of these labels.

    Related are: labels of one group of `same`, a label and all that stands above it by `parents` or in the ontology
    (one may lead on to the other; circles do no harm), labels that stand for the same class of the ontology, and
    labels that share a phrase. A distractor that is a phrase of one of the labels is left out.

    Args:
        labels: The columns of the targets; their order is kept. What a words file says of other labels counts for
            parents only.
        path: A words file, as this module describes; `.yaml` and `.yml` are YAML, all others JSON.
        ontology: JSON in the form of AudioSet's published `ontology.json`: a list of objects with `id`, `name` and
            `child_ids`. A label stands for the classes of its name, else for those of which it is a part between
            commas ("car horn" for "Vehicle horn, car horn, honking"), without case, underscores being spaces.

    Raises:
        ManifestError: A file cannot be read or is malformed; with file and key.
        MissingExtraError: The words file is YAML and PyYAML is not installed.
        OptionError: There are no labels, or one is blank or there twice.
    """
    labels = tuple(labels)
    for label in labels:
        text_at(label, "a label")
    refuse_doubles(labels, "labels")
    words = _Words() if path is None else from_file(Path(path), _words)
    classes = Ontology() if ontology is None else read_ontology(Path(ontology))
    phrases = {label: words.phrases.get(label, (plain(label),)) for label in labels}
    shared: dict[str, list[str]] = {}
    for label, own in phrases.items():
        for phrase in {phrase.casefold() for phrase in own}:
            shared.setdefault(phrase, []).append(label)
    pairs = [pair for group in (*words.same, *shared.values()) for pair in combinations(group, 2)]
    pairs += [(label, other) for label, above in _above(labels, words, classes).items() for other in above]
    column = {label: i for i, label in enumerate(labels)}
    asked = [(column[a], column[b]) for a, b in pairs if a in column and b in column and a != b]
    related = sorted({(min(pair), max(pair)) for pair in asked})
    return Vocabulary(
        labels,
        phrases,
        {label: words.hard_negatives[label] for label in labels if words.hard_negatives.get(label)},
        tuple((labels[low], labels[high]) for low, high in related),
        tuple(phrase for phrase in words.distractors if phrase.casefold() not in shared),
    )


@dataclass
class _Words:
    """What a words file says."""

    phrases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hard_negatives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    same: list[tuple[str, ...]] = field(default_factory=list)
    distractors: tuple[str, ...] = ()


def _above(labels: Sequence[str], words: _Words, classes: Ontology) -> dict[str, set[str]]:
    """Label -> the names of all that stands above it, by parents and in the ontology, and beside it in the same class.

    A name met in the ontology leads on to its parents in the words file, not to other classes it stands for: a label
    "inside" does not join "Inside, small room" with "Inside, public space".
    """
    standing: dict[str, list[str]] = {}
    for name in {*labels, *words.parents}.union(*words.parents.values()):
        for here in classes.find(name):
            standing.setdefault(here, []).append(name)
    above: dict[str, set[str]] = {}
    for label in labels:
        above[label], done, left = set(), set(), [label]
        while left:
            name = left.pop()
            if name not in done:
                done.add(name)
                reached = classes.with_above(classes.find(name))
                met = {name, *(other for here in reached for other in standing.get(here, ()))}
                left += [parent for other in met for parent in words.parents.get(other, ())]
                above[label] |= met
    return above


def _words(content: Any) -> _Words:
    expect(dict, content, "the content", f"an object with {', '.join(_KEYS)}")
    entries = {}
    for label, entry in expect(dict, content.get("labels", {}), "labels", "an object of labels").items():
        expected = f"an object with {', '.join(_ENTRY_KEYS)}"
        own = {} if entry is None else entry
        entries[text_at(label, "a key of labels")] = expect(dict, own, f"labels.{label}", expected)
    used = {key for entry in entries.values() for key in entry}
    mini = bool(used & set(_MINI_ENTRY_KEYS)) and not used & set(_ENTRY_KEYS)
    check_keys(content, _MINI_KEYS if mini else _KEYS, "")
    words = _Words(distractors=texts_at(content, "distractors", ""))
    for label, entry in entries.items():
        place = f"labels.{label}."
        check_keys(entry, _MINI_ENTRY_KEYS if mini else _ENTRY_KEYS, place)
        if mini:
            texts_at(entry, "held_out", place)
            phrases = tuple(dict.fromkeys((plain(label), *texts_at(entry, "paraphrases", place))))
        else:
            phrases = texts_at(entry, "phrases", place) if "phrases" in entry else (plain(label),)
        if not phrases:
            raise OptionError(f"{place}phrases is empty; give one or more, the plain name first")
        near = texts_at(entry, "hard_negatives", place)
        both = {phrase.casefold() for phrase in phrases} & {phrase.casefold() for phrase in near}
        if both:
            raise OptionError(f"{place}hard_negatives has {min(both)!r}, a phrase of it; remove one")
        words.phrases[label], words.hard_negatives[label] = phrases, near
        words.parents[label] = texts_at(entry, "parents", place, clean=False)
    groups = enumerate(expect(list, content.get("same", []), "same", "a list of groups"))
    words.same = [texts_at({f"[{i}]": group}, f"[{i}]", "same", clean=False) for i, group in groups]
    return words
