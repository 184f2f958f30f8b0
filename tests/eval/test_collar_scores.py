from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.eval import collar_best, collar_counts, event_based, events_at
from peaframe.eval.tables import ScoreTable
from peaframe.events import Event
from peaframe.scores import Scores

tenths = st.tuples(st.integers(0, 60), st.integers(1, 15))


def test_agrees_with_sed_scores_eval_at_a_threshold_and_at_the_best(
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    found = {file: events_at(scores, 0.5) for file, scores in golden_scores.items()}
    for counts, name in (
        (collar_counts(found, golden_truth), "collar_f_th0.5"),
        (collar_best(golden_scores, golden_truth), "collar_best_f"),
    ):
        result, expected = counts.f_scores(), sed_scores_eval_numbers[name]
        for short, key in (("f", "f_measure"), ("p", "precision"), ("r", "recall")):
            numbers = expected[short]
            assert result.macro[key] == pytest.approx(numbers["macro_average"], abs=1e-9)
            assert result.micro[key] == pytest.approx(numbers["micro_average"], abs=1e-9)
            for label, row in result.per_label.items():
                assert row[key] == pytest.approx(numbers[label], abs=1e-9)


def test_the_best_threshold_can_be_used_as_it_is(
    golden_scores: Mapping[str, Scores], golden_truth: Mapping[str, list[Event]]
) -> None:
    counts = collar_best(golden_scores, golden_truth)
    thresholds = counts.thresholds or {}
    assert set(thresholds) == set(counts.labels)
    found = {file: events_at(scores, thresholds) for file, scores in golden_scores.items()}

    assert event_based(found, golden_truth).macro["f_measure"] == pytest.approx(
        counts.f_scores().macro["f_measure"], abs=1e-12
    )


@st.composite
def scenes(draw: st.DrawFn) -> tuple[dict[str, ScoreTable], dict[str, list[Event]]]:
    scores, truth = {}, {}
    for name in ("a", "b"):
        levels = draw(st.lists(st.integers(0, 5), min_size=8, max_size=40))
        spans = draw(st.lists(tenths, max_size=4))
        edges = np.arange(len(levels) + 1) / 10
        scores[name] = ScoreTable(np.array(levels).reshape(-1, 1) / 8, ("dog",), edges)
        truth[name] = [Event(a / 10, (a + n) / 10, "dog") for a, n in spans]
    truth["a"].append(Event(0.3, 0.5, "dog"))
    return scores, truth


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_no_threshold_is_better_than_the_best(
    scene: tuple[dict[str, ScoreTable], dict[str, list[Event]]],
) -> None:
    scores, truth = scene
    from peaframe.events import merge_events

    merged = {file: merge_events(events) for file, events in truth.items()}
    every = [
        collar_counts({file: events_at(own, (level - 0.5) / 8) for file, own in scores.items()}, merged)
        for level in range(6)
    ]

    best = collar_best(scores, truth).f_scores().macro["f_measure"]

    assert best == pytest.approx(max(counts.f_scores().macro["f_measure"] for counts in every), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(tenths, min_size=1, max_size=8),
    st.lists(tenths, max_size=8),
    st.sampled_from([(True, True), (True, False), (False, True)]),
)
def test_hits_are_those_of_sed_eval(
    real: list[tuple[int, int]], claimed: list[tuple[int, int]], sides: tuple[bool, bool]
) -> None:
    truth = {"a": [Event(a / 10, (a + n) / 10, "dog") for a, n in real]}
    found = {"a": [Event(a / 10, (a + n) / 10, "dog") for a, n in claimed]}
    onset, offset = sides

    ours = collar_counts(found, truth, onset=onset, offset=offset).f_scores()
    theirs = event_based(found, truth, onset=onset, offset=offset)

    for key in ("f_measure", "precision", "recall"):
        assert ours.macro[key] == pytest.approx(theirs.macro[key], abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(tenths, min_size=1, max_size=8), st.lists(tenths, min_size=1, max_size=8))
def test_splitting_a_detection_never_helps(
    real: list[tuple[int, int]], claimed: list[tuple[int, int]]
) -> None:
    truth = {"a": [Event(a / 10, (a + n) / 10, "dog") for a, n in real]}
    whole = [Event(a / 10, (a + n) / 10, "dog") for a, n in claimed]
    first = whole[0]
    middle = (first.onset + first.offset) / 2
    split = [Event(first.onset, middle, "dog"), Event(middle, first.offset, "dog"), *whole[1:]]
    hits = collar_counts({"a": whole}, truth).hit.sum()

    after = collar_counts({"a": split}, truth)

    # A half may hit what the whole did not; the other half is then a false alarm more.
    assert after.found.sum() == len(whole) + 1
    if after.hit.sum() <= hits:
        assert (
            after.f_scores().macro["f_measure"]
            <= collar_counts({"a": whole}, truth).f_scores().macro["f_measure"]
        )


def test_splitting_a_perfect_detection_costs_it() -> None:
    truth = {"a": [Event(1, 3, "dog"), Event(5, 8, "dog")]}
    split = {"a": [Event(1, 2, "dog"), Event(2, 3, "dog"), Event(5, 8, "dog")]}

    assert collar_counts(truth, truth).f_scores().macro["f_measure"] == 1
    assert collar_counts(split, truth).f_scores().macro == pytest.approx(
        {"f_measure": 0.4, "precision": 1 / 3, "recall": 0.5}
    )


@pytest.mark.slow
def test_a_day_with_twenty_thousand_events_is_counted_by_both() -> None:
    random = np.random.default_rng(3)
    onsets = np.sort(random.choice(860_000, 20_000, replace=False)) / 10
    truth = {"day": [Event(x, x + 0.05, "chirp") for x in onsets.tolist()]}
    found = {"day": [Event(x + 0.04, x + 0.09, "chirp") for x in onsets[::2].tolist()]}

    counts = collar_counts(found, truth)
    second = event_based(found, truth)

    assert (counts.hit.sum(), counts.found.sum(), counts.true.sum()) == (10_000, 10_000, 20_000)
    assert second.micro["f_measure"] == pytest.approx(2 / 3)
    assert second.micro["deletion_rate"] == pytest.approx(0.5)


def test_where_a_recording_is_cut_for_sed_eval_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)

    def some() -> list[Event]:
        spans = zip(random.uniform(0, 60, 70).tolist(), random.uniform(0.1, 3, 70).tolist(), strict=True)
        return sorted(Event(a, a + n, str(random.choice(["cat", "dog"]))) for a, n in spans)

    truth, found = {"a": some()}, {"a": some()}
    for sides in ({}, {"onset": False}, {"offset": False}):
        cut = event_based(found, truth, **sides)
        monkeypatch.setattr("peaframe.eval.collar.ENOUGH_EVENTS", 10_000)
        whole = event_based(found, truth, **sides)
        monkeypatch.undo()
        assert cut == whole


def test_collars_without_sense_are_refused() -> None:
    truth = {"a": [Event(0, 1, "dog")]}
    with pytest.raises(OptionError, match="t_collar -1"):
        collar_counts({}, truth, t_collar=-1)
    with pytest.raises(OptionError, match="at least one"):
        collar_counts({}, truth, onset=False, offset=False)
    with pytest.raises(OptionError, match="none of the 1 labels"):
        collar_counts({"a": [Event(0, 1, "dog")]}, {})
