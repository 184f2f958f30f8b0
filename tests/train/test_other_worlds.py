"""Runs that go on with another number of processes than they were begun with."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from torch.utils.data import Dataset

from peaframe.data.epochs import Epochs, Order
from peaframe.models.load import load_audio_video_model, load_model
from peaframe.train.dealt_anew import dealt_anew

HERE = Path(__file__).parent
SCRIPT = HERE / "other_worlds.py"
own = SimpleNamespace(**runpy.run_path(str(HERE / "pretrain_runs.py")))
runs = SimpleNamespace(**runpy.run_path(str(HERE / "finetuning.py")))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
TOLD = "what is left of the epoch is dealt anew, and shards begin their next epoch"


class Numbers(Dataset):
    def __getitem__(self, place):
        return place[1]


def loader(rank, processes, items=20):
    order = Order([1] * items, 3, True, 2, None, rank, processes)
    return Epochs(Numbers(), lambda found: found, order, "numbers", 0)


def begun(processes, batches):
    """States of loaders, and the items that they have given."""
    states, given = [], []
    for rank in range(processes):
        mine = loader(rank, processes)
        own = iter(mine)
        given += [item for _ in range(batches) for item in next(own)]
        states.append(mine.state_dict())
    return states, given


@pytest.mark.parametrize(
    ("before", "batches", "after", "twice"),
    [(2, 3, 1, 0), (2, 3, 3, 0), (1, 4, 2, 0), (2, 2, 3, 2), (1, 3, 2, 2)],
)
def test_items_go_on_behind_those_that_were_given(before, batches, after, twice):
    states, given = begun(before, batches)
    rest = []
    for rank in range(after):
        mine = loader(rank, after)
        mine.load_state_dict(dealt_anew(states, mine.state_dict(), after))
        left = len(mine) - mine.batch
        items = [item for batch in mine for item in batch]
        assert mine.epoch == 1
        rest += items if rank == 0 or left * after <= (20 - len(given) + twice) // 2 else items[:-2]
    assert set(given) | set(rest) == set(range(20))
    assert len(given) + len(rest) in range(20 + twice, 20 + twice + 2 * after)
    assert len(set(given) & set(rest[:2])) in (0, twice)


def test_shards_begin_the_epoch_that_nobody_has_begun():
    def reader(epoch, sample, data="a"):
        return {"epoch": epoch, "sample": sample, "data": data}

    def mixture(drawn, *readers, data="a"):
        own = {"drawn": drawn, "weights": [1.0, 2.0, 1.0], "seed": 0, "readers": list(readers)}
        return {"clips": own, "data": data}

    states = [
        mixture(9, reader(2, 0), reader(1, 4), reader(0, 0)),
        mixture(10, reader(1, 9), reader(2, 1), reader(0, 0)),
    ]
    fresh = mixture(0, *(reader(0, 0, f"new {i}") for i in range(3)), data="b")
    found = dealt_anew(states, fresh, 3)
    readers = reader(2, 0, "new 0"), reader(3, 0, "new 1"), reader(0, 0, "new 2")
    assert found == mixture(7, *readers, data="b")
    assert dealt_anew([found] * 3, fresh, 1) == mixture(21, *readers, data="b")
    samples = {"reader": reader(4, 7), "data": "a"}
    assert dealt_anew([samples], {"reader": reader(0, 0, "b"), "data": "a"}, 2) == {
        "reader": reader(5, 0, "b"),
        "data": "a",
    }


def go_on(name, processes, steps, config, out, *changes):
    """Train a few steps on so many processes; gives what they said."""
    first = (sys.executable,) if processes == 1 else (*TORCHRUN, str(processes))
    done = subprocess.run(
        [*first, str(SCRIPT), name, str(steps), str(config), str(out), *changes],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def taken_up(name, processes, config, out, *changes):
    """Take a run up on so many processes: weights, moments, averages and the step are what they were, bit for bit."""
    tensors, facts = runs.state(out)
    told = go_on(name, processes, 0, config, out, *changes)
    again, now = runs.state(out)
    assert runs.unlike(tensors, again) == []
    assert {f"{kind}/" for kind in ("raw", "exp_avg", "exp_avg_sq", "step", "average")} <= {
        key[: key.index("/") + 1] for key in tensors if "/" in key
    }
    for key in ("step", "best", "guard", "base", "measured", "unlogged"):
        assert now[key] == facts[key]
    assert len(now["loader"]) == processes
    assert f"was saved by {len(facts['loader'])} process(es) and goes on with {processes}" in told
    assert TOLD in told
    return now


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer_file):
    return own.write_shards(tmp_path_factory.mktemp("pretraining"), tokenizer_file)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_pre_training_goes_on_with_any_number_of_processes(place, tmp_path, kind):
    file = own.write_config(tmp_path / "c.yaml", own.values(place, parallel=kind, save_every=100))
    out = tmp_path / "run"
    assert TOLD not in go_on("pretrain", 2, 3, file, out)
    facts = taken_up("pretrain", 1, file, out)
    (clips,) = (own["clips"] for own in facts["loader"])
    assert (facts["step"], clips["drawn"]) == (3, 18)
    assert (clips["readers"][0]["epoch"], clips["readers"][0]["sample"]) == (2, 0)  # 13 clips, 7 for each
    assert TOLD not in go_on("pretrain", 1, 2, file, out)
    facts = taken_up("pretrain", 2, file, out)
    assert [own["clips"]["drawn"] for own in facts["loader"]] == [15, 15]
    assert facts["step"] == 5
    before, _ = runs.state(out)
    go_on("pretrain", 2, 100, file, out)
    tensors, facts = runs.state(out)
    assert facts["step"] == 8
    assert {float(value) for name, value in tensors.items() if name.startswith("step/")} == {8.0}
    steps = [(line["step"], "valid" in line) for line in runs.log(out)]
    assert steps == [(0, True), (4, True), (8, False), (8, True)]
    assert runs.log(out)[2]["skipped"] == 0
    moved = {name for name in runs.unlike(before, tensors) if name.startswith("raw/")}
    assert moved == {name for name in tensors if name.startswith("raw/")}
    assert load_audio_video_model(out / "last").config.video.image.size == 42


@pytest.mark.slow
def test_fine_tuning_with_as_many_clips_a_step_is_the_same_run_elsewhere(
    tmp_path, tiny_model, tokenizer_content
):
    """Two processes, or one that accumulates two batches: the same items, whenever it is changed."""
    start = runs.make_start(tmp_path, tiny_model, tokenizer_content)
    same = {  # every process draws the same words, and small gradients make small steps
        "schedule": {"steps": 5},
        "optim": {"lr": 1e-2, "eps": 1e-3},
        "data": {"batch_size": 2, "negatives": 0},
        "evaluate_every": 5,
    }
    config = runs.write_config(tmp_path / "c.yaml", runs.values(*start, **same))
    go_on("finetune", 2, 100, config, tmp_path / "whole")
    out = tmp_path / "changed"
    go_on("finetune", 2, 1, config, out, "parallel=fsdp")
    taken_up("finetune", 1, config, out, "accumulate=2")
    go_on("finetune", 1, 2, config, out, "accumulate=2")
    taken_up("finetune", 2, config, out, "parallel=fsdp")
    go_on("finetune", 2, 100, config, out, "parallel=fsdp")
    one, other = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("whole", "changed"))
    before = load_model(start[0]).state_dict()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-6
    assert max(float((before[name] - other[name]).abs().max()) for name in other) > 5e-3
    logs = [
        next(line for line in runs.log(tmp_path / name) if "loss" in line) for name in ("whole", "changed")
    ]
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=1e-5)
