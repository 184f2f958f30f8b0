import copy
import itertools
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peaframe.data.mix import MixConfig, Mixer
from peaframe.data.prompts import Prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.recipes import finetune
from peaframe.train.phrases import phrase_table
from peaframe.train.scenes import SceneDataset
from peaframe.train.teacher import Teacher

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "finetuning.py")))
CLASSES = ("Beep", "Siren")


@pytest.fixture
def teacher(tiny_model):
    """Two made-up classes on the convolutions that the model starts from."""
    torch.manual_seed(1)
    weight = torch.randn(2, 1024) * 0.1
    return Teacher(copy.deepcopy(tiny_model.front), weight, torch.tensor([1.0, -2.0]), list(CLASSES))


@pytest.fixture
def prompts():
    return Prompts(
        phrases={
            "beep": ("beep", "a beep"),
            "buzz": ("buzz", "a buzz"),
            "rain": ("rain", "the sound of rain"),
        },
        teacher={"Beep": ("beeping",)},
        distractors=("the sound of a beep", *map(" ".join, itertools.combinations("cfhjklmqvwxyz", 2))),
    )


@pytest.fixture
def table(tiny_model, prompts):
    return phrase_table(tiny_model, prompts, CLASSES)


@pytest.fixture
def make_dataset(bank_folder, prompts):
    """Scenes from the small bank's train split, as the recipe makes them."""
    clips = [clip for clip in read_manifest(bank_folder) if clip.split == "train"]
    bank = Bank(clips, 16_000)

    def make(seed):
        overlap = np.zeros((3, 3), bool)
        return SceneDataset(Mixer(bank, MixConfig(), seed), prompts.labels, overlap)

    return make


@pytest.fixture
def start(tmp_path, tiny_model, tokenizer_content):
    """What fine-tuning begins with: a model, a manifest and a cache."""
    return runs.make_start(tmp_path, tiny_model, tokenizer_content)


@pytest.fixture
def train(start, tmp_path, monkeypatch):
    """Fine-tune into a folder, by its name; `stop` steps only, if given."""

    def train(out, stop=None, **changes):
        config = runs.write_config(tmp_path / f"{out}.yaml", runs.values(*start, **changes))
        with monkeypatch.context() as patch:
            if stop is not None:
                patch.setattr(finetune, "stop_signals", runs.stopping(stop))
            return finetune.finetune(finetune.read_settings(config), tmp_path / out)

    return train
