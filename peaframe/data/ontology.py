"""An ontology of sounds in the form of AudioSet's published `ontology.json`: which classes stand above which.

A list of objects with `id`, `name` and `child_ids`; other keys say nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peaframe.data.checked_file import expect, from_file, text_at, texts_at
from peaframe.data.manifest_item import refuse_doubles

__all__ = ["Ontology", "plain", "read_ontology"]


@dataclass
class Ontology:
    """Classes by name and by part of a name, both without case, and the parents of each class."""

    names: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)

    def find(self, name: str) -> list[str]:
        """Identifiers of the classes that a name stands for."""
        key = plain(name).casefold()
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


def read_ontology(path: Path) -> Ontology:
    """The classes of an ontology file.

    Raises:
        ManifestError: It cannot be read or is malformed; with file and place.
    """
    return from_file(path, _understood)


def plain(label: str) -> str:
    """A label as words, with spaces for underscores."""
    return " ".join(label.replace("_", " ").split()) or label


def _understood(content: Any) -> Ontology:
    found = Ontology()
    ids = []
    for i, row in enumerate(expect(list, content, "the content", "a list of classes")):
        expect(dict, row, f"[{i}]", "an object with id, name, child_ids")
        here, name = (text_at(row.get(key), f"[{i}].{key}") for key in ("id", "name"))
        ids.append(here)
        found.names.setdefault(plain(name).casefold(), []).append(here)
        for part in dict.fromkeys(re.split(r",(?![^()]*\))", name)):  # not at commas in parentheses
            found.parts.setdefault(plain(part).casefold(), []).append(here)
        for child in texts_at(row, "child_ids", f"[{i}].", clean=False):
            found.parents.setdefault(child, []).append(here)
    refuse_doubles(ids, "the ids")
    return found
