import sys
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.errors import MissingExtraError, OptionError
from peaframe.eval import SedEvalResult, event_based, segment_based
from peaframe.events import Event, EventOptions, events_from_scores
from peaframe.scores import Scores

Events = Mapping[str, list[Event]]


@st.composite
def recordings(draw: st.DrawFn) -> dict[str, list[Event]]:
    tenths = st.tuples(st.integers(0, 80), st.integers(1, 20), st.sampled_from(["cat", "dog"]))
    some = draw(st.lists(st.lists(tenths, max_size=5), min_size=1, max_size=3))
    some[0].append((5, 5, "dog"))
    return {
        f"{n}.wav": [Event(a / 10, (a + length) / 10, label) for a, length, label in events]
        for n, events in enumerate(some)
    }


def agree(result: SedEvalResult, expected: Mapping[str, Any]) -> None:
    assert result.macro["f_measure"] == pytest.approx(expected["macro_f"], abs=1e-9)
    assert {label: row["f_measure"] for label, row in result.per_label.items()} == pytest.approx(
        expected["class_f"], abs=1e-9
    )
    names = {
        "ER": "error_rate",
        "S": "substitution_rate",
        "D": "deletion_rate",
        "I": "insertion_rate",
    }
    micro = {names.get(name, name): value for name, value in expected["micro"].items()}
    assert {name: result.micro[name] for name in micro} == pytest.approx(micro, abs=1e-9)
    for label, counts in expected["class_counts"].items():
        row = result.per_label[label]
        assert (row["reference"], row["estimated"]) == (counts["Nref"], counts["Nsys"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("event_dcase_on0.2_off0.2_20pct_optimal", {}),
        ("event_greedy", {"matching": "greedy"}),
        ("event_onset_only", {"offset": False}),
        ("event_sed_eval_default_50pct", {"percentage_of_length": 0.5}),
    ],
)
def test_events_agree_with_sed_eval(
    name: str,
    options: dict[str, Any],
    golden_truth: Events,
    golden_detections: Events,
    sed_eval_numbers: Mapping[str, Any],
) -> None:
    agree(event_based(golden_detections, golden_truth, **options), sed_eval_numbers[name])


@pytest.mark.parametrize(
    ("name", "segment", "timed"),
    [
        ("segment_1s_len10", 1, True),
        ("segment_1s_no_length_as_in_DCASE_baseline", 1.0, False),
        ("segment_0.1s_len10", 0.1, True),
    ],
)
def test_segments_agree_with_sed_eval(
    name: str,
    segment: float,
    timed: bool,
    golden_truth: Events,
    golden_detections: Events,
    golden_durations: Mapping[str, float],
    sed_eval_numbers: Mapping[str, Any],
) -> None:
    durations = golden_durations if timed else None
    result = segment_based(golden_detections, golden_truth, segment=segment, durations=durations)
    agree(result, sed_eval_numbers[name])


def test_strict_detections_agree_with_sed_scores_eval(
    golden_scores: Mapping[str, Scores],
    golden_truth: Events,
    golden_durations: Mapping[str, float],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    options = EventOptions(threshold=0.5)
    found = {file: events_from_scores(item, options) for file, item in golden_scores.items()}

    collar = sed_scores_eval_numbers["collar_f_th0.5"]["f"]
    result = event_based(found, golden_truth)
    assert result.macro["f_measure"] == pytest.approx(collar["macro_average"], abs=1e-9)
    assert result.micro["f_measure"] == pytest.approx(collar["micro_average"], abs=1e-9)

    segment = sed_scores_eval_numbers["segment_f_th0.5_1s"]["f"]
    result = segment_based(found, golden_truth, durations=golden_durations)
    assert result.macro["f_measure"] == pytest.approx(segment["macro_average"], abs=1e-9)
    assert result.micro["f_measure"] == pytest.approx(segment["micro_average"], abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(recordings(), st.randoms())
def test_perfect_detections_score_one_in_any_order(truth: dict[str, list[Event]], order: Random) -> None:
    found = list(truth.items())
    order.shuffle(found)

    for result in (event_based(dict(found), truth), segment_based(dict(found), truth, segment=0.5)):
        assert result.macro["f_measure"] == 1.0
        assert result.micro["error_rate"] == 0.0
        assert result.recordings == len(truth)


def test_a_label_that_is_never_detected_scores_zero() -> None:
    truth = {"a": [Event(0.0, 1.0, "dog"), Event(2.0, 3.0, "cat")]}
    found = {"a": [Event(0.0, 1.0, "dog")]}

    for result in (event_based(found, truth), segment_based(found, truth), segment_based({}, truth)):
        assert result.per_label["cat"]["f_measure"] == 0.0
        assert result.per_label["cat"]["deletion_rate"] == pytest.approx(1.0)
    assert event_based(found, truth).macro["f_measure"] == 0.5
    assert segment_based(found, truth).macro["f_measure"] == 0.5
    assert event_based({}, truth).macro["f_measure"] == 0.0
    assert segment_based({}, truth).micro["f_measure"] == 0.0


def test_labels_without_truth_are_set_apart_and_cost_nothing() -> None:
    truth = {"a": [Event(0.0, 1.0, "dog")]}
    found = {"a": [Event(0.0, 1.0, "dog"), Event(4.0, 5.0, "unicorn")]}

    for result in (event_based(found, truth), segment_based(found, truth)):
        assert (result.unscored, list(result.per_label)) == (("unicorn",), ["dog"])
        assert (result.micro["f_measure"], result.micro["error_rate"]) == (1.0, 0.0)
    assert event_based(found, truth, labels=["dog", "horse"]).unscored == ("horse",)


def test_recordings_in_one_table_only_count() -> None:
    truth = {"a": [Event(0.0, 1.0, "dog")], "quiet": []}
    found = {"b": [Event(0.0, 1.0, "dog")], "quiet": []}

    events = event_based(found, truth)
    assert [events.micro[f"{name}_rate"] for name in ("deletion", "insertion")] == pytest.approx([1.0, 1.0])
    assert events.recordings == 3
    assert segment_based(found, truth).micro["f_measure"] == 0.0


def test_durations_count_the_quiet_end() -> None:
    truth = {"a": [Event(0.0, 1.0, "dog")]}
    short = segment_based(truth, truth, durations={"a": 1.0})
    long = segment_based({"a": [Event(0.0, 2.0, "dog")]}, truth, durations={"a": 10.0, "quiet": 10.0})

    assert short.per_label["dog"]["accuracy"] == pytest.approx(1.0)
    assert long.per_label["dog"]["specificity"] == pytest.approx(18 / 19)
    assert long.recordings == 2


def test_without_sed_eval_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = {"a": [Event(0.0, 1.0, "dog")]}
    monkeypatch.setitem(sys.modules, "sed_eval.sound_event", None)  # Python's own mark: not to be found
    with pytest.raises(MissingExtraError, match=r"needs sed_eval, .* pip install 'peaframe\[eval\]'"):
        event_based(truth, truth)
    with pytest.raises(MissingExtraError, match="sed_eval"):
        segment_based(truth, truth)


def test_options_without_sense_are_refused() -> None:
    truth = {"a": [Event(0.0, 1.0, "dog")]}
    with pytest.raises(OptionError, match="t_collar -1"):
        event_based(truth, truth, t_collar=-1)
    with pytest.raises(OptionError, match="at least one of them"):
        event_based(truth, truth, onset=False, offset=False)
    with pytest.raises(OptionError, match="'best'; expected 'optimal' or 'greedy'"):
        event_based(truth, truth, matching="best")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="segments of 0 seconds"):
        segment_based(truth, truth, segment=0)
    with pytest.raises(OptionError, match="no duration for 'a'"):
        segment_based(truth, truth, durations={})
    with pytest.raises(OptionError, match="none of the 1 labels has an event"):
        event_based(truth, {"a": []})
