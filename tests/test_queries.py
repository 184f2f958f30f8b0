"""Files of query vectors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.queries import QueryFile, QueryVector

ODD = 'a "queer"\tname, 狗\u2028 {0}'


def a_file() -> QueryFile:
    third = np.float32(1) / np.float32(3)
    return QueryFile(
        "mini", "0123", (QueryVector("dog", [1.0, -2.5, third], 0.75), QueryVector(ODD, [0, 1e-30, 3e38]))
    )


def test_a_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    a_file().save(path)
    again = QueryFile.load(path)
    assert (again.model, again.fingerprint, again.dim, again.names) == ("mini", "0123", 3, ["dog", ODD])
    for one, other in zip(a_file().queries, again.queries, strict=True):
        assert one.vector.tobytes() == other.vector.tobytes()
        assert other.vector.dtype == np.float32
    assert [query.bias for query in again.queries] == [0.75, 0.0]
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.json", "q.json"]


def test_a_file_is_small(tmp_path: Path) -> None:
    QueryFile("mini", "0", (QueryVector("dog", np.arange(1024)),)).save(tmp_path / "q.json")
    assert (tmp_path / "q.json").stat().st_size < 6_000


def test_vectors_may_be_plain_numbers_without_a_bias(tmp_path: Path) -> None:
    queries = [{"name": " dog ", "vector": [1, -2.5, 1e-3]}]
    (read,) = QueryFile.load(written(tmp_path, queries=queries)).queries
    assert (read.name, read.bias) == ("dog", 0.0)
    assert read.vector.tolist() == np.array([1, -2.5, 1e-3], dtype=np.float32).tolist()


def test_a_vector_is_a_copy_that_stays_as_it_is() -> None:
    numbers = np.ones(3, dtype=np.float32)
    query = QueryVector("dog", numbers)
    numbers[:] = 5
    assert query.vector.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        query.vector[0] = 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" ", [1.0]), "without a name"),
        (("dog", [[1.0]]), "'dog' has shape (1, 1); expected (dim,)"),
        (("dog", []), "shape (0,)"),
        (("dog", [np.nan]), "finite numbers"),
        (("dog", np.array([1e39])), "finite numbers"),
        (("dog", [1.0], np.inf), "the bias of 'dog' is inf"),
    ],
)
def test_senseless_vectors_are_refused(arguments: Any, message: str, refusal: Any) -> None:
    assert message in refusal(OptionError, QueryVector, *arguments)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ((), "no query vectors"),
        ((QueryVector("dog", [1.0]), QueryVector("dog ", [2.0])), "two query vectors named 'dog'"),
        (
            (QueryVector("dog", [1.0]), QueryVector("cat", [2.0, 1.0])),
            "'cat' has 2 numbers and that of 'dog' 1",
        ),
    ],
)
def test_senseless_files_are_refused(queries: Any, message: str, refusal: Any) -> None:
    assert message in refusal(OptionError, QueryFile, "mini", "0", queries)


def test_other_models_are_refused_by_name(refusal: Any) -> None:
    a_file().check_model("mini", "0123", 3)
    other = refusal(OptionError, a_file().check_model, "pe-a-frame-small", "0123", 3)
    assert other.startswith("these query vectors were tuned for 'mini', and the model is 'pe-a-frame-small'")
    later = refusal(OptionError, a_file().check_model, "mini", "4567", 3)
    assert "other weights of 'mini' (0123, these are 4567)" in later
    assert "have 3 numbers, expected 4 for 'mini'" in refusal(
        OptionError, a_file().check_model, "mini", "0123", 4
    )


def written(folder: Path, **changes: Any) -> Path:
    """A file as it is saved, with some entries changed."""
    a_file().save(folder / "q.json")
    content = json.loads((folder / "q.json").read_text(encoding="utf-8"))
    (folder / "q.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return folder / "q.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "peaframe-calibration"}, "no query vectors, it does not say format 'peaframe-queries'"),
        ({"version": 2}, "query vectors of version 2, expected 1"),
        ({"model": ""}, "damaged query vectors without model"),
        ({"fingerprint": None}, "damaged query vectors without model, fingerprint"),
        ({"queries": {}}, "damaged query vectors without model, fingerprint or queries"),
        ({"queries": []}, "damaged query vectors (no query vectors"),
        ({"queries": [3]}, "a query without a name"),
        ({"queries": [{"name": 3}]}, "a query without a name"),
        ({"queries": [{"name": "dog"}]}, "neither base64 nor a list of numbers"),
        ({"queries": [{"name": "dog", "vector": ["1"]}]}, "neither base64 nor a list of numbers"),
        ({"queries": [{"name": "dog", "vector": [True]}]}, "neither base64 nor a list of numbers"),
        ({"queries": [{"name": "dog", "vector": [10**400]}]}, "of 'dog' cannot be read"),
        ({"queries": [{"name": "dog", "vector": "no base64!"}]}, "of 'dog' cannot be read"),
        ({"queries": [{"name": "dog", "vector": "AAAAAAA="}]}, "of 'dog' cannot be read"),
        ({"queries": [{"name": "dog", "vector": ""}]}, "shape (0,)"),
        (
            {"queries": [{"name": "dog", "vector": base64.b64encode(np.float32("nan").tobytes()).decode()}]},
            "finite",
        ),
        ({"queries": [{"name": "dog", "vector": [1], "bias": "2"}]}, "the bias of 'dog' is no number"),
        ({"queries": [{"name": "dog", "vector": [1], "bias": 10**400}]}, "of 'dog' cannot be read"),
        ({"queries": [{"name": "dog", "vector": [1], "biass": 2}]}, "'dog' has an unknown entry 'biass'"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, changes: Any, message: str, refusal: Any) -> None:
    path = written(tmp_path, **changes)
    got = refusal(FormatError, QueryFile.load, path)
    assert got.startswith(f"{path}: ")
    assert message in got


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b"no json"])
def test_what_is_no_query_file_is_one_line(tmp_path: Path, content: bytes, refusal: Any) -> None:
    (tmp_path / "q.json").write_bytes(content)
    assert "q.json: no query vectors, it " in refusal(FormatError, QueryFile.load, tmp_path / "q.json")
    assert "cannot read the query vectors" in refusal(FormatError, QueryFile.load, tmp_path / "no.json")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, refusal: Any) -> None:
    assert "cannot be written" in refusal(FormatError, a_file().save, tmp_path / "no" / "q.json")
