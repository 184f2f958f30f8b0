"""Batches that the tests of the losses share, cut over processes; as a program, one process of several.

    python batches.py RANK RANKS FOLDER

computes every case on its piece of the batch, with its neighbours, and writes what it got to FOLDER/RANK.pt.
"""

import sys
from pathlib import Path

import torch
from torch import distributed as dist

from peaframe.losses.activity import activity_loss
from peaframe.losses.batch import ActivityBatch, ActivityOptions
from peaframe.losses.clip import clip_loss, mean_of_frames
from peaframe.losses.distillation import masked_distillation_loss
from peaframe.losses.prior import prior_counts, prior_loss

CLIPS, FRAMES, DIM = 5, 7, 4
LENGTHS = (7, 6, 7, 5, 4)  # frames that count
# Clips of each process; padding is cut off, so pieces differ in frames, and clip 3 has no texts at all.
CUTS = {1: [(0, 1, 2, 3, 4)], 2: [(0, 1, 2), (3, 4)], 3: [(0, 1, 2), (3,), (4,)]}
#        clip 0         1          2          4: all weak   padding
CLIP = (0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 4, 4, 4, 1)
IDS = (0, 1, 2, -1, 1, 3, 4, 5, 0, -1, 6, 3, 7, 2)
WEAK = (3, 6, 10, 11, 12)
CLUSTERS = (0, 1, -1, 2, 1, 1, 2, 0, 0, 3, 2, -1, 3, 1)
RELATED = torch.tensor([[2, 7], [5, 3], [4, 99]])
LEAVES = ("frames", "texts", "scale", "bias", "scales", "biases")


def whole():
    """The whole batch as a dictionary of tensors, float64; one text is padding."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    count = len(CLIP)
    states = torch.randint(-1, 2, (count, FRAMES), generator=random)
    states[1] = -1  # known, and heard nowhere
    states[5] = 1  # heard all through
    states[10] = 1
    states[11] = -1
    texts = normal(count, DIM)
    texts[7] = texts[2] + 0.01 * normal(DIM)  # a paraphrase in another clip
    mask = torch.arange(FRAMES)[None] < torch.tensor(LENGTHS)[:, None]
    mask[0, 3] = False  # a hole
    return {
        "frames": normal(CLIPS, FRAMES, DIM),
        "frame_mask": mask,
        "texts": texts,
        "clip": torch.tensor(CLIP),
        "ids": torch.tensor(IDS),
        "states": states,
        "weak": torch.tensor([i in WEAK for i in range(count)]),
        "text_mask": torch.arange(count) < count - 1,
        "clusters": torch.tensor(CLUSTERS),
        "scale": torch.tensor(1.7, dtype=torch.float64),
        "bias": torch.tensor(-0.6, dtype=torch.float64),
        "scales": 1 + normal(count).abs(),
        "biases": normal(count),
        "classes": normal(3, DIM),
        "taught": torch.rand(CLIPS, FRAMES, 3, generator=random, dtype=torch.float64),
    }


def piece(data, clips):
    """What a process with some of the clips has: their frames and their texts."""
    clips = list(clips)
    rows = torch.isin(data["clip"], torch.tensor(clips))
    length = max(LENGTHS[clip] for clip in clips)
    cut = dict(data)
    for name in ("texts", "clip", "ids", "states", "weak", "text_mask", "clusters", "scales", "biases"):
        cut[name] = data[name][rows]
    for name in ("frames", "frame_mask", "taught"):
        cut[name] = data[name][clips][:, :length]
    cut["clip"] = torch.tensor([clips.index(clip) for clip in cut["clip"].tolist()], dtype=torch.int64)
    cut["states"] = cut["states"][:, :length]
    return cut


def batch_of(data):
    names = ("frames", "frame_mask", "texts", "clip", "ids", "states", "weak", "text_mask", "clusters")
    return ActivityBatch(**{name: data[name] for name in names})


def _activity(related=None, per_text=False, **options):
    def case(data):
        scale, bias = ("scales", "biases") if per_text else ("scale", "bias")
        return activity_loss(
            batch_of(data), data[scale], data[bias], ActivityOptions(**options), related=related
        )

    return case


def _flam(data):
    """The whole of FLAM's correction: scales learn from the frames, biases from the prior."""
    options = ActivityOptions(p_local=0.2, same_above=0.99)
    counts = prior_counts(batch_of(data), options, RELATED)
    prior, told = prior_loss(data["biases"], counts)
    loss, parts = activity_loss(batch_of(data), data["scales"], data["biases"].detach(), options, RELATED)
    return loss + prior, {**parts, **told}


def _clip(data):
    clips = mean_of_frames(data["frames"], data["frame_mask"])
    return clip_loss(
        clips,
        data["texts"],
        data["clip"],
        data["ids"],
        data["scale"],
        data["bias"],
        caption_mask=data["text_mask"],
        options=ActivityOptions(same_above=0.99),
    )


def _distillation(data):
    logits = data["frames"] @ data["classes"].T * data["scale"] + data["bias"]
    mask = data["frame_mask"][..., None] & (data["taught"] > 0.2)
    return masked_distillation_loss(logits, data["taught"], mask)


CASES = {
    "activity": _activity(),
    "global only": _activity(p_local=0.0, positive_weight=2.5),
    "local only": _activity(p_local=1.0, weak_weight=0.0),
    "weak, mean": _activity(weak_weight=3.0, sharpness=0.01),
    "weak, maximum": _activity(p_local=0.5, weak_weight=3.0, sharpness=20.0),
    "paraphrases": _activity(same_above=0.99),
    "relations": _activity(related=RELATED),
    "clusters, hard": _activity(cluster_weight=3.0),
    "clusters, left out": _activity(cluster_weight=0.0),
    "a scale and a bias for each text": _activity(per_text=True, related=RELATED, cluster_weight=2.0),
    "prior": _flam,
    "clips": _clip,
    "distillation": _distillation,
    "own texts only": _activity(across_ranks=False),
}


def solve(case, data):
    """Loss, its parts, the gradients of all that learns (zero if not in it), and numbers kept for them till then."""
    data = {name: tensor.clone() for name, tensor in data.items()}
    leaves = [data[name].requires_grad_() for name in LEAVES]
    loss, parts = CASES[case](data)
    kept = sum(tensor.numel() for tensor in getattr(loss.grad_fn, "saved_tensors", ()))
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    found = dict(zip(LEAVES, gradients, strict=True))
    return {"loss": loss.detach(), "parts": parts, "kept": kept, **found}


def main():
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    store = dist.FileStore(str(folder / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    mine = piece(whole(), CUTS[ranks][rank])
    torch.save({case: solve(case, mine) for case in CASES}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
