"""What was found of each query: counts, times, scores, and the tables made of them."""

import csv
import io
import tracemalloc
from collections.abc import Iterator

import pytest

from peaframe.annotate.annotated import Annotated
from peaframe.annotate.sampling import sample_events, shares
from peaframe.annotate.summary import (
    COLUMNS,
    clean,
    duration,
    score_bars,
    summarise,
    summary_csv,
    summary_table,
)
from peaframe.errors import OptionError
from peaframe.events import Event


def recording(name: str, seconds: float, *events: Event) -> Annotated:
    return Annotated(name, f"/there/{name}", seconds, None, sorted(events))


RUN = [
    recording("a.wav", 1800, Event(0, 10, "dog", 0.5), Event(5, 15, "dog", 0.95), Event(20, 21, "cat", 1.0)),
    recording("b.wav", 900),
    recording("c.wav", 900, Event(1, 2, "dog", 0.05), Event(3, 4, "cat"), Event(5, 6, "other", 0.9)),
]


def test_counts_times_and_scores() -> None:
    dog, cat, owl = summarise(lambda: RUN, ["dog", "cat", "owl"])

    assert (dog.events, dog.recordings, dog.heard, dog.active) == (3, 2, 3600.0, 16.0)
    assert (dog.per_hour, dog.mean, dog.lowest, dog.highest) == (3.0, 0.5, 0.05, 0.95)
    assert dog.histogram == (1, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert (cat.events, cat.active, cat.mean, cat.highest) == (2, 2.0, 1.0, 1.0)
    assert cat.histogram == (0,) * 9 + (1,)  # an event without a score is in no bin
    assert (owl.events, owl.recordings, owl.per_hour, owl.mean, owl.highest) == (0, 0, 0.0, None, None)


def test_tenths_count_in_the_bin_that_they_begin() -> None:
    events = [Event(place, place + 1, "dog", place / 10) for place in range(11)]
    (dog,) = summarise(lambda: [recording("a.wav", 20, *events)], ["dog"])
    assert dog.histogram == (1,) * 9 + (2,)


def test_nothing_heard() -> None:
    (dog,) = summarise(lambda: [], ["dog", "dog"])
    assert (dog.events, dog.heard, dog.per_hour) == (0, 0.0, None)
    assert summary_csv([dog]).splitlines()[1] == "dog,0,0,0.000,0.000,,,,,0,0,0,0,0,0,0,0,0,0"


def test_the_table_for_programs_is_quoted() -> None:
    name = 'a "dog", barking\nloud'
    rows = list(csv.reader(io.StringIO(summary_csv(summarise(lambda: RUN, [name, "dog"])), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert rows[1][:2] == [name, "0"]
    assert rows[2][:9] == ["dog", "3", "2", "3600.000", "16.000", "3.0000", "0.5000", "0.0500", "0.9500"]
    assert rows[2][9:] == ["1", "0", "0", "0", "0", "1", "0", "0", "0", "1"]


def test_the_table_for_people() -> None:
    lines = summary_table(summarise(lambda: RUN, ["dog", "犬", "\x1b[31mred\u202e", "x" * 99])).splitlines()
    assert [line.split() for line in lines[:3]] == [
        [
            "query",
            "events",
            "recordings",
            "active",
            "per",
            "hour",
            "mean",
            "highest",
            "scores",
            "0",
            "to",
            "1",
        ],
        ["dog", "3", "2", "16.0", "s", "3.00", "0.50", "0.95", "▇····▇···▇"],
        ["犬", "0", "0", "0.0", "s", "0.00", "··········"],
    ]
    assert lines[1].index("16.0 s") == lines[2].index("0.0 s")  # a wide sign takes two columns
    assert lines[3].startswith("\ufffd[31mred\ufffd ")
    assert lines[4].startswith("x" * 39 + "… ")


def test_small_pictures() -> None:
    assert score_bars([0, 1, 20, 21, 40, 60, 80, 100]) == "·▁▁▂▂▃▅▇"
    assert score_bars([0, 0]) == "··"
    assert score_bars([0, 1, 4], " .:#") == " .#"
    assert [duration(s) for s in (0, 59.94, 59.96, 245, 111_600, 3_599.8)] == [
        "0.0 s",
        "59.9 s",
        "1:00 min",
        "4:05 min",
        "31:00 h",
        "1:00 h",
    ]
    assert clean(" a\tb\x00c ") == "a b\ufffdc"


def test_samples_are_spread_over_the_scores() -> None:
    # 1000 events below 0.6, ten above: of both parts come as many as there are bins of them.
    events = [Event(place, place + 1, "dog", 0.5 + place / 10_000) for place in range(1000)]
    events += [Event(2000 + place, 2001 + place, "dog", 0.9 + place / 100) for place in range(10)]
    run = [recording("a.wav", 3000, *events)]
    chosen = sample_events(lambda: run, summarise(lambda: run, ["dog", "cat"]), 10)

    # Bins from 0.5 to 0.99, each 0.049: three below 0.6 (the third has few), two above.
    scores = [one.score for one in chosen]
    assert scores == sorted(scores)
    assert len(scores) == 10
    assert [sum(low <= score < low + 0.049 for score in scores) for low in (0.5, 0.549, 0.598)] == [2, 2, 2]
    assert [sum(low <= score < low + 0.0491 for score in scores) for low in (0.892, 0.941)] == [2, 2]
    again = sample_events(lambda: run, summarise(lambda: run, ["dog"]), 10)
    assert again == chosen


def test_each_event_of_a_bin_has_the_same_chance() -> None:
    events = [Event(place, place + 0.5, "dog", 0.7) for place in range(4000)]
    run = [recording("a.wav", 5000, *events)]
    chosen = sample_events(lambda: run, summarise(lambda: run, ["dog"]), 400)
    onsets = [one.event.onset for one in chosen]
    assert len(set(onsets)) == 400
    quarters = [sum(low <= onset < low + 1000 for onset in onsets) for low in (0, 1000, 2000, 3000)]
    assert all(70 <= count <= 130 for count in quarters), quarters


def test_shares() -> None:
    assert shares([5, 5, 5], 6) == [2, 2, 2]
    assert shares([0, 1, 9], 6) == [0, 1, 5]
    assert shares([9] * 10, 2) == [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert shares([1, 2], 10) == [1, 2]
    assert shares([], 3) == []


def test_samples_need_scores_and_a_count(refusal) -> None:
    run = [recording("a.wav", 10, Event(0, 1, "dog"))]
    summaries = summarise(lambda: run, ["dog"])
    assert sample_events(lambda: run, summaries, 3) == []
    assert sample_events(lambda: RUN, summarise(lambda: RUN, ["dog"]), 0) == []
    assert refusal(OptionError, sample_events, lambda: run, summaries, -1) == (
        "got -1 clips for each query; expected 0 or more"
    )


def many(count: int) -> Iterator[Annotated]:
    for place in range(count):
        events = [Event(second, second + 1, "dog", (place * 7 + second) % 100 / 100) for second in range(5)]
        yield recording(f"{place:06}.wav", 60, *events)


@pytest.mark.parametrize("count", [10_000])
@pytest.mark.slow
def test_memory_does_not_grow_with_recordings(count: int) -> None:
    tracemalloc.start()
    try:
        summaries = summarise(lambda: many(count), ["dog"])
        chosen = sample_events(lambda: many(count), summaries, 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert summaries[0].events == 5 * count
    assert len(chosen) == 20
    assert peak < 1_000_000, peak
