"""What the tests of a run share: a worker with the built-in model, a small archive, and a run of it."""

import runpy
from pathlib import Path

import pytest

from peaframe.annotate.work import Machine, Worker

runs = runpy.run_path(str(Path(__file__).parent / "runs.py"))
go, write = runs["go"], runs["write"]


@pytest.fixture(scope="session")
def worker():
    """One worker in this process, with the built-in model."""
    return Worker(Machine("peaframe-mini", "cpu", "exact", 1))


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Short recordings of odd lengths, rates and containers, in folders; read it only."""
    folder = tmp_path_factory.mktemp("archive")
    write(folder / "a.wav", 7.3)
    write(folder / "a.flac", 4.0, begin=3)
    write(folder / "night 1" / "b.ogg", 9.01, 44_100, begin=9)
    write(folder / "night 1" / "c.wav", 12.5, 22_050, begin=15, channels=2)
    write(folder / "night 2" / "deep" / "d.wav", 0.31, 16_000)
    return folder


@pytest.fixture
def rec(tmp_path):
    """Three recordings that may be spoilt."""
    for i, name in enumerate(("a.wav", "b.wav", "c.wav")):
        write(tmp_path / "rec" / name, 3.0 + i, begin=3.0 * i)
    return tmp_path / "rec"


@pytest.fixture(scope="session")
def finished(worker, archive, tmp_path_factory):
    """The folder of a finished run of the archive; read it only."""
    output = tmp_path_factory.mktemp("finished") / "out"
    outcome, engine = go(worker, archive, output)
    assert (outcome.recordings, outcome.failed, len(engine.units)) == (5, 0, 1)
    return output
