"""Query vectors tuned on a few examples: the embedding of the text is the only thing that learns.

Nothing of the model changes, so nothing else can be forgotten, and what is learned is a few kilobytes
(`peaframe.queries`). The vector starts from the embedding of the query's name and is drawn back to it, so that few
examples move it little. The loss, its weights and the strength of the pull are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from peaframe.errors import ModelError, OptionError
from peaframe.models.frame import FrameModel
from peaframe.queries import QueryFile, QueryVector


@dataclass(frozen=True)
class TuneOptions:
    """How vectors are tuned.

    Attributes:
        pull: Weight of the squared distance from the text's embedding, measured in lengths of that embedding.
        steps: Steps of L-BFGS at most; it stops by itself where the loss is level.

    Raises:
        OptionError: A pull that is not over 0, or no steps.
    """

    pull: float = 0.1
    steps: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.pull < math.inf:
            raise OptionError(f"got a pull of {self.pull}; give a number over 0")
        if self.steps < 1:
            raise OptionError(f"got {self.steps} steps; give 1 or more")


def tune_query_vectors(
    model: FrameModel,
    embeddings: ArrayLike,
    states: Mapping[str, ArrayLike],
    options: TuneOptions | None = None,
) -> QueryFile:
    """Tune one vector for each name, each on its own.

    The loss is the mean of `softplus(-state * logit)` over active frames and that over inactive frames, half of each,
    and the pull. It is convex, and the same frames give the same vector. As rare sounds weigh as much as their
    silence, scores rise; choose thresholds afterwards.

    Args:
        model: Its text tower gives the start, its scale and bias are used as they are.
        embeddings: (frames, dim), what the model makes of the recordings, one after the other: the values that
            `Detector.embed` gives, or rows of `encode_audio`.
        states: By name of the query, (frames,): 1 heard, -1 not heard, 0 unknown (left out).
        options: How.

    Returns:
        The vectors, in the order of `states`, for this model.

    Raises:
        OptionError: Shapes or numbers that do not fit, no names, or a name that is never heard or never silent.
        ModelError: A name that is empty or too long for the model, or a model with a `text_prior`.
    """
    chosen = TuneOptions() if options is None else options
    if model.text_prior is not None:
        raise ModelError(
            f"{model.name or 'the model'} has a text_prior, so each query has a scale and a bias that hang on its "
            "words; query vectors have none: tune them for a model trained with loss.prior_weight 0"
        )
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or rows.shape[1] != model.embedding_dim or not np.isfinite(rows).all():
        raise OptionError(
            f"got embeddings of shape {rows.shape}; expected (frames, {model.embedding_dim}) of finite numbers"
        )
    if not states:
        raise OptionError("got no states; expected some for each query")
    marks = {name: _marks(name, given, len(rows)) for name, given in states.items()}
    with torch.no_grad():  # one at a time: in a batch, the last bits of each would hang on the others
        texts = [model.encode_text([name.strip()])[0].double().cpu() for name in marks]
    scale, bias = float(model.logit_scale.detach()), float(model.logit_bias.detach())
    tuned = []
    for (name, mark), text in zip(marks.items(), texts, strict=True):
        heard, quiet = (torch.from_numpy(rows[mark == sign].astype(np.float64)) for sign in (1, -1))
        tuned.append(QueryVector(name, _tuned(text, heard, quiet, scale, bias, chosen).numpy()))
    return QueryFile(model.name, model.fingerprint(), tuple(tuned))


def _marks(name: str, states: ArrayLike, frames: int) -> NDArray[np.int8]:
    marks = np.asarray(states)
    if marks.shape != (frames,) or not np.isin(marks, (-1, 0, 1)).all():
        raise OptionError(
            f"got states of shape {marks.shape} for {name!r}; expected ({frames},) of 1, -1 and 0, one for each frame"
        )
    for sign, words in ((1, "heard"), (-1, "not heard")):
        if not (marks == sign).any():
            raise OptionError(f"{name!r} has no frames where it is {words}; give some, however few")
    return marks.astype(np.int8)


def _tuned(
    text: Tensor, heard: Tensor, quiet: Tensor, scale: float, bias: float, options: TuneOptions
) -> Tensor:
    """The vector (dim,) of least loss; `heard` and `quiet` are (frames, dim), all float64.

    What moves is counted in lengths of the text's embedding.
    """
    length = float(text.norm()) or 1.0
    move = torch.zeros_like(text, requires_grad=True)
    learner: torch.optim.Optimizer = torch.optim.LBFGS(
        [move],
        max_iter=options.steps,
        max_eval=4 * options.steps,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        learner.zero_grad()
        vector = text + length * move
        active, inactive = ((rows @ vector) * scale + bias for rows in (heard, quiet))
        value = (F.softplus(-active).mean() + F.softplus(inactive).mean()) / 2
        value = value + options.pull * move.square().sum()
        torch.autograd.backward(value)
        return float(value.detach())

    with torch.enable_grad():
        learner.step(loss)
    return text + length * move.detach()
