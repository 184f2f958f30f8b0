"""`peaframe detect --queries`, seen from outside: a sound learned from two short recordings."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import peaframe
from peaframe import Scores, formats
from peaframe.calibration import Calibration, Platt, QueryFit
from peaframe.events import Event, EventOptions, activity
from peaframe.queries import QueryFile, QueryVector
from peaframe.train.query_vectors import tune_query_vectors

evaluating = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "evaluating.py")))
beeps, one_line = evaluating.beeps, evaluating.one_line

NAME = "the bell of 狗"  # words that say nothing about a beep


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recording to listen to, and vectors tuned on two others."""
    folder = tmp_path_factory.mktemp("queries")
    detector = peaframe.load(device="cpu")
    embeddings, states = [], []
    for number, onsets in enumerate([(0.5, 2.0), (1.0, 3.0)]):
        beeps(folder / "take.wav", onsets, seed=number)
        heard = detector.embed(folder / "take.wav").values
        truth = [Event(onset, onset + 0.5, NAME) for onset in onsets]
        embeddings.append(heard)
        states.append(np.where(activity(truth, [NAME], len(heard))[:, 0], 1, -1))
    tuned = tune_query_vectors(detector.model, np.concatenate(embeddings), {NAME: np.concatenate(states)})
    tuned.save(folder / "tuned.json")
    beeps(folder / "new take.wav", (0.2, 2.6), seed=2)
    return folder


@pytest.mark.slow
def test_a_tuned_query_finds_what_its_words_do_not(shell, made):
    recording = made / "new take.wav"
    ran = shell("detect", recording, "--queries", made / "tuned.json", "--json")
    assert ran.code == 0, ran.err
    (found,) = formats.loads(ran.out, "json").values()
    assert [event.label for event in found] == [NAME, NAME]
    np.testing.assert_allclose([event.onset for event in found], [0.2, 2.6], atol=0.3)
    np.testing.assert_allclose([event.offset for event in found], [0.7, 3.1], atol=0.3)
    meta = json.loads(ran.out)["meta"]
    assert (meta["queries"], meta["tuned"]) == ([NAME], [NAME])
    assert ", 1 of 1 queries tuned: heard 4.00 s" in ran.err
    words = shell("detect", recording, NAME, "--json")
    assert words.code == 0, words.err
    assert list(formats.loads(words.out, "json").values()) in ([], [[]])
    assert json.loads(words.out)["meta"]["tuned"] == []
    assert "tuned" not in words.err


def test_words_and_vectors_stand_side_by_side(run, made, tmp_path):
    recording, kept = made / "new take.wav", tmp_path / "s.npz"
    both = ["--queries", made / "tuned.json", "--scores", kept, "--device", "cpu", "rain", NAME, "--json"]
    ran = run("detect", recording, *both, "--threshold", f"{NAME}=0.6")
    assert ran.code == 0, ran.err
    meta = json.loads(ran.out)["meta"]
    assert (meta["queries"], meta["tuned"]) == (["rain", NAME], [NAME])
    assert meta["options"][NAME]["threshold"] == 0.6
    assert ", 1 of 2 queries tuned: heard 4.00 s" in ran.err
    scores, detector = Scores.load(kept), peaframe.load(device="cpu")
    np.testing.assert_allclose(scores["rain"], detector.score(recording, ["rain"])["rain"], atol=1e-6)
    detector.use_queries(QueryFile.load(made / "tuned.json"))
    np.testing.assert_allclose(scores[NAME], detector.score(recording, [NAME])[NAME], atol=1e-6)


def test_kept_embeddings_may_be_asked_for_it(run, made, tmp_path):
    recording, kept = made / "new take.wav", tmp_path / "kept.npz"
    assert run("embed", recording, "--output", kept).code == 0
    heard = run("detect", recording, "--queries", made / "tuned.json", "--format", "tsv")
    later = run("detect", kept, "--queries", made / "tuned.json", "--format", "tsv")
    assert (heard.code, later.code) == (0, 0), heard.err + later.err
    assert later.out.replace("kept.npz", "new take.wav").count(NAME) == 2
    times = [[line.split("\t")[1:] for line in ran.out.splitlines()] for ran in (heard, later)]
    assert times[0] == times[1]


def test_words_may_stand_behind_other_options(run, made):
    """The recording comes first, the words where one likes; that is as without vectors."""
    ran = run("detect", made / "new take.wav", "--threshold", "0.5", "rain", "--json")
    assert json.loads(ran.out)["meta"]["queries"] == ["rain"]


def test_what_does_not_fit_is_one_line(run, made, tmp_path):
    good = QueryFile.load(made / "tuned.json")
    base = ("detect", made / "new take.wav")
    one_line(run(*base), "got no QUERY", "--queries FILE.json")
    one_line(run(*base, "--queries"), "--queries: expected one argument")
    one_line(run(*base, "--queries", tmp_path / "no.json"), "no.json: cannot read the query vectors")
    one_line(run(*base, "--queries", made / "new take.wav"), "new take.wav: no query vectors, it is not JSON")
    before = (made / "tuned.json").read_bytes()
    over = ("--queries", made / "tuned.json", "--output", made / "tuned.json")
    one_line(run(*base, *over), "is --queries too; give another file")
    assert (made / "tuned.json").read_bytes() == before
    bad = tmp_path / "bad.json"
    QueryFile("pe-a-frame-small", good.fingerprint, good.queries).save(bad)
    one_line(run(*base, "--queries", bad), "'pe-a-frame-small'", "the model is 'peaframe-mini'")
    QueryFile(good.model, "0" * 16, good.queries).save(bad)
    one_line(run(*base, "--queries", bad), "other weights of 'peaframe-mini' (0000000000000000, these are")
    QueryFile(good.model, good.fingerprint, (QueryVector("bell", [1.0]),)).save(bad)
    one_line(run(*base, "--queries", bad), "have 1 numbers, expected 256")


def test_a_calibration_of_the_words_is_refused(run, made, tmp_path):
    fit = QueryFit(Platt(1.0, 0.0), 0.1, EventOptions(), 9)
    Calibration("peaframe-mini", {NAME: fit}).save(tmp_path / "cal.json")
    calibrated = ("--queries", made / "tuned.json", "--calibration", tmp_path / "cal.json")
    one_line(run("detect", made / "new take.wav", *calibrated), f"{NAME!r}, which --queries replaces")
    Calibration("peaframe-mini", {"rain": fit}).save(tmp_path / "cal.json")
    ran = run("detect", made / "new take.wav", "rain", *calibrated)
    assert ran.code == 0, ran.err
    assert ", 1 of 2 queries tuned, 1 of 2 queries calibrated: heard 4.00 s" in ran.err
