"""Devices are tried before anybody waits for a model."""

import pytest
import torch

from peaframe.errors import OptionError
from peaframe.models.device import device_of


def test_a_device_by_its_name():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("name", "auto", "said"),
    [
        ("toaster", True, "device 'toaster' is not there; expected auto, cpu, or cuda with a GPU"),
        ("cuda:99", True, "device 'cuda:99' is not there; expected auto, cpu, or cuda with a GPU"),
        ("auto", False, "device 'auto' is not there; expected cpu, or cuda with a GPU"),
    ],
)
def test_what_is_not_there_is_refused(name, auto, said, refusal):
    assert refusal(OptionError, device_of, name, auto) == said
