"""The study of pre-training: every thing held out once."""

import json

import numpy as np
import pytest

from peaframe.cli.main import main as command
from peaframe.errors import FormatError, OptionError
from peaframe.recipes import prepare_stamps, pretrain_study
from peaframe.recipes import pretrain as recipe
from peaframe.recipes.pretrain_study import joined

pytestmark = pytest.mark.usefixtures("one_thread")


def test_figures_are_means_over_things_with_their_interval():
    folds = [np.array([1.0, 0.5]), np.array([0.75])]
    found = joined(folds)
    assert (found["ahead"], found["things"]) == (0.75, 3)
    assert 0.5 <= found["low"] < 0.75 < found["high"] <= 1
    assert joined(folds) == found
    many = joined([np.linspace(0, 1, 400)])
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * np.sqrt(1 / 12 / 400), rel=0.1)


def test_the_table_marks_what_is_above_chance():
    sure = {"ahead": 0.8, "low": 0.7, "high": 0.9}
    chance = {"ahead": 0.52, "low": 0.45, "high": 0.6}
    drawn = pretrain_study.table({"8 pairs": {"A-V": sure, "A-V back": chance}, "1 pair": {"A-V": chance}})
    assert drawn.splitlines() == [
        "| | 8 pairs | 1 pair |",
        "|---|---|---|",
        "| A → V | **0.80 [0.70, 0.90]** | 0.52 [0.45, 0.60] |",
        "| V → A | 0.52 [0.45, 0.60] |  |",
        "| mean | 0.660 | 0.520 |",
    ]


def test_what_is_not_there_is_refused(tmp_path, refusal):
    config = tmp_path / "c.yaml"
    assert "got '9 pairs', expected some of 1 pair, 4 pairs" in refusal(
        OptionError, pretrain_study.study, config, tmp_path, tmp_path, ["9 pairs"], []
    )
    assert "got 0 folders of things" in refusal(
        FormatError, pretrain_study.study, config, tmp_path, tmp_path, ["1 pair"], []
    )


@pytest.mark.slow
def test_every_thing_is_held_out_once(stamps, tmp_path, monkeypatch, bank_folder, capsys):
    monkeypatch.chdir(tmp_path)
    prepare_stamps.main(
        [str(stamps), "data", "--soundbank", str(bank_folder), "--variants", "2", "--parts", "3"]
    )
    assert recipe.main(["pretrain_stamps", "--first", "runs/first", "model.codec=null"]) == 0
    for name in ("things_0", "things_1", "sounds_train"):
        assert command(["shards", f"data/{name}.jsonl", f"shards/{name}", "--model", "runs/first"]) == 0
    few = ("schedule.steps=3", "schedule.warm_up=1", "evaluate_every=3", "data.batch_size=4", "device=cpu")
    given = ["pretrain_stamps", "--only", "4 pairs", "shuffled", "--out", "study"]
    capsys.readouterr()
    assert pretrain_study.main([*given, "--", *few]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "| | 4 pairs | shuffled |"
    found = json.loads((tmp_path / "study" / "results.json").read_text())
    assert found["4 pairs"]["V-VC"]["things"] == 3  # each once: two in one part, one in the other
    assert found["4 pairs"]["A-V"]["things"] == 2
    for held, run in enumerate(("4_pairs_0", "4_pairs_1")):
        settings = json.loads((tmp_path / "study" / run / "settings.json").read_text())
        sources = [source["shards"] for source in settings["data"]["sources"]]
        assert settings["data"]["valid"] == [f"shards/things_{held}"]
        assert sources == [[f"shards/things_{1 - held}"], ["shards/sounds_train"]]
        assert settings["options"]["pairs"] == ["A-AC", "A-V", "V-VC", "AV-AVC"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").glob("*/last/model.safetensors")}
    assert pretrain_study.main([*given, "--", *few]) == 0
    assert capsys.readouterr().out == shown
    assert {path: path.stat().st_mtime_ns for path in times} == times
