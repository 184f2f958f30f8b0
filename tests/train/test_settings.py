"""What a configuration of a fine-tuning run may say."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from peaframe.config import as_dict, build
from peaframe.errors import ConfigError
from peaframe.train.lora import LoraOptions
from peaframe.train.optim import Schedule
from peaframe.train.settings import DataSettings, FinetuneSettings, LossSettings

DATA = {"manifests": ["a.jsonl"]}
RUN = {"model": "peaframe-mini", "data": DATA, "schedule": {"steps": 10}}


def test_a_short_one_has_the_defaults():
    settings = build(FinetuneSettings, RUN)
    assert settings == FinetuneSettings("peaframe-mini", DataSettings((Path("a.jsonl"),)), Schedule(10))
    assert settings.learn == ("front", "audio", "heads", "scale")
    assert settings.lora is None
    assert (settings.data.unsaid, settings.loss.prior_weight, settings.best) == ("absent", 0.0, "psds1")


def test_it_outlives_json():
    values = {
        **RUN,
        "data": {**DATA, "teacher": "scores", "words": "words.yaml", "augment": {"mixup": 0.3}},
        "loss": {"teacher_weight": 0.5, "clip_weight": 0.1, "activity": {"p_local": 0.7}},
        "lora": {"rank": 4},
        "learn": ["heads"],
    }
    settings = build(FinetuneSettings, values)
    assert settings.lora == LoraOptions(rank=4)
    assert settings.data.teacher == Path("scores")
    assert settings.loss.activity.p_local == 0.7
    assert build(FinetuneSettings, json.loads(json.dumps(as_dict(settings)))) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifests": ()}, "no data.manifests"),
        ({"unsaid": "perhaps"}, "'perhaps', expected absent or unknown"),
        ({"batch_size": 0}, "data.batch_size 0"),
        ({"negatives": -1}, "data.negatives -1"),
        ({"other_labels": -1}, "data.other_labels -1"),
    ],
)
def test_data_that_makes_no_sense(refusal, changes, message):
    assert message in refusal(ConfigError, replace, DataSettings((Path("a.jsonl"),)), **changes)


def test_nothing_need_be_a_negative():
    data = DataSettings((Path("a.jsonl"),), negatives=0, other_labels=0, batch_size=1)
    assert (data.negatives, data.other_labels) == (0, 0)


@pytest.mark.parametrize("name", ["clip_weight", "prior_weight", "teacher_weight", "clusters"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_weights_that_make_no_sense(refusal, name, value):
    assert f"loss.{name} {value}" in refusal(ConfigError, LossSettings, **{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "float16"}, "got precision 'float16', expected float32 or bfloat16"),
        ({"parallel": "dp"}, "got parallel 'dp', expected ddp or fsdp"),
        ({"device": "tpu"}, "got device 'tpu', expected auto or cpu or cuda"),
        (
            {"learn": ("codec",)},
            "got learn 'codec', expected some of front, audio, text, heads, scale, queries",
        ),
        ({"learn": ("tower",)}, "got learn 'tower'"),
        ({"learn": ("queries", "heads")}, "query vectors learn alone"),
        ({"learn": ("queries",), "lora": LoraOptions()}, "query vectors learn alone"),
        ({"learn": ()}, "nothing to learn"),
        ({"accumulate": 0}, "accumulate 0"),
        ({"evaluate_every": 0}, "evaluate_every 0"),
        ({"save_every": 0}, "save_every 0"),
        ({"seed": -1}, "seed -1"),
        ({"loss": LossSettings(teacher_weight=1.0)}, "only one of loss.teacher_weight and data.teacher"),
        (
            {"data": DataSettings((Path("a.jsonl"),), teacher=Path("scores"))},
            "only one of loss.teacher_weight and data.teacher",
        ),
    ],
)
def test_a_run_that_makes_no_sense(refusal, changes, message):
    assert message in refusal(ConfigError, replace, build(FinetuneSettings, RUN), **changes)


def test_what_may_learn_alone():
    settings = build(FinetuneSettings, RUN)
    assert replace(settings, learn=("queries",)).learn == ("queries",)
    assert replace(settings, learn=(), lora=LoraOptions()).learn == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**RUN, "epochs": 3}, "unknown key 'epochs'"),
        ({**RUN, "data": {**DATA, "batchsize": 3}}, "did you mean 'batch_size'"),
        ({"model": "m", "schedule": {"steps": 1}}, "data"),
    ],
)
def test_keys_are_refused_by_name(refusal, values, message):
    assert message in refusal(ConfigError, build, FinetuneSettings, values)
