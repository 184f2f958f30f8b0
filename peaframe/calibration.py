"""Calibration: scores that mean what they say for the queries it was fitted on, and event options for each of them.

A model's probability of 0.3 may be a safe sign of one sound and none of another. On development data it can be
seen how often a query's frames are really active at each score, and that share takes the score's place. Queries
without such data keep their scores.

Two kinds of curve: Platt scaling, a logistic curve over the log-odds of the score (Platt, "Probabilistic outputs for
support vector machines", 1999, with the targets given there; Newton's method as in Lin, Lin and Weng, "A note on
Platt's probabilistic outputs for support vector machines", Machine Learning 68, 2007), and isotonic regression, the
nearest non-decreasing curve of all (pool adjacent violators, Ayer et al. 1955). Neither ever turns an order around.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peaframe.config import build
from peaframe.errors import ConfigError, FormatError, OptionError
from peaframe.events import EventOptions
from peaframe.json_files import load_json, save_json
from peaframe.scores import Scores

__all__ = ["Calibration", "Isotonic", "Platt", "QueryFit", "fit_isotonic", "fit_platt", "log_odds"]

Floats = NDArray[np.float64]

_FORMAT = "peaframe-calibration"
_VERSION = 1
_EDGE = 1e-7  # no score is taken for surer than this, so that log-odds stay within 16.2
_NOTE = "calibration"  # the entry of `Scores.meta`


@dataclass(frozen=True, slots=True)
class Platt:
    """A logistic curve: the log-odds become `slope * log-odds + offset`.

    Raises:
        OptionError: A number that is not finite, or a negative slope, which would turn the order around.
    """

    slope: float
    offset: float

    def __post_init__(self) -> None:
        if not (0 <= self.slope < math.inf and math.isfinite(self.offset)):
            raise OptionError(
                f"a curve of slope {self.slope} and offset {self.offset}; give numbers, slope >= 0"
            )

    def __call__(self, scores: ArrayLike) -> Floats:
        """The calibrated probabilities of scores, in the same shape."""
        return _probability(self.slope * log_odds(scores) + self.offset)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A non-decreasing curve: straight lines between knots, level outside them.

    Attributes:
        scores: Where the knots are, rising, at least one.
        probabilities: The curve there, never falling, over 0 and under 1.

    Raises:
        OptionError: Knots that are not so.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        x, y = np.array(self.scores), np.array(self.probabilities)
        rising = len(x) == len(y) > 0 and bool((np.diff(x) > 0).all() and (np.diff(y) >= 0).all())
        if not (rising and x[0] >= 0 and x[-1] <= 1 and y[0] > 0 and y[-1] < 1):
            raise OptionError(
                "a curve whose knots do not rise from 0 to 1; give as many probabilities as scores"
            )

    def __call__(self, scores: ArrayLike) -> Floats:
        """The calibrated probabilities of scores, in the same shape."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.probabilities)


@dataclass(frozen=True, slots=True)
class QueryFit:
    """What was fitted for one query.

    Attributes:
        curve: From the model's score to the probability.
        prior: Share of frames that were active in the data of the curve.
        events: How the calibrated scores become events.
        true_events: How many true events of the query there were.
        shared: Whether these were too few, so that `curve` and `events` are those of all queries together.

    Raises:
        OptionError: A prior that is not over 0 and under 1.
    """

    curve: Platt | Isotonic
    prior: float
    events: EventOptions
    true_events: int
    shared: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.prior < 1:
            raise OptionError(f"a prior of {self.prior}; give a share over 0 and under 1")


@dataclass(frozen=True)
class Calibration:
    """Calibration of one model for some queries.

    Attributes:
        model: The model's name; it does not fit any other.
        queries: What was fitted, by query.
        fingerprint: The model's (`FrameModel.fingerprint`), if it is known: another one means that it was trained
            since, under the same name.
    """

    model: str
    queries: Mapping[str, QueryFit]
    fingerprint: str | None = None

    def check_model(self, name: str, fingerprint: str | None = None) -> None:
        """Refuse another model.

        Raises:
            OptionError: `name` is not the model of this calibration, or its fingerprint is another one.
        """
        if name != self.model:
            raise OptionError(
                f"this calibration was fitted for {self.model!r}, and the model is {name!r}; "
                f"use --model {self.model}, or calibrate {name}"
            )
        if None not in (fingerprint, self.fingerprint) and fingerprint != self.fingerprint:
            raise OptionError(
                f"this calibration was fitted for other weights of {name!r} ({self.fingerprint}, these are "
                f"{fingerprint}); calibrate again"
            )

    def known(self, queries: Iterable[str]) -> list[str]:
        """Those of the queries that it was fitted for, in their order."""
        return [query for query in queries if query in self.queries]

    def apply(self, scores: Scores, *, prior: float | Mapping[str, float] | None = None) -> Scores:
        """Calibrated scores; columns of unknown queries stay as they are.

        Args:
            scores: What the model said, (frames, queries).
            prior: Share of frames in which a query is active where the scores come from, for all queries or by
                query, if it is known to be another than in the development data: the log-odds move by as much as
                those of the prior. None, or a query that the mapping lacks: as in the development data.

        Raises:
            OptionError: Scores of another model, scores calibrated before, or a prior not over 0 and under 1.
        """
        self.check_model(scores.meta.get("model", self.model))
        if _NOTE in scores.meta:
            raise OptionError("these scores are calibrated already; give those that the model made")
        values = scores.values.copy()
        known = self.known(scores.labels)
        for query in known:
            column, fit = scores.labels.index(query), self.queries[query]
            wanted = prior.get(query) if isinstance(prior, Mapping) else prior
            probabilities = fit.curve(values[:, column])
            if wanted is not None:
                if not 0 < wanted < 1:
                    raise OptionError(f"a prior of {wanted} for {query!r}; give a share over 0 and under 1")
                shift = math.log(wanted / (1 - wanted)) - math.log(fit.prior / (1 - fit.prior))
                probabilities = _probability(log_odds(probabilities) + shift)
            values[:, column] = probabilities
        meta = {**scores.meta, _NOTE: json.dumps(known, ensure_ascii=False)}
        return Scores(values, scores.labels, scores.start, scores.duration, meta)

    def options(self, queries: Sequence[str], base: EventOptions) -> dict[str, EventOptions]:
        """How each query's scores become events; for unknown ones `base`."""
        return {query: self.queries[query].events if query in self.queries else base for query in queries}

    def save(self, path: str | Path) -> None:
        """Write it to a JSON file, whole or not at all.

        Raises:
            FormatError: The file cannot be written there.
        """
        content = {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "queries": {query: _plain(fit) for query, fit in self.queries.items()},
        }
        save_json(path, _FORMAT, _VERSION, content)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            FormatError: The file is missing, damaged, or no calibration.
        """
        hint = "expected a file written by peaframe calibrate"
        content = load_json(path, _FORMAT, _VERSION, "a calibration", hint)
        model, queries = content.get("model"), content.get("queries")
        mark = content.get("fingerprint")
        known = mark is None or isinstance(mark, str)
        if not (isinstance(model, str) and model and isinstance(queries, dict) and known):
            raise FormatError(f"{path}: a damaged calibration without model or queries; {hint}")
        try:
            return cls(model, {query: _fit_of(query, stored) for query, stored in queries.items()}, mark)
        except (ConfigError, OptionError) as error:
            raise FormatError(f"{path}: a damaged calibration ({error}); {hint}") from error


def log_odds(scores: ArrayLike) -> Floats:
    """log(p / (1 - p)) of probabilities, which are first brought within 1e-7 of 0 and 1."""
    p = np.clip(np.asarray(scores, dtype=np.float64), _EDGE, 1 - _EDGE)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds


def fit_platt(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> Platt:
    """Fit a logistic curve to what was true, by maximum likelihood.

    Args:
        scores: The model's probabilities, (frames,).
        targets: Whether each frame was active, (frames,).
        weights: How many frames each stands for, (frames,); by default one.

    Returns:
        The curve. Where higher scores were no sign of the sound at all, it is level.

    Raises:
        OptionError: Lists that do not fit together, or no frames.
    """
    x, positive, w = _checked(scores, targets, weights)
    active, quiet = float(w[positive].sum()), float(w[~positive].sum())
    targets_of = np.where(positive, (active + 1) / (active + 2), 1 / (quiet + 2))
    x, total = log_odds(x), active + quiet
    share = float(w @ targets_of) / total
    level = Platt(0.0, math.log(share / (1 - share)))
    slope, offset = 0.0, level.offset
    loss = _loss(x, targets_of, w, slope, offset)
    for _ in range(100):
        p = _probability(slope * x + offset)
        error, bend = w * (p - targets_of), w * p * (1 - p)
        gradient = np.array([error @ x, error.sum()])
        if np.abs(gradient).max() < 1e-9 * total:
            break
        curvature = np.array([[bend @ (x * x), bend @ x], [bend @ x, bend.sum()]]) + 1e-12 * total * np.eye(2)
        move = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-10:
            tried = slope - size * float(move[0]), offset - size * float(move[1])
            after = _loss(x, targets_of, w, *tried)
            if after < loss - 1e-4 * size * float(gradient @ move):
                break
            size /= 2
        else:
            break  # nothing better in reach of a float
        (slope, offset), loss = tried, after
    return Platt(slope, offset) if slope > 0 else level


def fit_isotonic(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> Isotonic:
    """Fit the non-decreasing curve that is nearest to what was true, by least squares.

    Equal scores share one value. With frames of total weight W, no probability is nearer to 0 or 1 than 1 / (W + 2):
    so many frames cannot show more.

    Args and errors as in `fit_platt`.
    """
    x, positive, w = _checked(scores, targets, weights)
    values, place = np.unique(x, return_inverse=True)
    weight = np.bincount(place, w)
    active = np.bincount(place, w * positive)
    first = last = values
    # Neighbours that fall, or are level, share a block of the answer; so all of them pool at once, until all rise.
    while (falls := active[1:] * weight[:-1] <= active[:-1] * weight[1:]).any():
        begins = np.flatnonzero(np.append(True, ~falls))
        weight, active = np.add.reduceat(weight, begins), np.add.reduceat(active, begins)
        first, last = first[begins], last[np.append(begins[1:], len(last)) - 1]
    edge = 1 / (float(w.sum()) + 2)
    level = np.clip(active / weight, edge, 1 - edge)
    knots = np.column_stack([first, last]).ravel()
    heights = np.repeat(level, 2)
    own = np.append(True, np.diff(knots) > 0)
    return Isotonic(tuple(knots[own].tolist()), tuple(np.maximum.accumulate(heights[own]).tolist()))


def _checked(
    scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    x, positive = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.bool_)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if not (x.ndim == 1 and x.shape == positive.shape == w.shape) or not (w >= 0).all() or not w.sum() > 0:
        raise OptionError(
            f"got scores of shape {x.shape}, targets of {positive.shape} and weights of {w.shape}; expected three "
            "lists of one length, with weights of 0 or more that are not all 0"
        )
    if not ((x >= 0) & (x <= 1)).all():  # NaN fails both comparisons
        raise OptionError("got scores that are no probabilities; expected numbers from 0 to 1")
    counted = w > 0
    return x[counted], positive[counted], w[counted]


def _loss(x: Floats, targets: Floats, weights: Floats, slope: float, offset: float) -> float:
    odds = slope * x + offset
    return float(weights @ (np.logaddexp(0, odds) - targets * odds))


def _probability(odds: Floats) -> Floats:
    """1 / (1 + exp(-odds)), exact for small ones too."""
    probability: Floats = np.exp(-np.logaddexp(0, -odds))
    return probability


def _plain(fit: QueryFit) -> dict[str, Any]:
    kind = "platt" if isinstance(fit.curve, Platt) else "isotonic"
    plain = dataclasses.asdict(fit)
    return {kind: plain.pop("curve"), **plain}


@dataclass(frozen=True)
class _Rest:
    """What a stored query holds beside its curve."""

    prior: float
    events: EventOptions
    true_events: int
    shared: bool


def _fit_of(query: str, stored: Any) -> QueryFit:
    if not isinstance(stored, dict) or ("platt" in stored) == ("isotonic" in stored):
        raise OptionError(f"{query!r} has no curve, or two")
    rest = dict(stored)
    kind: type[Platt | Isotonic] = Platt if "platt" in rest else Isotonic
    numbers = rest.pop("platt" if kind is Platt else "isotonic")
    if not isinstance(numbers, dict):
        raise OptionError(f"the curve of {query!r} is {numbers!r}")
    other = build(_Rest, rest, f"{query}.")
    curve = build(kind, numbers, f"{query}.")
    return QueryFit(curve, other.prior, other.events, other.true_events, other.shared)
