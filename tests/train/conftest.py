import copy
import itertools

import numpy as np
import pytest
import torch

from peaframe.data.mix import MixConfig, Mixer
from peaframe.data.prompts import Prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.train.phrases import phrase_table
from peaframe.train.scenes import SceneDataset
from peaframe.train.teacher import Teacher

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
