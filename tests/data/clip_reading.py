"""Readers and batches of clips that tests share, and whether two batches are the same.

Loaded with runpy by the tests that need it: pytest does not put tests on the path.
"""

import torch

from peaframe.data.clip_batches import ClipBatches, ClipOptions
from peaframe.data.clip_reader import ClipMixture, ClipReader


def reader(*folders, **options):
    return ClipReader(list(folders), **({"seed": 3, "shuffle_buffer": 5} | options))


def mixture(latents, more, words, weights=(1, 3), seed=5, **options):
    """Batches of crops of two sources, with transcripts half the time."""
    mixed = ClipMixture([reader(latents, **options), reader(more, **options)], weights, seed=seed)
    return ClipBatches(
        mixed, words, batch_size=4, options=ClipOptions(crop_seconds=0.5, transcripts=0.5), seed=1
    )


def keys(batches):
    return [int(key) for batch in batches for key in batch.keys]


def take(batches, count):
    """The first batches of a run that is left then."""
    running = iter(batches)
    found = [next(running) for _ in range(count)]
    running.close()
    return found


def same(one, other):
    a, b = one.inputs, other.inputs
    tensors = [
        (getattr(a, name), getattr(b, name)) for name in ("latents", "audio_frames", "video", "video_frames")
    ]
    tensors += [
        (x, y)
        for kind in a.captions
        for x, y in zip(vars(a.captions[kind]).values(), vars(b.captions[kind]).values(), strict=True)
    ]
    told = [(own.keys, own.sources, dict(own.texts), own.starts) for own in (one, other)]
    return told[0] == told[1] and all(torch.equal(x, y) for x, y in tensors)


def all_same(some, others):
    return len(some) == len(others) and all(map(same, some, others))
