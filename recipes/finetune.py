"""Fine-tune a frame model: PE-A-Frame or peaframe-mini, on labelled recordings.

    python -m peaframe.recipes.finetune CONFIG [--out DIR] [--dry-run] [key=value ...]
    torchrun --nproc-per-node 2 -m peaframe.recipes.finetune CONFIG ...

CONFIG is a file, or the name of one in `peaframe/recipes/configs`. The same command again goes on where it stopped.
`peaframe train` is the same, for one process.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from peaframe.clock import frames_of_seconds
from peaframe.config import load
from peaframe.data.manifest_item import refuse_doubles
from peaframe.errors import ConfigError, ModelError, PeaframeError
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, windows
from peaframe.models.frame import FrameModel
from peaframe.models.load import find, load_model
from peaframe.queries import QueryFile
from peaframe.recipes.config_files import find_config as find_config
from peaframe.recipes.finetune_data import lesson
from peaframe.recipes.finetune_material import Material, cached, folder_of_run, part, read_material
from peaframe.recipes.finetune_valid import METRICS, Measure
from peaframe.train.finetune import Finetuning
from peaframe.train.optim import parameter_groups
from peaframe.train.parallel import Place, processes
from peaframe.train.plan import plan, seconds_per_step
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


def describe(settings: FinetuneSettings) -> list[str]:
    """What a run would take: data, parameters, memory, time; nothing is trained or written."""
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
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        sharded=settings.parallel == "fsdp",
    )
    device = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    seconds = seconds_per_step(needs, device) * settings.accumulate
    steps = settings.schedule.steps
    epochs = f", {steps * settings.accumulate * data.batch_size / count:.1f} epochs" if count else ""
    hours = sum(material.hours(items) for items in (material.train, material.valid))
    rows = frames_of_seconds(3600 * hours)
    return [
        *lines,
        *needs.lines(),
        f"latents on disk: {rows * model.feature_channels * 2 / 1e9:.2f} GB in {data.cache}",
        f"{steps} steps{epochs}; at least {seconds * steps / 60:.1f} minutes on this {device}, by its "
        "rate of large matrix products; all else comes on top",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="YAML file, or the name of one that comes with peaframe")
    parser.add_argument("--out", type=Path, help="folder of the run; default: runs/NAME-OF-CONFIG")
    parser.add_argument("--dry-run", action="store_true", help="say what it would take, and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    args = parser.parse_intermixed_args(arguments)
    config = find_config(args.config)
    settings = read_settings(config, args.overrides)
    if args.dry_run:
        print("\n".join(describe(settings)))
        return 0
    out = args.out or folder_of_run(config)
    if not finetune(settings, out):
        print(f"stopped and saved in {out}; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PeaframeError as error:
        print("peaframe: error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
