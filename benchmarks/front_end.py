"""Which audio front end hears better per millisecond: log-mel bands, or YAMNet's layers, and how many of them?

    python benchmarks/front_end.py --data SOUNDBANK --yamnet YAMNET

Each candidate gives the mean and deviation of its channels over a clip; a shrunk linear discriminant on the train
split names the label of each valid clip. Its cost is the milliseconds that one core takes for a second of audio, the
candidates by turns in one run. peaframe-mini joins the layers of the last row.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from peaframe.data.soundbank import Bank, read_manifest
from peaframe.models.frontend import RATE, TAPS, ConvFrontEnd, FrontEndConfig
from peaframe.recipes.mini_start import load_yamnet

LICENCES = ("virufy+virufy-data", "facebookresearch+ImageBind", "giulbia+baby_cry_detection")
LICENCES += ("mikesmales+Udacity-ML-Capstone",)
CANDIDATES: dict[str, tuple[int, ...]] = {
    "log-mel bands": (),
    **{f"YAMNet to block {i}": (i,) for i in (2, 4, 6, 8, 10, 12)},
    f"blocks {', '.join(map(str, TAPS))} joined": TAPS,
}
LONGEST = 20  # seconds of a clip that are heard


@torch.no_grad()
def describe(front: ConvFrontEnd, bank: Bank) -> dict[str, Tensor]:
    """Vectors (clips, channels) of each candidate."""
    rows: dict[str, list[Tensor]] = defaultdict(list)
    every = sorted({i for taps in CANDIDATES.values() for i in taps})
    for index in tqdm(range(len(bank)), desc="listen", unit="clip", disable=None):
        x = bank.waveform(index)[: LONGEST * RATE]
        x = np.pad(x, (0, max(0, RATE - len(x)) + -max(len(x), RATE) % 640))
        mel = front.log_mel(torch.from_numpy(x)[None])
        maps = dict(zip(every, front.maps(mel, every), strict=True))
        for name, taps in CANDIDATES.items():
            parts = [mel[0].T] if not taps else [maps[i][2][0].mean(dim=2) for i in taps]
            rows[name].append(torch.cat([s for p in parts for s in (p.mean(1), p.std(1, unbiased=False))]))
    return {name: torch.stack(vectors) for name, vectors in rows.items()}


def discriminant(
    x: Tensor, y: Tensor, classes: int, shrink: float = 0.03, most: int = 800
) -> tuple[Tensor, Tensor]:
    """Weights and offsets of a linear discriminant whose covariance is drawn towards a sphere."""
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    axes = axes[:most].T
    z = x @ axes
    counts = torch.bincount(y, minlength=classes).clamp(min=1).to(z.dtype)[:, None]
    means = torch.zeros(classes, z.shape[1], dtype=z.dtype).index_add_(0, y, z) / counts
    spread = z - means[y]
    covariance = spread.T @ spread / len(z)
    covariance = (1 - shrink) * covariance + shrink * covariance.diagonal().mean() * torch.eye(
        len(covariance)
    )
    means = means * counts / (counts + 1)
    directions = torch.linalg.solve(covariance, means.T)
    return axes @ directions, -0.5 * (means * directions.T).sum(dim=1)


@torch.no_grad()
def milliseconds(front: ConvFrontEnd, seconds: int = 10, rounds: int = 15) -> dict[str, float]:
    """Median cost of each candidate for a second of audio on one core."""
    torch.set_num_threads(1)
    waveform = torch.randn(1, seconds * RATE) * 0.1
    costs: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, taps in CANDIDATES.items():
            began = time.perf_counter()
            mel = front.log_mel(waveform)
            if taps:
                front.maps(mel, taps)
            costs[name].append((time.perf_counter() - began) * 1000 / seconds)
    return {name: float(np.median(values)) for name, values in costs.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line per candidate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="sound bank folder")
    parser.add_argument("--yamnet", type=Path, help="folder of YAMNet's weights")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="where decoded audio is kept")
    args = parser.parse_args(arguments)
    if args.data is None or args.yamnet is None:
        print("front_end: nothing measured; it needs --data SOUNDBANK and --yamnet YAMNET")
        return
    front = ConvFrontEnd(FrontEndConfig(8)).eval()
    load_yamnet(front, args.yamnet)
    clips = read_manifest(args.data, LICENCES)
    banks = {s: Bank([c for c in clips if c.split == s], RATE, args.cache) for s in ("train", "valid")}
    labels = sorted({clip.label for clip in clips})
    truth = {s: torch.tensor([labels.index(c.label) for c in bank.clips]) for s, bank in banks.items()}
    vectors = {split: describe(front, bank) for split, bank in banks.items()}
    cost = milliseconds(front)
    print(
        f"{len(banks['train'])} train clips, {len(banks['valid'])} valid clips, {len(labels)} labels; one core"
    )
    print(f"{'front end':32} {'channels':>8} {'ms per s':>8} {'top-1':>6} {'top-5':>6}")
    for name in CANDIDATES:
        x, v = vectors["train"][name].double(), vectors["valid"][name].double()
        mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-3
        weight, offset = discriminant((x - mean) / deviation, truth["train"], len(labels))
        order = (((v - mean) / deviation) @ weight + offset).argsort(dim=1, descending=True)
        hit = order == truth["valid"][:, None]
        top1, top5 = hit[:, 0].double().mean(), hit[:, :5].any(dim=1).double().mean()
        print(f"{name:32} {x.shape[1]:8} {cost[name]:8.1f} {top1:6.3f} {top5:6.3f}", flush=True)


if __name__ == "__main__":
    main()
