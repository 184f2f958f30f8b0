"""Two systems on the same recordings: their own numbers, and whether the difference is one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.eval.compare import compare_tables
from peaframe.eval.given import score_tables
from peaframe.eval.tables import ScoreTable, write_table

Refusal = Callable[..., str]
EDGES = np.arange(101) * 0.1
Place = tuple[Path, Path, Path, Path]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Scores of a good system and of a noisy one in 12 recordings of 10 s, true events, durations."""
    random = np.random.default_rng(3)
    truth = ["filename\tonset\toffset\tevent_label"]
    durations = ["filename\tduration"]
    for folder in ("good", "noisy"):
        (tmp_path / folder).mkdir()
    for number in range(12):
        active = np.zeros((100, 2))
        for column, label in enumerate(("dog", "cat")):
            onset = int(random.integers(0, 80))
            if (number + column) % 3:  # in some recordings nothing is heard
                active[onset : onset + 15, column] = 1
                truth.append(f"r{number}.wav\t{onset / 10}\t{(onset + 15) / 10}\t{label}")
        durations.append(f"r{number}.wav\t10")
        for folder, noise in (("good", 0.2), ("noisy", 0.6)):
            values = np.clip(0.1 + 0.8 * active + noise * random.standard_normal(active.shape), 0, 1)
            write_table(tmp_path / folder / f"r{number}.tsv", ScoreTable(values, ("dog", "cat"), EDGES))
    (tmp_path / "truth.tsv").write_text("\n".join(truth) + "\n")
    (tmp_path / "durations.tsv").write_text("\n".join(durations) + "\n")
    return tmp_path / "good", tmp_path / "noisy", tmp_path / "truth.tsv", tmp_path / "durations.tsv"


@pytest.mark.slow
def test_a_better_system_is_better_by_the_difference_of_both_own_scores(place: Place) -> None:
    good, noisy, truth, durations = place
    document = compare_tables(*place, resamples=99)
    own = [score_tables(folder, truth, durations, resamples=0)["metrics"] for folder in (good, noisy)]

    assert set(document["metrics"]) == set(own[0])
    for key, row in document["metrics"].items():
        assert row["values"] == [own[0][key]["value"], own[1][key]["value"]]
        assert row["difference"] == row["values"][0] - row["values"][1]
    tested = document["metrics"]["frame_auroc"]
    assert 0 < tested["low"] < tested["difference"] < tested["high"] < 1
    assert tested["p_value"] == pytest.approx(0.02)
    best = document["metrics"]["event_f1_best_macro"]
    assert (best["low"], best["high"], best["p_value"]) == (None, None, None)
    assert document["settings"] == {"resamples": 99, "seed": 0, "level": 0.95, "threshold": 0.5}


@pytest.mark.slow
def test_the_other_way_round_all_signs_are_others(place: Place) -> None:
    good, noisy, *rest = place
    one, other = (
        compare_tables(good, noisy, *rest, resamples=20),
        compare_tables(noisy, good, *rest, resamples=20),
    )

    for key, row in one["metrics"].items():
        turned = other["metrics"][key]
        assert turned["difference"] == -row["difference"]
        assert turned["p_value"] == row["p_value"]
        if row["low"] is not None:
            assert (turned["low"], turned["high"]) == (
                pytest.approx(-row["high"]),
                pytest.approx(-row["low"]),
            )


def test_a_system_is_not_better_than_itself(place: Place) -> None:
    good, _, *rest = place
    for row in compare_tables(good, good, *rest, resamples=20)["metrics"].values():
        assert row["difference"] == 0
        assert row["p_value"] in (1.0, None)


def test_notes_say_whose_scores_they_are_of(place: Place) -> None:
    good, noisy, truth, durations = place
    table = (noisy / "r3.tsv").read_text().splitlines(keepends=True)
    (noisy / "r3.tsv").write_text("".join(table[:-9]))
    truth.write_text(truth.read_text() + "r1.wav\t9\t12\tdog\n")

    notes = compare_tables(good, noisy, truth, durations, resamples=0)["notes"]

    assert notes == [
        "truth.tsv: true events cut that reach beyond their clip's end: 1",
        f"{noisy}: recordings whose scores end over 0.5 s before or after them, as with a wrong frame rate: 1, "
        "first 'r3' (9.1 of 10 s)",
    ]


def test_other_labels_or_recordings_are_refused(place: Place, refusal: Refusal) -> None:
    _, noisy, *_ = place
    for path in noisy.iterdir():
        path.write_text(path.read_text().replace("cat", "cow", 1))
    assert "only one of them has scores of 'cat'" in refusal(OptionError, compare_tables, *place)
    (noisy / "r5.tsv").unlink()
    assert "'r5' and 0 more recordings have no table" in refusal(OptionError, compare_tables, *place)
