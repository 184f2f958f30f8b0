import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError, OptionError
from peaframe.eval.framed import FramedLabel, framed_d_prime, read_framed
from peaframe.eval.ranking import auroc, d_prime
from peaframe.eval.tables import ScoreTable
from peaframe.scores import Scores

HEADER = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent\n"
BARK, SPEECH = "/m/05tny_", "/m/09x0r"


def write(folder: Path, text: str) -> Path:
    path = folder / "framed.tsv"
    path.write_bytes(text.encode("utf-8"))
    return path


def test_reads_what_audioset_gives(tmp_path: Path) -> None:
    rows = [
        f"-0Gj_f_30000\t0.000\t0.960\t{BARK}\tPRESENT",
        f"-0Gj_f_30000\t0.960\t1.920\t{BARK}\tNOT_PRESENT",
        "",
        f"b_0\t9.120\t10.080\t{SPEECH}\tPRESENT",
    ]
    expected = [
        FramedLabel("-0Gj_f_30000", 0.0, 0.96, BARK, True),
        FramedLabel("-0Gj_f_30000", 0.96, 1.92, BARK, False),
        FramedLabel("b_0", 9.12, 10.08, SPEECH, True),
    ]
    assert read_framed(write(tmp_path, HEADER + "\n".join(rows))) == expected
    # A byte order mark, Windows line ends, a line twice; columns in another order, and one more.
    windows = "\ufeff" + (HEADER + "\n".join([*rows, rows[0]])).replace("\n", "\r\n") + "\r\n"
    assert read_framed(write(tmp_path, windows)) == expected
    mixed = "note\tpresent\tlabel\tend_time_seconds\tstart_time_seconds\tsegment_id\n"
    assert read_framed(write(tmp_path, mixed + f"\tPRESENT\t{SPEECH}\t10.08\t9.12\tb_0\n")) == expected[2:]
    assert read_framed(write(tmp_path, HEADER)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"framed.tsv:1: got an empty file, expected a header segment_id, start_time"),
        (
            "segment_id\tlabel\n",
            r":1: the header has no column start_time_seconds, end_time_seconds, present",
        ),
        (HEADER[:-1] + "\tlabel\n", r":1: the header has the column 'label' more than once"),
        (HEADER + "\na\t0\t1\tx\n", r":3: got 4 cells, expected 5 with tabs between"),
        (HEADER + "a 0 1 x PRESENT\n", r":2: got 1 cells"),
        (HEADER + "a\t0\tone\tx\tPRESENT\n", r":2: got '0' to 'one', expected seconds as numbers"),
        (HEADER + "a\t1\t1\tx\tPRESENT\n", r":2: a frame from 1 s to 1 s; expected 0 <= start < end"),
        (HEADER + "a\t-1\t1\tx\tPRESENT\n", r":2: a frame from -1 s"),
        (HEADER + "a\tnan\t1\tx\tPRESENT\n", r":2: a frame from nan s"),
        (HEADER + "a\t0\tinf\tx\tPRESENT\n", r":2: a frame from 0 s to inf s"),
        (HEADER + " \t0\t1\tx\tPRESENT\n", r":2: the segment_id is blank"),
        (HEADER + "a\t0\t1\t\tPRESENT\n", r":2: the label is blank"),
        (HEADER + "a\t0\t1\tx\tpresent\n", r":2: got 'present' for present, expected PRESENT or NOT_PRESENT"),
        (
            HEADER + "a\t0\t1\tx\tPRESENT\nb\t0\t1\tx\tPRESENT\na\t0\t1.0\tx\tNOT_PRESENT\n",
            r":4: 'x' is NOT_PRESENT in a frame where line 2 says otherwise",
        ),
    ],
)
def test_says_what_is_odd_and_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read_framed(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.tsv: cannot be read \(No such file"):
        read_framed(tmp_path / "none.tsv")
    path = tmp_path / "bytes.tsv"
    path.write_bytes(HEADER.encode() + b"\xff")
    with pytest.raises(FormatError, match=f"byte {len(HEADER)} is not UTF-8"):
        read_framed(path)


def test_a_frame_scores_the_mean_of_what_overlaps_it() -> None:
    table = ScoreTable(np.float32([[0.0], [1.0], [0.4]]), ("x",), np.array([0.0, 0.5, 0.96, 3.0]))
    # Means: (.5 * 0 + .46 * 1) / .96 = .479, and .4 further on; of the last frame 0.12 s are scored.
    framed = [FramedLabel("a", 0.0, 0.96, "x", True), FramedLabel("a", 0.96, 1.92, "x", False)]
    assert framed_d_prime({"a": table}, framed).auroc == {"x": 1.0}
    framed = [FramedLabel("a", 0.0, 0.9, "x", True), FramedLabel("a", 2.88, 3.84, "x", False)]
    assert framed_d_prime({"a": table}, framed).auroc == {"x": 1.0}  # .4 / .9 = .444
    framed[0] = FramedLabel("a", 0.0, 0.8, "x", True)
    assert framed_d_prime({"a": table}, framed).auroc == {"x": 0.0}  # .3 / .8 = .375
    # Equal scores are a tie, however their means were added up.
    even = Scores(np.full((250, 1), 0.3, dtype=np.float32), ("x",))
    framed = [FramedLabel("a", 0.96 * i, 0.96 * (i + 1), "x", i % 3 == 0) for i in range(10)]
    assert framed_d_prime({"a": even}, framed).auroc == {"x": 0.5}


@st.composite
def listenings(draw: st.DrawFn) -> tuple[dict[str, ScoreTable], list[FramedLabel]]:
    scores, framed = {}, []
    for name in ("a", "b", "c"):
        frames = draw(st.integers(1, 12))
        values = draw(st.lists(st.integers(0, 8), min_size=2 * frames, max_size=2 * frames))
        scores[name] = ScoreTable(
            np.reshape(np.float32(values), (-1, 2)), ("x", "y"), np.arange(frames + 1) / 4
        )
        cells = draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xy"), st.booleans()), max_size=6))
        framed += [FramedLabel(name, 0.75 * i, 0.75 * (i + 1), label, present) for i, label, present in cells]
    return scores, framed


@given(listenings(), st.randoms(use_true_random=False))
def test_agrees_with_adding_up_one_by_one(
    given: tuple[dict[str, ScoreTable], list[FramedLabel]], order: np.random.Generator
) -> None:
    scores, framed = given
    pairs: dict[str, list[tuple[float, bool]]] = {"x": [], "y": []}
    outside = 0
    for row in framed:
        table = scores[row.segment_id]
        total = share = 0.0
        for i, value in enumerate(table[row.label].tolist()):
            overlap = min(table.edges[i + 1], row.offset) - max(table.edges[i], row.onset)
            if overlap > 0:
                total, share = total + overlap * value, share + overlap
        outside += not share
        if share:
            pairs[row.label].append((round(total / share, 6), row.present))
    if not any(pairs.values()):
        with pytest.raises(OptionError, match="none of the"):
            framed_d_prime(scores, framed)
        return
    areas = {label: auroc([v for v, _ in own], [p for _, p in own]) for label, own in pairs.items()}
    areas = {label: area for label, area in areas.items() if not np.isnan(area)}
    order.shuffle(framed)

    result = framed_d_prime(dict(reversed(list(scores.items()))), framed)

    assert result.auroc == pytest.approx(areas, abs=1e-12)
    assert result.per_label == pytest.approx(
        {label: d_prime(area) for label, area in areas.items()}, abs=1e-9
    )
    assert result.outside == outside
    assert result.positives == {label: sum(p for _, p in pairs[label]) for label in areas}
    assert result.negatives == {label: sum(not p for _, p in pairs[label]) for label in areas}


def test_what_cannot_be_scored_is_told() -> None:
    labels = ("dog", "hum", "idle")
    scores = {"a": Scores(np.float32([[0.1, 0.2, 0.3]] * 24 + [[0.6, 0.2, 0.3]] * 26), labels)}
    framed = [
        FramedLabel("a", 0.0, 0.96, "dog", False),
        FramedLabel("a", 0.96, 1.92, "dog", True),
        FramedLabel("a", 0.96, 1.92, "hum", True),
        FramedLabel("a", 2.88, 3.84, "hum", False),
        FramedLabel("b", 0.0, 0.96, "dog", True),
    ]
    result = framed_d_prime(scores, framed)
    assert (result.macro, result.macro_auroc, result.auroc) == (float("inf"), 1.0, {"dog": 1.0})
    assert (result.positives, result.negatives) == ({"dog": 1}, {"dog": 1})
    assert (result.unscored, result.without_scores, result.outside) == (("hum",), ("b",), 1)

    chosen = framed_d_prime(scores, framed, ["hum", "idle"])
    assert (chosen.per_label, chosen.unscored, chosen.without_scores) == ({}, ("hum", "idle"), ())
    assert np.isnan([chosen.macro, chosen.macro_auroc]).all()
    with pytest.raises(OptionError, match="'a' has no scores for 'cow'"):
        framed_d_prime(scores, [dataclasses.replace(framed[0], label="cow")])
    with pytest.raises(OptionError, match="none of the 1 recordings"):
        framed_d_prime(scores, framed[4:])


def test_macro_is_that_of_the_mean_area() -> None:
    scores = {"a": ScoreTable(np.float32([[0, 1], [1, 1], [2, 1], [3, 1]]), ("x", "y"), np.arange(5.0))}
    present = {"x": [False, False, True, True], "y": [True, False, False, False]}
    framed = [FramedLabel("a", i, i + 1, label, own[i]) for label, own in present.items() for i in range(4)]
    result = framed_d_prime(scores, framed)
    assert result.auroc == {"x": 1.0, "y": 0.5}
    assert result.per_label == {"x": np.inf, "y": 0.0}
    # The normal distribution's quantile of 3/4 is .6744897502.
    assert (result.macro, result.macro_auroc) == (pytest.approx(0.9538725524, abs=1e-9), 0.75)
