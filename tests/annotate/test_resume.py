"""Runs that are stopped or killed and go on: the same bytes as if nothing had happened, and nothing left behind."""

import os
import random
import runpy
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.annotate import units

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, failed = runs.go, runs.write, runs.views, runs.failed
ASK = ("--query", "dog barking", "--query", "caw", "--progress", "none")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A long recording between short ones; read it only."""
    folder = tmp_path_factory.mktemp("night")
    write(folder / "a.flac", 6.0)
    write(folder / "b.wav", 60.5, 24_000)
    write(folder / "c.ogg", 9.0, begin=12.0)
    (folder / "bad.wav").write_text("nothing")
    return folder


OPTIONS = {"keep_scores": True, "keep_embeddings": True, "combined": True, "formats": ("csv", "json")}


@pytest.mark.slow
def test_stopped_after_every_unit_it_ends_as_if_it_had_not_been(worker, night, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 2)
    _, whole = go(worker, night, tmp_path / "whole", **OPTIONS)
    assert len(whole.units) >= 4
    for _ in whole.units:
        with pytest.raises(runs.StopError):
            go(worker, night, tmp_path / "out", after=runs.stopper(1), **OPTIONS)
        assert (tmp_path / "out" / "work").is_dir()
    outcome, engine = go(worker, night, tmp_path / "out", **OPTIONS)
    assert engine.units == []
    assert (outcome.recordings, outcome.failed) == (3, 1)
    assert views(tmp_path / "out") == views(tmp_path / "whole")
    assert not (tmp_path / "out" / "work").exists()


@pytest.mark.slow
def test_each_unit_is_heard_once(worker, night, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 2)
    _, whole = go(worker, night, tmp_path / "whole")
    given = []
    for after in (1, 2, 99):
        with suppress(runs.StopError):
            go(worker, night, tmp_path / "out", before=given.append, after=runs.stopper(after))
    assert given == whole.units
    assert views(tmp_path / "out") == views(tmp_path / "whole")


@pytest.mark.slow
def test_parts_that_somebody_tidied_up_are_heard_again(worker, night, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_WINDOWS", 2)
    go(worker, night, tmp_path / "whole")
    with pytest.raises(runs.StopError):
        go(worker, night, tmp_path / "out", after=runs.stopper(3))
    parts = sorted((tmp_path / "out" / "work" / "scores").rglob("*.npy"))
    assert len(parts) >= 2
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    parts[1].unlink()
    outcome, engine = go(worker, night, tmp_path / "out")
    assert (outcome.recordings, engine.heard[0]) == (3, "b.wav")
    assert views(tmp_path / "out") == views(tmp_path / "whole")


@pytest.mark.slow
def test_stopped_between_tables_it_writes_the_rest(worker, night, tmp_path, monkeypatch):
    from peaframe.annotate import run, tables

    go(worker, night, tmp_path / "whole", **OPTIONS)
    true = tables.formats.to_bytes
    for limit in (0, 1, 3, 5):
        left = [limit]

        def stop(*arguments, left=left):
            if left[0] == 0:
                raise runs.StopError
            left[0] -= 1
            return true(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(tables.formats, "to_bytes", stop)
            patch.setattr(run, "check", lambda job: None)
            with pytest.raises(runs.StopError):
                go(worker, night, tmp_path / "out", **OPTIONS)
    _, engine = go(worker, night, tmp_path / "out", **OPTIONS)
    assert engine.units == []
    assert views(tmp_path / "out") == views(tmp_path / "whole")


@pytest.mark.slow
def test_a_torn_temporary_of_a_view_is_removed(worker, night, tmp_path):
    go(worker, night, tmp_path / "out")
    before = views(tmp_path / "out")
    (tmp_path / "out" / ".0123456789ab.csv").write_text("half a tab")
    (tmp_path / "out" / ".mine").write_text("not ours")
    go(worker, night, tmp_path / "out")
    assert views(tmp_path / "out") == {**before, ".mine": b"not ours"}


@pytest.fixture(scope="module")
def long_night(tmp_path_factory):
    """Three recordings: one of seven minutes, in two parts; read it only."""
    folder = tmp_path_factory.mktemp("long")
    write(folder / "a.flac", 50.0)
    write(folder / "b.wav", 425.3, 16_000)
    write(folder / "c.ogg", 20.0, begin=12.0)
    return folder


@pytest.fixture(scope="module")
def undisturbed(long_night, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    process = runs.command(long_night, *ASK, "--output", output, "--jobs", 1, "--scores", "--combined")
    code, _, err = runs.finish(process)
    assert code == 0, err
    assert not (output / "work").exists()
    return output


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(long_night, undisturbed, tmp_path):
    chance, killed = random.Random(6), 0
    command = (long_night, *ASK, "--output", tmp_path / "out", "--jobs", 2, "--scores", "--combined")
    while True:
        process = runs.command(*command)
        group = process.pid
        try:
            process.wait(chance.uniform(2.5, 6.0) if killed < 4 else 120)
        except runs.subprocess.TimeoutExpired:
            os.kill(group, signal.SIGKILL) if killed % 2 else os.killpg(group, signal.SIGKILL)
            process.communicate()
            killed += 1
            assert runs.left_of(group) == []  # workers that were not killed see that the run has gone
            continue
        break
    code, _, err = runs.finish(process)
    assert (code, "1 recording" in err) == (0, False), err
    assert killed >= 2
    assert views(tmp_path / "out") == views(undisturbed)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in undisturbed.iterdir()
    )


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_goes_on_afterwards(long_night, undisturbed, tmp_path):
    command = (long_night, *ASK, "--output", tmp_path / "out", "--jobs", 2, "--scores", "--combined")
    process = runs.command(*command)
    until = time.monotonic() + 60
    while not (tmp_path / "out" / "scores").exists() and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = runs.finish(process)
    assert (code, err) == (130, "stopped; the same command goes on where it was\n")
    assert runs.left_of(process.pid) == []
    code, _, err = runs.finish(runs.command(*command))
    assert code == 0, err
    assert views(tmp_path / "out") == views(undisturbed)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(long_night, undisturbed, tmp_path):
    import resource
    import subprocess

    command = (long_night, *ASK, "--output", tmp_path / "out", "--jobs", 1, "--scores", "--combined")

    def little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    full = subprocess.run(
        [*runs.COMMAND, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=little,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert full.returncode == 2, full.stderr
    (said,) = full.stderr.splitlines()
    assert said.startswith(f"peaframe: error: {tmp_path / 'out'}")
    assert "cannot be written" in said
    assert said.endswith("then give the same command again")
    code, _, err = runs.finish(runs.command(*command))
    assert code == 0, err
    assert views(tmp_path / "out") == views(undisturbed)
