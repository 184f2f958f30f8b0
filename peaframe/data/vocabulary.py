"""The words of a label set: what to call each label, what is near it and is not it, and which labels are kin.

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

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from peaframe.data.manifest_item import refuse_doubles
from peaframe.errors import ManifestError, MissingExtraError, OptionError

__all__ = ["Vocabulary", "read_vocabulary"]

T = TypeVar("T")

_KEYS = ("labels", "same", "distractors")
_ENTRY_KEYS = ("phrases", "hard_negatives", "parents")
_MINI_KEYS = (*_KEYS, "audioset", "audioset_to_label", "vague")
_MINI_ENTRY_KEYS = ("paraphrases", "held_out")


@dataclass(frozen=True)
class Vocabulary:
    """The words of a label set.

    Attributes:
        labels: The labels, each once: the columns of targets.
        phrases: Label -> what to call it, its plain name first; one or more for every label.
        hard_negatives: Label -> phrases that are near it and are not it; a label may be left out.
        related: Pairs of labels that are no negatives of each other, in any order.
        distractors: Phrases that mean no sound at all here.

    Raises:
        OptionError: No labels, one is there twice or has no phrase, or words are given for what is no label.
    """

    labels: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]
    hard_negatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    related: tuple[tuple[str, str], ...] = ()
    distractors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            raise OptionError("got no labels, expected one or more")
        refuse_doubles(self.labels, "labels")
        for label in self.labels:
            if not self.phrases.get(label):
                raise OptionError(f"the label {label!r} has no phrase; give one or more")
        known = set(self.labels)
        for label in (*self.phrases, *self.hard_negatives, *(name for pair in self.related for name in pair)):
            if label not in known:
                raise OptionError(f"words are given for {label!r}, which is no label; leave them out")

    def related_ids(self) -> NDArray[np.int64]:
        """The related pairs as column numbers, (pairs, 2): each pair once, the smaller number first, sorted."""
        column = {label: i for i, label in enumerate(self.labels)}
        pairs = [(column[a], column[b]) for a, b in self.related if a != b]
        ordered = sorted({(min(pair), max(pair)) for pair in pairs})
        return np.array(ordered, dtype=np.int64).reshape(-1, 2)

    def draw(
        self, label_numbers: Iterable[int], rng: np.random.Generator, plain_share: float = 1 / 3
    ) -> list[str]:
        """One phrase for each label number.

        Args:
            label_numbers: Columns of labels, in any order, repeated or not.
            rng: Draws.
            plain_share: How often the label's first phrase is taken outright; otherwise any of its phrases, the first
                among them, with equal chances.

        Raises:
            OptionError: No such column, or a share outside 0 to 1.
        """
        if not 0 <= plain_share <= 1:
            raise OptionError(f"got a plain_share of {plain_share}, expected 0 to 1")
        drawn = []
        for label in self._named(label_numbers):
            own = self.phrases[label]
            drawn.append(own[0 if rng.random() < plain_share else int(rng.integers(len(own)))])
        return drawn

    def draw_negatives(self, label_numbers: Iterable[int], count: int, rng: np.random.Generator) -> list[str]:
        """Phrases for what is not heard where these labels are, at most `count`, no two alike but for case.

        Hard negatives of the labels come first, then distractors, each in an order drawn anew. A phrase of any of
        these labels, or of a label that is related to one of them, is never among them.

        Args:
            label_numbers: Columns of the labels that are heard.
            count: How many phrases are wanted; there are fewer where the words do not suffice.
            rng: Draws.

        Raises:
            OptionError: No such column, or `count` is negative.
        """
        if count < 0:
            raise OptionError(f"got a count of {count}, expected 0 or more")
        heard = dict.fromkeys(self._named(label_numbers))
        taken = {phrase for label in heard for phrase in self._kin_phrases[label]}
        near = list(dict.fromkeys(phrase for label in heard for phrase in self.hard_negatives.get(label, ())))
        drawn: list[str] = []
        for phrase in (pool[i] for pool in (near, self.distractors) for i in rng.permutation(len(pool))):
            if len(drawn) == count:
                break
            if phrase.casefold() not in taken:
                taken.add(phrase.casefold())
                drawn.append(phrase)
        return drawn

    def all_phrases(self) -> tuple[str, ...]:
        """Every phrase once: those of the labels, in the labels' order, then hard negatives, then distractors."""
        own = [phrase for label in self.labels for phrase in self.phrases[label]]
        near = [phrase for label in self.labels for phrase in self.hard_negatives.get(label, ())]
        return tuple(dict.fromkeys((*own, *near, *self.distractors)))

    def _named(self, label_numbers: Iterable[int]) -> list[str]:
        numbers = list(label_numbers)
        for number in numbers:
            if not 0 <= number < len(self.labels):
                raise OptionError(f"got the label number {number}, expected 0 to {len(self.labels) - 1}")
        return [self.labels[number] for number in numbers]

    @cached_property
    def _kin_phrases(self) -> dict[str, set[str]]:
        """Label -> the phrases of it and of the labels related to it, without case."""
        own = {label: {phrase.casefold() for phrase in self.phrases[label]} for label in self.labels}
        kin = {label: set(phrases) for label, phrases in own.items()}
        for a, b in self.related:
            kin[a] |= own[b]
            kin[b] |= own[a]
        return kin


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
        _text(label, "a label")
    refuse_doubles(labels, "labels")
    words = _Words() if path is None else _from_file(Path(path), _words)
    classes = _Ontology() if ontology is None else _from_file(Path(ontology), _ontology)
    phrases = {label: words.phrases.get(label, (_plain(label),)) for label in labels}
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


@dataclass
class _Ontology:
    """Classes by name and by part of a name, both without case, and the parents of each class."""

    names: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)

    def find(self, name: str) -> list[str]:
        """Identifiers of the classes that a name stands for."""
        key = _plain(name).casefold()
        return self.names.get(key) or self.parts.get(key, [])

    def with_above(self, classes: Iterable[str]) -> set[str]:
        """These classes and all above them."""
        found: set[str] = set()
        left = list(classes)
        while left:
            here = left.pop()
            if here not in found:
                found.add(here)
                left += self.parents.get(here, [])
        return found


def _above(labels: Sequence[str], words: _Words, classes: _Ontology) -> dict[str, set[str]]:
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
    _expect(dict, content, "the content", f"an object with {', '.join(_KEYS)}")
    entries = {}
    for label, entry in _expect(dict, content.get("labels", {}), "labels", "an object of labels").items():
        expected = f"an object with {', '.join(_ENTRY_KEYS)}"
        own = {} if entry is None else entry
        entries[_text(label, "a key of labels")] = _expect(dict, own, f"labels.{label}", expected)
    used = {key for entry in entries.values() for key in entry}
    mini = bool(used & set(_MINI_ENTRY_KEYS)) and not used & set(_ENTRY_KEYS)
    _check_keys(content, _MINI_KEYS if mini else _KEYS, "")
    words = _Words(distractors=_texts(content, "distractors", ""))
    for label, entry in entries.items():
        place = f"labels.{label}."
        _check_keys(entry, _MINI_ENTRY_KEYS if mini else _ENTRY_KEYS, place)
        if mini:
            _texts(entry, "held_out", place)
            phrases = tuple(dict.fromkeys((_plain(label), *_texts(entry, "paraphrases", place))))
        else:
            phrases = _texts(entry, "phrases", place) if "phrases" in entry else (_plain(label),)
        if not phrases:
            raise OptionError(f"{place}phrases is empty; give one or more, the plain name first")
        near = _texts(entry, "hard_negatives", place)
        both = {phrase.casefold() for phrase in phrases} & {phrase.casefold() for phrase in near}
        if both:
            raise OptionError(f"{place}hard_negatives has {min(both)!r}, a phrase of it; remove one")
        words.phrases[label], words.hard_negatives[label] = phrases, near
        words.parents[label] = _texts(entry, "parents", place, clean=False)
    groups = enumerate(_expect(list, content.get("same", []), "same", "a list of groups"))
    words.same = [_texts({f"[{i}]": group}, f"[{i}]", "same", clean=False) for i, group in groups]
    return words


def _ontology(content: Any) -> _Ontology:
    found = _Ontology()
    ids = []
    for i, row in enumerate(_expect(list, content, "the content", "a list of classes")):
        _expect(dict, row, f"[{i}]", "an object with id, name, child_ids")
        here, name = (_text(row.get(key), f"[{i}].{key}") for key in ("id", "name"))
        ids.append(here)
        found.names.setdefault(_plain(name).casefold(), []).append(here)
        for part in dict.fromkeys(re.split(r",(?![^()]*\))", name)):  # not at commas in parentheses
            found.parts.setdefault(_plain(part).casefold(), []).append(here)
        for child in _texts(row, "child_ids", f"[{i}].", clean=False):
            found.parents.setdefault(child, []).append(here)
    refuse_doubles(ids, "the ids")
    return found


def _from_file(path: Path, understand: Callable[[Any], T]) -> T:
    """What `understand` makes of a file's content; it says what is wrong by OptionError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() in (".yaml", ".yml"):
            return understand(_from_yaml(text))
        return understand(json.loads(text, object_pairs_hook=_keys_once))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}:{error.lineno}: not JSON ({error.msg}); repair it") from error
    except (OptionError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path}: {' '.join(str(error).split())}") from error


def _from_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", "train", "reading words from YAML") from error
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        left, done = [node], set()
        while left:  # PyYAML lets the last of two equal keys win
            here = left.pop()
            if isinstance(here, yaml.CollectionNode) and here not in done:
                done.add(here)
                pairs = here.value if isinstance(here, yaml.MappingNode) else ()
                keys = [str(key.value) for key, _ in pairs]
                refuse_doubles(keys, f"the keys from line {here.start_mark.line + 1} on")
                left += [value for _, value in pairs] or here.value
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"not YAML ({error}); repair it") from error


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    refuse_doubles([key for key, _ in pairs], "the keys of one object")
    return dict(pairs)


def _check_keys(values: Mapping[Any, Any], known: Sequence[str], place: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise OptionError(f"unknown key {f'{place}{key}'!r}; {hint}")


def _expect(kind: type[T], value: Any, place: str, expected: str) -> T:
    if not isinstance(value, kind):
        raise OptionError(f"{place} is {value!r:.60}; give {expected}")
    return value


def _texts(values: Mapping[str, Any], key: str, place: str, clean: bool = True) -> tuple[str, ...]:
    """The texts of a list, each once; clean ones have single spaces between words."""
    rows = _expect(list, values.get(key, []), place + key, "a list of texts")
    texts = [_text(row, f"{place}{key}[{i}]") for i, row in enumerate(rows)]
    return tuple(dict.fromkeys(" ".join(text.split()) if clean else text for text in texts))


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise OptionError(f"{place} is {value!r:.60}; give a text that is not blank, in quotation marks")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise OptionError(f"{place} is {value!r:.60}, which is no Unicode; repair it")
    return value


def _plain(label: str) -> str:
    """A label as words, with spaces for underscores."""
    return " ".join(label.replace("_", " ").split()) or label
