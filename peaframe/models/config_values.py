"""Values of a published checkpoint's JSON files, checked one by one and refused by file and key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peaframe.errors import CheckpointError


class Values:
    """Part of a JSON file that complains by path about what is missing or not supported."""

    def __init__(self, file: Path, values: Any, path: str = "") -> None:
        if not isinstance(values, Mapping):
            what = f"{path.removesuffix('.')} is {values!r}" if path else "the file is no object"
            raise CheckpointError(f"{file}: {what}, expected keys and values")
        self.file, self.values, self.path = file, values, path

    def part(self, key: str) -> Values:
        """The object behind a key."""
        return Values(self.file, self.get(key), f"{self.path}{key}.")

    def part_if_any(self, key: str) -> Values:
        """The object behind a key, an empty one where the key is missing or null."""
        value = self.values.get(key)
        return Values(self.file, {} if value is None else value, f"{self.path}{key}.")

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; null counts as missing."""
        value = self.values.get(key, default)
        if value is None:
            raise CheckpointError(f"{self.file}: key {self.path + key!r} is missing")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self.get(key, default)
        if not _is_count(value):
            raise self._refusal(key, value, "a whole number above 0")
        return int(value)

    def integers(self, key: str, default: list[int] | None = None) -> tuple[int, ...]:
        """A list of whole numbers above 0."""
        value = self.get(key, default)
        if not isinstance(value, list) or not value or not all(map(_is_count, value)):
            raise self._refusal(key, value, "a list of whole numbers above 0")
        return tuple(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self._refusal(key, value, "a number above 0")
        return float(value)

    def must_be(self, key: str, *supported: Any) -> None:
        """Refuse any value but these; the first stands for a missing one."""
        value = self.values.get(key, supported[0])
        if value not in supported:
            raise self._refusal(key, value, f"{supported[0]!r}: no other is supported")

    def _refusal(self, key: str, value: Any, expected: str) -> CheckpointError:
        return CheckpointError(f"{self.file}: {self.path + key} is {value!r}, expected {expected}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
