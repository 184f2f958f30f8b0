"""Which label was heard for which: by hand, against counting moment by moment, and on a whole day."""

import time

import numpy as np

from peaframe.eval.confusion import confusion
from peaframe.events import Event, merge_events

LABELS = ("cat", "dog", "rain")


def matrix(found: list[Event], truth: list[Event], labels: tuple[str, ...] = LABELS) -> list[list[int]]:
    table = confusion({"a": found}, {"a": truth}, labels)
    assert table["labels"] == list(labels)
    counts: list[list[int]] = table["matrix"]
    return counts


def test_each_true_event_is_counted_once_and_detections_of_nothing_in_the_last_row() -> None:
    truth = [Event(0, 2, "cat"), Event(4, 6, "dog"), Event(8, 10, "dog"), Event(12, 14, "rain")]
    found = [
        Event(1.9, 2.5, "cat"),  # a little of the cat is enough
        Event(4, 6, "rain"),  # in place of the first dog
        Event(8, 8.9, "cat"),  # less than half of the second dog
        Event(20, 21, "dog"),  # nothing is there
        Event(30, 31, "cow"),  # not scored
    ]

    assert matrix(found, truth) == [
        [1, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
        [0, 1, 0, 0],
    ]


def test_the_own_label_comes_before_others_that_cover_more() -> None:
    truth = [Event(0, 10, "dog")]

    assert matrix([Event(0, 10, "cat"), Event(9.99, 11, "dog")], truth)[1] == [0, 1, 0, 0]
    # To touch is not to overlap, on either side.
    assert matrix([Event(10, 11, "dog")], truth)[1] == [0, 0, 0, 1]
    assert matrix([Event(10, 11, "dog")], truth)[3] == [0, 1, 0, 0]
    assert matrix([Event(0, 1, "dog")], [Event(1, 2, "dog")])[3] == [0, 1, 0, 0]


def test_the_longest_counts_and_the_first_label_of_equals() -> None:
    truth = [Event(0, 4, "dog")]

    assert matrix([Event(0, 2.5, "cat"), Event(0, 2.6, "rain")], truth)[1] == [0, 0, 1, 0]
    assert matrix([Event(0, 2.5, "cat"), Event(1.5, 4, "rain")], truth)[1] == [1, 0, 0, 0]
    assert matrix([Event(0, 2, "rain")], truth)[1] == [0, 0, 1, 0]  # just half
    assert matrix([Event(0, 1.99, "rain")], truth)[1] == [0, 0, 0, 1]
    # Two pieces of one label together, and what both say of the same moment only once.
    assert matrix([Event(0, 1, "rain"), Event(3, 4, "rain")], truth)[1] == [0, 0, 1, 0]
    assert matrix([Event(0, 1, "rain"), Event(0, 1, "rain")], truth)[1] == [0, 0, 0, 1]


def test_nothing_found_nothing_true_and_moments() -> None:
    assert confusion({}, {}, ["cat"]) == {"labels": ["cat"], "matrix": [[0, 0], [0, 0]]}
    assert matrix([], [Event(0, 1, "cat")], ("cat",)) == [[0, 1], [0, 0]]
    assert matrix([Event(0, 1, "cat")], [], ("cat",)) == [[0, 0], [1, 0]]
    # An event shorter than a microsecond, and a detection elsewhere.
    assert matrix([Event(5, 6, "dog")], [Event(1, 1 + 1e-9, "cat")]) == [
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 0],
    ]


def test_agrees_with_counting_quarters_of_a_second() -> None:
    random = np.random.default_rng(3)
    seen = np.zeros((4, 4), dtype=int)
    for _ in range(300):
        truth, found = (
            merge_events(
                Event(a / 4, (a + n) / 4, label)
                for a, n, label in zip(
                    random.integers(0, 60, 9).tolist(),
                    random.integers(1, 12, 9).tolist(),
                    random.choice([*LABELS, "cow"], 9).tolist(),
                    strict=True,
                )
            )
            for _ in range(2)
        )
        expected = slow(found, truth)
        assert matrix(found, truth) == expected
        seen += np.array(expected)
    assert (seen[:3] > 20).all()
    assert (seen[3, :3] > 20).all()


def slow(found: list[Event], truth: list[Event]) -> list[list[int]]:
    """The same counts from sets of quarters."""

    def quarters(event: Event) -> set[int]:
        return set(range(round(event.onset * 4), round(event.offset * 4)))

    counts = [[0] * 4 for _ in range(4)]
    truth = [event for event in truth if event.label in LABELS]
    for event in truth:
        heard = [0, 0, 0]
        for detection in found:
            if detection.label in LABELS:
                heard[LABELS.index(detection.label)] += len(quarters(event) & quarters(detection))
        own, best = LABELS.index(event.label), heard.index(max(heard))
        said = own if heard[own] else best if heard[best] * 2 >= len(quarters(event)) else 3
        counts[own][said] += 1
    for detection in found:
        if detection.label in LABELS and not any(quarters(detection) & quarters(event) for event in truth):
            counts[3][LABELS.index(detection.label)] += 1
    return counts


def test_a_day_with_20000_events_in_rain_all_day_takes_moments() -> None:
    random = np.random.default_rng(4)

    def day() -> list[Event]:
        onsets = np.sort(random.uniform(0, 86_300, 20_000)).tolist()
        return [Event(0, 86_400, "rain"), *(Event(onset, onset + 1, "dog") for onset in onsets)]

    found, truth = day(), day()
    began = time.perf_counter()
    counts = matrix(found, truth)

    assert time.perf_counter() - began < 5
    assert sum(counts[1]) == 20_000
    assert counts[1][2] == 20_000 - counts[1][1] > 0
    assert counts[2] == [0, 0, 1, 0]
    assert counts[3] == [0, 0, 0, 0]
