import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from peaframe.data.latents import LatentCache
from peaframe.errors import FormatError, OptionError
from peaframe.infer.detector import Detector
from peaframe.models import load_model

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "finetuning.py")))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def spoilt(monkeypatch):
    """Call with numbers of items, by the order in which they are asked for first: their latents are inf from now on."""
    real = LatentCache.get
    order = {}

    def spoilt(numbers):
        def get(cache, key):
            rows = real(cache, key)
            number = order.setdefault(key, len(order))
            return np.full_like(rows, np.inf) if number in numbers else rows

        monkeypatch.setattr(LatentCache, "get", get)

    return spoilt


@pytest.mark.slow
def test_the_loss_falls_and_what_comes_out_is_a_model(train, start, tmp_path):
    assert train("run", schedule={"steps": 40, "warm_up": 4}, evaluate_every=20)
    steps = [line for line in runs.log(tmp_path / "run") if "loss" in line]
    assert [line["step"] for line in steps] == [10, 20, 30, 40]
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert all(line["skipped"] == 0 for line in steps)
    model = load_model(tmp_path / "run" / "last")
    assert not model.training
    before = load_model(start[0]).state_dict()
    after = model.state_dict()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert {name.split(".")[0] for name in still} <= {"front", "text"}
    scores = Detector(model).score(start[1].parent / "0.wav", ["beep", "buzz"])
    inside, outside = scores.values[6:12, 0].mean(), scores.values[20:28, 0].mean()
    assert inside > outside + 0.2


@pytest.mark.slow
def test_best_is_the_greatest_measurement(train, tmp_path):
    assert train("run", schedule={"steps": 12}, evaluate_every=2, optim={"lr": 0.5})
    found = [line["valid"]["frame_auroc"] for line in runs.log(tmp_path / "run") if "valid" in line]
    assert runs.state(tmp_path / "run")[1]["best"] == max(found)
    at = 2 * max(i for i, value in enumerate(found) if value == max(found))  # of equals, the last
    assert 0 < at < 12
    assert not train("part", stop=at + 1, schedule={"steps": 12}, evaluate_every=2, optim={"lr": 0.5})
    one = load_file(tmp_path / "run" / "best" / "model.safetensors")
    assert runs.unlike(one, load_file(tmp_path / "part" / "last" / "model.safetensors")) == []
    assert runs.unlike(one, load_file(tmp_path / "run" / "last" / "model.safetensors")) != []


def test_of_equal_measurements_the_last_is_best(train, tmp_path):
    assert train("run", best="event_f1", schedule={"steps": 4}, evaluate_every=2, optim={"lr": 1e-4})
    found = [line["valid"]["event_f1"] for line in runs.log(tmp_path / "run") if "valid" in line]
    assert found == [0.0, 0.0, 0.0]
    kinds = [load_file(tmp_path / "run" / kind / "model.safetensors") for kind in ("best", "last")]
    assert runs.unlike(*kinds) == []


def test_a_batch_that_is_not_finite_is_skipped_and_counted(train, spoilt, tmp_path):
    spoilt({4})
    changes = {"data": {"batch_size": 4}, "schedule": {"steps": 6}, "save_every": 1, "evaluate_every": 99}
    before = skipped = None
    for step in range(1, 7):
        train("run", stop=1, **changes)
        tensors, facts = runs.state(tmp_path / "run")
        assert facts["step"] == step
        assert facts["guard"]["taken"] + facts["guard"]["skipped"] == step
        if before is not None:
            same = before.keys() == tensors.keys() and runs.unlike(before, tensors) == []
            assert same == (facts["guard"]["skipped"] == skipped + 1)
        before, skipped = tensors, facts["guard"]["skipped"]
    assert skipped == 3  # once in each of three epochs of two batches
    assert all(torch.isfinite(tensor).all() for tensor in before.values())
    (line,) = (line for line in runs.log(tmp_path / "run") if "loss" in line)
    assert (line["step"], line["skipped"]) == (6, 3.0)
    assert np.isfinite([line["loss"], line["norm"]]).all()


def test_too_many_in_a_row_end_the_run(train, spoilt, refusal, tmp_path):
    assert not train("run", stop=2, optim={"most_skipped": 2}, evaluate_every=99)
    before = runs.state(tmp_path / "run")
    spoilt(set(range(100)))
    message = refusal(OptionError, train, "run", optim={"most_skipped": 2}, evaluate_every=99)
    assert "after 3 skipped steps in a row, expected finite ones" in message
    after = runs.state(tmp_path / "run")
    assert (runs.unlike(before[0], after[0]), before[1]) == ([], after[1])


def test_a_folder_that_cannot_be_made(train, refusal, tmp_path):
    (tmp_path / "run").write_text("")
    assert refusal(FormatError, train, "run").startswith(f"{tmp_path / 'run'}: cannot be made (")
