"""Batches that the tests of the pairs share; as a program, one process of several.

    python pair_batches.py RANK RANKS FOLDER

computes every case on its clips, with its neighbours, and writes what it got to FOLDER/RANK.pt.
"""

import sys
from pathlib import Path

import torch
from torch import distributed as dist

from peaframe.losses.best_rq import BestRq, BestRqOptions
from peaframe.losses.pairs import SIDES, STAGE_2, PairOptions, pair_loss

CLIPS, DIM = 7, 5
NAMES = tuple(dict.fromkeys(side for sides in SIDES.values() for side in sides))
ABSENT = {
    "audio": (2,),
    "visual": (1, 6),
    "audio_visual": (1, 2, 6),
    "audio_text": (0, 2, 5),
    "visual_text": (1, 6),
    "audio_visual_text": (3,),
    "visual_plus_text": (0, 1, 2, 5, 6),
    "audio_plus_text": (1, 2, 6),
}
SAME = {"audio_text": (-1, 4, -1, 9, 9, -1, 4), "audio_visual_text": (3, -1, 3, -1, -1, 3, 8)}
CUTS = {1: [range(7)], 2: [range(4), range(4, 7)], 3: [range(5), range(0), range(5, 7)]}
CASES = {
    "plain": {},
    "unmatched": {"unmatched": True},
    "unit length": {"unit_length": True, "weights": tuple(0.5 + 0.1 * i for i in range(10))},
    "blocks": {"rows": 2, "unmatched": True},
}


def whole():
    """All clips, float64."""
    random = torch.Generator().manual_seed(0)
    data = {name: torch.randn(CLIPS, DIM, generator=random, dtype=torch.float64) for name in NAMES}
    present = {name: ~torch.isin(torch.arange(CLIPS), torch.tensor(ABSENT[name])) for name in NAMES}
    scales = torch.rand(10, generator=random, dtype=torch.float64) + 0.5
    biases = torch.randn(10, generator=random, dtype=torch.float64)
    same = {name: torch.tensor(ids) for name, ids in SAME.items()}
    return data, present, scales, biases, same


def solve(case, clips, pairs=STAGE_2):
    """The loss of some clips, what is told of it, and all gradients."""
    data, present, scales, biases, same = whole()
    clips = list(clips)
    data = {name: x[clips].requires_grad_() for name, x in data.items()}
    present, same = ({name: x[clips] for name, x in part.items()} for part in (present, same))
    scales.requires_grad_(), biases.requires_grad_()
    loss, told = pair_loss(pairs, data, present, scales, biases, PairOptions(**CASES[case]), same)
    loss.backward()
    return {
        "loss": loss.detach(),
        "told": told,
        "gradients": {name: x.grad for name, x in data.items()},
        "scales": scales.grad,
        "biases": biases.grad,
    }


def statistics(clips):
    """What BEST-RQ takes of the latents of some clips."""
    random = torch.Generator().manual_seed(1)
    latents = 3 + 2 * torch.randn(CLIPS, 4, 3, generator=random)
    quantiser = BestRq(3, 4, BestRqOptions(codes=5, code_dim=2))
    mask = torch.arange(4)[None] < torch.tensor([4, 2, 1, 3, 4, 2, 2])[:, None]
    quantiser.observe(latents[list(clips)], mask[list(clips)])
    return quantiser.mean, quantiser.deviation


def main():
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    mine = CUTS[ranks][rank]
    found = {case: solve(case, mine) for case in CASES}
    torch.save({**found, "statistics": statistics(mine)}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
