"""What a run of pre-training begins with and learns from: the first model, its clips, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from peaframe.data.clip_batches import ClipBatches, ClipOptions
from peaframe.data.clip_reader import ClipMixture, ClipReader
from peaframe.errors import ConfigError, ModelError, OptionError
from peaframe.eval.ranking import auroc
from peaframe.eval.retrieval import retrieve_scores
from peaframe.losses.pairs import SIDES
from peaframe.models import checkpoint
from peaframe.models.audio_video import PEAudioVideoModel
from peaframe.models.image import ImageConfig, ImageEncoder
from peaframe.models.load import PEModel, find, load_audio_video_model, read_pe
from peaframe.models.pretraining import TINY, av_config, new_model, read_text_tower, read_tiny_codec
from peaframe.models.published import layout_of
from peaframe.models.text import QueryTokenizer
from peaframe.train.parallel import Place
from peaframe.train.pretrain_batch import PretrainBatch
from peaframe.train.pretrain_model import PretrainModel
from peaframe.train.pretrain_settings import ModelSettings, PretrainSettings

_FILE = "tokenizer.json"
_TINY_IMAGE = ImageConfig(size=48, patch=8, width=128, layers=2, heads=2, pool_heads=2)
_WORDS = 512  # most word pieces of the tiny text tower


@dataclass(frozen=True)
class Start:
    """What training begins with.

    Attributes:
        model: on the CPU.
        tokenizer: the text of its `tokenizer.json`.
        folder: of the stage before, None without one.
    """

    model: PEAudioVideoModel
    tokenizer: str
    folder: Path | None = None


def start_of(settings: PretrainSettings) -> Start:
    """The model of `settings.model`; see there.

    Raises:
        ConfigError: there is no tokenizer.
        ModelError: a model or a tokenizer is not there, or its sizes do not fit.
    """
    given = settings.model
    if given.start is not None:
        folder, _ = find(given.start)
        text = checkpoint.part(folder, _FILE).read_text(encoding="utf-8")
        return Start(load_audio_video_model(given.start), text, folder)
    path = _tokenizer_file(given)
    source = None if given.codec is None else _codec_of(given.codec)
    config = av_config(given.size, given.frames)
    if given.size == TINY:
        from tokenizers import Tokenizer

        pieces = Tokenizer.from_file(str(path)).get_vocab_size()
        config = av_config(given.size, given.frames, max(_WORDS, pieces))
        if source is None:
            config = replace(config, video=replace(config.video, image=_TINY_IMAGE))
    image = source.image if isinstance(source, PEAudioVideoModel) else None
    if isinstance(source, PEAudioVideoModel):
        theirs = source.config.video
        config = replace(
            config,
            video=replace(
                config.video,
                features=theirs.features,
                image_encoder=theirs.image_encoder,
                image=theirs.image,
            ),
        )
    tokenizer = QueryTokenizer(path, config.text.max_tokens)
    model = new_model(config, settings.seed, source, tokenizer)
    if image is not None and model.image is not None:
        model.image.load_state_dict(image.state_dict())
    if given.size == TINY and source is None:
        read_tiny_codec(model)
        if model.image is not None:
            _spread(model.image, settings.seed)
    if given.text is not None:
        read_text_tower(model, given.text)
    return Start(model.eval(), path.read_text(encoding="utf-8"))


@torch.no_grad()
def _spread(image: ImageEncoder, seed: int) -> None:
    """Give a random image encoder outputs of mean 0 and deviation 1, on coarse colours: else all look alike."""
    random = torch.Generator().manual_seed(seed)
    colours = 2 * torch.rand(64, 3, 4, 4, generator=random) - 1
    outputs = image(F.interpolate(colours, size=image.config.size, mode="bilinear"))
    deviation = outputs.std(dim=0).clamp(min=1e-6)
    image.head.weight.div_(deviation[:, None])
    image.head.bias.sub_(outputs.mean(dim=0)).div_(deviation)


def _tokenizer_file(given: ModelSettings) -> Path:
    name = given.tokenizer or (None if given.text is None else str(given.text)) or given.codec
    if name is None:
        raise ConfigError("got no model.tokenizer, expected a tokenizer.json, or a model that has one")
    path = Path(name) if Path(name).is_file() else find(name)[0] / _FILE
    if not path.is_file():
        raise ModelError(f"{name}: has no tokenizer; give model.tokenizer, a tokenizer.json")
    return path


def _codec_of(name: str) -> PEModel:
    folder, called = find(name)
    values = checkpoint.read_values(folder)
    if layout_of(values) is None:
        raise ModelError(f"{name} has no codec, expected a PE-AV or PE-A-Frame")
    return read_pe(folder, values, called)


def loader_of(settings: PretrainSettings, start: Start, place: Place) -> ClipBatches:
    """Batches of this process's clips, mixed from all sources, without end.

    Raises:
        OptionError: the batch cannot be shared out evenly.
        FormatError: shards are missing or damaged.
        ModelError: they were made by another model.
    """
    data = settings.data
    if data.batch_size % place.world_size:
        raise OptionError(
            f"got data.batch_size {data.batch_size} for {place.world_size} processes, expected a multiple"
        )
    readers = [
        ClipReader(
            list(source.shards),
            seed=settings.seed,
            shuffle_buffer=data.shuffle_buffer,
            rank=place.rank,
            world_size=place.world_size,
            workers=data.workers,
        )
        for source in data.sources
    ]
    weights = [source.weight for source in data.sources]
    return ClipBatches(
        ClipMixture(readers, weights, seed=settings.seed, rank=place.rank),
        _tokenizer(start),
        batch_size=data.batch_size // place.world_size,
        options=data.clips,
        seed=settings.seed,
        model=start.model,
    )


def _tokenizer(start: Start) -> QueryTokenizer:
    if start.model.tokenizer is None:
        raise ModelError("the model has no tokenizer; give model.tokenizer")
    return start.model.tokenizer


def measure_of(
    settings: PretrainSettings, start: Start, place: Place
) -> Callable[[PretrainModel], dict[str, float]] | None:
    """Measures retrieval in `data.valid`, by every pair; None without any."""
    if not settings.data.valid:
        return None
    kept = valid_batches(settings, start)
    return lambda model: retrieval(model, kept, place.device)


def valid_batches(settings: PretrainSettings, start: Start) -> list[PretrainBatch]:
    """All clips of `data.valid`, in the order of their shards."""
    data = settings.data
    reader = ClipReader(list(data.valid), shuffle=False)
    cut = ClipOptions(crop_seconds=data.clips.crop_seconds)
    if data.clips.transcripts is not None:  # where there is no other caption
        cut = replace(data.clips, transcripts=0.0)
    size = settings.clips_at_once or min(data.batch_size, 64)
    batches = ClipBatches(
        reader, _tokenizer(start), batch_size=size, options=cut, seed=settings.seed, model=start.model
    )
    return [batch.inputs for batch in batches]


@dataclass(frozen=True, eq=False)
class Found:
    """What was found by one side of a pair among the other side of all clips that have both.

    Attributes:
        pair: such as `A-V`.
        back: whether the right side asked and the left one was looked for.
        clips: (queries,), which clips these are, from 0 in the order of the batches.
        recall: share of queries whose clip came first, and among the first ten, by that number.
        ahead: (queries,), the share of wrong clips that a right one is ahead of, from 0 to 1; 0.5 is chance.
    """

    pair: str
    back: bool
    clips: NDArray[np.int64]
    recall: Mapping[int, float]
    ahead: NDArray[np.float64]


@torch.no_grad()
def found_by(
    model: PretrainModel, batches: list[PretrainBatch], device: torch.device, pairs: Sequence[str]
) -> list[Found]:
    """Look for what belongs together, by every pair and both ways; pairs with fewer than two clips are left out.

    Clips with the same caption are all right for it.

    Args:
        model: in evaluation mode, on `device`.
        batches: all clips; each is looked for among all that have both sides.
        device: where it computes.
        pairs: which; the model need not have learnt them.
    """
    made = [model(batch.to(device)) for batch in batches]
    same = {
        f"{kind}_text": np.concatenate([batch.caption(kind).same().numpy() for batch in batches])
        for kind in ("audio", "visual", "audio_visual")
    }

    def table(side: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        values = torch.cat([own.embeddings[side] for own in made]).double().cpu().numpy()
        return values, torch.cat([own.present[side] for own in made]).cpu().numpy()

    out = []
    for pair in pairs:
        left, right = SIDES[pair]
        (x, here), (y, there) = table(left), table(right)
        both = here & there
        if both.sum() < 2:
            continue
        scores = x[both] @ y[both].T
        belongs = np.eye(len(scores), dtype=bool)
        for side in (left, right):
            if side in same:
                ids = same[side][both]
                belongs |= (ids[:, None] == ids) & (ids >= 0)
        for back, rows, marks in ((False, scores, belongs), (True, scores.T, belongs.T)):
            result = retrieve_scores(rows, np.argwhere(marks))
            out.append(Found(pair, back, np.flatnonzero(both), result.recall, shares_ahead(rows, marks)))
    return out


def shares_ahead(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of wrong ones that a right one is ahead of, the mean over the right ones; equal scores count half.

    That is the area under the ROC curve of each query, of which 0.5 is chance however many are right: the best one of
    several would be ahead of more by chance alone.

    Args:
        scores: (queries, clips).
        right: (queries, clips), one or more for each query.

    Returns:
        (queries,), from 0 to 1; 1 where nothing is wrong.
    """
    areas = [auroc(row, marks) for row, marks in zip(scores, right, strict=True)]
    return np.nan_to_num(areas, nan=1.0)


def retrieval(model: PretrainModel, batches: list[PretrainBatch], device: torch.device) -> dict[str, float]:
    """How well a model finds by the left side of each pair it learns what belongs to it, and the other way round.

    Args:
        model: in evaluation mode, on `device`.
        batches: all clips.
        device: where it computes.

    Returns:
        For each pair with two clips or more, `r1`, `r10` (recall) and `ahead`, as `A-V/r1`, and from the right side as
        `A-V/back/r1`; and the means over all pairs and both ways, `r1`, `r10`, `ahead`.
    """
    out: dict[str, float] = {}
    every: dict[str, list[float]] = {}
    for found in found_by(model, batches, device, model.options.pairs):
        values = {"r1": found.recall[1], "r10": found.recall[10], "ahead": float(found.ahead.mean())}
        for name, value in values.items():
            out[f"{found.pair}/{'back/' if found.back else ''}{name}"] = value
            every.setdefault(name, []).append(value)
    if not every:
        raise OptionError("got clips of data.valid without both sides of any pair; give others")
    return {name: float(np.mean(values)) for name, values in every.items()} | out
