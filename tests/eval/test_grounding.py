from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import OptionError
from peaframe.eval.grounding import GroundedQuery, grounding
from peaframe.events import Event

Events = dict[str, list[Event]]
events = st.lists(
    st.builds(
        lambda on, length, label, score: Event(on, on + length, label, score),
        st.integers(0, 12),
        st.integers(1, 5),
        st.sampled_from(["a dog barks", "rain"]),
        st.sampled_from([None, 0.2, 0.8]),
    ),
    max_size=5,
)
answers = st.dictionaries(st.sampled_from(["r1", "r2", "r3"]), events, max_size=3)


def seconds(spans: list[Event]) -> set[int]:
    return {second for event in spans for second in range(int(event.onset), int(event.offset))}


def overlap(some: list[Event], others: list[Event]) -> float:
    return len(seconds(some) & seconds(others)) / len(seconds(some) | seconds(others))


def connected(spans: list[Event]) -> list[list[Event]]:
    """Events grouped where they overlap or touch."""
    groups: list[list[Event]] = []
    for event in sorted(spans):
        if groups and event.onset <= max(other.offset for other in groups[-1]):
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


@given(answers, answers)
def test_agrees_with_counting_seconds(estimated: Events, truth: Events) -> None:
    pairs = sorted({(file, event.label) for file, own in truth.items() for event in own})
    if not pairs:
        with pytest.raises(OptionError, match="without any true event"):
            grounding(estimated, truth)
        return

    result = grounding(estimated, truth, [0.25, 0.5, 1.0])

    assert [(query.recording, query.label) for query in result.queries] == pairs
    ignored = sum(len(own) for own in estimated.values())
    for query in result.queries:
        true = [event for event in truth[query.recording] if event.label == query.label]
        found = [event for event in estimated.get(query.recording, []) if event.label == query.label]
        ignored -= len(found)
        assert query.found == len(found)
        assert query.iou == pytest.approx(overlap(found, true), abs=1e-12)
        if found:
            top = max(event.score or 0 for event in found)
            best = min((event for event in found if (event.score or 0) == top), key=lambda event: event)
            expected = max(overlap([best], group) for group in connected(true))
            assert query.best_iou == pytest.approx(expected, abs=1e-12)
        else:
            assert query.best_iou == 0
    assert result.ignored == ignored
    assert result.mean_iou == pytest.approx(sum(query.iou for query in result.queries) / len(pairs))
    assert result.recall_at == {
        level: sum(query.iou >= level - 1e-9 for query in result.queries) / len(pairs)
        for level in (0.25, 0.5, 1.0)
    }


@given(answers, answers, st.randoms(use_true_random=False))
def test_order_changes_nothing(estimated: Events, truth: Events, order: Random) -> None:
    if not any(truth.values()):
        return

    def shuffled(mapping: Events) -> Events:
        files = order.sample(sorted(mapping), len(mapping))
        return {file: order.sample(mapping[file], len(mapping[file])) for file in files}

    assert grounding(estimated, truth) == grounding(shuffled(estimated), shuffled(truth))


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(1e-3, 1e3)), min_size=1, max_size=20))
def test_the_truth_itself_scores_one(spans: list[tuple[float, float]]) -> None:
    truth = {"r": [Event(on, on + length, "rain") for on, length in spans]}
    result = grounding(truth, truth)
    assert result.mean_iou == 1
    assert result.recall_at == {0.3: 1, 0.5: 1, 0.7: 1}


def test_every_number_of_a_small_case() -> None:
    truth = {
        "a": [Event(0, 4, "dog"), Event(3, 6, "dog"), Event(8, 9, "rain")],
        "b": [Event(1.1, 2.1, "dog")],
        "c": [],
    }
    estimated = {
        "a": [
            Event(0, 3, "dog", 0.4),
            Event(8, 9, "dog", 0.6),
            Event(5, 6, "dog"),
            Event(0, 1, "horse", 1.0),
        ],
        "b": [Event(1.1, 1.6, "dog", 0.1)],
        "c": [Event(0, 1, "dog", 1.0)],
    }
    result = grounding(estimated, truth)

    # a, dog: 3 + 1 of 7 seconds; its best event is elsewhere. b: 0.5 of 1.0, but for the last bits.
    assert result.queries == (
        GroundedQuery("a", "dog", pytest.approx(4 / 7), 0.0, 3),
        GroundedQuery("a", "rain", 0.0, 0.0, 0),
        GroundedQuery("b", "dog", pytest.approx(0.5), pytest.approx(0.5), 1),
    )
    assert result.mean_iou == pytest.approx((4 / 7 + 0.5) / 3)
    assert result.mean_best_iou == pytest.approx(0.5 / 3)
    assert result.recall_at == {0.3: pytest.approx(2 / 3), 0.5: pytest.approx(2 / 3), 0.7: 0.0}
    assert result.best_recall_at == {0.3: pytest.approx(1 / 3), 0.5: pytest.approx(1 / 3), 0.7: 0.0}
    assert result.ignored == 2


def test_touching_is_not_meeting() -> None:
    result = grounding({"a": [Event(0.1, 0.3, "dog")]}, {"a": [Event(0.3, 0.7, "dog")]})
    assert (result.mean_iou, result.mean_best_iou) == (0.0, 0.0)


@pytest.mark.parametrize("thresholds", [[], [0.0], [1.1], [0.5, float("nan")]])
def test_thresholds_out_of_range_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(OptionError, match="expected IoUs over 0 and up to 1"):
        grounding({}, {"a": [Event(0, 1, "dog")]}, thresholds)


def test_many_events_take_no_time_to_speak_of() -> None:
    found = [Event(2 * i, 2 * i + 1, "dog", 0.5) for i in range(20_000)]
    true = [Event(2 * i + 0.5, 2 * i + 1.5, "dog") for i in range(20_000)]
    assert grounding({"day": found}, {"day": true}).mean_iou == pytest.approx(1 / 3)
