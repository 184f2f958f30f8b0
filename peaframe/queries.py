"""Query vectors: queries that are no words but points in a model's space, kept in a small JSON file.

A frame model scores a query by the dot product of its frames with the embedding of the words. That embedding may as
well be learned from a few examples of the sound (`peaframe.train.query_vectors`); then it is a few kilobytes that go
with one model, and `peaframe detect --queries` takes them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peaframe.errors import FormatError, OptionError
from peaframe.json_files import load_json, save_json

__all__ = ["QueryFile", "QueryVector"]

_FORMAT = "peaframe-queries"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class QueryVector:
    """One query.

    Attributes:
        name: What it is called, as a query and as a label of events; spaces around it are dropped.
        vector: Its embedding, (dim,) float32; made from any numbers, and not to be written to.
        bias: Added to its logits, behind the model's own scale and bias.

    Raises:
        OptionError: A name without letters, or a vector or bias that is not made of finite float32.
    """

    name: str
    vector: NDArray[np.float32]
    bias: float = 0.0

    def __post_init__(self) -> None:
        name = self.name.strip()
        if not name:
            raise OptionError("a query vector without a name; give it one, such as 'dog barking'")
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused
            vector = np.array(self.vector, dtype=np.float32)
        if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
            raise OptionError(
                f"the vector of {name!r} has shape {vector.shape}; expected (dim,) of finite numbers"
            )
        if not math.isfinite(self.bias):
            raise OptionError(f"the bias of {name!r} is {self.bias}; give a finite number")
        vector.flags.writeable = False
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "bias", float(self.bias))


@dataclass(frozen=True, eq=False)
class QueryFile:
    """Query vectors of one model.

    Attributes:
        model: The model's name; they fit no other.
        fingerprint: Of that model's weights (`FrameModel.fingerprint`): another one means that it was trained since,
            under the same name.
        queries: The vectors, at least one, all of one length, names not repeated.

    Raises:
        OptionError: Queries that are not so.
    """

    model: str
    fingerprint: str
    queries: tuple[QueryVector, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "queries", tuple(self.queries))
        if not self.queries:
            raise OptionError("no query vectors; give one or more")
        seen: set[str] = set()
        for query in self.queries:
            if query.name in seen:
                raise OptionError(f"two query vectors named {query.name!r}; give each a name of its own")
            seen.add(query.name)
            if len(query.vector) != self.dim:
                raise OptionError(
                    f"the vector of {query.name!r} has {len(query.vector)} numbers and that of "
                    f"{self.queries[0].name!r} {self.dim}; expected as many in all"
                )

    @property
    def dim(self) -> int:
        """How many numbers each vector has."""
        return len(self.queries[0].vector)

    @property
    def names(self) -> list[str]:
        """The queries' names, in their order."""
        return [query.name for query in self.queries]

    def check_model(self, name: str, fingerprint: str, dim: int) -> None:
        """Refuse another model.

        Args:
            name: The model's name.
            fingerprint: Its fingerprint.
            dim: Channels of its embeddings.

        Raises:
            OptionError: Any of them is not that of these vectors.
        """
        if name != self.model:
            raise OptionError(
                f"these query vectors were tuned for {self.model!r}, and the model is {name!r}; "
                f"use --model {self.model}, or tune them for {name}"
            )
        if fingerprint != self.fingerprint:
            raise OptionError(
                f"these query vectors were tuned for other weights of {name!r} ({self.fingerprint}, these are "
                f"{fingerprint}); tune them again"
            )
        if dim != self.dim:
            raise OptionError(f"these query vectors have {self.dim} numbers, expected {dim} for {name!r}")

    def save(self, path: str | Path) -> None:
        """Write it to a JSON file, whole or not at all; vectors as base64 of float32, lowest byte first.

        Raises:
            FormatError: The file cannot be written there.
        """
        content = {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "queries": [
                {"name": query.name, "bias": query.bias, "vector": _text_of(query.vector)}
                for query in self.queries
            ],
        }
        save_json(path, _FORMAT, _VERSION, content)

    @classmethod
    def load(cls, path: str | Path) -> QueryFile:
        """Read what `save` wrote; a vector may also be a list of numbers, and a bias may be missing.

        Raises:
            FormatError: The file is missing, damaged, or holds no query vectors.
        """
        hint = "expected a file of query vectors, as peaframe.queries writes it"
        content = load_json(path, _FORMAT, _VERSION, "query vectors", hint)
        model, mark, queries = (content.get(key) for key in ("model", "fingerprint", "queries"))
        named = isinstance(model, str) and model and isinstance(mark, str) and mark
        if not (named and isinstance(queries, list)):
            raise FormatError(f"{path}: damaged query vectors without model, fingerprint or queries; {hint}")
        try:
            return cls(str(model), str(mark), tuple(_query_of(stored) for stored in queries))
        except OptionError as error:
            raise FormatError(f"{path}: damaged query vectors ({error}); {hint}") from error


def _text_of(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _query_of(stored: Any) -> QueryVector:
    if not isinstance(stored, dict) or not isinstance(name := stored.get("name"), str):
        raise OptionError("a query without a name")
    if unknown := sorted(set(stored) - {"name", "vector", "bias"}):
        raise OptionError(f"{name!r} has an unknown entry {unknown[0]!r}")
    bias, vector = stored.get("bias", 0.0), stored.get("vector")
    if not _is_numbers([bias]):
        raise OptionError(f"the bias of {name!r} is no number")
    try:
        if isinstance(vector, str):
            return QueryVector(name, np.frombuffer(base64.b64decode(vector, validate=True), "<f4"), bias)
        if isinstance(vector, list) and _is_numbers(vector):
            return QueryVector(name, np.array(vector, dtype=np.float64), bias)
    except (
        ValueError,
        OverflowError,
    ) as error:  # no base64, half a number, or a whole number beyond all floats
        raise OptionError(f"the vector or bias of {name!r} cannot be read") from error
    raise OptionError(f"the vector of {name!r} is neither base64 nor a list of numbers")


def _is_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
