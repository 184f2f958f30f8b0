"""Pre-train a PE-AV on shards of clips with sound, pictures and captions.

    peaframe train CONFIG [--out DIR] [--plan] [key=value ...]
    torchrun --nproc-per-node 8 -m peaframe.recipes.pretrain CONFIG ...

CONFIG is a file, or the name of one in `peaframe/recipes/configs` that begins with `pretrain_`. The same command again
goes on where it stopped. The run's folder gets last/ and best/, which are PE-AV checkpoints, and frame/, the
PE-A-Frame to fine-tune. `--first DIR` writes the model that training would begin with and stops: `peaframe shards`
takes it, where no published model is to make latents and features.

`--plan` is a calculator: it needs neither data nor weights, and counts for clips with everything, of the length that
they are cut to. Its prices and rates are yours to give:

    peaframe train pretrain_stage1 --plan --gpus 126 --gpu-tflops 989 --gpu-gb 80 --price 2.5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peaframe.clock import frames_of_seconds
from peaframe.config import load
from peaframe.data.shard_files import load_index
from peaframe.models import checkpoint
from peaframe.models.audio_video import PEAudioVideoConfig, PEAudioVideoModel
from peaframe.models.load import save_pe
from peaframe.models.pretraining import av_config
from peaframe.models.published import read_published
from peaframe.recipes import program
from peaframe.recipes.pretrain_data import Start, loader_of, measure_of, start_of
from peaframe.recipes.train import parse, train
from peaframe.train.layers import refuse_without_compiler
from peaframe.train.machine import Machine
from peaframe.train.parallel import processes
from peaframe.train.pretrain import Pretraining, take_over
from peaframe.train.pretrain_model import PretrainModel
from peaframe.train.pretrain_plan import Clips, plan_pretraining
from peaframe.train.pretrain_settings import PretrainSettings
from peaframe.train.run import stop_signals


def read_settings(config: Path, overrides: Sequence[str] = ()) -> PretrainSettings:
    """The settings of a file, with overrides such as `optim.lr=1e-4`."""
    return load(PretrainSettings, config, overrides)


def pretrain(settings: PretrainSettings, out: Path) -> bool:
    """Train; go on if `out` holds the same run.

    Returns:
        Whether it was done, or stopped by a signal and saved.
    """
    with processes(settings.device) as place:
        if settings.compile:
            refuse_without_compiler(place.device)
        start = start_of(settings)
        student = PretrainModel(start.model, settings.options)
        observed = start.folder is not None and take_over(student, start.folder)
        loader = loader_of(settings, start, place)
        measure = measure_of(settings, start, place) if place.first else None
        student.to(place.device)
        run = Pretraining(student, loader, settings, out, place, start.tokenizer, measure, observed)
        with stop_signals() as stopped:
            return run.run(lambda: stopped() > 0)


def write_first(start: Start, folder: Path) -> None:
    """Write the model that training begins with as a checkpoint folder."""
    save_pe(start.model, folder, "transformers", start.tokenizer)


def describe(
    settings: PretrainSettings, machine: Machine, pictures_per_second: float = 30.0, words: int = 32
) -> list[str]:
    """What a run would take; nothing is trained, and no weights or data are needed.

    Args:
        settings: of the run.
        machine: what it would be on.
        pictures_per_second: of the shards, where the model takes all of them.
        words: word pieces of a caption.
    """
    config = av_config(settings.model.size, settings.model.frames)
    before = None if settings.model.start is None else Path(settings.model.start) / "config.json"
    if before is not None and before.is_file():
        found = read_published(before, checkpoint.read_values(before.parent))
        if isinstance(found, PEAudioVideoConfig):
            config = found
    video = replace(config.video, image=None, features=config.video.features or 1024)
    with checkpoint.shapes_only():
        model = PEAudioVideoModel(replace(config, video=video))
    options = settings.options
    seconds = settings.data.clips.crop_seconds or 10.0
    clips = Clips(frames_of_seconds(seconds), max(1, round(pictures_per_second * seconds)), words)
    plan = plan_pretraining(
        PretrainModel(model, replace(options, recompute=False)),
        machine,
        clips,
        batch=settings.data.batch_size,
        steps=settings.schedule.steps,
        clips_at_once=settings.clips_at_once,
        sharded=settings.parallel == "fsdp" and machine.gpus > 1,
        half=settings.precision == "bfloat16",
        recompute=options.recompute,
    )
    shards = [shard for source in settings.data.sources for shard in source.shards]
    lines = [f"clips of {seconds:g} s: {clips.frames} frames, {clips.pictures} pictures, {words} word pieces"]
    if all((Path(shard) / "shards.json").is_file() for shard in shards):
        count = sum(load_index(shard).samples for shard in shards)
        epochs = settings.schedule.steps * settings.data.batch_size / max(1, count)
        lines.append(f"data: {count} clips in {len(shards)} folders of shards, {epochs:.1f} epochs")
    return lines + plan.lines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train."""
    return train(parse(__doc__, arguments), pretraining=True)


if __name__ == "__main__":
    program.run(main)
