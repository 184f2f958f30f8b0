from pathlib import Path

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.eval import (
    PSDS1,
    PSDS2,
    ScoreStore,
    ScoreTable,
    collar_best,
    frame_auroc,
    psds,
    read_table,
    write_table,
)
from peaframe.events import Event
from peaframe.scores import Scores


def made(names: list[str], labels: tuple[str, ...] = ("cat", "dog"), frames: int = 90) -> dict[str, Scores]:
    random = np.random.default_rng(5)
    return {
        name: Scores(random.random((frames, len(labels))), labels, duration=(frames - 0.5) / 25)
        for name in names
    }


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    scores = made(["a"], ("cat", 'dog, "big"', "été"))["a"]
    path = tmp_path / "a.tsv"

    write_table(path, scores)
    read = read_table(path)

    assert read.labels == scores.labels
    assert np.array_equal(read.values, scores.values)
    assert read.edges == pytest.approx(scores.edges, abs=1e-8)
    assert path.read_text(encoding="utf-8").splitlines()[1].split("\t")[:2] == ["0", "0.04"]


def test_pandas_reads_it_as_sed_scores_eval_does(tmp_path: Path) -> None:
    import pandas as pd

    scores = made(["a"])["a"]
    write_table(tmp_path / "a.tsv", scores)

    table = pd.read_csv(tmp_path / "a.tsv", sep="\t")

    assert list(table.columns) == ["onset", "offset", "cat", "dog"]
    assert table["offset"].to_numpy()[:-1] == pytest.approx(table["onset"].to_numpy()[1:])
    assert np.array_equal(table["dog"].to_numpy(np.float32), scores["dog"])


def test_any_grid_bom_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbfonset\toffset\tdog\r\n0.0\t1.0\t-3.5\r\n1.0\t1.5\t12\r\n\r\n")

    table = read_table(path)

    assert table.edges.tolist() == [0.0, 1.0, 1.5]
    assert table["dog"].tolist() == [-3.5, 12.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.tsv:1: the header begins with nothing"),
        ("onset,offset,dog\n0,1,0.5\n", r"a\.tsv:1: the header begins with onset,offset,dog"),
        ("onset\toffset\tdog\tdog\n0\t1\t.5\t.5\n", r"a\.tsv:1: the column 'dog' is there twice"),
        ("onset\toffset\tdog\n", r"a\.tsv:2: no frames"),
        ("onset\toffset\tdog\n0\t1\t.5\n1\t2\n", r"a\.tsv:3: got 2 cells, expected 3"),
        ("onset\toffset\tdog\n0\t1\t.5\n1 2 .5\n", r"a\.tsv:3: got 1 cells, expected 3"),
        ("onset\toffset\tdog\n0\t1\tnan\n", r"a\.tsv:2: got 'nan', expected a finite number"),
        ("onset\toffset\tdog\n0\t1\t0,5\n", r"a\.tsv:2: got '0,5', expected a finite number"),
        (
            "onset\toffset\tdog\n0\t1\t.5\n1.5\t2\t.5\n",
            r"a\.tsv:3: the frame begins at 1\.5 s, the one before",
        ),
        ("onset\toffset\tdog\n0\t1\t.5\n0.5\t2\t.5\n", r"a\.tsv:3: the frame begins at 0\.5 s"),
        ("onset\toffset\tdog\n-1\t1\t.5\n", r"a\.tsv:2: expected 0 <= onset < offset"),
        ("onset\toffset\tdog\n0\t1\t.5\n1\t1\t.5\n", r"a\.tsv:3: expected 0 <= onset < offset"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(FormatError, match=message):
        read_table(path)


def test_labels_a_table_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="a column 'onset'"):
        write_table(tmp_path / "a.tsv", ScoreTable(np.zeros((1, 1)), ("onset",), np.array([0.0, 1.0])))
    assert not list(tmp_path.iterdir())


def test_a_store_gives_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peaframe.eval.store.BLOCK_BYTES", 2000)  # several blocks
    scores = made([f"{n:02}" for n in range(9)])
    for name, own in scores.items():
        write_table(tmp_path / f"{name}.tsv", own)

    store = ScoreStore.read(tmp_path)

    assert list(store) == sorted(scores)
    assert np.array_equal(store.column("dog"), np.concatenate([own["dog"] for own in scores.values()]))
    for name in ("04", "00", "08"):
        assert np.array_equal(store[name]["cat"], scores[name]["cat"])
    assert "09" not in store
    with pytest.raises(KeyError):
        store["09"]
    with pytest.raises(OptionError, match="no scores for 'cow'"):
        store.column("cow")
    assert list(ScoreStore.read(tmp_path, ["03", "01"])) == ["01", "03"]
    with pytest.raises(OptionError, match="no score table for '77'"):
        ScoreStore.read(tmp_path, ["03", "77"])


def test_metrics_of_a_store_are_those_of_a_mapping() -> None:
    scores = made([f"{n:02}" for n in range(9)])
    truth = {name: [Event(n / 10, n / 10 + 1, "dog"), Event(1, 2, "cat")] for n, name in enumerate(scores)}
    store = ScoreStore(scores.items())

    for settings in (PSDS1, PSDS2):
        one, other = psds(scores, truth, settings), psds(store, truth, settings)
        assert (one.value, one.per_label) == (other.value, other.per_label)
    assert frame_auroc(store, truth).per_label == frame_auroc(scores, truth).per_label
    assert collar_best(store, truth).thresholds == collar_best(scores, truth).thresholds


def test_recordings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    one, other = made(["a"])["a"], made(["b"], ("cat", "cow"))["b"]
    with pytest.raises(OptionError, match="'b' and others differ in the label 'cow'"):
        ScoreStore([("a", one), ("b", other)])
    with pytest.raises(OptionError, match="got 'a' after 'b'"):
        ScoreStore([("b", one), ("a", one)])
    with pytest.raises(OptionError, match="no recordings"):
        ScoreStore([])
    with pytest.raises(FormatError, match="no such folder"):
        ScoreStore.read(tmp_path / "none")
    with pytest.raises(FormatError, match=r"holds no \.tsv files"):
        ScoreStore.read(tmp_path)
