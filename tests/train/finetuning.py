"""What the tests of fine-tuning runs share: made-up recordings, a tiny checkpoint, a configuration; what runs leave."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from safetensors import safe_open
from safetensors.torch import load_file

from peaframe.data import manifest
from peaframe.data.manifest_item import Item
from peaframe.events import Event
from peaframe.models.load import save_model

SCRIPT = Path(__file__).parent / "run_finetune.py"
HERTZ = {"beep": 1000, "buzz": 250}
RATE = 16_000


def make_items(folder, count=8, seconds=1.2):
    """Recordings with a beep or a buzz in noise, and every fourth with both; two more to be measured on."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(count + 2):
        labels = ["beep", "buzz"] if number % 4 == 3 else [("beep", "buzz")[number % 2]]
        wave = rng.normal(0, 0.02, round(seconds * RATE))
        events = []
        for place, label in enumerate(labels):
            onset, offset = 0.2 + 0.4 * place, 0.5 + 0.4 * place
            at = slice(round(onset * RATE), round(offset * RATE))
            wave[at] += 0.4 * np.sin(2 * np.pi * HERTZ[label] * np.arange(at.stop - at.start) / RATE)
            events.append(Event(onset, offset, label))
        path = folder / f"{number}.wav"
        soundfile.write(path, wave, RATE)
        split = "train" if number < count else "valid"
        items.append(Item(path, duration=seconds, events=tuple(events), exhaustive=True, split=split))
    manifest.save(folder / "manifest.jsonl", items)
    return folder / "manifest.jsonl"


def values(model, sounds, cache, **changes):
    """The sections of a configuration, as a file holds them."""
    own = {
        "model": str(model),
        "data": {"manifests": [str(sounds)], "cache": str(cache), "batch_size": 3, "crop_seconds": 0.8},
        "schedule": {"steps": 12, "warm_up": 3},
        "optim": {"lr": 1e-3},
        "ema": {"decay": 0.9},
        "device": "cpu",
        "evaluate_every": 4,
        "save_every": 5,
        "best": "frame_auroc",
    }
    own["data"] |= changes.pop("data", {})
    return own | changes


def write_config(path, given):
    """A file of JSON, which YAML files may hold too."""
    path.write_text(json.dumps(given), encoding="utf-8")
    return path


def state(folder):
    """Tensors of a run's state by name, and what is said beside them."""
    path = folder / "resume.safetensors"
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["peaframe"])
    return load_file(path), facts


def log(folder, without=("steps_per_second",)):
    """Lines of a run's log, without what a clock says."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in without} for line in lines]


def unlike(one, other):
    """Names of tensors that are not the same, bit for bit, in two dictionaries."""
    assert one.keys() == other.keys()
    return [name for name in one if one[name].numpy().tobytes() != other[name].numpy().tobytes()]


def same_run(one, other, with_log=True):
    """Check that two folders hold the same run, bit for bit."""
    for folder in ("last", "best"):
        names = sorted(path.name for path in (one / folder).iterdir())
        assert names == sorted(path.name for path in (other / folder).iterdir())
        assert "model.safetensors" in names
        for name in names:
            if name.endswith(".safetensors"):
                assert unlike(load_file(one / folder / name), load_file(other / folder / name)) == []
            else:
                assert (one / folder / name).read_bytes() == (other / folder / name).read_bytes()
    (tensors, facts), (others, told) = state(one), state(other)
    assert unlike(tensors, others) == []
    assert facts == told
    if with_log:
        assert log(one) == log(other)


def leftovers(folder):
    """Names of hidden files and folders anywhere in a run."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name.startswith("."))


def make_start(folder, model, tokenizer):
    """A folder with a checkpoint of `model`, recordings and their manifest; gives what `values` takes first."""
    save_model(model, folder / "start", tokenizer)
    (folder / "sounds").mkdir()
    return folder / "start", make_items(folder / "sounds"), folder / "cache"


def stopping(after):
    """A stand-in for `stop_signals` that says so behind the step of that number since the run was taken up."""

    @contextmanager
    def stop_signals():
        steps = iter(range(1, 10_000))
        yield lambda: 15 if next(steps) >= after else 0

    return stop_signals
