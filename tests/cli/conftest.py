import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from peaframe.cli.main import main

RATE = 48_000


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    """Run a command inside this process."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(scope="session")
def shell():
    """Run the installed command `peaframe` as a process of its own."""

    def shell(*arguments, **options):
        command = [str(Path(sysconfig.get_path("scripts")) / "peaframe"), *map(str, arguments)]
        settings = {"capture_output": True, "text": True, "check": False, **options}
        done = subprocess.run(command, **settings)
        return Ran(done.returncode, done.stdout, done.stderr)

    return shell


@pytest.fixture
def street(tmp_path):
    """A recording of 4.5 s, with a name as people give them."""
    random = np.random.default_rng(0)
    path = tmp_path / "street scene.wav"
    soundfile.write(path, 0.1 * random.standard_normal(round(4.5 * RATE)), RATE)
    return path
