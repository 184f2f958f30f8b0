"""Where a model runs, by what people call it."""

from __future__ import annotations

import torch

from peaframe.errors import OptionError


def device_of(name: str, auto: bool = True) -> torch.device:
    """The device of a name, after trying it.

    Args:
        name: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` ...
        auto: false where `auto` may not be said.

    Raises:
        OptionError: no such device here.
    """
    if auto and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        choices = "auto, cpu, or cuda with a GPU" if auto else "cpu, or cuda with a GPU"
        raise OptionError(f"device {name!r} is not there; expected {choices}") from error
    return device
