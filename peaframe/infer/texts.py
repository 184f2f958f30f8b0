"""Embeddings of queries, computed once for each model: in memory, and on disk where the text tower is slow."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peaframe.errors import ModelError, PeaframeError
from peaframe.files import atomic_path
from peaframe.models.frame import FrameModel
from peaframe.queries import QueryFile

BATCH = 64


def cache_folder() -> Path:
    """Where peaframe keeps what it can compute again: `$PEAFRAME_CACHE`, else `peaframe` in the user's cache."""
    if own := os.environ.get("PEAFRAME_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peaframe"


class TextEmbeddings:
    """Queries -> their embeddings by one model.

    A file on disk holds one embedding, named by the model's fingerprint and the hash of its configuration and of the
    query's token ids, so another tokenizer finds nothing. What cannot be read or written there is computed again;
    nothing depends on it.
    """

    def __init__(self, model: FrameModel) -> None:
        """Take the model; the disk is used if its `slow_text` says so."""
        self._model = model
        self._known: dict[str, Tensor] = {}
        self._own: dict[str, tuple[Tensor, float]] = {}
        self._folder = cache_folder() / "texts" / model.fingerprint() if model.slow_text else None

    def use(self, queries: QueryFile) -> None:
        """Take these vectors for queries of their names, in place of any before; see `Detector.use_queries`."""
        if self._model.text_prior is not None:
            raise ModelError(
                f"{self._model.name or 'the model'} has a text_prior, which says nothing of query vectors; use them "
                "with a model trained with loss.prior_weight 0, or ask in words"
            )
        queries.check_model(self._model.name, self._model.fingerprint(), self._model.embedding_dim)
        self._own = {
            query.name: (torch.tensor(query.vector).to(self._model.logit_scale), query.bias)
            for query in queries.queries
        }

    def biases(self, queries: Sequence[str]) -> Tensor:
        """What is added to the logits of each query (queries,), on the model's device; 0 for those in words."""
        values = [self._own[query][1] if query in self._own else 0.0 for query in queries]
        return torch.tensor(values).to(self._model.logit_scale)

    def own(self, queries: Sequence[str]) -> list[str]:
        """Those of the queries that are vectors of `use`."""
        return [query for query in queries if query in self._own]

    def __call__(self, queries: Sequence[str]) -> Tensor:
        """Embeddings (queries, dim), on the model's device."""
        words = [query for query in queries if query not in self._own]
        for query in words:
            if query not in self._known and (stored := self._load(query)) is not None:
                self._known[query] = stored
        new = [query for query in dict.fromkeys(words) if query not in self._known]
        with torch.inference_mode():
            for i in range(0, len(new), BATCH):
                part = new[i : i + BATCH]
                self._known.update(zip(part, self._model.encode_text(part), strict=True))
        for query in new:
            self._store(query)
        return torch.stack(
            [self._own[query][0] if query in self._own else self._known[query] for query in queries]
        )

    def _path(self, query: str) -> Path | None:
        if self._folder is None or self._model.tokenizer is None:
            return None
        ids, _ = self._model.tokenizer([query])
        given = f"{self._model.config} {ids.tolist()}"
        return self._folder / f"{hashlib.sha256(given.encode()).hexdigest()[:32]}.npy"

    def _load(self, query: str) -> Tensor | None:
        path = self._path(query)
        with suppress(OSError, ValueError, EOFError):
            if path is not None and path.is_file():
                with path.open("rb") as file:
                    values = np.lib.format.read_array(file, allow_pickle=False)
                if values.shape == (self._model.embedding_dim,) and values.dtype == np.float32:
                    kept = torch.from_numpy(values)
                    return kept.to(self._model.logit_scale) if kept.isfinite().all() else None
        return None

    def _store(self, query: str) -> None:
        if (path := self._path(query)) is None:
            return
        with suppress(OSError, PeaframeError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temp, temp.open("wb") as file:
                np.save(file, self._known[query].float().cpu().numpy())
