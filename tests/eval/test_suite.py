"""All metrics of one system as one document: what must always hold, what it says, and what it refuses."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.eval import FramedLabel, ScoreStore, ScoreTable, events_at
from peaframe.eval.report import METRICS, as_json, html, markdown
from peaframe.eval.suite import EVENT_METRICS, SCORE_METRICS, evaluate
from peaframe.events import Event
from peaframe.scores import Scores

Refusal = Callable[..., str]
Events = dict[str, list[Event]]
ALL = [*SCORE_METRICS, *EVENT_METRICS]


def perfect(count: int = 4) -> tuple[Events, dict[str, float], Events, dict[str, Scores]]:
    """Truth, durations, the same events as found, and scores that say just that; recordings of 10 s."""
    truth, scores = {}, {}
    for number in range(count):
        values = np.full((250, 2), 0.1)
        values[25 + number : 75, 0] = 0.9
        values[100 : 140 + number, number % 2] = 0.9
        scores[f"{number}"] = Scores(values, ("cat", "dog"))
        truth[f"{number}"] = events_at(scores[f"{number}"], 0.5)
    scores["quiet"], truth["quiet"] = Scores(np.full((250, 2), 0.1), ("cat", "dog")), []
    return truth, dict.fromkeys(truth, 10.0), truth, scores


def noisy(seed: int = 0, recordings: int = 8) -> tuple[Events, dict[str, float], Events, dict[str, Scores]]:
    """A system that hears something of what is true, made anew with each seed."""
    random = np.random.default_rng(seed)
    truth: Events = {}
    scores = {}
    for number in range(recordings):
        values = np.zeros((100, 3))
        name, own = f"take {number}", []
        for column, label in enumerate(("cat", "dog", "rain")):
            if random.random() < 0.7:
                begin = int(random.integers(0, 60))
                own.append(Event(begin / 25, (begin + 30) / 25, label))
                values[begin + random.integers(0, 9) : begin + 30, column] += 0.45
        truth[name] = sorted(own)
        smooth = np.repeat(random.random((20, 3)), 5, axis=0)
        scores[name] = Scores(np.clip(values + 0.55 * smooth, 0, 1), ("cat", "dog", "rain"))
    found = {name: events_at(own, 0.5) for name, own in scores.items()}
    return truth, dict.fromkeys(truth, 4.0), found, scores


def values(document: Mapping[str, Any]) -> dict[str, float]:
    return {key: row["value"] for key, row in document["metrics"].items()}


# What must always hold


def test_a_perfect_system_scores_1_everywhere() -> None:
    document = evaluate(*perfect())

    assert values(document) == dict.fromkeys([key for key in ALL if key != "d_prime"], 1.0)
    assert document["confusion"] == {"labels": ["cat", "dog"], "matrix": [[6, 0, 0], [0, 2, 0], [0, 0, 0]]}
    assert (document["worst"], document["notes"], document["unscored"]) == ([], [], [])
    assert {(row["low"], row["high"]) for row in document["metrics"].values()} == {(1.0, 1.0), (None, None)}
    dog = document["per_label"]["dog"]
    assert 0.1 < dog.pop("threshold") < 0.9
    ones = "event_f1 event_precision event_recall psds1 psds2 auroc ap mpauc segment_f1 intersection_f1"
    assert dog == {"events": 2, **dict.fromkeys(ones.split(), 1.0)}
    assert (document["recordings"], document["events"], document["hours"]) == (5, 8, 50 / 3600)


def test_intervals_lie_in_0_to_1_around_their_values() -> None:
    for seed in range(4):
        metrics = evaluate(*noisy(seed, recordings=5), resamples=60, seed=seed)["metrics"]
        known = {key: row for key, row in metrics.items() if row["low"] is not None}
        assert set(metrics) - set(known) == {"event_f1_best_macro", "segment_f1_best_macro"}
        assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in known.values())
        assert known["frame_auroc"]["low"] < known["frame_auroc"]["high"]


def test_an_interval_holds_its_value_where_nearly_all_samples_are_alike() -> None:
    # One of 40 recordings is right; few draws miss it often enough to matter, and no metric sinks below 0.
    truth = {f"{n:02}": [Event(1, 2, "dog")] for n in range(40)}
    found = {"00": [Event(1, 2, "dog")], "01": [Event(5, 6, "dog")]}

    for row in evaluate(truth, dict.fromkeys(truth, 10.0), found)["metrics"].values():
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1


def test_the_order_of_recordings_is_irrelevant() -> None:
    truth, durations, found, scores = noisy()
    backwards = [dict(reversed(part.items())) for part in (truth, durations, found, scores)]

    assert as_json(evaluate(*backwards)) == as_json(evaluate(truth, durations, found, scores))
    assert as_json(evaluate(truth, durations, found, ScoreStore(sorted(scores.items())))) == as_json(
        evaluate(truth, durations, found, scores)
    )


def test_per_label_confusion_and_worst_agree_with_each_other() -> None:
    truth, durations, found, scores = noisy()
    document = evaluate(truth, durations, found, scores)

    table = document["confusion"]
    assert table["labels"] == list(document["per_label"]) == ["cat", "dog", "rain"]
    assert [sum(row) for row in table["matrix"][:-1]] == [
        row["events"] for row in document["per_label"].values()
    ]
    assert sum(map(len, truth.values())) == document["events"] == sum(map(sum, table["matrix"][:-1]))
    for key, column in (("event_f1_macro", "event_f1"), ("psds1_a", "psds1"), ("frame_auroc", "auroc")):
        mean = np.mean([row[column] for row in document["per_label"].values()])
        assert values(document)[key] == pytest.approx(mean, abs=1e-12)
    worst = document["worst"]
    assert [row["f1"] for row in worst] == sorted(row["f1"] for row in worst)
    hits = sum(row["event_recall"] * row["events"] for row in document["per_label"].values())
    assert sum(row["missed"] for row in worst) == round(document["events"] - hits)
    assert sum(row["false"] for row in worst) == sum(map(len, found.values())) - round(hits)


def test_the_document_is_plain_and_a_report_can_be_drawn_from_it() -> None:
    document = evaluate(*noisy())

    assert json.loads(as_json(document))["metrics"] == document["metrics"]
    assert "| dog | 2 |" in markdown(document)
    page = html(document)
    assert page.count("<svg") >= 2
    assert "take 3" in page
    curve = document["curves"]["psd_roc"]
    assert set(curve["labels"]) == set(document["curves"]["pr"]) == {"cat", "dog", "rain"}
    assert all(rate <= curve["max_efpr"] for own in curve["labels"].values() for rate in own["efpr"])


# What is chosen


def test_metrics_are_taken_in_the_order_they_are_asked_for() -> None:
    asked = ("segment_ap", "event_f1_macro", "segment_ap")
    document = evaluate(*noisy(), metrics=asked)

    assert list(document["metrics"]) == ["segment_ap", "event_f1_macro"]
    assert document["metrics"] == {key: evaluate(*noisy())["metrics"][key] for key in document["metrics"]}
    assert "psd_roc" not in document["curves"]


def test_without_scores_only_metrics_of_events_are_taken(refusal: Refusal) -> None:
    truth, durations, found, _ = noisy()
    document = evaluate(truth, durations, found)

    assert list(document["metrics"]) == list(EVENT_METRICS)
    assert document["curves"] == {}
    some = evaluate(truth, durations, found, metrics=["psds1", "event_f1_micro"])
    assert (list(some["metrics"]), some["notes"]) == (
        ["event_f1_micro"],
        ["psds1 is left out for want of scores"],
    )
    assert "psds1 is left out for want of scores" in refusal(
        OptionError, evaluate, truth, durations, found, metrics=["psds1"]
    )
    assert "got the metric 'psds3'; expected some of psds1, " in refusal(
        OptionError, evaluate, truth, durations, found, metrics=["psds1", "psds3"]
    )


def test_d_prime_needs_explicit_negatives_and_may_score_labels_without_events() -> None:
    truth, durations, found, scores = noisy()
    framed = [
        FramedLabel(name, begin, begin + 0.96, label, (number + int(begin) // 2 + (label == "cow")) % 2 == 0)
        for number, name in enumerate(truth)
        for begin in (0.0, 1.92)
        for label in ("dog", "cow")
    ]
    wider = {
        name: Scores(np.column_stack([own.values, own["dog"]]), (*own.labels, "cow"))
        for name, own in scores.items()
    }

    document = evaluate(truth, durations, found, wider, framed=framed, metrics=["d_prime", "psds1"])

    dog, cow = document["per_label"]["dog"]["d_prime"], document["per_label"]["cow"]["d_prime"]
    assert dog == pytest.approx(-cow)
    assert values(document)["d_prime"] == pytest.approx(0)
    assert (document["per_label"]["cow"], document["unscored"]) == ({"events": 0, "d_prime": cow}, [])
    assert document["notes"] == []
    late = [*framed, FramedLabel("take 1", 4.8, 5.76, "dog", True)]
    document = evaluate(truth, durations, found, wider, framed=late, metrics=["d_prime"])
    assert document["notes"] == ["labelled frames left out that no scored frame overlaps: 1"]
    left = evaluate(truth, durations, found, scores, metrics=["d_prime", "psds1"])
    assert left["notes"] == ["d_prime is left out for want of explicit negatives"]
    assert list(left["metrics"]) == ["psds1"]


def test_labels_may_be_chosen_and_the_rest_is_left_out() -> None:
    truth, durations, found, scores = noisy()
    document = evaluate(truth, durations, found, scores, labels=["dog", "dog"])

    assert list(document["per_label"]) == ["dog"]
    assert document["events"] == 2
    assert document["confusion"]["labels"] == ["dog"]
    assert values(document)["event_f1_macro"] == values(document)["event_f1_micro"]


def test_resamples_can_be_none_many_or_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    case = noisy()
    none = evaluate(*case, resamples=0)
    assert {(row["low"], row["high"]) for row in none["metrics"].values()} == {(None, None)}
    assert none["settings"]["resamples"] == 0
    assert evaluate(*case)["settings"] == {"resamples": 200, "seed": 0, "level": 0.95}
    assert evaluate(*case, seed=1)["metrics"] != evaluate(*case, seed=2)["metrics"]

    monkeypatch.setattr("peaframe.eval.scope.MANY", 2399.0)
    assert evaluate(*case)["notes"] == [
        "no intervals: 800 frames of 3 labels take hours to resample; --resamples asks for it"
    ]
    store = ScoreStore(sorted(case[3].items()))
    assert evaluate(*case[:3], store)["settings"]["resamples"] == 0
    assert evaluate(*case, resamples=10)["settings"]["resamples"] == 10
    assert evaluate(*case[:3])["settings"]["resamples"] == 200


def test_of_one_recording_no_interval_is_made_up() -> None:
    document = evaluate(*noisy(recordings=1), resamples=50)

    assert {(row["low"], row["high"]) for row in document["metrics"].values()} == {(None, None)}
    assert document["notes"] == ["no intervals: of one recording there is nothing to draw"]


# What is said


def test_merged_events_and_detections_of_what_never_happens_are_noted() -> None:
    truth = {"a": [Event(0, 2, "dog"), Event(1, 3, "dog"), Event(3, 4, "dog"), Event(1, 2, "cat")], "b": []}
    found = {"a": [Event(0, 4, "dog"), Event(5, 6, "cow")], "b": [Event(1, 2, "cow"), Event(1, 2, "owl")]}

    document = evaluate(truth, {"a": 10.0, "b": 10.0}, found)

    assert document["notes"] == [
        "true events that overlap or touch another of their label: 2; merged for all but event F1",
        "detections of labels without true events, which count nowhere: 3",
    ]
    assert document["unscored"] == ["cow", "owl"]
    assert document["events"] == 4
    assert values(document)["intersection_f1_micro"] == pytest.approx(2 / 3)
    assert values(document)["event_f1_micro"] == 0.0
    assert document["worst"] == [{"recording": "a", "f1": 0.0, "missed": 4, "false": 1}]


def test_event_f1_takes_touching_events_apart_as_sed_eval_does() -> None:
    halves = [Event(1, 2, "dog"), Event(2, 3, "dog"), Event(2.5, 4, "dog")]
    truth = {"a": halves, "b": [Event(5, 6, "cat")]}
    found = {
        "a": [Event(1, 2.05, "dog"), Event(2, 3, "dog")],
        "b": [Event(5, 6, "cat"), Event(5, 6.5, "cat")],
    }

    perfect = evaluate(truth, {"a": 10.0, "b": 10.0}, truth)
    document = evaluate(truth, {"a": 10.0, "b": 10.0}, found)

    assert {values(perfect)[key] for key in ("event_f1_macro", "event_f1_micro")} == {1.0}
    assert {label: row["event_f1"] for label, row in document["per_label"].items()} == {
        "cat": pytest.approx(2 / 3),
        "dog": pytest.approx(4 / 5),
    }
    theirs = document["sed_eval"]["event_based"]
    assert values(document)["event_f1_micro"] == pytest.approx(theirs["micro"]["f_measure"])
    assert values(document)["event_f1_macro"] == pytest.approx(theirs["macro"]["f_measure"])
    assert theirs["per_label"]["dog"]["reference"] == 3


def test_without_sed_eval_all_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    case = noisy()
    whole = evaluate(*case)
    assert set(whole["sed_eval"]) == {"event_based", "segment_based"}
    assert whole["sed_eval"]["event_based"]["macro"]["f_measure"] == pytest.approx(
        values(whole)["event_f1_macro"], abs=1e-12
    )

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    without = evaluate(*case)
    assert without["sed_eval"] == {}
    assert without["notes"] == [
        "sed_eval is not installed, so its error rates are left out: pip install 'peaframe[eval]'"
    ]
    assert without["metrics"] == whole["metrics"]


def test_sed_eval_is_spared_where_it_would_take_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peaframe.eval.suite.SED_EVAL_CELLS", 23)
    document = evaluate(*noisy(), resamples=0)
    assert document["sed_eval"] == {}
    assert document["notes"][0].startswith("sed_eval's error rates are left out")


def test_torch_and_pandas_are_not_needed() -> None:
    code = """
import sys
from peaframe.eval.suite import evaluate
from peaframe.events import Event
from peaframe.scores import Scores
import numpy as np
values = np.zeros((50, 1)); values[10:20] = 1
truth = {"a": [Event(0.4, 0.8, "dog")]}
found = evaluate(truth, {"a": 2.0}, truth, {"a": Scores(values, ("dog",))})
print(found["metrics"]["psds1"]["value"], [name for name in ("torch", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0 []\n"


# What is refused


def test_recordings_that_do_not_fit_are_refused(refusal: Refusal) -> None:
    truth, durations, found, scores = noisy()
    more = {**truth, "take 8": [Event(0, 1, "dog")]}
    fewer = {name: own for name, own in scores.items() if name != "take 3"}

    assert refusal(OptionError, evaluate, more, durations, found).startswith(
        "'take 8' and 0 more recordings have"
    )
    assert "'take 8'" in refusal(OptionError, evaluate, truth, durations, {**found, "take 8": []})
    strange = {**scores, "take 9": scores["take 1"]}
    assert "'take 9' and 0 more recordings have scores and no duration" in refusal(
        OptionError, evaluate, truth, durations, found, strange, metrics=["frame_auroc"]
    )
    assert "'take 3' and 0 more recordings have no scores" in refusal(
        OptionError, evaluate, truth, durations, found, fewer, metrics=["frame_auroc"]
    )
    assert "no recordings" in refusal(OptionError, evaluate, {}, {}, {}, {})
    assert "no scores" in refusal(OptionError, evaluate, truth, durations, found, {})


def test_labels_that_do_not_fit_are_refused(refusal: Refusal) -> None:
    truth, durations, found, scores = noisy()
    owl = truth | {"take 1": [*truth["take 1"], Event(0, 1, "owl")]}

    # A system that cannot say "owl" misses it; without a score nobody knows how badly.
    message = refusal(OptionError, evaluate, owl, durations, found, scores)
    assert message.startswith("true events of 1 labels that have no scores, first 'owl'")
    assert evaluate(owl, durations, found)["metrics"]["event_f1_macro"]["value"] == pytest.approx(
        evaluate(truth, durations, found)["metrics"]["event_f1_macro"]["value"] * 3 / 4
    )
    assert "has an event in the ground truth" in refusal(
        OptionError, evaluate, {name: [] for name in truth}, durations, found, scores
    )
    assert "has an event in the ground truth" in refusal(OptionError, evaluate, {}, durations, {})
    other = scores | {
        "take 2": ScoreTable(scores["take 2"].values, ("cat", "cow", "rain"), scores["take 2"].edges)
    }
    assert "'take 2'" in refusal(OptionError, evaluate, truth, durations, found, other)


def test_every_metric_has_a_name_that_people_know() -> None:
    assert set(ALL) <= set(METRICS)
