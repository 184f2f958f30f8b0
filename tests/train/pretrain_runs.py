"""What the tests of pre-training runs share: things that beep and shine, as shards; a configuration; joined loaders.

As a program, `python pretrain_runs.py CONFIG OUT`, trains as the command does, but waits a moment in every step, so
that there is time to kill it.
"""

import json
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch

from peaframe.data.clip_batches import ClipBatch
from peaframe.data.clip_shards import ClipContent, write_clip_shards
from peaframe.data.clips_table import stream
from peaframe.train.pretrain_batch import PretrainBatch, Tokens

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "data" / "clip_files.py")))
RATE = 48_000
THINGS = ("dog", "siren", "rain", "buzz", "beep", "bell", "cat", "horn", "wind", "drum", "saw", "tap")
BEST_RQ = {"codes": 16, "code_dim": 4, "probability": 0.2, "length": 3}


def sound(thing, variant, seconds=0.6):
    """A tone of its own, in some noise."""
    random = np.random.default_rng((thing, variant))
    at = np.arange(round(seconds * RATE)) / RATE
    hertz = 100 * 2 ** (thing / 2 + variant / 4)
    return 0.3 * np.sign(np.sin(2 * np.pi * hertz * at)) + random.normal(0, 0.01, len(at))


def write_clips(folder, variants=1):
    """A film of every thing, some without pictures or words, and their table."""
    folder.mkdir(parents=True)
    rows = []
    for thing, name in enumerate(THINGS):
        for variant in range(variants):
            wave = sound(thing, variant)
            path = folder / f"{name}_{variant}.mkv"
            picture = clips.picture

            def colours(i, size=(48, 32), thing=thing, variant=variant):
                out = np.full((size[1], size[0], 3), 30 + variant, dtype=np.uint8)
                out[:, :, thing % 3] = 240
                out[: 2 + 9 * (thing // 3), i : i + 30] = 250
                return out

            clips.write_video.__globals__["picture"] = colours
            clips.write_video(path, 6, sound=wave)
            clips.write_video.__globals__["picture"] = picture
            row = {"media": path.name, "transcript": f"the {name}"}
            row |= {"audio_caption": f"the sound of a {name}", "visual_caption": f"a {name} nearby"}
            rows.append(row | {"audio_visual_caption": f"{name} in the distance"})
    soundfile.write(folder / "alone.wav", sound(0, 3), RATE)
    rows.append({"media": "alone.wav", "audio_caption": "barking", "transcript": "a dog"})
    return clips.write_table(folder / "clips.csv", rows)


def write_shards(folder, tokenizer):
    """A tiny PE-AV with codec and image encoder, and shards of its latents and features."""
    model = clips.write_model(folder / "first")
    (model / "tokenizer.json").write_text(Path(tokenizer).read_text(encoding="utf-8"), encoding="utf-8")
    table = write_clips(folder / "media")
    write_clip_shards(stream(table), folder / "shards", ClipContent(model=str(model), frames=4))
    return folder


def values(place, **changes):
    """The sections of a configuration, as a file holds them; `place` is what `write_shards` gave."""
    own = {
        "data": {
            "sources": [{"shards": [str(place / "shards")]}],
            "valid": [str(place / "shards")],
            "batch_size": 6,
            "shuffle_buffer": 5,
            "clips": {"crop_seconds": 0.5},
        },
        "model": {"size": "tiny", "codec": str(place / "first")},
        "options": {"best_rq": BEST_RQ, "best_rq_weight": 0.1},
        "schedule": {"steps": 8, "warm_up": 2},
        "optim": {"lr": 1e-3},
        "ema": {"decay": 0.9},
        "observe": 2,
        "device": "cpu",
        "evaluate_every": 4,
        "save_every": 3,
    }
    for name in ("data", "model", "options"):
        own[name] |= changes.pop(name, {})
    return own | changes


def write_config(path, given):
    path.write_text(json.dumps(given), encoding="utf-8")
    return path


class Together:
    """Batches of several processes as one process has them: one behind the other."""

    def __init__(self, loaders):
        self.loaders = loaders

    def __iter__(self):
        for batches in zip(*self.loaders, strict=True):
            yield joined(batches)

    def state_dict(self):
        return {"each": [loader.state_dict() for loader in self.loaders]}

    def load_state_dict(self, state):
        for loader, own in zip(self.loaders, state["each"], strict=True):
            loader.load_state_dict(own)


def joined(batches):
    inputs = [batch.inputs for batch in batches]

    def pad(tensors):
        length = max(tensor.shape[1] for tensor in tensors)
        out = []
        for tensor in tensors:
            whole = tensor.new_zeros(len(tensor), length, *tensor.shape[2:])
            whole[:, : tensor.shape[1]] = tensor
            out.append(whole)
        return torch.cat(out)

    captions = {
        kind: Tokens(
            *(pad([getattr(own.captions[kind], what) for own in inputs]) for what in ("ids", "mask"))
        )
        for kind in inputs[0].captions
    }
    whole = PretrainBatch(
        pad([own.latents for own in inputs]),
        torch.cat([own.audio_frames for own in inputs]),
        pad([own.video for own in inputs]),
        torch.cat([own.video_frames for own in inputs]),
        captions,
    )
    return replace(batches[0], inputs=whole) if isinstance(batches[0], ClipBatch) else whole


if __name__ == "__main__":
    from peaframe.recipes import pretrain as recipe
    from peaframe.train.pretrain import Pretraining

    step = Pretraining._step

    def slow(run, batches):
        time.sleep(0.1)
        return step(run, batches)

    Pretraining._step = slow
    recipe.pretrain(recipe.read_settings(Path(sys.argv[1])), Path(sys.argv[2]))
