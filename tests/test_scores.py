from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.scores import Scores

VALUES = np.array([[0.0, 1.0], [0.25, 0.75], [0.5, 0.5]], dtype=np.float32)


def example() -> Scores:
    return Scores(VALUES, ("dog", "a siren, far away"), 10.0, 0.1, {"model": "mini"})


def test_scores_know_their_times() -> None:
    scores = example()
    assert (scores.frames, scores.start, scores.duration, scores.end) == (3, 10.0, 0.1, 10.1)
    assert scores.edges.tolist() == [10.0, 10.04, 10.08, 10.1]
    assert scores.times.tolist() == [10.02, 10.06, 10.1]


def test_without_a_duration_every_frame_was_heard_whole() -> None:
    scores = Scores(np.zeros((7, 1), dtype=np.float32), ("dog",))
    assert (scores.duration, scores.end) == (0.28, 0.28)
    assert scores.edges[-1] == 0.28


def test_no_frames_have_no_times() -> None:
    scores = Scores(np.zeros((0, 1), dtype=np.float32), ("dog",), start=3.0)
    assert scores.edges.tolist() == [3.0]
    assert scores.times.tolist() == []
    assert scores.end == 3.0


def test_a_label_gives_its_column() -> None:
    assert example()["a siren, far away"].tolist() == [1.0, 0.75, 0.5]
    with pytest.raises(OptionError, match="no scores for 'cat'; the labels are 'dog', 'a siren, far away'"):
        example()["cat"]


def test_values_are_float32_and_read_only() -> None:
    mine = np.zeros((2, 1), dtype=np.float32)
    scores = Scores(mine, ("dog",))
    assert scores.values.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        scores.values[0, 0] = 1.0
    mine[0, 0] = 0.5  # the caller's array is the caller's


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros(3)}, r"have the shape \(3,\); 2 labels need \(frames, 2\)"),
        ({"values": np.zeros((3, 3))}, r"have the shape \(3, 3\)"),
        ({"values": VALUES + 0.01}, "give probabilities from 0 to 1"),
        ({"values": VALUES - 0.01}, "give probabilities from 0 to 1"),
        ({"values": np.where(VALUES == 0.25, np.nan, VALUES)}, "without NaN"),
        ({"values": [["a", "b"]]}, "not numbers"),
        ({"labels": "ab"}, "the single text 'ab'"),
        ({"labels": ("dog", "dog")}, "'dog' comes twice"),
        ({"labels": ("dog", "")}, "not blank"),
        ({"labels": ("dog", 3)}, "3 is no label"),
        ({"start": -1.0}, "start at -1.0 s"),
        ({"start": float("nan")}, "start at nan s"),
        ({"duration": 0.08}, "0.08 s were heard, and there are 3 frames"),
        ({"duration": 0.1201}, "there are 3 frames"),
        ({"duration": float("inf")}, "inf s were heard"),
        ({"meta": {"epoch": 3}}, "the note 'epoch' is 3"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"values": VALUES, "labels": ("dog", "cat"), "duration": 0.12}
    assert Scores(**good).frames == 3
    with pytest.raises(OptionError, match=message):
        Scores(**{**good, **changes})


def test_a_file_holds_everything(tmp_path: Path) -> None:
    path = tmp_path / "street.scores.npz"
    example().save(path)
    scores = Scores.load(path)
    assert scores.values.tolist() == VALUES.tolist()
    assert scores.labels == ("dog", "a siren, far away")
    assert (scores.start, scores.duration, dict(scores.meta)) == (10.0, 0.1, {"model": "mini"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["street.scores.npz"]


def test_a_file_can_be_read_by_numpy_alone(tmp_path: Path) -> None:
    example().save(tmp_path / "scores")  # the name is kept as it was given
    with np.load(tmp_path / "scores", allow_pickle=False) as stored:
        assert stored["labels"].tolist() == ["dog", "a siren, far away"]
        assert stored["values"].dtype == np.float32
        assert float(stored["start"]) == 10.0
        assert json.loads(str(stored["meta"])) == {"model": "mini"}
        assert sorted(stored.files) == ["duration", "format", "labels", "meta", "start", "values", "version"]


def test_saving_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    example().save(path)
    Scores(np.ones((1, 1), dtype=np.float32), ("cat",)).save(path)
    assert Scores.load(path).labels == ("cat",)


@pytest.mark.parametrize("name", ["missing/scores.npz", "file/scores.npz", "folder", "", "x" * 300])
def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FormatError, match=r"cannot be written|is a folder"):
        example().save(tmp_path / name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
    assert [*(tmp_path / "folder").iterdir()] == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    example().save(tmp_path / "scores.npz")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "scores.npz")]
    assert modes[0] == modes[1]


def test_what_is_no_scores_file_is_refused(tmp_path: Path) -> None:
    example().save(tmp_path / "good.npz")
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("onset\toffset\n")
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "array.npz.npy", VALUES)
    np.savez(tmp_path / "other.npz", values=VALUES)
    np.savez(tmp_path / "pickle.npz", format=np.array([{}], dtype=object))
    for name in ("empty.npz", "text.npz", "half.npz", "array.npz.npy", "other.npz", "pickle.npz"):
        with pytest.raises(FormatError, match=f"{name}: not a scores file, or a damaged one"):
            Scores.load(tmp_path / name)
    for name in ("missing.npz", ""):
        with pytest.raises(FormatError, match="cannot read a scores file"):
            Scores.load(tmp_path / name)


def test_a_file_of_another_version_or_with_senseless_values_says_so(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    example().save(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "version": np.array(2)})
    with pytest.raises(
        FormatError, match="'peaframe-scores' version 2, expected 'peaframe-scores' version 1"
    ):
        Scores.load(path)
    np.savez(path, **{**arrays, "values": VALUES * 3})
    with pytest.raises(FormatError, match=r"scores.npz: scores lie between 0.0 and 3.0"):
        Scores.load(path)


def test_the_table_has_gapless_times_and_one_column_a_label() -> None:
    table = example().to_table()
    assert table.columns.tolist() == ["onset", "offset", "dog", "a siren, far away"]
    assert table.to_numpy().tolist() == [
        [10.0, 10.04, 0.0, 1.0],
        [10.04, 10.08, 0.25, 0.75],
        [10.08, 10.1, 0.5, 0.5],
    ]
    assert [str(kind) for kind in table.dtypes] == ["float64"] * 4


def test_a_label_may_not_take_the_name_of_a_time_column() -> None:
    with pytest.raises(OptionError, match="'offset' is the name of a time column"):
        Scores(np.zeros((1, 2), dtype=np.float32), ("dog", "offset")).to_table()


def test_the_ground_floor_needs_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, peaframe.events, peaframe.scores; print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
