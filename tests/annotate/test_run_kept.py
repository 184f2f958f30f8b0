"""Scores and embeddings that a run keeps: what they are, and what is asked of them later."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import Scores
from peaframe.annotate import units
from peaframe.calibration import Calibration, Platt, QueryFit
from peaframe.errors import OptionError

runs = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "runs.py")))
go, write, views, failed, QUERIES, ALL = runs.go, runs.write, runs.views, runs.failed, runs.QUERIES, runs.ALL


@pytest.mark.slow
def test_scores_that_are_kept_are_those_of_detect(worker, archive, tmp_path):
    go(worker, archive, tmp_path / "out", keep_scores=True)
    for name in ("a.wav", "night 1/c.wav", "night 2/deep/d.wav"):
        kept = Scores.load(tmp_path / "out" / "scores" / f"{name}.npz")
        own = worker._detector.score(archive / name, list(QUERIES))
        assert (kept.labels, kept.duration, kept.values.shape) == (QUERIES, own.duration, own.values.shape)
        np.testing.assert_allclose(kept.values, own.values, atol=1e-5)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.slow
def test_kept_embeddings_are_asked_without_any_audio(worker, rec, tmp_path, monkeypatch, long):
    if long:
        monkeypatch.setattr(units, "UNIT_WINDOWS", 1)
        write(rec / "a.wav", 35.0)
    out, kept = tmp_path / "out", {"keep_embeddings": True}
    go(worker, rec, out, **kept)
    go(worker, rec, tmp_path / "fresh", queries=("caw", "rain"), **kept)
    opened = []
    monkeypatch.setattr(worker, "_blocks", lambda *piece: opened.append(piece))
    with pytest.raises(OptionError, match=", which hears nothing again: its embeddings are kept, or another"):
        go(worker, rec, out, queries=("caw", "rain"), **kept)
    (rec / "c.wav").unlink()  # nobody needs it any more
    outcome, engine = go(worker, rec, out, queries=("caw", "rain"), overwrite=True, **kept)
    assert (opened, engine.heard, outcome.recordings) == ([], ["a.wav", "b.wav", "c.wav"], 3)
    assert (outcome.gone, outcome.remarks[0]) == (
        0,
        "1 recordings annotated before are no longer there; their embeddings, which are kept, are asked",
    )
    assert (outcome.heard_seconds, outcome.asked_seconds) == (0.0, pytest.approx(44.0 if long else 12.0))
    assert all(piece.embeddings is not None for unit in engine.units for piece in unit.pieces)
    mine, fresh = views(out), views(tmp_path / "fresh")
    assert {name: mine[name] for name in mine if name != "report.html"} == {
        name: fresh[name] for name in fresh if name != "report.html"
    }


def test_embeddings_that_are_lost_are_made_again(worker, rec, tmp_path):
    out, kept = tmp_path / "out", {"keep_embeddings": True}
    go(worker, rec, out, **kept)
    before = (out / "embeddings" / "a.wav.npz").read_bytes()
    (out / "embeddings" / "a.wav.npz").unlink()
    (out / "embeddings" / "b.wav.npz").write_bytes(b"spoilt")
    outcome, _ = go(worker, rec, out, queries=("caw",), overwrite=True, **kept)
    assert (outcome.recordings, list(failed(out))) == (2, ["b.wav"])
    assert "its embeddings cannot be used" in failed(out)["b.wav"]
    assert (out / "embeddings" / "a.wav.npz").read_bytes() == before
    assert (outcome.heard_seconds, outcome.asked_seconds) == (3.0, 5.0)
    outcome, engine = go(worker, rec, out, queries=("caw",), **kept)
    assert (outcome.recordings, outcome.failed, engine.heard) == (3, 0, ["b.wav"])
    assert (outcome.heard_seconds, outcome.asked_seconds) == (4.0, 0.0)


def test_embeddings_are_asked_though_they_are_to_be_kept_no_longer(worker, rec, tmp_path):
    go(worker, rec, tmp_path / "out", keep_embeddings=True)
    outcome, _ = go(worker, rec, tmp_path / "out", queries=("caw",), overwrite=True)
    fresh, _ = go(worker, rec, tmp_path / "fresh", queries=("caw",), keep_embeddings=True)
    assert [summary.events for summary in outcome.summaries] == [
        summary.events for summary in fresh.summaries
    ]
    assert views(tmp_path / "out")["csv/b.wav.csv"] == views(tmp_path / "fresh")["csv/b.wav.csv"]


def test_a_calibration_changes_scores_and_is_a_setting(worker, rec, tmp_path, refusal):
    facts = worker.facts()
    fit = QueryFit(Platt(0.5, -1.0), 0.3, ALL, 10)
    calibration = Calibration(facts.model, {"dog barking": fit, "caw": fit}, facts.fingerprint)
    go(worker, rec, tmp_path / "out", calibration=calibration, keep_scores=True)
    kept = Scores.load(tmp_path / "out" / "scores" / "a.wav.npz").values
    plain = worker._detector.score(rec / "a.wav", list(QUERIES))
    np.testing.assert_allclose(kept, calibration.apply(plain).values, atol=1e-5)
    assert np.abs(kept[:, 0] - plain.values[:, 0]).max() > 0.05
    message = refusal(OptionError, go, worker, rec, tmp_path / "out", keep_scores=True)
    assert "calibration null, there" in message
