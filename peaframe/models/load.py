"""Names and checkpoint folders <-> models: peaframe's own, and published PE ones in either layout."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from peaframe.config import build
from peaframe.errors import CheckpointError, ConfigError, ModelError, OptionError
from peaframe.events import EventOptions
from peaframe.files import make_folder
from peaframe.models import checkpoint, hub, layouts, video_processor
from peaframe.models.audio_video import PEAudioVideoConfig, PEAudioVideoModel
from peaframe.models.checkpoint import write_tensors, write_text
from peaframe.models.frame import FrameModel, MiniConfig, MiniFrameModel
from peaframe.models.image import ImageConfig
from peaframe.models.names import BUILT_IN, MODELS, ModelName, promised_frames
from peaframe.models.pe_frame import PEFrameConfig, PEFrameModel
from peaframe.models.published import PEConfig, layout_of, read_published, write_published
from peaframe.models.text import QueryTokenizer
from peaframe.models.text_prior import TextPrior

FORMAT = 1
TEXT_PRIOR = "text_prior.safetensors"
BESIDE = ("events.json", TEXT_PRIOR)  # what fine-tuning and tuning leave beside a model, in any layout
REFERENCE_OPTIONS = EventOptions(threshold=0.3)  # of PEAudioFrame.forward: how it was chosen is not published
PEModel = PEFrameModel | PEAudioVideoModel
# What published checkpoints hold beside what the models compute with, by peaframe's names or behind `unknown.`.
_TRANSFORMERS_FOR_NOTHING = r"text\.final_norm\.|unknown\.(.*\.bottleneck\.out_proj\.|.*logit_(scale|bias)$)"
_FOR_NOTHING = {
    "transformers": re.compile(_TRANSFORMERS_FOR_NOTHING),
    "original": re.compile(rf"text\.layers\.\d+\.|{_TRANSFORMERS_FOR_NOTHING}"),  # behind nth_text_layer
}


def load_model(name_or_folder: str | Path = BUILT_IN) -> FrameModel:
    """Load a frame model, ready to run on the CPU.

    Args:
        name_or_folder: a name that `peaframe models` lists, a checkpoint folder (peaframe's own, or a published
            PE-A-Frame in the layout of transformers or of perception_models), or a hub id such as
            `facebook/pe-a-frame-base`, with `@revision` behind it if need be. What is not on this machine is fetched.

    Raises:
        ModelError: no such name and no such folder, or a model of whole clips.
        CheckpointError: the folder is incomplete, or its weights do not fit its configuration.
    """
    folder, name = find(name_or_folder)
    values = checkpoint.read_values(folder)
    model: FrameModel
    if layout_of(values) is None:
        model = _read_mini(folder, values)
    else:
        published = read_pe(folder, values, name)
        if isinstance(published, PEAudioVideoModel):
            raise ModelError(
                f"{name} embeds whole clips (PE-AV), expected a frame model; use it with peaframe search, "
                "or in Python use load_audio_video_model"
            )
        model = published
    model.name = name
    _read_text_prior(folder, model)
    plain = EventOptions() if layout_of(values) is None else REFERENCE_OPTIONS
    model.event_options = read_event_options(folder, plain)
    return model.eval()


def load_audio_video_model(name_or_folder: str | Path) -> PEAudioVideoModel:
    """Load a PE-AV model, ready to run on the CPU; arguments and errors as for `load_model`."""
    folder, name = find(name_or_folder)
    values = checkpoint.read_values(folder)
    model = None if layout_of(values) is None else read_pe(folder, values, name)
    if not isinstance(model, PEAudioVideoModel):
        raise ModelError(f"{name} is a frame model, expected one of whole clips (PE-AV); use load_model")
    model.name = name
    return model.eval()


def find(name_or_folder: str | Path) -> tuple[Path, str]:
    """The folder of a model and the name to call it by; a hub model that is not in the cache is fetched."""
    name = str(name_or_folder)
    known = MODELS.get(name)
    if known is not None and known.folder is not None:
        return known.folder, name
    if known is None and os.path.isdir(name_or_folder):
        return Path(name_or_folder), name
    hub_id, revision = hub_address(name)
    if (folder := hub.cached(hub_id, revision)) is not None:
        return folder, name
    try:
        return hub.fetch(hub_id, revision), name
    except ModelError as error:
        where = "is not on this machine" if known else "is no folder here"
        advice = f"; where there is a network, run: peaframe models download {name}" if known else ""
        raise ModelError(f"{name} {where}, and {error}{advice}") from error


def hub_address(name: str, or_folder: bool = True) -> tuple[str, str]:
    """Hub id and revision of a model's name, or of `owner/name` or `owner/name@revision`.

    Args:
        name: what the user said.
        or_folder: whether a folder would have done as well, for the message.
    """
    known = MODELS.get(name)
    if known is not None and known.hub_id is not None:
        return known.hub_id, known.revision
    if isinstance(known, ModelName):
        raise ModelError(f"{name} is built in, there is nothing to fetch")
    if or_folder and os.path.isfile(name):
        raise ModelError(
            f"{name} is a file, expected the folder that holds the checkpoint: {Path(name).parent}"
        )
    match = re.fullmatch(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?", name)
    if match is None or os.path.isdir(match[1].split("/")[0]):  # a folder here, its name not quite right
        names = [m.name for m in MODELS.values() if or_folder or m.hub_id is not None]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        others = "a checkpoint folder, or a hub id" if or_folder else "or a hub id such as owner/name"
        raise ModelError(f"unknown model {name!r}; {hint}expected {', '.join(names)}, {others}")
    return match[1], match[2] or "main"


def _read_mini(folder: Path, values: dict[str, Any]) -> MiniFrameModel:
    config = read_config(folder, values)
    tokenizer = QueryTokenizer(
        checkpoint.part(folder, "tokenizer.json"), config.text.max_tokens, config.text.vocabulary
    )
    tensors = {name: tensor.float() for name, tensor in checkpoint.read_weights(folder).items()}
    with checkpoint.shapes_only():
        model = MiniFrameModel(config, tokenizer)
    checkpoint.check_fit(folder, tensors, {name: t.shape for name, t in model.state_dict().items()})
    model = MiniFrameModel(config, tokenizer)
    model.load_state_dict(tensors)
    return model


def read_config(folder: Path, values: dict[str, Any]) -> MiniConfig:
    """A mini model's configuration from the content of its `config.json`; refuses other kinds and unknown keys."""
    path, values = folder / "config.json", dict(values)
    kind, number = values.pop("model_type", None), values.pop("format", None)
    if kind != "peaframe_mini" or number != FORMAT:
        raise CheckpointError(
            f"{path}: got model_type {kind!r} of format {number!r}, expected 'peaframe_mini' of format {FORMAT}, "
            "'pe_audio', 'pe_audio_video', or a configuration of perception_models"
        )
    try:
        return build(MiniConfig, values)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_pe(folder: Path, values: dict[str, Any], name: str = "") -> PEModel:
    """A published PE model in float32 from its folder and the content of its `config.json`.

    Args:
        folder: the checkpoint.
        values: the content of its config.json.
        name: the name it was found by; a public one tells how many video frames stand for a clip where no file does.
    """
    config = read_published(folder / "config.json", values)
    if isinstance(config, PEAudioVideoConfig) and config.video.frames is None:
        config = dataclasses.replace(
            config, video=dataclasses.replace(config.video, frames=promised_frames(name))
        )
    tokenizer = None
    if (folder / "tokenizer.json").is_file():
        tokenizer = QueryTokenizer(folder / "tokenizer.json", config.text.max_tokens, config.text.vocabulary)
    read = checkpoint.read_weights(folder)
    layout = layout_of(values) or ""
    prefixes = _prefixes(config, layout)
    tensors = {n: t.float() for n, t in layouts.read_layout(read, prefixes, _heads(config)).items()}
    projection = tensors.get("video.proj.weight")
    if isinstance(config, PEAudioVideoConfig) and config.video.features is None and projection is not None:
        # an image encoder of another size than the public one; its configuration lies with its weights
        config = dataclasses.replace(
            config, video=dataclasses.replace(config.video, features=projection.shape[1])
        )
    if isinstance(config, PEAudioVideoConfig):
        images = [name for name in tensors if name.startswith("image.")]
        if not images:
            config = dataclasses.replace(config, video=dataclasses.replace(config.video, image=None))
        elif (
            config.video.image is None
        ):  # not one that peaframe knows: frame features must come from elsewhere
            tensors = {name: tensor for name, tensor in tensors.items() if name not in images}
    with checkpoint.shapes_only():
        model = _build(config, tokenizer)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    ignored = [name for name in tensors if name not in expected and _FOR_NOTHING[layout].match(name)]
    checkpoint.check_fit(folder, tensors, expected, ignored)
    model.load_state_dict({name: tensors[name] for name in expected}, assign=True)
    return model


def save_pe(model: PEModel, folder: Path, layout: str, tokenizer: str | None = None) -> None:
    """Write a PE model in a published layout.

    Args:
        model: what to save.
        folder: made if it does not exist.
        layout: `original` or `transformers`.
        tokenizer: the text of a `tokenizer.json` to put beside it.
    """
    own = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    tensors = layouts.write_layout(own, _prefixes(model.config, layout), _heads(model.config))
    texts = {} if tokenizer is None else {"tokenizer.json": tokenizer}
    video = model.config.video if isinstance(model.config, PEAudioVideoConfig) else None
    if layout == "transformers" and video is not None and video.frames is not None:
        content = video_processor.processor_values(video.frames, (video.image or ImageConfig()).size)
        texts[video_processor.FILE] = json.dumps(content, indent=2) + "\n"
    texts["config.json"] = json.dumps(write_published(model.config, layout), indent=2) + "\n"
    make_folder(folder)
    write_tensors(folder / checkpoint.WEIGHTS, tensors)
    for name, text in texts.items():
        write_text(folder / name, text)


def _build(config: PEConfig, tokenizer: QueryTokenizer | None) -> PEModel:
    if isinstance(config, PEFrameConfig):
        return PEFrameModel(config, tokenizer)
    return PEAudioVideoModel(config, tokenizer)


def _prefixes(config: PEConfig, layout: str) -> dict[str, str]:
    tables = {
        (False, "original"): layouts.FRAME_ORIGINAL,
        (False, "transformers"): layouts.FRAME_TRANSFORMERS,
        (True, "original"): layouts.AV_ORIGINAL,
        (True, "transformers"): layouts.AV_TRANSFORMERS,
    }
    return tables[isinstance(config, PEAudioVideoConfig), layout]


def _heads(config: PEConfig) -> dict[str, int]:
    heads = {"audio.tower.": config.audio.tower.heads}
    if isinstance(config, PEAudioVideoConfig):
        heads |= {"video.tower.": config.video.tower.heads, "fusion.tower.": config.fusion.heads}
    return heads


def _read_text_prior(folder: Path, model: FrameModel) -> None:
    """Give a frame model the correction for rare queries that lies in its folder, if there is one."""
    path = folder / TEXT_PRIOR
    if not path.is_file():
        return
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    inner = tensors.get("bias.inner.weight", torch.zeros(1, 1))
    prior = TextPrior(model.embedding_dim, hidden=inner.shape[0] if inner.dim() else 1)
    expected = {name: tuple(tensor.shape) for name, tensor in prior.state_dict().items()}
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(expected.keys() | got.keys()):
        if got.get(name) != expected.get(name):
            raise CheckpointError(
                f"{path}: does not fit the model; got {name} of shape {got.get(name)}, expected {expected.get(name)}"
            )
    prior.load_state_dict(tensors)
    model.text_prior = prior


def save_frame_model(model: FrameModel, folder: Path, source: Path) -> None:
    """Write a frame model's checkpoint folder, in peaframe's own form or, for PE-A-Frame, in transformers' layout.

    Args:
        model: what to save.
        folder: made if it does not exist.
        source: the checkpoint folder that the model came from; its tokenizer and its event options go with it.
    """
    if not isinstance(model, (MiniFrameModel, PEFrameModel)):
        raise ModelError(f"got a {type(model).__name__}, expected peaframe-mini or a PE-A-Frame model")
    folder.mkdir(parents=True, exist_ok=True)
    prior = model.text_prior
    if prior is not None:
        tensors = {name: tensor.detach().contiguous() for name, tensor in prior.state_dict().items()}
        write_tensors(folder / TEXT_PRIOR, tensors)
    else:
        (folder / TEXT_PRIOR).unlink(missing_ok=True)  # of a model that lay here before
    if (source / "events.json").is_file():
        write_text(folder / "events.json", (source / "events.json").read_text(encoding="utf-8"))
    tokenizer = source / "tokenizer.json"
    text = tokenizer.read_text(encoding="utf-8") if tokenizer.is_file() else None
    model.text_prior = None
    try:
        if isinstance(model, MiniFrameModel):
            save_model(model, folder, json.loads(text or "{}"))
        else:
            save_pe(model, folder, "transformers", text)
    finally:
        model.text_prior = prior


def read_event_options(folder: Path, default: EventOptions) -> EventOptions:
    """Read a checkpoint's `events.json`, how its scores become events; without the file, `default`."""
    path = folder / "events.json"
    if not path.is_file():
        return default
    try:
        return build(EventOptions, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, AttributeError, ConfigError, OptionError) as error:
        raise CheckpointError(
            f"{path}: no event options ({error}); expected threshold, median ..."
        ) from error


def save_model(
    model: MiniFrameModel, folder: Path, tokenizer: dict[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a mini model's checkpoint folder; each file appears whole or not at all.

    Args:
        model: what to save.
        folder: made if it does not exist.
        tokenizer: the content of `tokenizer.json`.
        dtype: what the weights are stored as; `load_model` gives float32 again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = {"model_type": "peaframe_mini", "format": FORMAT, **dataclasses.asdict(model.config)}
    write_text(folder / "config.json", json.dumps(values, indent=2) + "\n")
    write_text(folder / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    write_tensors(
        folder / checkpoint.WEIGHTS,
        {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()},
    )
