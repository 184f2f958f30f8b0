"""How many times faster does an epoch get when latents are read from a cache, and not heard through the codec?

    python benchmarks/latents.py [--true-size small] [--clips 16] [--seconds 10] [--batch 8] [--rounds 3] [--texts 64]

Writes clips of noise, and trains the audio side on made-up targets, epoch by epoch, the two ways taking turns in one
run: from the files through the codec (the quick stream that detection uses too), and from latents. Both do the same
step on the same kind of batch: tower, loss, gradients, AdamW. The text side is not run: embeddings of the queries are
given. Without --true-size it is a tiny model; with it one of true size with random weights, whose speed does not
depend on their values. Prints for one thread; absolute times hold for this machine and hour only.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peaframe import audio
from peaframe.clock import FRAME_RATE, frames_of_seconds, samples_of_seconds
from peaframe.codec.dac_vae import CodecConfig
from peaframe.codec.encode import encode
from peaframe.data.latent_loader import LatentLoader
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache, fill
from peaframe.losses.frame_activity import frame_activity_loss
from peaframe.models.modernbert import ModernBertConfig
from peaframe.models.pe_frame import PEAudioConfig, PEFrameConfig, PEFrameModel, public_config
from peaframe.models.tower import TowerConfig

TEXT = ModernBertConfig(
    vocabulary=8, width=48, layers=1, heads=4, mlp_width=48
)  # it is there, and never runs


def random_model(size: str | None) -> PEFrameModel:
    """A model of small random weights, of true size but for the text side, or tiny."""
    config = PEFrameConfig(
        PEAudioConfig(CodecConfig(8, hidden=128, latent=16), TowerConfig(64, 2, 4, 96)), TEXT, 32
    )
    if size:
        config = replace(public_config(size), text=TEXT)
    model = PEFrameModel(config)
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and not name.endswith("alpha"):
                p.uniform_(-1, 1, generator=numbers).mul_((3 / p[0].numel()) ** 0.5)
    model.name = size or "tiny"
    return model


class Training:
    """The step that both ways share."""

    def __init__(self, model: PEFrameModel, texts: int) -> None:
        self.model = model
        self.texts = torch.randn(texts, model.embedding_dim, generator=torch.Generator().manual_seed(1))
        audio_side = (model.audio.data_proj, model.audio.tower, model.audio_head)
        self.optimizer = torch.optim.AdamW([p for part in audio_side for p in part.parameters()], 1e-5)

    def loss(self, latents: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        """Of one batch."""
        logits = self.model.score(self.model.encode_latents(latents, mask), self.texts)
        return frame_activity_loss(logits, targets, 0.5)[0]

    def step(self, latents: Tensor, mask: Tensor, targets: Tensor) -> None:
        """Learn from one batch."""
        self.optimizer.zero_grad()
        self.loss(latents, mask, targets).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def heard(
    model: PEFrameModel, parts: list[AudioPart], targets: list[np.ndarray], batch: int
) -> Iterator[list[Tensor]]:
    """Batches through the codec, from files of one length."""
    for first in range(0, len(parts), batch):
        some = slice(first, first + batch)
        clips = [encode(model.open_stream(), torch.from_numpy(audio.read(part.path))) for part in parts[some]]
        rows = torch.stack(clips)
        yield [rows, torch.ones(rows.shape[:2], dtype=torch.bool), torch.from_numpy(np.stack(targets[some]))]


def read(loader: LatentLoader) -> Iterator[list[Tensor]]:
    """Batches from the cache."""
    for batch in loader:
        yield [batch.latents, batch.mask, batch.targets]


def epoch(training: Training, batches: Iterator[list[Tensor]]) -> tuple[float, float]:
    """Train one epoch: (seconds in all, seconds of them in steps)."""
    began, stepping = time.perf_counter(), 0.0
    for batch in batches:
        before = time.perf_counter()
        training.step(*batch)
        stepping += time.perf_counter() - before
    return time.perf_counter() - began, stepping


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--true-size", choices=["small", "base", "large"])
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = random_model(args.true_size)
    random = np.random.default_rng(0)
    frames = frames_of_seconds(args.seconds)
    targets = [random.choice(np.array([-1, 1], np.int8), (frames, args.texts)) for _ in range(args.clips)]
    with tempfile.TemporaryDirectory() as name:
        parts = []
        for i in range(args.clips):
            path = Path(name) / f"{i}.wav"
            noise = random.normal(0, 0.1, samples_of_seconds(frames / FRAME_RATE)).astype(np.float32)
            audio.write_wav(path, noise)
            parts.append(AudioPart(path))
        cache = LatentCache(Path(name) / "latents")
        began = time.perf_counter()
        fill(cache, parts, model, progress=False)
        filling = time.perf_counter() - began
        size = sum(path.stat().st_size for path in cache.folder.glob("*.npy"))
        loader = LatentLoader(cache, parts, targets.__getitem__, batch_size=args.batch, shuffle=False)
        training = Training(model, args.texts)
        with torch.no_grad():
            pair = zip(heard(model, parts, targets, args.batch), read(loader), strict=True)
            losses = [[float(training.loss(*batch)) for batch in both] for both in pair]
        times: dict[str, list[tuple[float, float]]] = {"codec": [], "latents": []}
        for _ in range(args.rounds):
            times["codec"].append(epoch(training, heard(model, parts, targets, args.batch)))
            times["latents"].append(epoch(training, read(loader)))
    hours = args.clips * frames / FRAME_RATE / 3600
    print(
        f"{model.name}: {args.clips} clips of {args.seconds:g} s, batches of {args.batch}, {args.rounds} rounds"
    )
    for way, found in times.items():
        whole = [seconds for seconds, _ in found]
        share = 1 - sum(steps for _, steps in found) / sum(whole)
        print(
            f"  {way:8} {statistics.median(whole):8.2f} s an epoch ({min(whole):.2f} to {max(whole):.2f}), "
            f"{hours * 3600 / statistics.median(whole):6.1f} x real time, {share:.1%} of it before the step"
        )
    ratios = [codec[0] / latents[0] for codec, latents in zip(*times.values(), strict=True)]
    print(f"  an epoch is {statistics.median(ratios):.1f} x as fast ({min(ratios):.1f} to {max(ratios):.1f})")
    saved = statistics.median(codec[0] - latents[0] for codec, latents in zip(*times.values(), strict=True))
    print(
        f"  filling took {filling:.2f} s, won back in {filling / saved:.1f} epochs; {size / hours / 1e6:.1f} MB an hour"
    )
    one, other = (sum(column) / len(losses) for column in zip(*losses, strict=True))
    print(f"  loss before training: {one:.6f} through the codec, {other:.6f} from latents")


if __name__ == "__main__":
    main()
