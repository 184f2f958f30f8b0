"""Fine-tune a frame model: PE-A-Frame or peaframe-mini, on labelled recordings.

    peaframe train CONFIG [--out DIR] [--dry-run] [key=value ...]
    torchrun --nproc-per-node 2 -m peaframe.recipes.finetune CONFIG ...

CONFIG is a file, or the name of one in `peaframe/recipes/configs`. The same command again goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from peaframe.clock import frames_of_seconds
from peaframe.config import load
from peaframe.data.manifest_item import refuse_doubles
from peaframe.errors import ConfigError, ModelError
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, windows
from peaframe.models.frame import FrameModel
from peaframe.models.load import find, load_model
from peaframe.queries import QueryFile
from peaframe.recipes import program
from peaframe.recipes.config_files import find_config as find_config
from peaframe.recipes.finetune_data import lesson
from peaframe.recipes.finetune_material import Material, cached, part, read_material
from peaframe.recipes.finetune_valid import METRICS, Measure
from peaframe.recipes.train import parse, train
from peaframe.train.finetune import Finetuning
from peaframe.train.layers import refuse_without_compiler
from peaframe.train.machine import Machine
from peaframe.train.optim import parameter_groups
from peaframe.train.parallel import Place, processes
from peaframe.train.plan import lines_on, plan, seconds_per_step
from peaframe.train.query_vectors import tune_query_vectors
from peaframe.train.run import stop_signals
from peaframe.train.settings import QUERIES, FinetuneSettings
from peaframe.train.student import Student

QUERY_FILE = "queries.json"


def read_settings(config: Path, overrides: Sequence[str] = ()) -> FinetuneSettings:
    """The settings of a file, with overrides such as `optim.lr=1e-4`.

    Raises:
        ConfigError: anything in them is not right.
    """
    settings = load(FinetuneSettings, config, overrides)
    if settings.best not in METRICS:
        raise ConfigError(f"got best {settings.best!r}, expected one of {', '.join(METRICS)}")
    return settings


def finetune(settings: FinetuneSettings, out: Path) -> bool:
    """Train; go on if `out` holds the same run.

    Returns:
        Whether it was done, or stopped by a signal and saved.
    """
    with processes(settings.device) as place:
        if settings.compile:
            refuse_without_compiler(place.device)
        material = read_material(settings.data)
        source, _ = find(settings.model)
        model = load_model(settings.model).to(place.device)
        if QUERIES in settings.learn:
            if not material.train:
                raise ConfigError("got learn queries with shards or scenes, expected items of data.manifests")
            tune_queries(material, settings, model, place, out)
            return True
        measure = None
        if material.valid and material.asked is not None:
            cache = cached(settings.data, material.valid, model, place)
            measure = Measure(cache, material.valid, material.asked)
        run = Finetuning(
            model, lesson(material, settings, model, place), settings, out, source, place, measure
        )
        with stop_signals() as stopped:
            return run.run(lambda: stopped() > 0)


def tune_queries(
    material: Material, settings: FinetuneSettings, model: FrameModel, place: Place, out: Path
) -> QueryFile:
    """Tune a vector for each label, and write them to `out/queries.json`.

    Raises:
        OptionError: a label is never heard or never silent, or two labels have one name.
    """
    from peaframe.data.manifest import targets

    labels = material.vocabulary.labels
    names = [material.vocabulary.phrases[label][0] for label in labels]
    refuse_doubles(names, "the first phrases of the labels")
    cache = cached(settings.data, material.train, model, place)
    embeddings, states = [], []
    for item in material.train:
        rows = cache.get(cache.key(part(item))).astype(np.float32)
        embeddings.append(_embeddings(model, rows))
        searched = item.exhaustive or settings.data.unsaid == "absent"
        states.append(targets(replace(item, exhaustive=searched), labels, len(rows)))
    marks = dict(zip(names, np.concatenate(states).T, strict=True))
    tuned = tune_query_vectors(model, np.concatenate(embeddings), marks, settings.queries)
    if place.first:
        out.mkdir(parents=True, exist_ok=True)
        tuned.save(out / QUERY_FILE)
    return tuned


@torch.no_grad()
def _embeddings(model: FrameModel, rows: NDArray[np.float32]) -> NDArray[np.float16]:
    """Of a recording's rows, (frames, dim), heard in windows as the detector does it."""
    stitcher = Stitcher(model.embedding_dim, OVERLAP_FRAMES, np.float16)
    for first, window in windows([rows], WINDOW_FRAMES, OVERLAP_FRAMES):
        frames = model.encode_features(torch.from_numpy(window)[None].to(model.device))
        stitcher.add(first, frames[0].float().cpu().numpy())
    return np.array(stitcher.result())


def describe(settings: FinetuneSettings, machine: Machine | None = None) -> list[str]:
    """What a run would take: data, parameters, memory, time; nothing is trained or written.

    Args:
        settings: of the run.
        machine: what it would be on; None for this one, on as many processes as there are.
    """
    material = read_material(settings.data)
    data = settings.data
    lines = []
    if data.scenes is not None:
        seconds = data.crop_seconds
        lines.append(f"train: scenes of {seconds:g} s mixed on the fly from {len(material.clips)} sounds")
    if data.shards is not None:
        lines.append(f"train: shards in {data.shards}")
    for name, items in (("train", material.train), ("valid", material.valid)):
        if name == "train" and not items:
            continue
        events = sum(len(item.events) for item in items)
        weak = sum(len(item.weak) for item in items)
        hours = material.hours(items)
        lines.append(f"{name}: {len(items)} items, {hours:.2f} h, {events} events, {weak} weak labels")
    vocabulary = material.vocabulary
    lines.append(
        f"words: {len(vocabulary.labels)} labels, {len(vocabulary.all_phrases())} phrases, "
        f"{len(vocabulary.related_ids())} pairs of labels that are no negatives of each other"
    )
    if QUERIES in settings.learn:
        return [*lines, "one vector for each label is tuned, the model stands still"]
    model = load_model(settings.model)
    student = Student(model, settings)
    groups = parameter_groups(student.model, settings.optim)
    count = len(material.train)
    mean = 3.0  # labels of a clip, where nothing tells
    if count:
        mean = sum(len({e.label for e in i.events} | {*i.weak}) for i in material.train) / count
    texts = max(1, round(data.batch_size * mean) + data.negatives + data.other_labels)
    if model.tokenizer is None:
        raise ModelError(f"{model.name}: has no tokenizer; put a tokenizer.json into its folder")
    tokens = model.tokenizer(list(vocabulary.all_phrases())[:256])[0].shape[1]
    length = 3600 * material.hours(material.train) / count if count else data.crop_seconds
    frames = frames_of_seconds(min(data.crop_seconds, length))
    needs = plan(
        student.model,
        groups,
        batch=data.batch_size,
        frames=max(1, frames),
        texts=texts * settings.accumulate,
        tokens=tokens,
        precision="bfloat16" if settings.precision == "bfloat16" else "float32",
        ema=True,
        world_size=int(os.environ.get("WORLD_SIZE", "1")) if machine is None else machine.gpus,
        sharded=settings.parallel == "fsdp",
    )
    hours = sum(material.hours(items) for items in (material.train, material.valid))
    rows = frames_of_seconds(3600 * hours)
    disk = f"latents on disk: {rows * model.feature_channels * 2 / 1e9:.2f} GB in {data.cache}"
    steps = settings.schedule.steps
    if machine is not None:
        clips, pieces = settings.accumulate * data.batch_size, settings.accumulate * texts
        return [
            *lines,
            disk,
            *lines_on(machine, needs, settings.accumulate, steps, (clips, frames), (pieces, tokens)),
        ]
    device = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    seconds = seconds_per_step(needs, device) * settings.accumulate
    epochs = f", {steps * settings.accumulate * data.batch_size / count:.1f} epochs" if count else ""
    return [
        *lines,
        *needs.lines(),
        disk,
        f"{steps} steps{epochs}; at least {seconds * steps / 60:.1f} minutes on this {device}, by its "
        "rate of large matrix products; all else comes on top",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train."""
    return train(parse(__doc__, arguments), pretraining=False)


if __name__ == "__main__":
    program.run(main)
