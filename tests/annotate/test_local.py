"""Workers that are processes: two give what one gives, the dead are replaced, and all end with the run."""

import multiprocessing
import os
import runpy
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.annotate import units
from peaframe.annotate.job import Job
from peaframe.annotate.progress import Progress
from peaframe.annotate.records import Part
from peaframe.annotate.run import annotate
from peaframe.annotate.work import Machine, Piece, Unit
from peaframe.errors import ModelError
from peaframe.workers import engine as engines
from peaframe.workers.engine import TRIES, Attempt
from peaframe.workers.local import LocalEngine

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, failed, QUERIES = runs.go, runs.write, runs.views, runs.failed, runs.QUERIES
MINI = Machine("peaframe-mini", "cpu", "exact", 1)


@pytest.fixture(scope="module")
def rec(tmp_path_factory):
    """Recordings for several units of two windows each; read it only."""
    folder = tmp_path_factory.mktemp("rec")
    write(folder / "a.wav", 11.0)
    write(folder / "b.flac", 13.0, begin=9.0)
    write(folder / "c.wav", 12.0, 22_050)
    write(folder / "long.wav", 49.9, 16_000)
    return folder


def local(rec, output, jobs, watch=None, **options):
    """Annotate with processes; `watch` looks on in a thread, and is given the run's engine."""
    engine = LocalEngine(MINI, jobs)
    over = threading.Event()
    thread = threading.Thread(target=watch, args=(engine, over)) if watch else None
    if thread:
        thread.start()
    try:
        return annotate(Job([str(rec)], output, list(QUERIES), **options), engine, Progress("none"))
    finally:
        over.set()
        if thread:
            thread.join()
        engine.close()
        assert [one for one in multiprocessing.active_children() if one.name == "peaframe-worker"] == []


def opened(process, path):
    """Whether a process has a file open."""
    try:
        folder = f"/proc/{process.pid}/fd"
        return any(os.readlink(f"{folder}/{fd}") == str(path) for fd in os.listdir(folder))
    except OSError:
        return False


def killer(path, times):
    """Kills whichever worker opens a recording, so many times; `killed` are their numbers."""
    killed = []

    def watch(engine, over):
        while not over.wait(0.002) and len(killed) < times:
            for hand in list(engine._hands):
                if hand.process.pid not in killed and opened(hand.process, path):
                    hand.process.kill()
                    killed.append(hand.process.pid)

    return watch, killed


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one(worker, rec, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 2)
    options = {"keep_scores": True, "keep_embeddings": True, "combined": True, "formats": ("csv", "json")}
    here, engine = go(worker, rec, tmp_path / "here", **options)
    assert len(engine.units) == 5
    outcome = local(rec, tmp_path / "two", 2, **options)
    assert (outcome.recordings, outcome.events) == (4, here.events)
    assert outcome.spent["hearing"] > 0
    assert views(tmp_path / "two") == views(tmp_path / "here")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(worker, rec, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 2)
    go(worker, rec, tmp_path / "here")
    watch, killed = killer(rec / "long.wav", 1)
    outcome = local(rec, tmp_path / "out", 1, watch)
    assert (len(killed), outcome.recordings, outcome.failed) == (1, 4, 0)
    assert views(tmp_path / "out") == views(tmp_path / "here")


@pytest.mark.slow
def test_a_recording_that_always_ends_its_worker_fails_alone_and_is_tried_again(
    worker, tmp_path, monkeypatch
):
    monkeypatch.setattr(engines, "TRIES", 2)
    rec = tmp_path / "rec"
    for name, seconds in (("a.wav", 3.0), ("b.wav", 100.0), ("c.wav", 4.0)):
        write(rec / name, seconds)  # one unit
    go(worker, [rec / "a.wav", rec / "c.wav"], tmp_path / "good")
    watch, killed = killer(rec / "b.wav", 99)
    outcome = local(rec, tmp_path / "out", 1, watch)
    assert (outcome.recordings, outcome.failed, len(killed)) == (2, 1, 4)
    assert failed(tmp_path / "out") == {
        "b.wav": f"{rec / 'b.wav'}: ended 2 workers that heard it (killed by SIGKILL, perhaps for want of memory); "
        "it may be damaged"
    }
    mine, good = views(tmp_path / "out"), views(tmp_path / "good")
    assert all(mine[f"csv/{name}.csv"] == good[f"csv/{name}.csv"] for name in ("a.wav", "c.wav"))
    again, engine = go(worker, rec, tmp_path / "out")  # with a worker that bears it
    assert (again.recordings, again.failed, engine.heard) == (3, 0, ["b.wav"])


def attempt(*ids):
    return Attempt(Unit(7, tuple(Piece(Part(id), f"/rec/{id}.wav", 1, 1) for id in ids)))


def test_a_unit_that_is_lost_is_tried_whole_then_each_recording_alone():
    again, result = attempt(1, 2).lost("x")
    assert (again, result) == ([Attempt(attempt(1, 2).unit, 1)], None)
    (again,), _ = again[0].lost("x")
    assert again.losses == 2
    alone, result = again.lost("x")
    assert (alone, result) == ([attempt(1), attempt(2)], None)
    one = alone[1]
    for _ in range(TRIES - 1):
        (one,), result = one.lost("x")
        assert result is None
    left, result = one.lost("exit code 9")
    (piece,) = result.pieces
    assert (left, result.number, piece.part, piece.retry) == ([], 7, Part(2), True)
    assert piece.error == "/rec/2.wav: ended 3 workers that heard it (exit code 9); it may be damaged"


@pytest.mark.slow
def test_a_model_that_is_none_is_said_once(refusal):
    engine = LocalEngine(Machine("no-such-model", "cpu", "exact", 1), 2)
    try:
        message = refusal(ModelError, engine.facts)
    finally:
        engine.close()
    assert "no-such-model" in message
    assert engine._hands == []


@pytest.mark.slow
def test_a_worker_that_dies_while_it_loads_is_said():
    engine = LocalEngine(MINI, 1)

    def kill():
        while not engine._hands:
            time.sleep(0.01)
        engine._hands[0].process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(
        ModelError, match=r"the worker died while it loaded peaframe-mini \(killed by SIGKILL"
    ):
        engine.facts()
    thread.join()
    engine.close()
