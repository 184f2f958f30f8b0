"""Ray: the bytes of one process, whatever dies meanwhile; on real clusters."""

import os
import runpy
import socket
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.annotate import units
from peaframe.annotate.job import Job
from peaframe.annotate.records import Part
from peaframe.annotate.run import annotate
from peaframe.annotate.work import Machine, Orders, Piece, Unit
from peaframe.errors import MissingExtraError, ModelError, OptionError
from peaframe.workers import cluster, ray_engine
from peaframe.workers.engine import Attempt
from peaframe.workers.local import LocalEngine
from peaframe.workers.ray_engine import RayEngine

FOLDER = Path(__file__).parent
clusters = SimpleNamespace(**runpy.run_path(str(FOLDER / "clusters.py")))
write = runpy.run_path(str(FOLDER / "runs.py"))["write"]

QUERIES = ("a dog barking", "a crow calling", "rain")
SECONDS = (0.3, 1.0, 2.999, 4.04, 5.5, 7.0, 9.999, 10.0, 12.3, 17.77, 30.0)  # of short recordings
LONG_SECONDS = 210.7
MINI = Machine("peaframe-mini", "cpu", "exact")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _small_units():
    """Units of 40 s instead of 320 s: the same cuts and joints in less sound."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "UNIT_WINDOWS", 5)
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for i, seconds in enumerate(SECONDS):
        write(folder / f"{i:02}.wav", seconds, begin=i)
    write(folder / "long.flac", LONG_SECONDS)
    (folder / "broken.wav").write_bytes(b"RIFF\x00\x01\x00\x00WAVEfmt nothing of the kind")
    return folder


def run(engine, recordings, output):
    """Annotate; gives what came out, and every file that was written but the journal."""
    try:
        job = Job([str(recordings)], output, QUERIES, formats=("csv", "raven"), combined=True)
        outcome = annotate(job, engine)
    finally:
        engine.close()
    written = {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.name.startswith("journal.sqlite")
    }
    return outcome, written


@pytest.fixture(scope="module")
def quiet(recordings, tmp_path_factory):
    """What one process makes of it."""
    outcome, written = run(LocalEngine(MINI, 1), recordings, tmp_path_factory.mktemp("quiet"))
    assert (outcome.recordings, outcome.failed) == (len(SECONDS) + 1, 1)
    assert outcome.events > 20
    assert written["csv/long.flac.csv"].count(b"\n") > 10
    assert b"broken.wav" in written["failed.csv"]
    return written


@pytest.fixture
def losses(monkeypatch):
    """Counts how often an attempt is lost."""
    counted = []
    original = Attempt.lost

    def lost(self, reason):
        counted.append((self.unit.number, reason))
        return original(self, reason)

    monkeypatch.setattr(Attempt, "lost", lost)
    return counted


def whole(output):
    """Whether the journal is sound, and nothing in it is left to do."""
    with sqlite3.connect(output / "journal.sqlite") as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert base.execute("SELECT count(*) FROM parts WHERE done = 0").fetchall() == [(0,)]
        count, distinct = base.execute(
            "SELECT count(*), count(DISTINCT file || '/' || first) FROM parts"
        ).fetchone()
    assert count == distinct == len(SECONDS) + 5  # the long one is in five parts
    return True


def test_two_processes_make_the_same(recordings, quiet, tmp_path):
    assert run(LocalEngine(MINI, 2), recordings, tmp_path)[1] == quiet


def test_a_ray_of_its_own_makes_the_same_and_leaves_nothing(recordings, quiet, tmp_path, capfd):
    assert run(RayEngine(MINI, 2), recordings, tmp_path)[1] == quiet
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
    assert clusters.actors() == []
    assert capfd.readouterr() == ("", "")


def test_a_recording_that_goes_on_ending_its_workers_fails_and_no_other(recordings, losses):
    def unit(number, name):
        path = recordings / name
        piece = Piece(Part(number), str(path), path.stat().st_size, path.stat().st_mtime_ns)
        return Unit(number, (piece,))

    engine = RayEngine(MINI, 1)
    try:
        options = engine.facts().options
        engine.begin(Orders(QUERIES, dict.fromkeys(QUERIES, options)))
        with clusters.killing("Actor.do", 3):
            results = list(engine.do([unit(1, "long.flac"), unit(2, "10.wav")]))
    finally:
        engine.close()
    assert losses == [(1, "killed, or lost with its node")] * 3
    assert [result.number for result in results] == [1, 2]
    assert results[0].pieces[0].error == (
        f"{recordings / 'long.flac'}: ended 3 workers that heard it (killed, or lost with its node); it may be damaged"
    )
    assert results[1].pieces[0].error is None
    assert results[1].pieces[0].seconds == SECONDS[10]


def test_an_address_where_nobody_answers_is_refused_at_once(refusal, monkeypatch):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        message = refusal(OptionError, RayEngine(MINI, None, address).facts)
        assert message.startswith(
            f"--ray-address {address}: no Ray cluster can be used there (Connection refused)"
        )
        bound.listen()  # now somebody takes the call, and says nothing
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 4.0)
        message = refusal(OptionError, RayEngine(MINI, None, address).facts)
        assert "(no answer in 4 s)" in message


def test_gpus_are_not_chosen_here(refusal):
    assert "give --device cuda" in refusal(
        OptionError, RayEngine, Machine("peaframe-mini", "cuda:1", "exact")
    )


def test_without_ray_it_says_what_to_install(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    message = refusal(MissingExtraError, RayEngine(MINI).facts)
    assert message == "--engine ray needs ray, which is not installed; run: pip install 'peaframe[ray]'"


@pytest.fixture(scope="module")
def made():
    """A cluster of a head and two nodes; those tests that have a Ray of their own come before its first."""
    with clusters.cluster(2) as made:
        yield made


def test_what_the_cluster_lacks_is_said(made, monkeypatch, refusal):
    monkeypatch.setattr(ray_engine, "_PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(ray_engine, "_LOOK_SECONDS", 0.5)
    engine = RayEngine(Machine("peaframe-mini", "cuda", "exact"), None, made.address)
    try:
        message = refusal(ModelError, engine.facts)
    finally:
        engine.close()
    assert "it needs 1 CPU, 1 GPU; there are 2 CPU, 0 GPU, free of them 2 CPU, 0 GPU" in message

    engine = RayEngine(Machine("no-such-model", "cpu", "exact"), 1, made.address)
    try:
        assert "no-such-model" in refusal(ModelError, engine.facts)
    finally:
        engine.close()


def test_nodes_of_a_cluster_make_the_same_while_a_worker_and_a_node_are_lost(
    made, recordings, quiet, tmp_path, losses, capfd
):
    before = set(clusters.actors())  # of other tests, on their way out
    engine = RayEngine(MINI, None, made.address)
    assert engine.facts().device == "cpu"
    assert engine.jobs == 2
    (pid,) = set(clusters.actors()) - before  # the first worker; behind the first result it still has a unit
    breaking = clusters.Breaking(engine, 1, lambda: clusters.kill(pid))
    assert run(breaking, recordings, tmp_path / "worker")[1] == quiet
    assert whole(tmp_path / "worker")
    assert [reason for _, reason in losses] == ["killed, or lost with its node"]

    before = set(clusters.actors())
    engine = RayEngine(MINI, 2, made.address)
    engine.facts()
    (pid,) = set(clusters.actors()) - before
    node = clusters.node_of(made, pid)
    breaking = clusters.Breaking(engine, 1, lambda: made.remove_node(node, allow_graceful=False))
    outcome, written = run(breaking, recordings, tmp_path / "node")
    assert written == quiet
    assert whole(tmp_path / "node")
    assert [reason for _, reason in losses[1:]] == ["killed, or lost with its node"]
    assert (outcome.recordings, outcome.failed) == (len(SECONDS) + 1, 1)
    assert capfd.readouterr() == ("", "")
