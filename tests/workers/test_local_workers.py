"""Processes: what becomes of units whose workers die, and of workers that die before they have any."""

import sys
from functools import partial
from pathlib import Path

import pytest

from peaframe.errors import ModelError, OptionError
from peaframe.workers.chosen import check, engine_of
from peaframe.workers.local import LocalEngine
from peaframe.workers.order import in_order


@pytest.fixture
def adding(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.delitem(sys.modules, "adding", raising=False)
    import adding

    return adding


def added(engine, units, more=0):
    try:
        engine.begin(engine.share(partial(int, more)))
        return [(one.first, one.total, one.reason) for one in in_order(engine.do, units, lambda: engine.jobs)]
    finally:
        engine.close()


def test_units_of_workers_that_die_are_tried_again_and_then_each_thing_alone(adding, tmp_path):
    units = [adding.Numbers(2 * i, (i, 10 * i)) for i in range(8)]
    units[3] = adding.Numbers(6, (3, adding.DIES))
    units[5] = adding.Numbers(10, (adding.FAILS, 50))
    expected = [(2 * i, 100 + 11 * i, "") for i in range(8)]
    expected[5:6] = [(10, None, "3: ValueError: no such number"), (11, 150, "")]
    expected[3:4] = [
        (6, 103, ""),
        (7, None, "3: killed by SIGKILL, perhaps for want of memory"),
    ]
    assert added(engine_of(adding.Adding(tmp_path), "local", 2, None), units, 100) == expected
    assert len(list(tmp_path.iterdir())) in (
        7,
        8,
    )  # two and one for each of six, the last perhaps not yet there


def test_workers_that_die_while_they_load_take_no_unit_along(adding, tmp_path):
    units = [adding.Numbers(i, (i,)) for i in range(20)]
    few = tmp_path / "few"
    few.mkdir()
    engine = LocalEngine(adding.Adding(few, deaths=2), 2)
    assert added(engine, units) == [(i, i, "") for i in range(20)]


def test_where_all_die_the_run_ends(adding, tmp_path, refusal):
    units = [adding.Numbers(0, (adding.DIES,)), adding.Numbers(1, (1,))]
    message = refusal(ModelError, added, LocalEngine(adding.Adding(tmp_path, deaths=99), 1), units)
    assert message.startswith("3 workers died before they did anything (killed by SIGKILL")


def test_errors_of_ours_end_the_run_as_they_are(adding, tmp_path, refusal):
    units = [adding.Numbers(0, (adding.REFUSES,))]
    message = refusal(OptionError, added, LocalEngine(adding.Adding(tmp_path), 1), units)
    assert message == "got a number, expected another"


def test_engines_that_make_no_sense(refusal):
    assert refusal(OptionError, check, "local", 0, None) == "--jobs: got 0, expected 1 or more"
    assert refusal(OptionError, check, "local", None, "auto") == "--ray-address needs --engine ray; give both"
    check("ray", 1, "auto")
