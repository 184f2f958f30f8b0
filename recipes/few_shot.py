"""How well is a model taught a sound it does not know, from 5, 10 and 20 clips, and what does it forget?

    python -m peaframe.recipes.few_shot --data SOUNDBANK --model FOLDER --held FILE --out DIR

FOLDER is a checkpoint that was trained without the labels in FILE (`prepare_soundscapes --without FILE`). They are
taught back from the first 5, 10, 20 clips of each, all labels at once, in an order that a seed draws; by three methods:

- query vectors: a vector for each label is tuned, the model stands still (`learn: [queries]`);
- LoRA: small matrices in the audio tower learn, all else stands still;
- full: the front end, the audio tower, the heads and the scale learn.

All methods get the same items: each clip alone, once, in 5.12 s of silence with a whisper of white noise; its label is
heard where its energy says so. So what is not a label is what is around its clips, and the clips of the other held
labels. Nothing else is there to learn from, and nothing against forgetting: no sound and no word of the labels that
the model knows already.

Writes DIR/few_shot.json, few_shot.md and few_shot.png: frame AUROC of the held labels and of all others on soundscapes
(--valid), before and after. The same command again goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peaframe.data import manifest
from peaframe.data.latents import LatentCache, fill
from peaframe.data.soundbank import Clip, read_manifest
from peaframe.errors import FormatError, MissingExtraError, OptionError
from peaframe.models.checkpoint import write_text
from peaframe.models.frame import FrameModel
from peaframe.models.load import load_model
from peaframe.queries import QueryFile
from peaframe.recipes import program
from peaframe.recipes.few_shot_clips import alone, choose
from peaframe.recipes.few_shot_exam import Exam
from peaframe.recipes.finetune import QUERY_FILE, finetune
from peaframe.recipes.finetune_material import part
from peaframe.recipes.prepare_files import folder_at
from peaframe.recipes.prepare_soundscapes import labels_in
from peaframe.train.ema import EmaOptions
from peaframe.train.lora import LoraOptions
from peaframe.train.optim import OptimOptions, Schedule
from peaframe.train.settings import QUERIES, DataSettings, FinetuneSettings

CLIPS, SEEDS, STEPS = (5, 10, 20), (0, 1, 2), 40
METHODS = ("query vectors", "LoRA", "full")
RATES = {"LoRA": 1e-3, "full": 2e-4}
RESULTS = "few_shot.json"


@dataclass(frozen=True)
class Trial:
    """One way to teach the held labels.

    Attributes:
        method: one of `METHODS`.
        clips: of each label.
        seed: chooses them, and is that of training.
    """

    method: str
    clips: int
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.method.replace(' ', '_').lower()}_{self.clips}_{self.seed}"


def settings_of(
    trial: Trial, model: str, held: tuple[str, ...], items: Path, cache: Path, steps: int
) -> FinetuneSettings:
    """How a trial learns; modest, so that all of them take minutes."""
    learn: dict[str, tuple[str, ...]] = {"query vectors": (QUERIES,), "LoRA": ()}
    return FinetuneSettings(
        model=model,
        data=DataSettings(
            manifests=(items,), cache=cache, labels=held, batch_size=8, negatives=0, other_labels=len(held)
        ),
        schedule=Schedule(steps, steps // 10),
        optim=OptimOptions(lr=RATES.get(trial.method, 1e-3)),
        ema=EmaOptions(decay=0.9),
        learn=learn.get(trial.method, ("front", "audio", "heads", "scale")),
        lora=LoraOptions(seed=trial.seed) if trial.method == "LoRA" else None,
        device="cpu",
        evaluate_every=steps,
        seed=trial.seed,
    )


def teach(
    trial: Trial,
    exam: Exam,
    model: FrameModel,
    before: Mapping[str, float],
    items: Path,
    out: Path,
    steps: int,
) -> dict[str, Any] | None:
    """One trial: frame AUROC after it; None if a signal stopped it."""
    began = time.monotonic()
    folder = out / trial.name
    settings = settings_of(trial, model.name, exam.held, items, exam.measure.cache.folder, steps)
    if not finetune(settings, folder):
        return None
    if QUERIES in settings.learn:
        after = {**before, **exam.vectors(model, QueryFile.load(folder / QUERY_FILE))}
    else:
        after = exam.words(load_model(folder / "last"))
        shutil.rmtree(folder / "last")
        (folder / "resume.safetensors").unlink()
    return {**vars(trial), **exam.sides(after), "seconds": round(time.monotonic() - began, 1)}


def table(results: Mapping[str, Any]) -> str:
    """Means over the seeds, with the lowest and highest, as a Markdown table."""
    before, count = results["before"], len(results["held"])
    others = len(before["labels"]) - count
    lines = [
        f"| method | clips of each | {count} held labels | {others} other labels |",
        "|---|---|---|---|",
        f"| before | 0 | {before['held']:.3f} | {before['other']:.3f} |",
    ]
    for (method, clips), own in _groups(results).items():
        cells = [
            f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"
            for values in ([trial[side] for trial in own] for side in ("held", "other"))
        ]
        lines.append(f"| {method} | {clips} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _groups(results: Mapping[str, Any]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Trials by method and number of clips, in that order."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for trial in sorted(results["trials"], key=lambda t: (METHODS.index(t["method"]), t["clips"], t["seed"])):
        groups.setdefault((trial["method"], trial["clips"]), []).append(trial)
    return groups


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw AUROC against the number of clips: a line for each method, from the lowest to the highest of the seeds."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot", "drawing a plot") from error
    figure = Figure(figsize=(9, 4), layout="constrained")
    groups = _groups(results)
    for place, side in enumerate(("held", "other"), start=1):
        axes = figure.add_subplot(1, 2, place)
        axes.axhline(results["before"][side], color="0.5", linestyle="--", label="before")
        for number, method in enumerate(METHODS):
            rows = {clips: [t[side] for t in own] for (m, clips), own in groups.items() if m == method}
            if rows:
                x = list(rows)
                axes.plot(x, [np.mean(v) for v in rows.values()], "o-", color=f"C{number}", label=method)
                low, high = ([f(v) for v in rows.values()] for f in (min, max))
                axes.fill_between(x, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
        axes.set_xticks(sorted({clips for _, clips in groups}))
        axes.set_xlabel("clips of each held label")
        axes.set_ylabel("frame AUROC")
        axes.set_title({"held": "held labels", "other": "other labels (forgetting)"}[side])
    axes.legend()
    figure.savefig(path, dpi=120)


def few_shot(
    exam: Exam, model: FrameModel, clips: Sequence[Clip], trials: Sequence[Trial], out: Path, steps: int
) -> dict[str, Any] | None:
    """Do those trials that `out/few_shot.json` does not have yet.

    Returns:
        What is in that file; None if a signal stopped it.

    Raises:
        OptionError: the file is of another model, other labels, clips, soundscapes or another number of steps; or
            a label has too few clips.
    """
    for trial in trials:
        choose(clips, exam.held, trial.clips, trial.seed)  # refuse before any work is done
    heard = [str(item.audio) for item in exam.measure.items]
    known = [str(clip.path) for clip in clips if clip.label in exam.held and clip.split == "train"]
    order = {"model": model.fingerprint(), "held": list(exam.held), "steps": steps, "rates": RATES}
    order |= {"scenes": _digest([*heard, *exam.labels]), "clips": _digest(known)}
    path = out / RESULTS
    results: dict[str, Any] = _read(path) if path.is_file() else {**order, "before": None, "trials": []}
    odd = [key for key, value in order.items() if results.get(key) != value]
    if odd:
        raise OptionError(f"{path}: holds results of other {', '.join(odd)}; choose another --out")
    folder = folder_at(out / "clips")
    if results["before"] is None:
        results["before"] = exam.sides(exam.words(model))
        write_text(path, json.dumps(results, indent=1) + "\n")
    before = results["before"]
    print(f"before: held labels {before['held']:.3f}, others {before['other']:.3f}", flush=True)
    done = {Trial(row["method"], row["clips"], row["seed"]) for row in results["trials"]}
    for trial in trials:
        if trial in done:
            continue
        items = out / f"clips_{trial.clips}_{trial.seed}_{order['clips']}.jsonl"
        if not items.is_file():
            chosen = choose(clips, exam.held, trial.clips, trial.seed)
            manifest.save(items, [alone(clip, folder) for clip in chosen])
        found = teach(trial, exam, model, before["labels"], items, out / "runs", steps)
        if found is None:
            return None
        results["trials"].append(found)
        write_text(path, json.dumps(results, indent=1) + "\n")
        held, other = found["held"], found["other"]
        print(f"{trial.name}: held labels {held:.3f}, others {other:.3f}, {found['seconds']} s", flush=True)
    return results


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); remove it to begin anew") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Teach, measure, draw."""
    parser = program.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--model", required=True, help="checkpoint trained without the held labels")
    parser.add_argument("--held", type=Path, required=True, help="the held labels, one a line")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--valid", type=Path, default=Path("runs/valid_scenes/manifest.jsonl"))
    parser.add_argument("--cache", type=Path, help="folder of latents; default: OUT/latents")
    parser.add_argument("--clips", type=int, nargs="+", default=CLIPS, help="of each label; default: 5 10 20")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default: 0 1 2")
    parser.add_argument("--steps", type=int, default=STEPS, help="of LoRA and of full fine-tuning")
    args = parser.parse_args(arguments)
    if min(*args.clips, args.steps) < 1 or min(args.seeds) < 0:
        raise OptionError("got numbers that are too small, expected 1 or more, and seeds of 0 or more")
    clips = read_manifest(args.data)
    held = sorted(labels_in(args.held, (clip.label for clip in clips)))
    model = load_model(args.model)
    cache = LatentCache(args.cache or args.out / "latents")
    exam = Exam(args.valid, held, cache)
    fill(cache, [part(item) for item in exam.measure.items], model)
    cache.refresh()
    trials = [Trial(m, n, seed) for seed in args.seeds for n in args.clips for m in METHODS]
    results = few_shot(exam, model, clips, trials, folder_at(args.out), args.steps)
    if results is None:
        sys.exit(130)
    text = table(results)
    write_text(args.out / "few_shot.md", text + "\n")
    plot(results, args.out / "few_shot.png")
    print(f"\n{text}")


if __name__ == "__main__":
    program.run(main)
