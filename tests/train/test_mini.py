import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from peaframe.data.mix import MixConfig
from peaframe.errors import ConfigError
from peaframe.models import load_model
from peaframe.train.mini import Settings, TrainConfig, Trainer, learning_rate

FAST = TrainConfig(
    steps=6,
    seconds=2.56,
    durations=(1.28, 0.64),
    frozen_steps=0,
    warmup=2,
    distractors=4,
    precision="float32",
    workers=0,
    save_every=3,
    warm_frames=40,
    warm_batch=8,
)


class InterruptedRunError(Exception):
    pass


@pytest.fixture
def make_trainer(one_thread, tiny_model, teacher, table, make_dataset, tokenizer_content, tmp_path):
    """A trainer of the same untrained model each time, with one thread so that sums come out alike."""
    start = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}

    def make(config=FAST, folder="run", **settings):
        tiny_model.load_state_dict(start)
        whole = Settings(config, **settings)
        dataset = make_dataset(config.seed)
        return Trainer(tiny_model, teacher, table, dataset, whole, tokenizer_content, tmp_path / folder)

    return make


def stop_at(step):
    def on_save(now):
        if now == step:
            raise InterruptedRunError

    return on_save


def tensors(folder):
    """All that a run folder holds, by file and name."""
    return {
        (path.name, name): tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_loss_falls(make_trainer, tmp_path):
    config = replace(FAST, steps=100, frozen_steps=100, warmup=5, lr=3e-3, save_every=100, seconds=5.12)
    make_trainer(config).run()
    first, last = log(tmp_path / "run")
    assert (first["step"], last["step"]) == (50, 100)
    for part in ("loss", "global", "local", "ranking", "teacher"):
        assert math.isfinite(first[part])
    for part in ("loss", "global", "ranking"):
        assert last[part] < 0.9 * first[part]
    assert first["seconds_per_step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen_steps", "warm_steps"), [(0, 0), (2, 0), (4, 0), (6, 0), (6, 2), (5, 4), (6, 6)]
)
def test_six_steps_are_three_and_three_more(make_trainer, tmp_path, frozen_steps, warm_steps):
    config = replace(FAST, frozen_steps=frozen_steps, warm_steps=warm_steps)
    make_trainer(config, "whole").run()
    with pytest.raises(InterruptedRunError):
        make_trainer(config, "parts").run(stop_at(3))
    resumed = make_trainer(config, "parts")
    assert resumed.step == 3
    resumed.run()
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_the_same_seed_gives_the_same_model_and_another_does_not(make_trainer, tmp_path):
    config = replace(FAST, steps=2, save_every=2)
    for folder, own in (("a", config), ("b", config), ("c", replace(config, seed=1))):
        make_trainer(own, folder).run()
    a, b, c = (load_file(tmp_path / folder / "model.safetensors") for folder in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["tower.output.weight"], c["tower.output.weight"])


def test_a_run_folder_is_a_model_with_averaged_weights(make_trainer, tmp_path):
    trainer = make_trainer(replace(FAST, steps=3))
    start = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    raws = []
    trainer.run(lambda _: raws.append({name: p.detach().clone() for name, p in trainer.parameters.items()}))
    model = load_model(tmp_path / "run")
    own = dict(model.named_parameters())
    name = "tower.layers.0.mlp.up_proj.weight"
    # Decays of the three steps: 0.1, 2/11, 3/12; so the start has 0.1 * 2/11 * 1/4 of the average.
    assert not torch.equal(own[name], raws[0][name])
    between = (own[name] - start[name]).norm() / (raws[0][name] - start[name]).norm()
    assert 0.5 < between < 1.0
    assert torch.equal(own[name], trainer.averaged().state_dict()[name])
    assert not model.training


def test_the_average_follows_its_decay(make_trainer):
    trainer = make_trainer(replace(FAST, steps=2, ema=0.05, save_every=1))
    before = trainer.parameters["logit_bias"].item()
    raws = []
    trainer.run(lambda _: raws.append(trainer.parameters["logit_bias"].item()))
    expected = before
    for raw in raws:
        expected += (1 - 0.05) * (raw - expected)
    assert trainer.average["logit_bias"].item() == pytest.approx(expected, rel=1e-6)


def test_what_is_given_stays_as_it_was(make_trainer, tmp_path):
    trainer = make_trainer(replace(FAST, steps=2, save_every=2, frozen_steps=2))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    same = {
        name.split(".")[0] + "." + name.split(".")[1]
        for name in after
        if torch.equal(before[name], after[name])
    }
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    still = ("text.", "front.log_mel", "front.conv1", "front.depthwise", "front.pointwise")
    assert not [name for name in moved if name.startswith(still)]
    assert {"front.merge.weight", "tower.class_embedding", "logit_scale"} <= moved
    assert same >= {"front.conv1", "text.words"}


def test_the_warm_start_leaves_the_tower_alone(make_trainer):
    trainer = make_trainer(replace(FAST, steps=2, frozen_steps=2, warm_steps=2))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name for name in moved if name.startswith(("tower", "front"))} == {
        "front.merge.weight",
        "front.merge.bias",
        "tower.norm.weight",
        "tower.output.weight",
    }


def test_a_warm_start_needs_the_teachers_convolutions(make_trainer, refusal):
    trainer = make_trainer(replace(FAST, warm_steps=2))
    trainer.still_the_teacher = False
    assert "set train.warm_steps=0" in refusal(ConfigError, trainer.run)


def test_convolutions_learn_after_the_frozen_steps(make_trainer):
    trainer = make_trainer(replace(FAST, steps=2, frozen_steps=1, save_every=1))
    seen = []
    trainer.run(lambda _: seen.append(trainer.model.front.conv1.weight.detach().clone()))
    assert not torch.equal(seen[0], seen[1])


def test_resuming_with_other_settings_is_refused(make_trainer, refusal, tmp_path):
    make_trainer(replace(FAST, steps=1)).run()
    for config, settings in (
        (replace(FAST, steps=2), {}),
        (replace(FAST, steps=1), {"mix": MixConfig(single=0.5)}),
    ):

        def resume(config=config, settings=settings):
            make_trainer(config, **settings)

        message = refusal(ConfigError, resume)
        assert message == f"{tmp_path / 'run'}: holds a run with other settings; choose another --out"


def test_a_finished_run_stays_finished(make_trainer, tmp_path):
    config = replace(FAST, steps=1)
    make_trainer(config).run()
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    again = make_trainer(config)
    again.run()
    assert again.step == 1
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_is_refused(make_trainer, refusal, tmp_path):
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.tower.norm.weight.fill_(float("nan"))
    assert "the loss is nan at step 0; lower lr or use precision: float32" in refusal(
        ConfigError, trainer.run
    )
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_settings_and_state_are_written(make_trainer, tmp_path):
    make_trainer(replace(FAST, steps=1), exclude_sources=("a", "b")).run()
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["train"]["durations"] == [1.28, 0.64]
    assert settings["exclude_sources"] == ["a", "b"]
    assert int(load_file(tmp_path / "run" / "resume.safetensors")["step"]) == 1


@pytest.mark.slow
def test_logged_values_are_means_however_often_a_run_is_resumed(make_trainer, tmp_path):
    """The scale alone learns, so slowly that every step costs about the same."""
    config = replace(
        FAST, steps=50, save_every=30, frozen_steps=29, lr=0, front_lr=0, scale_lr=0, seconds=1.28
    )
    make_trainer(config, "whole").run()
    with pytest.raises(InterruptedRunError):
        make_trainer(config, "parts").run(stop_at(30))
    make_trainer(config, "parts").run()
    (whole,), (parts,) = log(tmp_path / "whole"), log(tmp_path / "parts")
    assert parts["loss"] == pytest.approx(whole["loss"], rel=0.25)


def test_bfloat16_trains_near_float32(make_trainer):
    values = {}
    for precision in ("float32", "bfloat16"):
        trainer = make_trainer(replace(FAST, steps=1, precision=precision), precision)
        trainer.run()
        values[precision] = trainer.parameters["tower.output.weight"].detach().clone()
    assert not torch.equal(values["float32"], values["bfloat16"])
    np.testing.assert_allclose(values["float32"], values["bfloat16"], atol=2.5e-3)  # two steps of lr at most


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.51), (110, 0.02), (500, 0.02)]
)
def test_the_learning_rate_warms_up_and_falls(step, factor):
    config = TrainConfig(steps=110, warmup=10)
    assert learning_rate(step, config) == pytest.approx(factor)


def test_a_run_may_be_all_warm_up_or_none():
    assert learning_rate(0, TrainConfig(steps=5, warmup=0)) == 1
    assert learning_rate(4, TrainConfig(steps=5, warmup=5)) == 1
    assert learning_rate(5, TrainConfig(steps=5, warmup=5)) == 1
