import itertools

import numpy as np
import pytest
import torch

from peaframe.data.mix import MixConfig, Mixer
from peaframe.data.prompts import Prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.train.phrases import phrase_table
from peaframe.train.scenes import SceneDataset

CLASSES = ("Beep", "Siren")


class Teacher(torch.nn.Module):
    """Made-up class probabilities of 16 kHz audio: a line through the logarithm of each frame's energy."""

    def forward(self, waveform):
        energy = waveform.unfold(1, 640, 640).square().mean(dim=2, keepdim=True)
        return torch.sigmoid(torch.log(energy + 1e-4) * torch.tensor([0.5, -0.3]) + torch.tensor([1.0, -2.0]))


@pytest.fixture
def teacher():
    return Teacher()


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
