import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from peaframe.errors import OptionError
from peaframe.eval import PSDS1, PSDS2, PSDSSettings, psds
from peaframe.eval.tables import ScoreTable
from peaframe.events import Event
from peaframe.scores import Scores

SCENARIOS = {"psds_S1": PSDS1, "psds_S1_alpha_st0": replace(PSDS1, alpha_st=0.0), "psds_S2": PSDS2}


def curves(**labels: ArrayLike) -> Scores:
    return Scores(np.array(list(labels.values()), dtype=np.float32).T, tuple(labels))


@pytest.mark.parametrize("name", SCENARIOS)
def test_agrees_with_sed_scores_eval(
    name: str,
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    golden_durations: Mapping[str, float],
    sed_scores_eval_numbers: Mapping[str, Any],
) -> None:
    result = psds(golden_scores, golden_truth, SCENARIOS[name], durations=golden_durations)

    expected = sed_scores_eval_numbers[name]
    assert result.value == pytest.approx(expected["psds"], abs=1e-9)
    assert result.per_label == pytest.approx(expected["single_class"], abs=1e-9)
    assert result.macro == pytest.approx(np.mean(list(expected["single_class"].values())), abs=1e-9)
    assert (result.recordings, result.merged, result.unscored) == (60, 0, ())
    assert result.hours == pytest.approx(600 / 3600)


@pytest.mark.parametrize(("settings", "name"), [(PSDS1, "psds_S1"), (PSDS2, "psds_S2")])
def test_agrees_with_psds_eval_at_1000_thresholds_and_beats_its_50(
    settings: PSDSSettings,
    name: str,
    golden_scores: Mapping[str, Scores],
    golden_truth: Mapping[str, list[Event]],
    psds_eval_numbers: Mapping[str, float],
) -> None:
    value = psds(golden_scores, golden_truth, settings).value

    assert value == pytest.approx(psds_eval_numbers[f"{name}_1000thresholds"], abs=1e-6)
    assert value > psds_eval_numbers[f"{name}_50thresholds"] + 0.01


def test_one_false_alarm_before_the_event_costs_its_share_of_the_axis() -> None:
    # 36 s of audio: one false positive is 100 an hour, two are 200. Event at 1.0-2.0 s, alarm first at 10 s.
    values = np.zeros(900)
    values[25:50], values[250:275] = 0.6, 0.9
    scores, truth = {"a": curves(dog=values)}, {"a": [Event(1.0, 2.0, "dog")]}

    assert psds(scores, truth, replace(PSDS1, max_efpr=200)).value == pytest.approx(0.5)
    assert psds(scores, truth, replace(PSDS1, max_efpr=100)).value == 0.0
    longer = psds(scores, truth, replace(PSDS1, max_efpr=400), durations={"a": 72.0})
    assert longer.value == pytest.approx(0.875)


def test_a_share_that_is_exactly_reached_counts() -> None:
    # 10 frames, 0.4 s, of which the event covers 0.28 s = 0.7 of it and of 0.4 s of event.
    values = np.zeros(250)
    values[10:20] = 0.8
    truth = {"a": [Event(0.52, 0.92, "dog")]}

    assert psds({"a": curves(dog=values)}, truth, PSDS1).value == 1.0
    assert psds({"a": curves(dog=values)}, truth, replace(PSDS1, dtc=0.71)).value == 0.0
    assert psds({"a": curves(dog=values)}, truth, replace(PSDS1, gtc=0.71)).value == 0.0


def test_several_detections_together_find_an_event_and_one_detection_finds_several() -> None:
    pieces = np.zeros(250)
    pieces[25:34], pieces[36:50] = 0.8, 0.7
    whole = np.zeros(250)
    whole[25:100] = 0.8

    one = {"a": [Event(1.0, 2.0, "dog")]}
    # Below 0.7 both pieces together cover 0.92 of the event; the first alone covers 0.36.
    assert psds({"a": curves(dog=pieces)}, one).value == 1.0
    assert psds({"a": curves(dog=pieces)}, one, replace(PSDS1, gtc=0.95)).value == 0.0

    three = {"a": [Event(1.0, 2.0, "dog"), Event(2.1, 2.9, "dog"), Event(3.2, 4.0, "dog")]}
    assert psds({"a": curves(dog=whole)}, three).value == 1.0


def test_cross_triggers_cost_per_hour_of_the_other_label() -> None:
    # The dog detection at 3-4 s lies on the cat. 1 false positive in 10 s = 360 an hour; 1 cross-trigger in
    # 1 s of cat = 3600 an hour, over one other label, times 0.5.
    dog, cat = np.zeros(250), np.zeros(250)
    dog[25:50], dog[75:100], cat[75:100] = 0.6, 0.9, 0.9
    scores = {"a": curves(dog=dog, cat=cat)}
    truth = {"a": [Event(1.0, 2.0, "dog"), Event(3.0, 4.0, "cat")]}

    chosen = replace(PSDS2, dtc=0.5, max_efpr=7200)  # at 0.1 a detection of all 10 s would be relevant

    free = psds(scores, truth, replace(chosen, alpha_ct=0.0))
    paid = psds(scores, truth, chosen)

    assert free.per_label == pytest.approx({"cat": 1.0, "dog": 1 - 360 / 7200})
    assert paid.per_label == pytest.approx({"cat": 1.0, "dog": 1 - (360 + 1800) / 7200})
    # Up to the dog's rate the labels' rates are 1 and 0: mean 0.5, spread 0.5.
    assert paid.value == pytest.approx(1 - 2160 / 7200)
    assert psds(scores, truth, replace(chosen, alpha_st=0)).value == pytest.approx(paid.macro)


@pytest.mark.parametrize("settings", [PSDS1, PSDS2])
def test_a_single_label_can_be_perfect(settings: PSDSSettings) -> None:
    values = np.zeros(250)
    values[25:50] = 0.9

    result = psds({"a": curves(dog=values)}, {"a": [Event(1.0, 2.0, "dog")]}, settings)

    assert (result.value, result.macro, result.per_label) == (1.0, 1.0, {"dog": 1.0})


@pytest.mark.parametrize("settings", [PSDS1, PSDS2])
def test_a_label_that_never_happens_is_set_apart(settings: PSDSSettings) -> None:
    values = np.zeros(250)
    values[25:50] = 0.9
    truth = {"a": [Event(1.0, 2.0, "dog")]}

    alone = psds({"a": curves(dog=values)}, truth, settings)
    beside = psds({"a": curves(dog=values, unicorn=1 - values)}, truth, settings)

    assert beside.unscored == ("unicorn",)
    assert (beside.value, beside.per_label) == (alone.value, alone.per_label)


def test_overlapping_truth_of_one_label_is_merged_and_said() -> None:
    values = np.zeros(250)
    values[25:75] = 0.9
    split = [Event(1.5, 3.0, "dog"), Event(1.0, 2.0, "dog"), Event(1.2, 1.4, "dog")]

    result = psds({"a": curves(dog=values)}, {"a": split}, replace(PSDS1, gtc=1.0, dtc=1.0))

    assert (result.value, result.merged) == (1.0, 2)


def test_a_label_that_is_absent_is_under_all_scores_of_any_scale() -> None:
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.01, 0.99, (4, 250, 2))
    truth = {"a": [Event(1, 3, "dog")], "b": [Event(4, 5, "cat"), Event(2, 9, "dog")]}
    edges = np.arange(251) * 0.04

    def present(values: NDArray[np.float64]) -> float:
        tables = {name: ScoreTable(v, ("dog", "cat"), edges) for name, v in zip("abcd", values, strict=True)}
        return psds(tables, truth, PSDS1, present_only=True).macro

    expected = present(chances)

    assert 0 < expected < 1
    assert present(np.log(chances / (1 - chances))) == pytest.approx(expected, abs=1e-12)
    assert present(100 * chances - 300) == pytest.approx(expected, abs=1e-12)


def test_named_labels_only() -> None:
    values = np.zeros(250)
    values[25:50] = 0.9
    truth = {"a": [Event(1.0, 2.0, "dog"), Event(5.0, 6.0, "cat"), Event(7.0, 8.0, "cow")]}

    result = psds({"a": curves(dog=values, cat=values)}, truth, labels=["dog"])

    assert (result.per_label, result.unscored) == ({"dog": 1.0}, ())


def test_a_part_of_a_recording_keeps_its_clock_and_its_end() -> None:
    # 1.01 s heard from 5 s on: 26 frames, of which the last holds 10 ms.
    values = np.zeros((26, 1), dtype=np.float32)
    values[13:] = 0.9
    part = Scores(values, ("dog",), start=5.0, duration=1.01)

    exact = replace(PSDS1, dtc=1.0, gtc=1.0)
    assert psds({"a": part}, {"a": [Event(5.52, 6.01, "dog")]}, exact).value == 1.0
    assert psds({"a": part}, {"a": [Event(5.52, 6.04, "dog")]}, exact).value == 0.0
    assert psds({"a": part}, {"a": [Event(0.52, 1.01, "dog")]}, exact).value == 0.0


def test_a_constant_score_and_an_empty_recording_are_fine() -> None:
    flat = {"a": curves(dog=[0.5] * 50), "b": Scores(np.zeros((0, 1), dtype=np.float32), ("dog",))}

    assert psds(flat, {"a": [Event(0.0, 2.0, "dog")]}).value == 1.0
    assert psds(flat, {"a": [Event(0.0, 0.5, "dog")]}).value == 0.0
    assert psds(flat, {"b": [Event(0.0, 0.5, "dog")]}).value == 0.0


def test_events_beyond_the_end_are_missed() -> None:
    scores = {"a": curves(dog=[0.9] * 50)}

    result = psds(scores, {"a": [Event(0.0, 2.0, "dog"), Event(30.0, 31.0, "dog")]})

    assert result.per_label == {"dog": 0.5}


def test_memory_does_not_grow_with_labels_squared() -> None:
    # All labels by all labels by all thresholds would be 80 * 80 * 5000 * 8 bytes = 256 MB.
    random = np.random.default_rng(5)
    labels = tuple(f"label {n}" for n in range(80))
    scores = {f"{n}": Scores(random.random((250, 80), dtype=np.float32), labels) for n in range(20)}
    truth = {f"{n}": [Event(k, k + 1.5, labels[(7 * n + k) % 80]) for k in range(8)] for n in range(20)}
    tracemalloc.start()
    result = psds(scores, truth, PSDS2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(result.per_label) == 80
    assert peak < 10e6


def test_scores_without_recordings_or_truth_are_refused() -> None:
    with pytest.raises(OptionError, match="scores of no recordings"):
        psds({}, {})
    with pytest.raises(OptionError, match="none of the 1 labels has an event"):
        psds({"a": curves(dog=[0.5])}, {"a": []})
    with pytest.raises(OptionError, match="no labels to evaluate"):
        psds({"a": curves(dog=[0.5])}, {}, labels=[])


def test_tables_that_do_not_fit_are_refused() -> None:
    scores = {"a": curves(dog=[0.5] * 25)}
    truth = {"a": [Event(0, 1, "dog")]}
    with pytest.raises(OptionError, match=r"1 of 2 recordings that have no scores, first 'b'"):
        psds(scores, {**truth, "b": []})
    with pytest.raises(OptionError, match=r"1 labels without scores, first 'cat'"):
        psds(scores, {"a": [Event(0, 1, "dog"), Event(0, 1, "cat")]})
    with pytest.raises(OptionError, match=r"'a' does not have scores for 'cat'"):
        psds(scores, truth, labels=["dog", "cat"])
    with pytest.raises(OptionError, match=r"'b' has, unlike others, scores for 'cat'"):
        psds({**scores, "b": curves(dog=[0.5], cat=[0.5])}, truth)
    with pytest.raises(OptionError, match=r"'b' has a duration and no scores"):
        psds(scores, truth, durations={"a": 1.0, "b": 1.0})
    with pytest.raises(OptionError, match=r"'a' has scores and no duration"):
        psds(scores, truth, durations={})
    with pytest.raises(OptionError, match=r"recordings of 0 seconds"):
        psds(scores, truth, durations={"a": 0.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtc": 0.0}, "dtc 0; expected a share"),
        ({"gtc": 1.1}, "gtc 1.1; expected a share"),
        ({"cttc": -0.3}, "cttc -0.3; expected a share"),
        ({"dtc": float("nan")}, "dtc nan"),
        ({"cttc": None}, "alpha_ct 0.5 without cttc"),
        ({"alpha_ct": -1.0}, "alpha_ct -1; expected a weight"),
        ({"alpha_st": float("inf")}, "alpha_st inf"),
        ({"max_efpr": 0.0}, "max_efpr 0; expected"),
    ],
)
def test_settings_without_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(PSDS2, **change)
