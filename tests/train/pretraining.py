"""A small PE-AV in training, which several tests share; as a program, one process of two.

    python pretraining.py RANK RANKS FOLDER KIND

makes one step on its clips, with its neighbour, and writes gradients and what was told to FOLDER/RANK.pt. KIND: `plain`
(gradients are added up), `ddp` (DistributedDataParallel averages them) or `fsdp` (so does FSDP2).
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from peaframe.losses.best_rq import BestRqOptions
from peaframe.losses.pairs import STAGE_2
from peaframe.models.modernbert import TextLayer
from peaframe.models.pretraining import av_config, new_model
from peaframe.models.tower import Layer
from peaframe.train.parallel import Place, shared, whole
from peaframe.train.pretrain_batch import PretrainBatch, Tokens
from peaframe.train.pretrain_model import PretrainModel, PretrainOptions
from peaframe.train.pretrain_step import pretrain_step

BEST_RQ = BestRqOptions(codes=11, code_dim=4, probability=0.2, length=2)
OPTIONS = PretrainOptions(STAGE_2, best_rq=BEST_RQ, best_rq_weight=0.7)
AUDIO_FRAMES = (9, 0, 4, 7, 1, 9)
VIDEO_FRAMES = (3, 5, 0, 2, 5, 1)
WORDS = {"audio": (5, 0, 3, 0, 4, 3), "visual": (2, 6, 0, 1, 3, 4), "audio_visual": (3, 3, 0, 5, 0, 2)}
TINY = av_config("tiny")
LATENT, SEEN = TINY.audio.codec.latent, TINY.video.features  # channels
CUTS = (slice(0, 4), slice(4, 6))


def make_batch(dtype=torch.float64):
    """Six clips, of which some lack sound, pictures or captions, and two have the same caption of sound.

    Padding is noise and wrong words.
    """
    random = torch.Generator().manual_seed(0)

    def tokens(counts):
        ids = torch.randint(5, 500, (6, 6), generator=random)
        return Tokens(ids, (torch.arange(6) < torch.tensor(counts)[:, None]).long())

    captions = {kind: tokens(counts) for kind, counts in WORDS.items()}
    captions["audio"].ids[5, :3] = captions["audio"].ids[2, :3]
    video = torch.randn(6, 5, SEEN, generator=random, dtype=dtype)
    return PretrainBatch(
        torch.randn(6, 9, LATENT, generator=random, dtype=dtype),
        torch.tensor(AUDIO_FRAMES),
        video / video.norm(dim=-1, keepdim=True),
        torch.tensor(VIDEO_FRAMES),
        captions,
    )


def make_student(options=OPTIONS, **changes):
    """A tiny model in float64, always the same."""
    options = replace(options, **changes)
    student = PretrainModel(new_model(av_config("tiny"), seed=1), options).double()
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():  # scales and biases that tell pairs apart
        student.scales.log_scale.copy_(torch.rand(len(options.pairs), generator=random))
        student.scales.bias.copy_(-torch.rand(len(options.pairs), generator=random))
    return student


def hide(student, batch):
    return student.hide(batch, torch.Generator().manual_seed(3))


def gradients(student):
    """By name, of all that learns."""
    return {name: whole(p.grad).clone() for name, p in student.named_parameters() if p.requires_grad}


def main():
    rank, ranks, folder, kind = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    student, batch = make_student(recompute=kind == "fsdp"), make_batch()
    hidden = hide(student, batch)
    called = student
    if kind == "ddp":
        called = shared(student, Place(rank, ranks, torch.device("cpu")), "ddp")
    elif kind == "fsdp":
        mesh = init_device_mesh("cpu", (ranks,))
        for module in student.modules():
            if isinstance(module, (Layer, TextLayer)):
                fully_shard(module, mesh=mesh)
        fully_shard(student, mesh=mesh)
    mine = CUTS[rank]
    told = pretrain_step(
        called,
        batch.part(mine),
        hidden.part(mine),
        OPTIONS,
        clips_at_once=2 if rank == 0 else 1,
        factor=1.0 if kind == "plain" else ranks,
    )
    torch.save({"told": told, "gradients": gradients(student)}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
