"""Shards by a cluster: the bytes of one process, whatever dies meanwhile; on real clusters."""

import csv
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.data.clip_processes import ClipMachine
from peaframe.data.clip_shards import ClipContent, write_clip_shards
from peaframe.data.clips_table import stream
from peaframe.errors import MissingExtraError, OptionError
from peaframe.workers.engine import Attempt
from peaframe.workers.local import LocalEngine
from peaframe.workers.ray_engine import RayEngine

FOLDER = Path(__file__).parent
clips = SimpleNamespace(**runpy.run_path(str(FOLDER / "clip_files.py")))
clusters = SimpleNamespace(**runpy.run_path(str(FOLDER.parent / "annotate" / "clusters.py")))


def write(engine, table, out, wanted):
    try:
        write_clip_shards(stream(table), out, wanted, shard_bytes=clips.SHARD_BYTES, engine=engine)
    finally:
        engine.close()
    return clips.content(out)


@pytest.mark.slow
def test_a_clip_that_ends_its_workers_is_left_out_in_the_same_words(table, wanted, tmp_path, deadly):
    found = write(RayEngine(ClipMachine(wanted), 2), table, tmp_path / "ray", wanted)
    said = {row["path"]: row["reason"] for row in csv.DictReader(found["failed.csv"].decode().splitlines())}
    assert said["same.wav"] == "3 processes died or failed when they decoded it; repair the file"
    assert len(said) == 6
    assert write(LocalEngine(ClipMachine(wanted), 1), table, tmp_path / "local", wanted) == found


@pytest.mark.slow
def test_nodes_of_a_cluster_write_the_same_while_a_worker_and_a_node_are_lost(
    table, wanted, written, tmp_path, monkeypatch, capfd
):
    alone = clips.content(written)
    reasons = []
    plain = Attempt.lost

    def lost(self, reason):
        reasons.append(reason)
        return plain(self, reason)

    monkeypatch.setattr(Attempt, "lost", lost)
    with clusters.cluster(2) as made:
        engine = RayEngine(ClipMachine(wanted), None, made.address)
        assert engine.facts().made["video"]["frames"] == 4
        assert engine.jobs == 2
        (pid,) = clusters.actors()
        breaking = clusters.Breaking(engine, 1, lambda: clusters.kill(pid))
        assert write(breaking, table, tmp_path / "worker", wanted) == alone
        assert reasons == ["killed, or lost with its node"]

        before = set(clusters.actors())
        engine = RayEngine(ClipMachine(wanted), 2, made.address)
        engine.facts()
        (pid,) = set(clusters.actors()) - before
        node = clusters.node_of(made, pid)
        breaking = clusters.Breaking(engine, 1, lambda: made.remove_node(node, allow_graceful=False))
        assert write(breaking, table, tmp_path / "node", wanted) == alone
        assert reasons[1:] == ["killed, or lost with its node"]
        assert capfd.readouterr() == ("", "")


def test_gpus_are_not_chosen_here_and_ray_is_an_extra(table, wanted, tmp_path, refusal, monkeypatch):
    one = ClipContent(model=wanted.model, device="cuda:1")
    assert refusal(OptionError, RayEngine, ClipMachine(one)) == (
        "--device cuda:1: Ray chooses among GPUs; give --device cuda"
    )
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = RayEngine(ClipMachine(wanted))
    assert refusal(MissingExtraError, write, engine, table, tmp_path / "out", wanted) == (
        "--engine ray needs ray, which is not installed; run: pip install 'peaframe[ray]'"
    )
    assert not (tmp_path / "out").exists()
