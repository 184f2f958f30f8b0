"""Does the whole path learn? A tiny PE-A-Frame from random weights is to know eight soundscapes by heart.

    python -m peaframe.recipes.overfit --out DIR [--seed 0] [--steps 300]

Makes eight soundscapes of ten seconds and a checkpoint folder of a PE-A-Frame with DAC-VAE's encoder, a ModernBERT and
a tokenizer, all small and random; computes the latents once, fine-tunes on them (`peaframe.recipes.finetune`), measures
on the same soundscapes, and hears the files with the checkpoint that was written, as `peaframe detect` does. Prints the
curve of frame AUROC. Under 0.99 something on the way is broken; the exit code is then 1. The same command again goes
on where it stopped.

The sounds are made up by numpy (tones, a sweep, clicks, noises), so nothing is fetched and the numbers say nothing of
how well real sounds are heard.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import peaframe
from peaframe.clock import FRAME_RATE, HOP_SAMPLES, SAMPLE_RATE
from peaframe.codec.dac_vae import CodecConfig
from peaframe.data import manifest
from peaframe.data.manifest_item import Item
from peaframe.data.mix import MixConfig, label_tracks
from peaframe.data.mix_folder import write_flac
from peaframe.errors import OptionError
from peaframe.eval import frame_auroc
from peaframe.models.checkpoint import write_text
from peaframe.models.load import save_pe
from peaframe.models.modernbert import ModernBertConfig
from peaframe.models.pe_frame import PEAudioConfig, PEFrameConfig, PEFrameModel
from peaframe.models.tower import TowerConfig
from peaframe.recipes import program
from peaframe.recipes.finetune import finetune
from peaframe.recipes.prepare_files import folder_at
from peaframe.train.ema import EmaOptions
from peaframe.train.optim import OptimOptions, Schedule
from peaframe.train.settings import DataSettings, FinetuneSettings

GOAL = 0.99
SCENES, SECONDS, EVENTS = 8, 10.0, 3
TINY = PEFrameConfig(
    PEAudioConfig(CodecConfig(width=8, hidden=128, latent=32), TowerConfig(64, 2, 4, 96)),
    ModernBertConfig(width=48, layers=3, heads=4, mlp_width=96, window=32),
    embedding_dim=64,
)
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Sound = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]
SOUNDS: dict[str, Sound] = {
    "low tone": lambda t, rng: np.sin(2 * np.pi * 220 * t),
    "high tone": lambda t, rng: np.sin(2 * np.pi * 3000 * t),
    "rising sweep": lambda t, rng: np.sin(2 * np.pi * (300 + 1500 * t) * t),
    "buzz": lambda t, rng: np.sign(np.sin(2 * np.pi * 90 * t)),
    "fast clicks": lambda t, rng: (np.mod(t, 0.02) < 0.001).astype(np.float64),
    "hiss": lambda t, rng: rng.standard_normal(len(t)),
}
"""Label -> what makes it from times in seconds."""


def make_scenes(folder: Path, seed: int) -> Path:
    """Write the soundscapes, and a manifest of them.

    Returns:
        The manifest.
    """
    folder_at(folder)
    rng = np.random.default_rng(seed)
    samples = round(SECONDS * SAMPLE_RATE)
    items = []
    names = [name for _ in range(EVENTS) for name in rng.permutation([*SOUNDS, *SOUNDS])[:SCENES].tolist()]
    for number in range(SCENES):
        labels = names[number::SCENES]
        tracks = [_track(label, samples, rng) for label in labels]
        tracks.append(rng.normal(0, 0.001, samples).astype(np.float32))
        scene = label_tracks(tracks, labels, HOP_SAMPLES, MixConfig())
        path = folder / f"scene_{number}.flac"
        write_flac(path, scene.waveform)
        items.append(Item(path, duration=SECONDS, events=tuple(scene.events()), exhaustive=True))
    manifest.save(folder / "manifest.jsonl", items)
    return folder / "manifest.jsonl"


def _track(label: str, samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """One sound of one to three seconds at a whole frame, (samples,)."""
    length = int(rng.integers(FRAME_RATE, 3 * FRAME_RATE)) * HOP_SAMPLES
    start = int(rng.integers(0, (samples - length) // HOP_SAMPLES)) * HOP_SAMPLES
    track = np.zeros(samples, dtype=np.float32)
    sound = SOUNDS[label](np.arange(length) / SAMPLE_RATE, rng)
    track[start : start + length] = sound * (0.1 / np.sqrt(np.mean(sound**2)))
    return track


def word_tokenizer(texts: Sequence[str]) -> str:
    """A `tokenizer.json` that knows the words of some texts, each as one token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({word for text in texts for word in text.lower().split()})
    known = {word: i for i, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return str(tokenizer.to_str())


def make_checkpoint(folder: Path, texts: Sequence[str], seed: int, config: PEFrameConfig = TINY) -> None:
    """Write a random PE-A-Frame's checkpoint folder, in the layout of transformers.

    Args:
        folder: made if it does not exist.
        texts: whose words the tokenizer knows.
        seed: of the weights.
        config: sizes; the vocabulary is that of the words.
    """
    tokenizer = word_tokenizer(texts)
    count = len(json.loads(tokenizer)["model"]["vocab"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PEFrameModel(
            dataclasses.replace(config, text=dataclasses.replace(config.text, vocabulary=count))
        )
    save_pe(model, folder, "transformers", tokenizer)


def settings_of(folder: Path, steps: int, seed: int) -> FinetuneSettings:
    """How it is learned: what is measured on is what was learned from."""
    return FinetuneSettings(
        model=str(folder / "random"),
        data=DataSettings(
            (folder / "scenes" / "manifest.jsonl",),
            cache=folder / "latents",
            valid=("train",),
            labels=tuple(SOUNDS),
            batch_size=SCENES,
            other_labels=len(SOUNDS),
        ),
        schedule=Schedule(steps, min(20, steps // 2)),
        optim=OptimOptions(lr=3e-3, layer_decay=1.0, weight_decay=0.0),
        ema=EmaOptions(decay=0.9),
        learn=("audio", "heads", "scale"),
        device="cpu",
        evaluate_every=max(1, steps // 10),
        best="frame_auroc",
        seed=seed,
    )


def curve(log: Path) -> list[tuple[int, float]]:
    """Steps and the frame AUROC measured there, from a run's `log.jsonl`."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row["valid"]["frame_auroc"]) for row in rows if "valid" in row]


def heard(model: Path, items: Sequence[Item]) -> float:
    """Frame AUROC of a checkpoint that hears the files themselves."""
    detector = peaframe.load(model)
    scores = {item.audio.name: detector.score(item.audio, list(SOUNDS)) for item in items}
    return frame_auroc(scores, {item.audio.name: list(item.events) for item in items}).macro


def overfit(folder: Path, steps: int, seed: int) -> tuple[list[tuple[int, float]], float] | None:
    """Make everything, learn.

    Returns:
        The curve on the latents, and the frame AUROC of the files heard in the end; None if a signal stopped it.
    """
    made = folder_at(folder) / "made.json"
    order = json.dumps({"seed": seed, "steps": steps}) + "\n"
    if not made.is_file():
        make_scenes(folder / "scenes", seed)
        make_checkpoint(folder / "random", list(SOUNDS), seed)
        write_text(made, order)
    elif made.read_text(encoding="utf-8") != order:
        raise OptionError(f"{folder}: holds a run of another --seed or --steps; choose another --out")
    if not finetune(settings_of(folder, steps, seed), folder / "run"):
        return None
    items = list(manifest.load(folder / "scenes" / "manifest.jsonl"))
    return curve(folder / "run" / "log.jsonl"), heard(folder / "run" / "last", items)


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, print the curve."""
    parser = program.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of sounds, weights and training")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    args = parser.parse_args(arguments)
    if args.steps < 2 or args.seed < 0:
        raise OptionError(
            f"got --steps {args.steps} --seed {args.seed}, expected 2 steps or more and 0 or more"
        )
    found = overfit(args.out, args.steps, args.seed)
    if found is None:
        sys.exit(130)
    points, final = found
    print("| step | frame AUROC |\n|---|---|")
    for step, value in points:
        print(f"| {step} | {value:.4f} |")
    print(f"\nthe files heard with {args.out / 'run' / 'last'}: frame AUROC {final:.4f}")
    if final < GOAL:
        sys.exit(
            f"peaframe: error: frame AUROC {final:.4f}, expected {GOAL} or more after {args.steps} steps"
        )


if __name__ == "__main__":
    program.run(main)
