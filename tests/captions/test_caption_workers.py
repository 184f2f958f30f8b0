"""Captions by many processes and by a real cluster: the bytes of one process, whatever dies meanwhile."""

import runpy
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.captions.captioned import Captioned, Failed
from peaframe.captions.clips import Clip
from peaframe.captions.run import Captioning, Captions, Rewriting
from peaframe.errors import MissingExtraError, OptionError
from peaframe.recipes import caption
from peaframe.workers.engine import TRIES, Attempt

FOLDER = Path(__file__).parents[1] / "annotate"
clusters = SimpleNamespace(**runpy.run_path(str(FOLDER / "clusters.py")))
REST = ["--table", "captions.jsonl", "--batch", "2", "--device", "cpu"]
PLAIN = [*REST, "--scorer", "none"]


def written(folder):
    """Bytes of all files by name, but for the answers."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.startswith("answers.sqlite")
    }


def answers(folder):
    with sqlite3.connect(folder / "answers.sqlite") as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(base.execute("SELECT key, answer FROM answers"))


@pytest.fixture(scope="module")
def made():
    """A cluster of a head and two nodes of one processor each."""
    with clusters.cluster(2) as made:
        yield made


@pytest.fixture
def losses(monkeypatch):
    """Why attempts were lost."""
    reasons = []
    plain = Attempt.lost

    def lost(self, reason):
        reasons.append(reason)
        return plain(self, reason)

    monkeypatch.setattr(Attempt, "lost", lost)
    return reasons


@pytest.mark.slow
def test_processes_and_nodes_write_the_same_while_a_worker_is_killed(
    made, arguments, server, media, many, tmp_path, losses
):
    with many.open("a") as file:
        file.write("broken.wav\nboth.mp4\n")
    (media / "labels.txt").write_text("sine wave beep\nbell ringing\n")
    options = [*REST, "--labels", str(media / "labels.txt")]
    good = server.answer

    def answer(body, count):  # too many clips have the same caption, until they are asked for once more
        again = "too many clips" in body["messages"][0]["content"]
        return good(body, count) if again else "A dog barks in the street."

    server.answer = answer
    caption.main(arguments("one", *options, clips=many.name))
    asked, expected, kept = sorted(server.prompts()), written(tmp_path / "one"), answers(tmp_path / "one")
    assert b"A bell number" in expected["captions.jsonl"]
    assert expected["failed.csv"].count(b"\n") == 2

    server.bodies.clear()
    caption.main(arguments("two", *options, "--jobs", "2", clips=many.name))
    assert written(tmp_path / "two") == expected
    assert (sorted(server.prompts()), answers(tmp_path / "two")) == (asked, kept)

    cluster = ["--engine", "ray", "--ray-address", made.address]
    with clusters.killing("Actor.do", 1):
        caption.main(arguments("ray", *options, *cluster, clips=many.name))
    assert losses == ["killed, or lost with its node"]
    assert written(tmp_path / "ray") == expected
    assert answers(tmp_path / "ray") == kept

    server.bodies.clear()
    caption.main(arguments("one", *options, *cluster, clips=many.name))  # all is known
    assert (server.bodies, written(tmp_path / "one")) == ([], expected)


@pytest.mark.slow
def test_a_run_on_a_cluster_that_was_killed_goes_on_here(
    made, arguments, server, many, tmp_path, until, killed_at_the_fifth
):
    caption.main(arguments("whole", *PLAIN, clips=many.name))
    expected = sorted(server.prompts())
    server.bodies.clear()
    cluster = ["--engine", "ray", "--ray-address", made.address, "--jobs", "1"]
    kept = killed_at_the_fifth(arguments("killed", *PLAIN, *cluster, clips=many.name))
    assert not (tmp_path / "killed/captions.jsonl").exists()
    until(lambda: not clusters.actors("Shared"))  # what wrote the answers has gone with it
    server.bodies.clear()
    caption.main(arguments("killed", *PLAIN, clips=many.name))
    assert sorted(server.prompts()) == sorted(set(expected) - set(kept))
    assert written(tmp_path / "killed") == written(tmp_path / "whole")


@pytest.mark.slow
def test_what_is_wrong_with_the_answers_is_said_as_by_one_process(made, arguments, tmp_path, refusal):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "answers.sqlite").write_bytes(b"no base at all" * 100)
    cluster = ["--engine", "ray", "--ray-address", made.address, "--jobs", "1"]
    messages = {
        refusal(caption.FormatError, caption.main, arguments("out", *PLAIN, *more)) for more in ([], cluster)
    }
    assert len(messages) == 1
    assert "cannot be used to keep answers" in messages.pop()


@pytest.mark.slow
def test_options_are_those_of_other_commands(arguments, refusal, monkeypatch):
    for more, message in {
        ("--jobs", "0"): "--jobs: got 0, expected 1 or more",
        ("--ray-address", "auto"): "--ray-address needs --engine ray; give both",
    }.items():
        assert refusal(OptionError, caption.main, arguments("out", *PLAIN, *more)) == message
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refusal(MissingExtraError, caption.main, arguments("out", *PLAIN, "--engine", "ray")) == (
        "--engine ray needs ray, which is not installed; run: pip install 'peaframe[ray]'"
    )


def lost(unit):
    """What becomes of a unit all of whose workers die."""
    waiting, results = [Attempt(unit)], []
    while waiting:
        again, result = waiting.pop(0).lost("killed")
        waiting = again + waiting
        results += [result] if result else []
    return results


def test_clips_that_end_their_workers_are_left_out_one_by_one():
    clips = tuple(Clip(f"{i}.wav", Path(f"/media/{i}.wav")) for i in range(2))
    said = f"{TRIES} processes died or failed when they captioned it; repair the file"
    assert lost(Captioning(6, clips)) == [
        Captions(6, (Failed(clips[0], f"0.wav: {said}"),)),
        Captions(7, (Failed(clips[1], f"1.wav: {said}"),)),
    ]
    done = tuple(Captioned(clip, "digest", (), None) for clip in clips)
    assert lost(Rewriting(0, done, "audio", {"a dog": 9}, True)) == [
        Captions(0, done[:1]),
        Captions(1, done[1:]),
    ]
