"""How far a run is, said to people and to programs."""

import io
import json

import pytest

from peaframe.annotate import progress
from peaframe.annotate.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_json_tells_once_a_second_and_at_the_end(clock):
    stream = io.StringIO()
    told = Progress("json", stream)
    told.line("ä\nb")
    told.start("hear", 4.0, 1.0)
    for step in range(6):
        clock[0] += 0.5
        told.advance(0.5, events=step)
    told.stop(events=9)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"event": "note", "text": "ä\nb"}
    own = {"event": "progress", "what": "hear", "total": 4.0}
    assert lines[1:] == [
        {**own, "done": 1.5, "seconds_left": 2.5, "events": 0},
        {**own, "done": 2.5, "seconds_left": 1.5, "events": 2},
        {**own, "done": 3.5, "seconds_left": 0.5, "events": 4},
        {**own, "done": 4.0, "seconds_left": 0.0, "events": 9},
    ]


def test_json_of_an_unknown_total_promises_nothing(clock):
    stream = io.StringIO()
    told = Progress("json", stream)
    told.start("look", None, unit="file")
    clock[0] += 2
    told.advance(1000)
    told.stop()
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"event": "progress", "what": "look", "done": 1000.0}
    ] * 2


def test_auto_is_a_bar_on_a_terminal_and_only_what_stays_elsewhere():
    screen, pipe = Terminal(), io.StringIO()
    for stream in (screen, pipe):
        told = Progress("auto", stream)
        told.line("before")
        told.start("hear", 2.0, 0.5)
        told.line("between")
        told.advance(1.5, events=3)
        told.stop(events=3)
    assert pipe.getvalue() == "before\nbetween\n"
    assert "hear: 100%|" in screen.getvalue()
    assert "2.00/2.00 h" in screen.getvalue()
    assert "events=3" in screen.getvalue()
    assert "between\n" in screen.getvalue()


@pytest.mark.parametrize("total", [0.0, None])
def test_a_bar_of_nothing_is_no_trouble(total):
    stream = io.StringIO()
    told = Progress("bar", stream)
    told.start("hear", total)
    told.stop()
    assert "hear" in stream.getvalue()


def test_what_never_began_may_be_stopped():
    stream = io.StringIO()
    for kind in progress.KINDS:
        Progress(kind, stream).stop()
    assert stream.getvalue() == ""


def test_none_says_nothing():
    stream = Terminal()
    told = Progress("none", stream)
    told.line("x")
    told.start("hear", 1.0)
    told.advance(1.0)
    told.stop()
    assert stream.getvalue() == ""
