"""The journal: what it holds, who may open it, and what survives."""

import os
import runpy
import signal
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.annotate.journal import NAME, Journal
from peaframe.annotate.records import DONE, FAILED, PLANNED, Part
from peaframe.errors import FormatError, OptionError

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))

# Puts units of three recordings with three events each into the journal, for ever; says how many.
WRITER = """
import sys
from pathlib import Path
from peaframe.annotate.journal import Journal
from peaframe.annotate.records import Part
with Journal(Path(sys.argv[1])) as journal:
    print("open", flush=True)
    number = int(sys.argv[2])
    while True:
        number += 1
        with journal.transaction():
            for i in range(3):
                id = 3 * number + i
                journal.add({"id": id, "name": f"{id:07}.wav", "path": "/x", "state": "planned", "seen": 1})
                journal.pack([[Part(id)]])
                journal.file_done(id, 2.5, [(0.0, 0.5, 0, 0.25), (0.5, 1.0, 0, 0.5), (1.0, 1.5, 0, 0.75)])
"""


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / NAME) as journal:
        yield journal


def add(journal, name, seconds=10.0, **more):
    values = {"name": name, "path": f"/rec/{name}", "state": PLANNED, "seen": 1, "seconds": seconds, **more}
    with journal.transaction():
        journal.add(values)
    return journal.file(name)


def pack(journal, *unit):
    with journal.transaction():
        journal.pack([unit])


def test_a_second_process_is_refused_until_the_first_ends(journal, tmp_path, refusal):
    other = runs.python(WRITER, tmp_path / NAME, 0)
    _, err = other.communicate(timeout=60)
    assert other.returncode == 1
    assert "OptionError" in err
    assert "another run is at work in this folder; wait for it" in err
    first = tmp_path / "other.sqlite"
    process = runs.python(WRITER, first, 0)
    assert process.stdout.readline() == "open\n"
    message = refusal(OptionError, Journal, first)
    assert (
        message == f"{tmp_path}: another run is at work in this folder; wait for it, or give another --output"
    )
    process.kill()
    process.communicate()
    with Journal(first) as mine:  # the lock went with the process
        assert mine.note("x") is None


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_whole_units(tmp_path):
    number, seen = 0, 0
    for turn in range(6):
        process = runs.python(WRITER, tmp_path / NAME, number)
        assert process.stdout.readline() == "open\n"
        time.sleep(0.05 + 0.041 * turn)
        process.kill()
        process.communicate()
        with Journal(tmp_path / NAME) as journal:
            count, seconds = journal.counts()[DONE]
            events = journal.count_events()
            heard = list(journal.annotated(["q"]))
        assert count % 3 == 0
        assert (events, seconds, len(heard)) == (3 * count, 2.5 * count, count)
        assert all([event.score for event in one.events] == [0.25, 0.5, 0.75] for one in heard)
        assert count > seen  # what it had is kept, and more came
        number, seen = count // 3, count


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1))
def test_a_torn_write_ahead_log_gives_whole_units(torn, share):
    folder, base, log = torn
    place = folder / f"{share!r}"
    place.mkdir(exist_ok=True)
    (place / NAME).write_bytes(base)
    (place / f"{NAME}-wal").write_bytes(log[: round(share * len(log))])
    with Journal(place / NAME) as journal:
        count, seconds = journal.counts().get(DONE, (0, 0.0))
        assert (count % 3, journal.count_events(), seconds) == (0, 3 * count, 2.5 * count)
        assert share < 1 or count > 0


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """What a process that was killed left on the disk: its database and its write-ahead log."""
    folder = tmp_path_factory.mktemp("torn")
    with Journal(folder / NAME):
        pass
    process = runs.python(WRITER, folder / NAME, 0)
    process.stdout.readline()
    time.sleep(0.3)
    process.kill()
    process.communicate()
    return folder, (folder / NAME).read_bytes(), (folder / f"{NAME}-wal").read_bytes()


def test_an_error_inside_takes_everything_back(journal):
    def half():
        with journal.transaction():
            journal.set_note("a", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert journal.note("a") is None
    with journal.transaction():
        journal.set_note("a", {"ä": [1.5, None]})
    assert journal.note("a") == {"ä": [1.5, None]}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"hello, I am no database at all, am I?" * 99, "is damaged"), (None, "is damaged")],
)
@pytest.mark.slow
def test_a_damaged_journal_is_one_line(tmp_path, refusal, content, said):
    path = tmp_path / NAME
    with Journal(path) as journal:
        for i in range(200):
            add(journal, f"{i}.wav")
    if content is None:  # the beginning is well
        whole = path.read_bytes()
        content = whole[:4096] + bytes(255 - b for b in whole[4096:])
    path.write_bytes(content)

    def use():
        with Journal(path) as journal:
            journal.counts()
            list(journal.files())

    message = refusal(FormatError, use)
    assert message.startswith(f"{path}: {said} (")
    assert message.endswith("begin again with another --output")


def test_another_version_is_refused(tmp_path, refusal):
    path = tmp_path / NAME
    Journal(path).close()
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA user_version = 7")
    base.close()
    message = refusal(FormatError, Journal, path)
    assert message.startswith(f"{path}: is of version 7, expected 1; go on with the peaframe that began it")
    path.unlink()
    path.write_bytes(b"")  # killed when it was just made
    with Journal(path) as journal:
        assert journal.counts() == {}


def test_a_folder_that_is_not_there_is_one_line(tmp_path, refusal):
    message = refusal(FormatError, Journal, tmp_path / "no" / NAME)
    assert "cannot be opened (unable to open database file)" in message


def test_reset_keeps_where_embeddings_are_and_nothing_else(journal):
    for name, embedded in (("a", True), ("b", False)):
        file = add(journal, name)
        pack(journal, Part(file.id))
        with journal.transaction():
            journal.file_done(file.id, 9.5, [(0.0, 1.0, 0, 0.5)])
            if embedded:
                journal.embedded(file.id)
            journal.set_note("settings", 1)
    id = journal.file("a").id
    journal.reset(keep_embeddings=True)
    (left,) = journal.files()
    assert (left.name, left.id, left.state, left.embedded, left.seconds) == ("a", id, PLANNED, True, 9.5)
    assert (journal.note("settings"), journal.count_events(), list(journal.pending())) == (None, 0, [])
    assert [file.name for file in journal.unpacked()] == ["a"]
    journal.reset(keep_embeddings=False)
    assert list(journal.files()) == []


def test_units_are_pending_until_their_parts_are_done(journal):
    one, two = add(journal, "one", 30.0), add(journal, "two", 5.0)
    pack(journal, Part(one.id, 0, 500))
    pack(journal, Part(one.id, 500, None), Part(two.id))
    assert journal.seconds_left() == 35.0
    assert [(number, [part for _, part in parts]) for number, parts in journal.pending()] == [
        (1, [Part(one.id, 0, 500)]),
        (2, [Part(one.id, 500, None), Part(two.id)]),
    ]
    with journal.transaction():
        journal.part_done(1, Part(one.id, 0, 500), None)
    assert (journal.seconds_left(), journal.to_join()) == (15.0, [])
    assert [number for number, _ in journal.pending()] == [2]
    with journal.transaction():
        journal.part_done(2, Part(one.id, 500, None), 29.0)
        journal.file_failed(two.id, "it is bad", retry=False)
    assert (list(journal.pending()), journal.seconds_left()) == ([], 0.0)
    assert [file.name for file in journal.to_join()] == ["one"]
    assert [file.name for file in journal.to_join([two.id])] == []
    assert [(file.name, file.seconds) for file in journal.to_join([two.id, one.id])] == [("one", 29.0)]
    with journal.transaction():
        journal.hear_again(one.id)
    assert ([number for number, _ in journal.pending()], journal.to_join()) == ([1, 2], [])
    assert list(journal.failures()) == [("two", "it is bad")]


def test_a_recording_planned_anew_has_forgotten_all(journal):
    file = add(journal, "a")
    pack(journal, Part(file.id))
    with journal.transaction():
        journal.file_done(file.id, 9.0, [(0.0, 1.0, 0, 0.5)])
        journal.set_note("views", 1)
    assert journal.counts() == {DONE: (1, 9.0)}
    again = add(journal, "a", 12.0)
    assert (again.seconds, again.state) == (12.0, PLANNED)
    assert (journal.count_events(), journal.parts(again.id), journal.note("views")) == (0, [], None)


def test_recordings_that_vanish_are_lost_before_they_are_heard_and_stay_afterwards(journal):
    files = {name: add(journal, name) for name in ("done", "planned", "embedded", "there")}
    for file in files.values():
        pack(journal, Part(file.id))
    with journal.transaction():
        journal.file_done(files["done"].id, 9.0, [])
        journal.embedded(files["embedded"].id)
        journal.seen(files["there"].id, "/rec/there", 2)
        assert journal.lose_unseen(2, "gone") == (1, 1)
    assert list(journal.failures()) == [("planned", "gone")]
    assert [file.name for _, parts in journal.pending() for file, _ in parts] == ["embedded", "there"]
    assert journal.file("planned").retry is True
    with journal.transaction():
        journal.plan_again(files["planned"].id, 3)
    assert [file.name for file in journal.unpacked()] == ["planned"]
    assert list(journal.failures()) == []


def test_pages_are_whole_and_in_order_while_it_is_written(journal):
    names = [f"{i:05}.wav" for i in range(2500)]
    with journal.transaction():
        for name in reversed(names):
            values = {"name": name, "path": f"/{name}", "state": PLANNED, "seen": 1, "seconds": 1.0}
            journal.add(values)
    seen = []
    for file in journal.files():
        seen.append(file.name)
        if len(seen) % 700 == 1:
            with journal.transaction():
                journal.file_done(file.id, 1.0, [(0.0, 1.0, 0, 0.5)])
                journal.set_recorded(file.id, None)
    assert seen == names
    with journal.transaction():
        journal.pack([Part(file.id)] for file in journal.unpacked())
    assert len(list(journal.pending())) == 2500 - 4


def test_events_come_back_as_they_were_and_filtered(journal):
    file = add(journal, "ä b.wav", recorded=None)
    events = [(0.04, 0.08, 1, 0.125), (0.04, 1.0, 0, 0.30000001192092896), (3.0, 4.0, 1, 0.9)]
    with journal.transaction():
        journal.file_done(file.id, 9.0, events)
    (one,) = journal.annotated(["x", "y"])
    assert [(e.onset, e.offset, e.label, e.score) for e in one.events] == [
        (onset, offset, "xy"[query], score) for onset, offset, query, score in events
    ]
    (few,) = journal.annotated(["x", "y"], min_score=0.30000001192092896)
    assert [event.score for event in few.events] == [0.30000001192092896, 0.9]


def test_a_full_disk_is_one_line_and_nothing_of_the_unit_is_there(journal, refusal):
    file = add(journal, "a")
    pages = journal._one("PRAGMA page_count")[0]
    journal._do(f"PRAGMA max_page_count = {pages}")

    def fill():
        with journal.transaction():
            journal.file_done(file.id, 1.0, ((i, i + 0.5, 0, 0.5) for i in range(5000)))

    message = refusal(FormatError, fill)
    assert message == (
        f"{journal.path}: cannot be written (database or disk is full); make room, then give the same command again"
    )
    assert (journal.count_events(), journal.file("a").state) == (0, PLANNED)
    journal._do("PRAGMA max_page_count = 1000000")
    fill()
    assert (journal.count_events(), journal.file("a").state) == (5000, DONE)


def test_failures_say_why_by_name(journal):
    for name in ("b", "a\nx", "ä"):
        add(journal, name, state=FAILED, reason=f"no {name}")
    assert list(journal.failures()) == [("a\nx", "no a\nx"), ("b", "no b"), ("ä", "no ä")]


def test_nothing_outlives_a_killed_writer(tmp_path):
    process = runs.python(WRITER, tmp_path / NAME, 0)
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    Journal(tmp_path / NAME).close()
    assert sorted(os.listdir(tmp_path)) == [NAME]
