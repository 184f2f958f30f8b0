"""PSDS against its definition, counted the slow way in exact fractions, and what must hold for any system."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.eval import PSDS1, PSDS2, PSDSResult, PSDSSettings, psds
from peaframe.events import Event
from peaframe.scores import Scores

LABELS = ("cat", "dog", "eel")
FRAMES = 12
Span = tuple[int, int]  # hundredths of a second


@dataclass(frozen=True)
class Case:
    """A few short recordings: scores in eighths, events on a grid of 10 ms, disjoint within a label."""

    levels: dict[str, np.ndarray]  # recording -> (frames, labels) integers 0..8
    spans: dict[str, dict[str, list[Span]]]

    @property
    def scores(self) -> dict[str, Scores]:
        return {file: Scores((x / 8).astype(np.float32), LABELS) for file, x in self.levels.items()}

    @property
    def truth(self) -> dict[str, list[Event]]:
        return {
            file: [Event(a / 100, b / 100, label) for label, spans in here.items() for a, b in spans]
            for file, here in self.spans.items()
        }


@st.composite
def disjoint_spans(draw: st.DrawFn) -> list[Span]:
    points = draw(st.lists(st.integers(0, 4 * FRAMES + 5), max_size=6, unique=True))
    points = sorted(points)[: len(points) // 2 * 2]
    spans = list(zip(points[::2], points[1::2], strict=True))
    return spans


@st.composite
def cases(draw: st.DrawFn) -> Case:
    files = [f"recording {n}" for n in range(draw(st.integers(1, 3)))]
    rows = st.lists(st.integers(0, 8), min_size=3 * FRAMES, max_size=3 * FRAMES)
    levels = {file: np.array(draw(rows)).reshape(FRAMES, 3) for file in files}
    spans = {file: {label: draw(disjoint_spans()) for label in LABELS} for file in files}
    if not any(here["dog"] for here in spans.values()):
        spans[files[0]]["dog"] = [(8, 30)]
    return Case(levels, spans)


shares = st.sampled_from([0.1, 0.25, 0.5, 0.7, 1.0])
any_settings = st.builds(
    PSDSSettings,
    dtc=shares,
    gtc=shares,
    cttc=shares,
    alpha_ct=st.sampled_from([0.0, 0.5, 1.0]),
    alpha_st=st.sampled_from([0.0, 1.0]),
    max_efpr=st.sampled_from([100.0, 3600.0, 100_000.0]),
)


def overlap(one: Span, others: list[Span]) -> int:
    return sum(max(0, min(one[1], b) - max(one[0], a)) for a, b in others)


def runs(active: list[bool]) -> list[Span]:
    walled = [False, *active, False]
    edges = [n for n in range(len(active) + 1) if walled[n] != walled[n + 1]]
    return [(4 * a, 4 * b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def operating_points(case: Case, label: str, chosen: PSDSSettings) -> list[tuple[Fraction, Fraction]]:
    """Every (effective false positive rate, true positive rate) of a label, from all frames to none."""
    dtc, gtc, cttc = (Fraction(str(share)) for share in (chosen.dtc, chosen.gtc, chosen.cttc))
    others = [k for k in LABELS if k != label and any(here[k] for here in case.spans.values())]
    seconds = {k: sum(b - a for here in case.spans.values() for a, b in here[k]) for k in others}
    events = sum(len(here[label]) for here in case.spans.values())
    audio = 4 * FRAMES * len(case.levels)
    points = []
    for threshold in range(-1, 9):
        hits, false, cross = 0, 0, Fraction(0)
        for file, here in case.spans.items():
            found = runs([bool(x > threshold) for x in case.levels[file][:, LABELS.index(label)]])
            relevant = [d for d in found if overlap(d, here[label]) >= dtc * (d[1] - d[0])]
            hits += sum(overlap(g, relevant) >= gtc * (g[1] - g[0]) for g in here[label])
            wrong = [d for d in found if d not in relevant]
            false += len(wrong)
            for k in others:
                triggered = sum(overlap(d, here[k]) >= cttc * (d[1] - d[0]) and bool(here[k]) for d in wrong)
                cross += Fraction(triggered, seconds[k] * len(others))
        rate = (Fraction(false, audio) + Fraction(str(chosen.alpha_ct)) * cross) * 360_000
        points.append((rate, Fraction(hits, events)))
    return points


def by_definition(case: Case, chosen: PSDSSettings) -> tuple[float, dict[str, float]]:
    happen = [k for k in LABELS if any(here[k] for here in case.spans.values())]
    points = {label: operating_points(case, label, chosen) for label in happen}
    limit = Fraction(chosen.max_efpr)
    rates = sorted({r for some in points.values() for r, _ in some if r < limit} | {Fraction(0)})
    value, per_label = 0.0, dict.fromkeys(happen, 0.0)
    for rate, following in zip(rates, [*rates[1:], limit], strict=True):
        best = {k: max((h for r, h in points[k] if r <= rate), default=Fraction(0)) for k in happen}
        mean = sum(best.values(), Fraction(0)) / len(best)
        spread = math.sqrt(sum(((h - mean) ** 2 for h in best.values()), Fraction(0)) / len(best))
        width = float((following - rate) / limit)
        value += max(0.0, float(mean) - chosen.alpha_st * spread) * width
        for k in happen:
            per_label[k] += float(best[k]) * width
    return value, per_label


def plain(result: PSDSResult) -> tuple[object, ...]:
    return result.value, result.macro, result.per_label, result.unscored, result.merged, result.hours


def merged_by_hand(case: Case) -> Case:
    """Join events of one label that touch, which `psds` does before anything else."""
    spans: dict[str, dict[str, list[Span]]] = {}
    for file, here in case.spans.items():
        spans[file] = {}
        for label, some in here.items():
            joined: list[Span] = []
            for a, b in some:
                if joined and joined[-1][1] == a:
                    joined[-1] = (joined[-1][0], b)
                else:
                    joined.append((a, b))
            spans[file][label] = joined
    return Case(case.levels, spans)


@settings(max_examples=300, deadline=None)
@given(case=cases(), chosen=any_settings)
@pytest.mark.slow
def test_is_what_the_definition_says(case: Case, chosen: PSDSSettings) -> None:
    value, per_label = by_definition(merged_by_hand(case), chosen)

    result = psds(case.scores, case.truth, chosen)

    assert result.per_label == pytest.approx(per_label, abs=1e-9)
    assert result.value == pytest.approx(value, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(case=cases(), scenario=st.sampled_from([PSDS1, PSDS2]), order=st.randoms())
def test_the_order_of_files_and_labels_is_irrelevant(
    case: Case, scenario: PSDSSettings, order: Random
) -> None:
    files = list(case.levels)
    order.shuffle(files)
    scores = {file: Scores(np.asarray(case.scores[file].values)[:, ::-1], LABELS[::-1]) for file in files}
    truth = {file: case.truth[file][::-1] for file in reversed(files)}

    assert plain(psds(scores, truth, scenario)) == plain(psds(case.scores, case.truth, scenario))


@settings(max_examples=50, deadline=None)
@given(case=cases(), chosen=any_settings)
def test_without_spread_it_is_the_mean_of_single_labels(case: Case, chosen: PSDSSettings) -> None:
    chosen = replace(chosen, alpha_st=0.0, alpha_ct=0.0)
    result = psds(case.scores, case.truth, chosen)

    single = [psds(case.scores, case.truth, chosen, labels=[label]).value for label in result.per_label]

    assert result.value == pytest.approx(np.mean(single), abs=1e-12)
    assert result.macro == pytest.approx(np.mean(single), abs=1e-12)
    assert list(result.per_label.values()) == pytest.approx(single, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(case=cases(), chosen=any_settings)
def test_a_monotone_transform_of_the_scores_changes_nothing(case: Case, chosen: PSDSSettings) -> None:
    bent = {file: Scores(item.values**3 * 0.5 + 0.25, LABELS) for file, item in case.scores.items()}

    assert plain(psds(bent, case.truth, chosen)) == plain(psds(case.scores, case.truth, chosen))


@settings(max_examples=50, deadline=None)
@given(case=cases(), scenario=st.sampled_from([PSDS1, PSDS2]))
def test_a_perfect_system_scores_one(case: Case, scenario: PSDSSettings) -> None:
    # Events on the frame grid, two frames apart, so that the scores can say exactly what happens.
    spans = {
        file: {
            label: [(48 * n + 4, 48 * n + 4 + max(4, 4 * ((b - a) // 8))) for n, (a, b) in enumerate(some)]
            for label, some in here.items()
        }
        for file, here in case.spans.items()
    }
    exact = Case(case.levels, spans)
    scores = {}
    for file, here in spans.items():
        values = np.full((4 * FRAMES, 3), 0.125, dtype=np.float32)
        for column, label in enumerate(LABELS):
            for a, b in here[label]:
                values[a // 4 : b // 4, column] = 0.75
        scores[file] = Scores(values, LABELS)

    result = psds(scores, exact.truth, scenario)

    assert result.value == 1.0
    assert set(result.per_label.values()) == {1.0}


@settings(max_examples=100, deadline=None)
@given(case=cases(), chosen=any_settings, counts=st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_resample_is_the_corpus_with_recordings_repeated(
    case: Case, chosen: PSDSSettings, counts: list[int]
) -> None:
    weights = np.array([counts[: len(case.scores)], [1] * len(case.scores)])
    copies = [(f, f"{f}#{n}") for f, k in zip(sorted(case.scores), weights[0], strict=True) for n in range(k)]
    scores = {copy: case.scores[file] for file, copy in copies}
    truth = {copy: case.truth.get(file, []) for file, copy in copies}

    result = psds(case.scores, case.truth, chosen, weights=weights)

    assert result.samples[1] == pytest.approx(result.value, abs=1e-12)
    assert result.macro_samples[1] == pytest.approx(result.macro, abs=1e-12)
    if any(truth.values()):
        repeated = psds(scores, truth, chosen)
        assert result.samples[0] == pytest.approx(repeated.value, abs=1e-12)
        assert result.macro_samples[0] == pytest.approx(repeated.macro, abs=1e-12)
    else:
        assert np.isnan(result.samples[0])
