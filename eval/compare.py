"""Is one system better than another? Both on the same recordings, and on the same draws of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from peaframe.errors import OptionError
from peaframe.eval.bootstrap import paired, resample
from peaframe.eval.given_files import Scored, scored_tables
from peaframe.eval.scope import RESAMPLES, check_recordings, labels_of, odd_lengths
from peaframe.eval.suite import EVENT_METRICS, SCORE_METRICS, Case
from peaframe.version import __version__

__all__ = ["compare_tables"]

_METRICS = {**{key: metric for key, metric in SCORE_METRICS.items() if key != "d_prime"}, **EVENT_METRICS}


def compare_tables(
    first: Path,
    second: Path,
    reference: Path,
    durations: Path,
    threshold: float | None = None,
    *,
    resamples: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Take all metrics of two folders of score tables, and test each difference (`peaframe.eval.paired`).

    Args:
        first: A table for each recording of `durations`.
        second: The other system's, with the same labels.
        reference: Table of true events.
        durations: Table of the recordings that are scored and their seconds.
        threshold: Where events begin, for the metrics that need events; by default 0.5.
        resamples: Draws of recordings; by default 200.
        seed: Of these draws.
        progress: Show a bar on stderr if that is a terminal.

    Returns:
        Keys `first second recordings metrics notes settings peaframe`; a metric has the `values` of both, the
        `difference` first less second, its 95 % interval `low` to `high`, and the two-sided `p_value`; those three are
        None where a metric has no draws.

    Raises:
        FormatError: A table cannot be read; with file and line.
        OptionError: Recordings or labels do not fit each other.
    """
    systems = [scored_tables(scores, reference, durations, threshold) for scores in (first, second)]
    one, two = systems
    labels = labels_of(None, one.scores, one.truth, one.found)
    if odd := sorted(set(labels) ^ set(two.scores.labels)):
        raise OptionError(
            f"{first} and {second}: only one of them has scores of {odd[0]!r}; give both the same labels"
        )
    check_recordings(one.truth, one.seconds, two.found, two.scores)
    draws = RESAMPLES if resamples is None else resamples
    weights = resample(len(one.seconds), draws if len(one.seconds) > 1 else 0, seed)
    cases = [Case(own.truth, own.seconds, own.found, own.scores, labels, weights) for own in systems]
    bar = tqdm(_METRICS, desc="metrics", unit="metric", disable=None if progress else True)
    notes = list(
        dict.fromkeys(
            note for own, at in zip(systems, (first, second), strict=True) for note in _said(own, at)
        )
    )
    return {
        "first": str(first),
        "second": str(second),
        "recordings": len(one.seconds),
        "metrics": {key: _tested(key, cases) for key in bar},
        "notes": notes,
        "settings": {"resamples": len(weights), "seed": seed, "level": 0.95, "threshold": one.threshold},
        "peaframe": __version__,
    }


def _tested(key: str, cases: list[Case]) -> Mapping[str, Any]:
    (value, samples, *_), (other, others, *_) = (_METRICS[key](case) for case in cases)
    tested: dict[str, Any] = {"values": [value, other], "difference": value - other}
    if samples is None or others is None or np.isnan(samples - others).all():
        return tested | dict.fromkeys(("low", "high", "p_value"))
    found = paired(value, other, samples, others)
    return tested | {"low": found.low, "high": found.high, "p_value": found.p_value}


def _said(own: Scored, folder: Path) -> list[str]:
    """What was done to the truth, and what is odd about a folder's scores."""
    odd = (*own.notes, *odd_lengths(own.scores, own.seconds))
    return [*own.mended, *(f"{folder}: {note}" for note in odd)]
