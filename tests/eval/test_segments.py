from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.eval.ranking import RankingResult, auroc, average_precision
from peaframe.eval.segments import (
    clip_auroc,
    clip_average_precision,
    segment_auroc,
    segment_average_precision,
    segment_counts,
    segment_f1,
)
from peaframe.eval.tables import ScoreTable
from peaframe.events import Event
from peaframe.scores import Scores

Corpus = tuple[dict[str, ScoreTable], dict[str, list[Event]]]
LABELS = ("cat", "dog")
LENGTH = 0.5


def f_score(f_measure: float, precision: float, recall: float) -> dict[str, float]:
    return {"f_measure": f_measure, "precision": precision, "recall": recall}


def plain(row: Mapping[str, float]) -> dict[str, float]:
    """Without the counts."""
    return f_score(row["f_measure"], row["precision"], row["recall"])


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Up to four recordings on uneven grids of eighths of a second; both labels are heard in the first."""
    scores, truth = {}, {}
    for number in range(draw(st.integers(1, 4))):
        steps = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
        values = draw(st.lists(st.integers(-2, 3), min_size=2 * len(steps), max_size=2 * len(steps)))
        edges = np.cumsum([0, *steps]) / 8
        scores[f"r{number}"] = ScoreTable(np.reshape(np.float32(values), (-1, 2)), LABELS, edges)
        event = st.tuples(st.integers(0, 24), st.integers(1, 8), st.sampled_from(LABELS))
        spans = draw(st.lists(event, max_size=3))
        truth[f"r{number}"] = [Event(on / 8, (on + length) / 8, label) for on, length, label in spans]
    truth["r0"] += [Event(0.0, 0.125, label) for label in LABELS]
    return scores, truth


def naive(corpus: Corpus, label: str) -> tuple[list[float], list[bool]]:
    """Every segment's highest score and whether an event meets it: all frames and events against all segments."""
    values, targets = [], []
    for file, table in corpus[0].items():
        events = corpus[1][file]
        end = max([float(table.edges[-1]), *(event.offset for event in events)])
        for number in range(int(np.ceil(end / LENGTH))):
            begin, stop = number * LENGTH, (number + 1) * LENGTH
            values.append(
                max(
                    (
                        float(table[label][i])
                        for i in range(table.frames)
                        if table.edges[i] < stop and table.edges[i + 1] > begin
                    ),
                    default=-np.inf,
                )
            )
            targets.append(any(e.label == label and e.onset < stop and e.offset > begin for e in events))
    return values, targets


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("segment_auroc_1s", segment_auroc),
        ("segment_pauroc_1s_maxfpr0.1", lambda *given, **named: segment_auroc(*given, **named, max_fpr=0.1)),
        ("segment_ap_1s", segment_average_precision),
    ],
)
@pytest.mark.parametrize("with_durations", [True, False])
def test_segments_agree_with_sed_scores_eval(
    name: str,
    metric: Callable[..., RankingResult],
    with_durations: bool,
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    golden_durations: Mapping[str, float],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    expected = dict(sed_scores_eval_numbers[name])
    mean = expected.pop("mean")

    result = metric(golden_scores, golden_truth, durations=golden_durations if with_durations else None)

    assert result.per_label == pytest.approx(expected, abs=1e-9)
    assert result.macro == pytest.approx(mean, abs=1e-9)
    assert result.unscored == ()


def test_clips_agree_with_sed_scores_eval(
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    result = clip_auroc(golden_scores, golden_truth)
    assert {**result.per_label, "mean": result.macro} == pytest.approx(
        sed_scores_eval_numbers["clip_auroc"], abs=1e-9
    )


def test_f_at_one_threshold_agrees_with_sed_scores_eval(
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    expected = sed_scores_eval_numbers["segment_f_th0.5_1s"]
    result = segment_f1(golden_scores, golden_truth, 0.5)
    named = {**result.per_label, "macro_average": result.macro, "micro_average": result.micro}

    assert {name: score["f_measure"] for name, score in named.items()} == pytest.approx(
        expected["f"], abs=1e-9
    )
    assert {name: score["precision"] for name, score in named.items()} == pytest.approx(
        expected["p"], abs=1e-9
    )
    assert {name: score["recall"] for name, score in named.items()} == pytest.approx(expected["r"], abs=1e-9)
    assert result.thresholds == dict.fromkeys(golden_scores["clip_000.wav"].labels, 0.5)


def test_f_at_the_best_thresholds_agrees_with_sed_scores_eval(
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    golden_durations: Mapping[str, float],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    best = segment_f1(golden_scores, golden_truth, "best", durations=golden_durations)
    named = {**best.per_label, "macro_average": best.macro, "micro_average": best.micro}

    assert {name: score["f_measure"] for name, score in named.items()} == pytest.approx(
        sed_scores_eval_numbers["segment_best_f_1s"], abs=1e-9
    )
    assert segment_f1(golden_scores, golden_truth, best.thresholds) == best


@given(corpora())
def test_segments_hold_the_frames_and_events_that_overlap_them(corpus: Corpus) -> None:
    area = segment_auroc(*corpus, segment=LENGTH)
    precision = segment_average_precision(*corpus, segment=LENGTH)
    for label in LABELS:
        values, targets = naive(corpus, label)
        assert area.per_label.get(label, np.nan) == pytest.approx(
            auroc(values, targets), abs=1e-12, nan_ok=True
        )
        assert precision.per_label[label] == pytest.approx(average_precision(values, targets), abs=1e-12)


@given(corpora(), st.integers(-3, 3))
def test_f_is_what_counting_says(corpus: Corpus, threshold: int) -> None:
    result = segment_f1(*corpus, threshold, segment=LENGTH)
    sums = np.zeros(3)
    for label in LABELS:
        values, targets = (np.array(part) for part in naive(corpus, label))
        hits = np.sum((values > threshold) & targets)
        sums += (hits, np.sum(values > threshold), np.sum(targets))
        assert result.per_label[label]["f_measure"] == pytest.approx(
            2 * hits / (np.sum(values > threshold) + np.sum(targets)), abs=1e-12
        )
    assert result.micro["f_measure"] == pytest.approx(2 * sums[0] / (sums[1] + sums[2]), abs=1e-12)
    assert result.micro["recall"] == pytest.approx(sums[0] / sums[2], abs=1e-12)
    assert result.macro["f_measure"] == pytest.approx(
        np.mean([score["f_measure"] for score in result.per_label.values()]), abs=1e-12
    )


@given(corpora())
def test_no_threshold_beats_the_best(corpus: Corpus) -> None:
    best = segment_f1(*corpus, "best", segment=LENGTH)
    levels = [-np.inf, *np.arange(-2.5, 4), np.inf]
    others = [segment_f1(*corpus, float(level), segment=LENGTH) for level in levels]

    assert segment_f1(*corpus, best.thresholds, segment=LENGTH) == best
    for label in LABELS:
        assert best.per_label[label]["f_measure"] == pytest.approx(
            max(one.per_label[label]["f_measure"] for one in others), abs=1e-15
        )
        own = [(level, one.per_label[label]) for level, one in zip(levels, others, strict=True)]
        higher = [score for level, score in own if level > best.thresholds[label]]
        assert all(
            other == best.per_label[label] or other["f_measure"] < best.per_label[label]["f_measure"]
            for other in higher
        )


@given(corpora(), st.randoms(use_true_random=False))
def test_order_and_monotone_transforms_change_nothing(corpus: Corpus, order: Random) -> None:
    scores, truth = corpus
    names = list(scores)
    order.shuffle(names)
    moved = {name: ScoreTable(np.exp(scores[name].values) - 7, LABELS, scores[name].edges) for name in names}
    events = {name: order.sample(truth[name], len(truth[name])) for name in names}

    for metric in (segment_auroc, segment_average_precision, clip_auroc, clip_average_precision):
        assert repr(metric(scores, truth)) == repr(metric(moved, events))
    assert segment_f1(scores, truth, "best").per_label == segment_f1(moved, events, "best").per_label


@given(corpora())
def test_a_perfect_system_scores_one(corpus: Corpus) -> None:
    scores = {}
    for file, table in corpus[0].items():
        edges = np.arange(0, 33) / 8
        values = np.zeros((32, 2), dtype=np.float32)
        for event in corpus[1][file]:
            values[int(event.onset * 8) : int(event.offset * 8), LABELS.index(event.label)] = 1
        scores[file] = ScoreTable(values, LABELS, edges)
        assert table.labels == LABELS

    area = segment_auroc(scores, corpus[1], segment=LENGTH, max_fpr=0.1)
    assert set(area.per_label.values()) <= {1.0}
    assert segment_average_precision(scores, corpus[1], segment=LENGTH).macro == 1.0
    assert clip_average_precision(scores, corpus[1]).macro == 1.0
    perfect = f_score(1.0, 1.0, 1.0)
    for level in (0.5, "best"):
        result = segment_f1(scores, corpus[1], level, segment=LENGTH)
        assert (result.macro, result.micro) == (perfect, perfect)


@given(corpora(), st.data())
def test_weights_repeat_recordings(corpus: Corpus, data: st.DataObject) -> None:
    scores, truth = corpus
    row = data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores)))
    row[0] += 1
    copies = {f"{file} {i}": file for file, n in zip(scores, row, strict=True) for i in range(n)}
    again = (
        {new: scores[old] for new, old in copies.items()},
        {new: truth[old] for new, old in copies.items()},
    )

    for metric in (segment_auroc, segment_average_precision, clip_auroc, clip_average_precision):
        weighed = metric(scores, truth, weights=[row, [1] * len(row)])
        unweighed = metric(scores, truth)
        assert weighed.samples == pytest.approx(
            [metric(*again).macro, unweighed.macro], abs=1e-12, nan_ok=True
        )
        assert repr(weighed.per_label) == repr(unweighed.per_label)


def test_the_last_segment_may_be_cut_short_and_frames_may_lie_in_two() -> None:
    table = ScoreTable(
        np.float32([[0.1], [0.9], [0.3], [0.2]]), ("dog",), np.array([0.0, 0.7, 1.4, 2.1, 2.5])
    )
    # Scores of the seconds: .9, .9, .3; the event meets the first two.
    truth = {"a": [Event(0.99, 1.01, "dog")]}
    assert plain(segment_f1({"a": table}, truth, 0.5).per_label["dog"]) == f_score(1.0, 1.0, 1.0)
    assert plain(segment_f1({"a": table}, truth, 0.25).per_label["dog"]) == f_score(0.8, 2 / 3, 1.0)
    # An event that ends where a segment begins does not meet it.
    touching = segment_f1({"a": table}, {"a": [Event(1.0, 2.0, "dog")]}, 0.5).per_label["dog"]
    assert plain(touching) == f_score(pytest.approx(2 / 3), 0.5, 1.0)


def test_durations_say_what_counts() -> None:
    table = ScoreTable(np.float32([[0.9], [0.1], [0.8]]), ("dog",), np.arange(4.0))
    truth = {"a": [Event(0.0, 1.0, "dog"), Event(4.0, 5.0, "dog")]}
    # Segments of scores and events: .9+ .1- .8- none- none+; a segment without a frame is never detected.
    assert plain(segment_f1({"a": table}, truth, 0.5).per_label["dog"]) == f_score(0.5, 0.5, 0.5)
    assert segment_auroc({"a": table}, truth).macro == pytest.approx((3 + 0.5) / 6)
    assert segment_f1({"a": table}, truth, -1.0).micro == f_score(
        pytest.approx(2 / 5), pytest.approx(1 / 3), 0.5
    )
    # Two seconds of it hold one event and one segment without; six hold two segments more than the scores.
    assert segment_f1({"a": table}, truth, 0.5, durations={"a": 2.0}).micro == f_score(1.0, 1.0, 1.0)
    assert segment_auroc({"a": table}, truth, durations={"a": 6.0}).macro == pytest.approx((4 + 1) / 8)
    # A length that is a whole number of segments but for the last bit has no segment more.
    tenths = ScoreTable(np.full((11, 1), 0.5, dtype=np.float32), ("dog",), np.arange(12) * 0.1)
    whole = segment_f1({"a": tenths}, {"a": [Event(0.0, 1.1, "dog")]}, 0.0, segment=0.1)
    assert whole.micro == f_score(1.0, 1.0, 1.0)


def test_scores_of_a_part_have_no_segments_before_it() -> None:
    part = Scores(np.full((50, 1), 0.5, dtype=np.float32), ("dog",), start=30.0)
    result = segment_auroc({"a": part}, {"a": [Event(30.2, 30.4, "dog")]})
    assert result.per_label == {"dog": 0.5}
    assert segment_average_precision({"a": part}, {"a": [Event(30.2, 30.4, "dog")]}).macro == 0.5


def test_labels_without_truth_are_set_apart_and_count_nowhere() -> None:
    scores = {"a": Scores(np.float32([[0.9, 0.9]] * 25 + [[0.1, 0.1]] * 25), ("dog", "unicorn"))}
    truth = {"a": [Event(0.0, 1.0, "dog")]}

    at_half, best = segment_f1(scores, truth), segment_f1(scores, truth, "best")

    for result in (at_half, best):
        assert {label: plain(row) for label, row in result.per_label.items()} == {
            "dog": f_score(1.0, 1.0, 1.0)
        }
        assert result.macro == result.micro == f_score(1.0, 1.0, 1.0)
    assert at_half.unscored == best.unscored == ("unicorn",)
    assert best.thresholds == {"dog": pytest.approx(0.5)}
    assert (
        segment_auroc(scores, truth).unscored == clip_auroc(scores, truth | {}).unscored[1:] == ("unicorn",)
    )
    assert segment_f1(scores, truth, 0.95).macro == f_score(0.0, 0.0, 0.0)


def test_scores_next_to_each_other_have_a_threshold_between() -> None:
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    table = ScoreTable(np.array([[low], [high]]), ("dog",), np.arange(3.0))
    best = segment_f1({"a": table}, {"a": [Event(1.0, 2.0, "dog")]}, "best")
    assert best.macro == f_score(1.0, 1.0, 1.0)
    assert best.thresholds == {"dog": 0.5}


def test_what_no_frame_can_find_has_no_threshold() -> None:
    table = ScoreTable(np.float32([[0.5]]), ("dog",), np.arange(2.0))
    best = segment_f1({"a": table}, {"a": [Event(3.0, 4.0, "dog")]}, "best")
    assert (best.macro, best.thresholds) == (f_score(0.0, 0.0, 0.0), {"dog": np.inf})


def test_arguments_that_do_not_fit_are_refused() -> None:
    scores = {"a": Scores(np.zeros((2, 1), dtype=np.float32), ("dog",))}
    truth = {"a": [Event(0.0, 0.04, "dog")]}
    with pytest.raises(OptionError, match="segments of 0 s"):
        segment_auroc(scores, truth, segment=0.0)
    with pytest.raises(OptionError, match="'a' has scores and no duration"):
        segment_auroc(scores, truth, durations={})
    with pytest.raises(OptionError, match="'b' has a duration and no scores"):
        segment_f1(scores, truth, durations={"a": 1.0, "b": 1.0})
    with pytest.raises(OptionError, match="'a' lasts nan s"):
        segment_f1(scores, truth, durations={"a": float("nan")})
    with pytest.raises(OptionError, match="no threshold for 'dog'"):
        segment_f1(scores, truth, {"cat": 0.5})
    with pytest.raises(OptionError, match="threshold of 'dog' is nan"):
        segment_f1(scores, truth, float("nan"))
    with pytest.raises(OptionError, match="'worst'; expected a number"):
        segment_f1(scores, truth, "worst")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="max_fpr 2"):
        clip_auroc(scores, truth, max_fpr=2)


def test_segments_of_events_are_counted_as_sed_eval_does(
    golden_truth: Mapping[str, list[Event]],
    golden_detections: Mapping[str, list[Event]],
    sed_eval_numbers: Mapping[str, Any],
) -> None:
    result = segment_counts(golden_detections, golden_truth).f_scores()

    expected = sed_eval_numbers["segment_1s_len10"]
    assert result.macro["f_measure"] == pytest.approx(expected["macro_f"], abs=1e-9)
    assert result.micro["f_measure"] == pytest.approx(expected["micro"]["f_measure"], abs=1e-9)
    for label, counts in expected["class_counts"].items():
        row = result.per_label[label]
        assert (row["reference"], row["estimated"]) == (counts["Nref"], counts["Nsys"])


def test_an_event_that_ends_with_a_segment_is_not_in_the_next() -> None:
    # 2.2 / 0.1 is 22.000000000000004, which sed_eval takes for a part of segment 22.
    counts = segment_counts({}, {"a": [Event(2.1, 2.2, "dog")]}, segment=0.1)

    assert counts.true.sum() == 1
