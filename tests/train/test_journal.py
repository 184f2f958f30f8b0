import json
import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from peaframe.errors import FormatError
from peaframe.train.journal import Journal


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def values(step, **more):
    return {"loss": float(step), "lr": 0.5, "skipped": 0.0, **more}


def board(folder):
    """What TensorBoard reads: (step, value) by name."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_means_over_every_so_many_steps_and_what_is_left_at_the_end(tmp_path):
    with Journal(tmp_path, 0, 8, True, every=3) as journal:
        for step in range(1, 9):
            journal.step(step, values(step))
    told = lines(tmp_path)
    assert [(line["step"], line["loss"]) for line in told] == [(3, 2.0), (6, 5.0), (8, 7.5)]
    assert all(line["lr"] == 0.5 and line["steps_per_second"] > 0 for line in told)


def test_what_is_not_finite_is_in_no_mean_and_skipped_steps_are_counted(tmp_path, capsys):
    with Journal(tmp_path, 0, 6, True, every=3) as journal:
        for step in range(1, 7):
            bad = step in (2, 4, 5, 6)
            journal.step(
                step, values(step, loss=math.nan if bad else float(step), skipped=float(max(0, step - 2)))
            )
    first, second = lines(tmp_path)
    assert (first["loss"], first["skipped"]) == (2.0, 1.0)
    assert ("loss" in second, second["skipped"], second["lr"]) == (False, 4.0, 0.5)
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "4 of 6 steps were not finite and changed nothing; see optim.lr"


def test_a_journal_goes_on_in_the_middle_of_a_line(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    with Journal(whole, 0, 6, True, every=3) as journal:
        for step in range(1, 7):
            journal.step(step, values(step, loss=0.1 * step))
    with Journal(parts, 0, 6, True, every=3) as journal:
        for step in range(1, 6):
            journal.step(step, values(step, loss=0.1 * step))
            if step == 2:
                kept = json.loads(json.dumps(journal.state_dict()))
    assert [line["step"] for line in lines(parts)] == [3]
    with Journal(parts, 2, 6, True, every=3, carried=kept) as journal:
        assert not (parts / "log.jsonl").read_text()
        for step in range(3, 7):
            journal.step(step, values(step, loss=0.1 * step))
    for one, other in zip(lines(whole), lines(parts), strict=True):
        assert one.pop("steps_per_second") > 0
        assert other.pop("steps_per_second") > 0
        assert one == other
    assert board(whole)["train/loss"] == board(parts)["train/loss"]


def test_measurements_and_tensorboard(tmp_path, capsys):
    with Journal(tmp_path, 0, 4, True, every=2) as journal:
        for step in range(1, 5):
            journal.step(step, values(step))
        journal.measured(4, {"psds1": 0.25, "event_f1": 0.5})
    assert lines(tmp_path)[-1] == {"step": 4, "valid": {"psds1": 0.25, "event_f1": 0.5}}
    told = board(tmp_path)
    assert told["train/loss"] == [(2, 1.5), (4, 3.5)]
    assert (told["valid/psds1"], told["valid/event_f1"]) == ([(4, 0.25)], [(4, 0.5)])
    assert "step 4: psds1 0.2500, event_f1 0.5000" in capsys.readouterr().err


def test_time_spent_on_measuring_is_not_the_steps(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("peaframe.train.journal.time.monotonic", lambda: now[0])
    with Journal(tmp_path, 0, 4, True, every=4) as journal:
        for step in range(1, 5):
            now[0] += 0.5
            journal.step(step, values(step))
            if step == 2:
                now[0] += 60
                journal.measured(2, {"psds1": 0.0})
    assert lines(tmp_path)[-1]["steps_per_second"] == pytest.approx(2.0)


def test_processes_but_one_write_and_say_nothing(tmp_path, capsys):
    with Journal(tmp_path, 0, 2, False, every=1) as journal:
        for step in (1, 2):
            journal.step(step, values(step))
            journal.measured(step, {"psds1": 0.0})
        assert journal.state_dict() == {"sums": {}, "counts": {}}
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_log_that_cannot_be_written(tmp_path, refusal):
    with Journal(tmp_path, 0, 2, True, every=1) as journal:
        (tmp_path / "log.jsonl").mkdir()
        message = refusal(FormatError, journal.step, 1, values(1))
    assert message == f"{tmp_path / 'log.jsonl'}: cannot be written (Is a directory); make room and go on"
