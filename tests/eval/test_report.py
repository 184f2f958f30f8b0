"""Reports: what they say of an evaluation, as a page, as Markdown and as JSON, and what is no evaluation."""

import base64
import hashlib
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from peaframe.errors import FormatError
from peaframe.eval.report import METRICS, html, markdown, metric_name, save_report

reports = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "reports.py")))
Page, evaluation = reports.Page, reports.evaluation


def test_the_page_shows_the_values() -> None:
    page = Page(html(evaluation()))
    said = page.said()

    assert page.said("title").startswith("soundscapes, 300 recordings")
    for head in (
        "Notes",
        "Metrics",
        "Curves",
        "Labels",
        "Confusion of labels",
        "Worst recordings",
        "Settings",
    ):
        assert head in page.said("h2")
    for text in ("peaframe-mini", "0.9.1", "1,234", "0.83 hours", "scoring 30.1 s, metrics 4.2 s", "unicorn"):
        assert text in said
    assert "12 true events were merged" in said
    assert "PARTIAL" not in said
    assert ["Y-a_b_30.000_40.000", "0.062", "3", "7"] in page.rows
    assert ["dog", "cat", "3", "30.0 %"] in page.rows
    assert [row for row in page.rows if row[0] in ("Bell", "cat", "dog")][:3] == [
        ["Bell", "12", "0.252", "–"],
        ["cat", "11", "0.251", "–"],
        ["dog", "10", "0.250", "–"],
    ]
    metrics = [row[1:] for row in page.rows if row[0].startswith(("PSDS1", "Event F1, collar", "d′", "home"))]
    assert metrics == [
        ["0.201", "[0.181, 0.223]"],
        ["0.346", "[0.300, 0.400]"],
        ["1.500", "[1.250, 1.750]"],
        ["–", "–"],
    ]
    assert [(attrs.get("style") or "") for attrs in page.all("span", "scale")] == [
        "--a:0.1805;--b:0.2225;--v:0.2015",
        "--a:0.3000;--b:0.4000;--v:0.3456",
    ]


@pytest.mark.parametrize(
    "label",
    [
        "<script>alert(1)</script>",
        "</style></title><img src=x onerror=alert(1)>",
        '"&\'&lt;" onload="alert(1)',
        "x" * 400,
        "a | b `c` *d* _e_ [f](javascript:g)",
        "\udc80 \x00 \u2028 line\nbreak",
        "مرحبا بالعالم",
    ],
)
def test_any_text_is_only_text(label: str) -> None:
    shown = " ".join(re.sub("[\x00\udc80]", "\ufffd", label).split())
    given_ = evaluation((label, "cat"))
    given_.update(
        title=label,
        model=label,
        notes=[label],
        unscored=[label],
        missing=[label],
        benchmark=label,
        complete=False,
    )
    given_["settings"] = {label: {label: [label, label]}}
    given_["worst"][0]["recording"] = label
    given_["metrics"][label] = {"value": 0.5, "low": None, "high": None}
    given_["per_label"][label][label] = 0.5
    plain = Page(html(evaluation(("dog", "cat"))))
    text = html(given_)
    page = Page(text)

    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {"details", "summary"}
    assert len(page.all("script")) == 1
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert shown in " ".join(" ".join(row) for row in page.rows)
    assert text.encode("utf-8")

    lines = markdown(given_).splitlines()
    assert lines[0].startswith("# ")
    assert "<" not in "".join(lines)
    heads = [line for line in lines if line.startswith("| Label |")]
    row = next(line for line in lines if line.startswith("| ") and "10 | 0.250" in line)
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in (heads[0], row)]
    assert bars == [6, 6]


def test_only_this_pages_script_may_run() -> None:
    text = html(evaluation())
    page = Page(text)
    policy = next(attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv"))
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert (policy or "").split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r"@import|url\(|src=|href=", text)


def test_a_partial_score_says_so_first() -> None:
    given_ = evaluation()
    given_.update(complete=False, missing=[f"clip{place}" for place in range(200)], recordings=968)
    line = "PARTIAL: 200 of 1168 recordings missing, this is not the benchmark's score"

    page = Page(html(given_))
    assert next(text for at, text in page.texts if at == "p") == line
    assert page.said("title").startswith("PARTIAL: soundscapes")
    assert len(page.all("b", "tag")) == 4
    assert markdown(given_).splitlines()[2] == f"**{line}**"
    assert "and 150 more" in markdown(given_)

    del given_["complete"], given_["missing"]
    assert "PARTIAL" not in markdown(given_)
    assert "PARTIAL: recordings missing, this is" in markdown({**given_, "complete": False})


def test_markdown_has_the_tables() -> None:
    assert markdown(evaluation()) == (
        "# soundscapes, 300 recordings\n\n"
        "| Metric | Value | 95 % interval |\n| --- | ---: | ---: |\n"
        "| PSDS1 | 0.201 | [0.181, 0.223] |\n"
        "| Event F1, collar 200 ms | 0.346 | [0.300, 0.400] |\n"
        "| d′ | 1.500 | [1.250, 1.750] |\n"
        "| home_made | – | – |\n\n"
        "## What was scored\n\n"
        "| What |  |\n| --- | --- |\n"
        "| Model | peaframe-mini |\n| Benchmark | folder |\n| Recordings | 300 |\n| Audio | 0.83 hours |\n"
        "| True events | 1,234 |\n| Labels scored | 3 |\n| Time | scoring 30.1 s, metrics 4.2 s |\n"
        "| peaframe | 0.9.1 |\n\n"
        "## Notes\n\n"
        "- 12 true events were merged\n"
        "- 1 label without true events, in no score: unicorn\n\n"
        "## Labels\n\n"
        "| Label | Events | PSDS1 | AUROC |\n| --- | ---: | ---: | ---: |\n"
        "| Bell | 12 | 0.252 | – |\n| cat | 11 | 0.251 | – |\n| dog | 10 | 0.250 | – |\n\n"
        "## Worst recordings\n\n"
        "| Recording | Event F1 | Missed | False |\n| --- | ---: | ---: | ---: |\n"
        "| Y-a_b_30.000_40.000 | 0.062 | 3 | 7 |\n\n"
        "## Settings\n\n"
        "| Setting | Value |\n| --- | --- |\n"
        "| events.threshold | 0.5 |\n| events.median | none |\n| device | cpu |\n| exact | yes |\n"
    )


def test_metrics_have_names_and_an_order() -> None:
    assert metric_name("psds1_a") == "PSDS1_A"
    assert metric_name("segment_mpauc") == "mpAUC"
    assert metric_name("home_made") == "home_made"
    assert all(name and explanation.endswith(".") for name, explanation in METRICS.values())
    assert len({name for name, _ in METRICS.values()}) == len(METRICS)

    metrics = {key: {"value": 0.5} for key in ("segment_mpauc", "psds1_a", "psds1")}
    for benchmark, first in (("maestro", "mpAUC"), ("audioset-strong", "PSDS1_A"), ("folder", "PSDS1")):
        lines = markdown({"metrics": metrics, "benchmark": benchmark}).splitlines()
        assert lines[4] == f"| {first} | 0.500 | – |"


def test_parts_may_be_absent() -> None:
    bare = {"metrics": {"event_f1_macro": {"value": 1.0, "low": None, "high": None}}}
    assert markdown(bare) == (
        "# Evaluation\n\n| Metric | Value | 95 % interval |\n| --- | ---: | ---: |\n"
        "| Event F1, collar 200 ms | 1.000 | – |\n"
    )
    page = Page(html(bare))
    assert page.said("h2") == "Metrics"
    assert page.all("svg") == []
    empty = {"curves": {}, "confusion": {}, "worst": [], "per_label": {}, "missing": [], "settings": {}}
    assert html({**bare, **empty}) == html(bare)
    nothing = {"psd_roc": {"labels": {}, "mean": None}, "pr": {}}
    assert html({**bare, "curves": nothing}) == html(bare)
    assert Page(html({"metrics": {}})).said("h1") == "Evaluation"


def test_files_are_written(tmp_path: Path) -> None:
    given_ = evaluation()
    given_["metrics"]["clip_ap"] = {"value": np.float32(0.5), "low": np.float64("nan"), "high": float("inf")}
    given_["curves"]["pr"]["dog"]["recall"] = np.array([0.5, np.nan])
    given_["curves"]["pr"]["dog"]["precision"] = np.array([1.0, 0.0])
    folder = tmp_path / "deep" / "er"

    save_report(given_, folder)

    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "report.html", "report.md"]
    text = (folder / "metrics.json").read_text(encoding="utf-8")
    stored = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(stored) == sorted(given_)
    assert stored["metrics"]["clip_ap"] == {"high": None, "low": None, "value": 0.5}
    assert stored["metrics"]["home_made"]["value"] is None
    assert stored["curves"]["pr"]["dog"] == {"recall": [0.5, None], "precision": [1.0, 0.0]}
    assert stored["per_label"] == given_["per_label"]
    assert stored["confusion"] == given_["confusion"]
    assert (folder / "report.md").read_text(encoding="utf-8") == markdown(given_)
    assert (folder / "report.html").read_text(encoding="utf-8") == html(given_)
    # What was stored gives the same pictures and tables again.
    again = Page(html(stored))
    assert again.rows == Page(html(given_)).rows
    assert again.all("path") == Page(html(given_)).all("path")


def test_nothing_is_written_of_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"holds <object object at .*>, which JSON cannot"):
        save_report({**evaluation(), "extra": object()}, tmp_path / "out")
    with pytest.raises(FormatError, match=r"shape \(2, 2\) for 3 labels; expected \(4, 4\)"):
        save_report(
            {**evaluation(), "confusion": {"labels": ["a", "b", "c"], "matrix": [[1, 2], [3, 4]]}},
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("here")
    with pytest.raises(FormatError, match="file: cannot be made"):
        save_report(evaluation(), tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": None}, "no evaluation; expected an object with 'metrics'"),
        ({"per_label": []}, "'per_label' is list; expected an object"),
        ({"worst": {}}, "'worst' is dict; expected a list"),
        ({"notes": "all well"}, "'notes' is str; expected a list"),
        ({"per_label": {"dog": 0.5}}, "'per_label' holds 0.5; expected objects only"),
        ({"curves": {"pr": []}}, "'pr' is list; expected an object"),
        (
            {"curves": {"pr": {"dog": {"recall": [1]}}}},
            "'dog' has no 'precision'; expected lists recall and prec",
        ),
        (
            {"curves": {"pr": {"dog": {"recall": [1], "precision": []}}}},
            r"'dog' has shapes \(1,\) and \(0,\)",
        ),
        ({"curves": {"pr": {"dog": {"recall": ["x"], "precision": [1]}}}}, "'dog' holds could not convert"),
        ({"confusion": {"labels": ["a"], "matrix": [[1, -1], [0, 0]]}}, "counts nothing; expected 0 or more"),
        ({"confusion": {"labels": ["a"], "matrix": [["x", 1], [0, 0]]}}, "confusion holds could not convert"),
    ],
)
def test_what_is_no_evaluation_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        html({**evaluation(), **change})


def test_a_list_is_no_evaluation() -> None:
    for render in (html, markdown):
        with pytest.raises(FormatError, match="got no evaluation"):
            render([])  # type: ignore[arg-type]


def test_many_settings_worst_and_missing_are_folded() -> None:
    given_ = evaluation()
    given_["settings"] = {"events": {f"label {place}": {"threshold": place / 407} for place in range(407)}}
    given_["worst"] = [{"recording": f"clip{place}", "f1": 0.0} for place in range(70)]
    page = Page(html(given_))
    assert "All 407 settings" in page.said("summary")
    assert "And 7 more, in metrics.json." in page.said()
    assert "The first 50 of 70." in page.said()
    text = markdown(given_)
    assert "And 307 more, in metrics.json." in text
    assert "The first 50 of 70." in text
    assert "| events.label 1.threshold | 0.002457002457 |" in text


def test_infinite_and_negative_numbers_are_readable() -> None:
    metrics = {"d_prime": {"value": float("inf"), "low": -0.25, "high": float("inf")}}
    assert "| d′ | ∞ | [−0.250, ∞] |" in markdown({"metrics": metrics})
    page = Page(html({"metrics": metrics}))
    assert page.said("span").count("∞") == 1
    assert page.all("span", "scale") == []
