import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.errors import FormatError
from peaframe.eval.report import METRICS, html, markdown, metric_name, save_report
from peaframe.eval.report_confusion import Confusion, heat_map
from peaframe.eval.report_svg import Curve, mean_precision, thin

VOID = {"meta", "br", "hr", "img", "input", "link"}


def evaluation(labels: tuple[str, ...] = ("dog", "cat", "Bell"), steps: int = 6) -> dict[str, Any]:
    """A whole evaluation with numbers that can be told apart."""
    count = len(labels)
    rates = np.linspace(1, 99, steps)
    hits = np.linspace(0.1, 0.9, steps)
    falling = np.linspace(0.95, 0.05, steps)
    matrix = np.eye(count + 1, dtype=int) * 7
    matrix[0, 1], matrix[1, -1], matrix[-1, 0], matrix[-1, -1] = 3, 2, 4, 0
    return {
        "peaframe": "0.9.1",
        "title": "soundscapes, 300 recordings",
        "benchmark": "folder",
        "complete": True,
        "missing": [],
        "notes": ["12 true events were merged"],
        "model": "peaframe-mini",
        "settings": {"events": {"threshold": 0.5, "median": None}, "device": "cpu", "exact": True},
        "recordings": 300,
        "hours": 0.8333,
        "events": 1234,
        "seconds": {"scoring": 30.1, "metrics": 4.2},
        "metrics": {
            "d_prime": {"value": 1.5, "low": 1.25, "high": 1.75},
            "home_made": {"value": float("nan"), "low": None, "high": None},
            "event_f1_macro": {"value": 0.3456, "low": 0.3, "high": 0.4},
            "psds1": {"value": 0.20149, "low": 0.18051, "high": 0.2225},
        },
        "per_label": {
            label: {"events": 10 + place, "psds1": 0.25 + place / 1000, "auroc": None}
            for place, label in enumerate(labels)
        },
        "unscored": ["unicorn"],
        "curves": {
            "psd_roc": {
                "mean": {"efpr": rates.tolist(), "etpr": (hits / 2).tolist()},
                "labels": {label: {"efpr": rates.tolist(), "tpr": hits.tolist()} for label in labels},
                "max_efpr": 100,
            },
            "pr": {label: {"recall": hits.tolist(), "precision": falling.tolist()} for label in labels},
        },
        "confusion": {"labels": list(labels), "matrix": matrix.tolist()},
        "worst": [{"recording": "Y-a_b_30.000_40.000", "f1": 0.0625, "missed": 3, "false": 7}],
    }


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in turn; keeps texts, attributes and tables' rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        return [
            attrs
            for name, attrs in self.tags
            if name == tag and (not kind or kind in (attrs.get("class") or "").split())
        ]

    def said(self, tag: str = "") -> str:
        """What a reader sees, or what is in one kind of tag."""
        skip = ("style", "script")
        return " ".join(text for at, text in self.texts if (at == tag if tag else at not in skip))


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


def test_curves_are_drawn_where_they_are() -> None:
    page = Page(html(evaluation(steps=3)))

    paths = [attrs["d"] for attrs in page.all("path", "label")]
    assert len(paths) == 6
    # From (0, 0): up to .1 at 1 %, to .5 at 50 %, to .9 at 99 % of the width, and level to its end.
    assert paths[0] == "M0 1000h10v-100h490v-400h490v-400h10"
    assert page.all("path", "mean")[0]["d"] == "M0 1000h10v-50h490v-200h490v-200h10"
    # Precision .95 up to recall .1, .5 up to .5, .05 up to .9; nothing beyond.
    assert paths[3] == "M0 50h100v450h400v450h400"
    assert [attrs["data-label"] for attrs in page.all("path", "label")] == ["0", "1", "2", "0", "1", "2"]
    assert [attrs["data-label"] for attrs in page.all("tr") if attrs.get("data-label")] == ["0", "1", "2"]


def test_what_lies_beyond_the_axis_is_cut_off() -> None:
    given_ = evaluation(("dog", "cat"))
    given_["curves"] = {
        "psd_roc": {"labels": {"dog": {"efpr": [0, 5, 30], "tpr": [0.2, 0.4, 1.0]}}, "max_efpr": 10}
    }
    page = Page(html(given_))
    assert [attrs["d"] for attrs in page.all("path", "label")] == ["M0 1000v-200h500v-200h500"]
    assert page.all("path", "mean") == []
    assert "2.5" in page.said("text")


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


def test_407_labels_stay_small() -> None:
    labels = tuple(f"label {place}, with a display name of some length" for place in range(407))
    given_ = evaluation(labels, steps=3000)
    rng = np.random.default_rng(0)
    for curve in given_["curves"]["psd_roc"]["labels"].values():
        curve["efpr"] = np.sort(rng.uniform(0, 100, 3000)).tolist()
        curve["tpr"] = np.sort(rng.uniform(0, 1, 3000)).tolist()
    for curve in given_["curves"]["pr"].values():
        curve["precision"] = rng.uniform(0, 1, 3000).tolist()
    matrix = rng.integers(0, 50, (408, 408))
    given_["confusion"]["matrix"] = matrix.tolist()

    text = html(given_)
    page = Page(text)

    assert len(text.encode()) < 3_000_000
    assert len(page.all("path", "label")) == 814
    assert max(len(re.findall("h", attrs["d"] or "")) for attrs in page.all("path", "label")) <= 201
    assert len(page.all("rect")) == 31 * 31 - 1
    assert "30 of 407 labels" in page.said()
    assert len([attrs for attrs in page.all("tr") if "data-label" in attrs]) == 407


def staircase_area(x: np.ndarray, y: np.ndarray, end: float) -> float:
    return float(np.sum(y * np.diff(x, append=end)))


def test_thinning_keeps_ends_and_great_steps() -> None:
    # Three great steps among ten thousand tiny ones.
    x = np.linspace(0, 100, 10_000)
    y = 1e-6 * np.arange(10_000) + 0.3 * (x >= 20) + 0.2 * (x >= 21) + 0.4 * (x >= 77.7)

    kept = thin(x, y, 200)

    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (0, 9_999)
    assert (np.diff(kept) > 0).all()
    for place in (20.0, 21.0, 77.7):
        step = np.searchsorted(x, place)
        assert np.abs(x[kept] - x[step]).min() <= 0.1  # a column of the picture
    drawn = y[kept][np.searchsorted(x[kept], x, side="right") - 1]
    assert (drawn <= y).all()
    assert staircase_area(x, y, 100) - staircase_area(x[kept], y[kept], 100) < 0.1


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=60),
    st.integers(2, 30),
    st.booleans(),
)
def test_thinning_any_staircase(points: list[tuple[int, int]], most: int, forward: bool) -> None:
    x, y = [point[0] for point in points], [point[1] / 20 for point in points]
    curve = Curve.of({"x": x, "y": y}, ("x", "y"), forward, "it")
    thinned = curve.thinned(most)

    assert len(thinned.x) == min(len(points), most)
    assert set(zip(thinned.x, thinned.y, strict=True)) <= set(zip(curve.x, curve.y, strict=True))
    if points:
        assert (thinned.x[0], thinned.y[0]) == (curve.x[0], curve.y[0])
        assert (thinned.x[-1], thinned.y[-1]) == (curve.x[-1], curve.y[-1])
    # Points that change nothing go first: with as many points as there are steps, the area stays.
    levels = len(set(x)) + int(np.count_nonzero(np.diff(curve.y))) + 2
    if levels <= most and forward and points:
        assert staircase_area(thinned.x, thinned.y, 40) == pytest.approx(staircase_area(curve.x, curve.y, 40))


def test_the_mean_precision_has_the_mean_of_the_areas() -> None:
    one = Curve(np.array([0.25, 1.0]), np.array([1.0, 0.5]), forward=False)
    two = Curve(np.array([0.5]), np.array([0.8]), forward=False)
    mean = mean_precision([one, two])
    assert float(np.mean(mean.y)) == pytest.approx((0.25 + 0.375 + 0.4) / 2, abs=1e-12)
    assert mean.y[[0, 60, 150]] == pytest.approx([0.9, 0.65, 0.25])


def test_the_most_confused_labels_are_shown() -> None:
    matrix = np.diag([9.0] * 5 + [0.0])
    matrix[3, 1], matrix[4, 0], matrix[2, -1] = 6, 1, 50
    confusion = Confusion.of(list("abcde"), matrix.tolist())

    assert confusion.most_confused(2) == [1, 3]
    assert confusion.most_confused(3) == [0, 1, 3]
    assert confusion.worst_pairs() == [("d", "b", 6.0, 6 / 15), ("e", "a", 1.0, 0.1)]
    picture = Page(heat_map(confusion, most=2))
    cells = [attrs["class"] for attrs in picture.all("rect")]
    assert cells == ["hit s10", "miss s0", "miss s0", "miss s7", "hit s8", "miss s0", "miss s0", "miss s0"]
    assert "d → b: 6 (40.0 %)" in picture.said("title")


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
    with pytest.raises(FormatError, match="file: cannot be made a folder"):
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
