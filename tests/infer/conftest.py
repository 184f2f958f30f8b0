import pytest

import peaframe


@pytest.fixture(scope="session")
def detector():
    """The built-in model on the CPU."""
    return peaframe.load(device="cpu")
