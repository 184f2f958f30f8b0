"""What a run will take, said from a bit of it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.annotate import estimate as module
from peaframe.annotate import units
from peaframe.annotate.amounts import clock, hours, size
from peaframe.annotate.estimate import estimate
from peaframe.annotate.journal import NAME, Journal
from peaframe.annotate.planning import Times, plan
from peaframe.annotate.records import Part
from peaframe.annotate.work import Orders, PieceResult, UnitResult

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
QUERIES = runs.QUERIES


@pytest.fixture
def planned(worker, tmp_path, monkeypatch):
    """A journal of some minutes that are to be heard, and what the workers are told."""
    monkeypatch.setattr(module, "TRIAL_SECONDS", 1.0)
    paths = [runs.write(tmp_path / f"{i}.wav", seconds, 8000) for i, seconds in enumerate((400.0, 99.0, 1.0))]
    facts = worker.facts()
    with Journal(tmp_path / NAME) as journal:
        pairs = [(path.name, str(path)) for path in paths]
        assert plan(journal, pairs, facts.windows, Times(), lambda count: None) == (0, 0)
        yield journal, Orders(QUERIES, dict.fromkeys(QUERIES, facts.options), None, None, True, True)


@pytest.mark.slow
def test_it_hears_beginnings_and_keeps_nothing(worker, planned):
    journal, orders = planned
    engine = runs.Here(worker)
    engine.begin(orders)
    before = list(journal.pending())
    found = estimate(engine, journal, orders, worker.facts())
    assert list(journal.pending()) == before
    assert (journal.counts()["planned"], journal.count_events()) == ((3, 500.0), 0)
    hop = worker.facts().windows.hop
    assert [unit.pieces[0].part for unit in engine.units][:2] == [Part(1, 0, hop), Part(1, 0, hop)]
    assert all(len(unit.pieces) == 1 for unit in engine.units)
    assert 5 < found.rate < 5000
    assert found.seconds == pytest.approx(500 / found.rate)
    assert found.memory == pytest.approx(worker.facts().memory, rel=0.2)
    per_second = 4 * 25 * 2 + 2 * 25 * worker.facts().dim
    assert found.disk == per_second * 500
    assert found.disk_meanwhile == 2 * per_second * 400


@pytest.mark.slow
def test_recordings_that_cannot_be_heard_make_no_rate(worker, planned, tmp_path):
    journal, orders = planned
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    engine = runs.Here(worker)
    engine.begin(orders)
    found = estimate(engine, journal, orders, worker.facts())
    assert (found.rate, found.seconds) == (0.0, 0.0)
    assert found.disk > 0


def test_a_worker_that_died_over_one_says_nothing_of_time(worker, planned):
    class Lost(runs.Here):
        def do(self, units):
            for unit in units:
                yield UnitResult(unit.number, (PieceResult(unit.pieces[0].part, error="died", retry=True),))

    journal, orders = planned
    assert estimate(Lost(worker), journal, orders, worker.facts()).rate == 0.0


@pytest.mark.slow
def test_long_runs_are_estimated_before_they_begin(worker, tmp_path, monkeypatch):
    from peaframe.annotate.run import _Run

    monkeypatch.setattr(module, "TRIAL_SECONDS", 0.3)
    monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
    monkeypatch.setattr(_Run, "long", lambda self: True)
    runs.write(tmp_path / "rec" / "a.wav", 30.0)
    outcome, engine = runs.go(worker, tmp_path / "rec", tmp_path / "out")
    assert outcome.estimate.rate > 1
    assert outcome.recordings == 1
    assert [unit.number for unit in engine.units if unit.number] == [1, 2]


def test_lengths_times_and_sizes_are_said_for_people():
    assert [hours(seconds) for seconds in (30.0, 359.0, 360.0, 90_000.0)] == [
        *("0.5 min", "6.0 min", "0.10 h", "25.00 h")
    ]
    assert [clock(seconds) for seconds in (0.4, 61.0, 3600.0, 90_061.0, 86_400.0)] == [
        *("0:00:00", "0:01:01", "1:00:00", "1 d 1:01:01", "1 d 0:00:00")
    ]
    assert [size(count) for count in (0, 999, 1500, 25_000_000, 3.2e12, 5e15)] == [
        *("0 B", "999 B", "1.5 kB", "25 MB", "3.2 TB", "5000 TB")
    ]
