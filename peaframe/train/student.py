"""The model and what learns beside it as one module, so that several processes can share one thing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from peaframe.errors import ModelError
from peaframe.models.frame import FrameModel
from peaframe.models.text_prior import TextPrior
from peaframe.train.lora import add_lora, is_lora, merge_lora
from peaframe.train.optim import unfreeze
from peaframe.train.settings import FinetuneSettings

TEXTS_AT_ONCE = 256
_Module = TypeVar("_Module", bound=nn.Module)


class Heard(NamedTuple):
    """What a student makes of a batch.

    Attributes:
        frames: (batch, frames, dim).
        texts: (texts, dim).
        scale: of frames against texts, () or (texts,).
        bias: likewise.
        clip_scale: of clips against texts, ().
        clip_bias: likewise.
    """

    frames: Tensor
    texts: Tensor
    scale: Tensor
    bias: Tensor
    clip_scale: Tensor
    clip_bias: Tensor


class Student(nn.Module):
    """A frame model whose chosen parts learn.

    Attributes:
        model: it.
        clip_scale: of whole clips against texts, ().
        clip_bias: likewise.
    """

    def __init__(self, model: FrameModel, settings: FinetuneSettings) -> None:
        """Freeze and free the model's parts in place; add LoRA and a text prior where asked for."""
        super().__init__()
        self.model = model
        start = model.logit_scale.detach(), model.logit_bias.detach()
        if settings.loss.prior_weight and model.text_prior is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                prior = TextPrior(model.embedding_dim, float(start[0]), float(start[1]))
            model.text_prior = prior.to(model.logit_scale)
        model.requires_grad_(False)
        if settings.lora is not None:
            add_lora(model, settings.lora)
        unfreeze(model, settings.learn)
        still = {tensor.data_ptr() for tensor in model.still_part()[1].values()}
        for p in model.parameters():
            if p.data_ptr() in still:
                p.requires_grad_(False)
        if model.text_prior is not None:  # has a scale and a bias for each text
            model.text_prior.scale.requires_grad_(True)
            model.text_prior.bias.requires_grad_(
                settings.loss.prior_weight > 0
            )  # learns from the prior loss alone
            for value in (model.logit_scale, model.logit_bias):
                value.requires_grad_(False)
        clips = settings.loss.clip_weight > 0
        self.clip_scale, self.clip_bias = (nn.Parameter(value.clone(), clips) for value in start)

    @property
    def text_learns(self) -> bool:
        """Whether anything of the text tower does."""
        return any(p.requires_grad for p in self.model.text.parameters())

    def forward(self, features: Tensor, mask: Tensor, texts: Tensor, text_mask: Tensor | None) -> Heard:
        """Embed a batch.

        Args:
            features: (batch, frames, channels).
            mask: (batch, frames) bool.
            texts: (texts, width), what the text tower gave; or, with `text_mask`, token ids (texts, tokens).
            text_mask: (texts, tokens), or None.
        """
        model = self.model
        frames = model.encode_features(features, mask)
        embeddings = model.project_text(texts if text_mask is None else model.text(texts, text_mask))
        scale, bias = model.logit_scale, model.logit_bias
        if model.text_prior is not None:
            scale, bias = model.text_prior.scale(embeddings), model.text_prior.bias(embeddings)
        return Heard(
            frames.float(), embeddings.float(), scale.float(), bias.float(), self.clip_scale, self.clip_bias
        )


def finished(model: FrameModel) -> FrameModel:
    """A model as it is used: nothing learns, in evaluation mode; with LoRA, a copy in which that is merged."""
    if any(is_lora(name) for name, _ in model.named_parameters()):
        model = copy.deepcopy(model)
        merge_lora(model)
    return model.requires_grad_(False).eval()


def twin(model: _Module) -> _Module:
    """A copy that shares what stands still and has values of its own for what learns."""
    still = [t for t in (*model.parameters(), *model.buffers()) if not t.requires_grad]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in still})


class Texts:
    """Phrases as what a student takes: token ids, or what the text tower gives, once, where it stands still."""

    def __init__(self, model: FrameModel, phrases: Sequence[str], learns: bool) -> None:
        """Know all `phrases` that will be asked for."""
        if model.tokenizer is None:
            raise ModelError(f"{model.name}: has no tokenizer; put a tokenizer.json into its folder")
        self.device = model.device
        self._tokenize = model.tokenizer
        self._rows = {phrase: row for row, phrase in enumerate(phrases)}
        self._states = None if learns else text_states(model, phrases)

    def __call__(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """`texts` and `text_mask` of `Student.forward`."""
        if self._states is None:
            ids, mask = self._tokenize(list(phrases))
            return ids.to(self.device), mask.to(self.device)
        rows = torch.tensor([self._rows[phrase] for phrase in phrases], device=self.device)
        return self._states[rows], None


@torch.no_grad()
def text_states(model: FrameModel, phrases: Sequence[str]) -> Tensor:
    """What a model's text tower gives for phrases, (phrases, width), on its device."""
    assert model.tokenizer is not None
    parts = []
    for first in range(0, len(phrases), TEXTS_AT_ONCE):
        ids, mask = model.tokenizer(list(phrases[first : first + TEXTS_AT_ONCE]))
        parts.append(model.text(ids.to(model.device), mask.to(model.device)))
    return torch.cat(parts)
