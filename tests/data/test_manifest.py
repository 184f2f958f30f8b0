"""Manifests: what a line says, what is refused, what comes back, and the targets that follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaframe.data import manifest
from peaframe.data.manifest import Item, Unknown
from peaframe.data.manifest_item import from_line, to_line
from peaframe.errors import FormatError, ManifestError, OptionError
from peaframe.events import Event

FULL = {
    "audio": "yard/07.flac",
    "start": 20,
    "duration": 10,
    "events": [
        {"onset": 1.2, "offset": 2.04, "label": "dog"},
        {"onset": 2, "offset": 3, "label": "owl", "score": 0.5},
    ],
    "weak": ["wind", "Straße 犬"],
    "unknown": [[8, 10], [0, 1, "dog"]],
    "negatives": ["siren"],
    "exhaustive": True,
    "split": "valid",
    "licence": "CC BY 4.0",
    "source": "yard",
}


def write(path: Path, *lines: Any) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_and_what_it_says(tmp_path: Path) -> None:
    items = list(manifest.stream(write(tmp_path / "a.jsonl", FULL, {"audio": "/d/b.wav"})))
    assert items[0] == Item(
        audio=tmp_path / "yard/07.flac",
        start=20.0,
        duration=10.0,
        events=(Event(1.2, 2.04, "dog"), Event(2, 3, "owl", 0.5)),
        weak=("wind", "Straße 犬"),
        unknown=(Unknown(8, 10), Unknown(0, 1, "dog")),
        negatives=("siren",),
        exhaustive=True,
        split="valid",
        licence="CC BY 4.0",
        source="yard",
    )
    assert items[1] == Item(Path("/d/b.wav"))
    assert (items[0].frames, items[1].frames) == (250, None)
    assert (items[1].split, items[1].exhaustive, items[1].duration) == ("train", False, None)


def test_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (first,) = manifest.stream(write(tmp_path / "a.jsonl", FULL))
    items = [first, Item(Path("near.wav")), Item(Path("near.wav"), 1.5), Item(Path("/d/far away.wav"))]
    assert manifest.save("b.jsonl", iter(items)) == 4
    lines = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == FULL
    assert lines[1:] == [
        '{"audio": "near.wav", "split": "train"}',
        '{"audio": "near.wav", "start": 1.5, "split": "train"}',
        '{"audio": "/d/far away.wav", "split": "train"}',
    ]
    loaded = manifest.load("b.jsonl")
    assert (loaded[1].audio, loaded[3].audio) == (tmp_path / "near.wav", Path("/d/far away.wav"))
    assert loaded[0] == first
    (tmp_path / "moved").mkdir()
    os.rename("b.jsonl", "moved/b.jsonl")
    assert manifest.load("moved/b.jsonl")[1].audio == tmp_path / "moved/near.wav"


def test_items_by_number(tmp_path: Path, elsewhere: Callable[..., Any]) -> None:
    names = [f"{number} ü.wav" for number in range(50)]
    lines = ["", *(json.dumps({"audio": name}, ensure_ascii=False) + "\n \t" for name in names)]
    path = write(tmp_path / "a.jsonl", *lines)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().lstrip(b"\n").rstrip())
    loaded = manifest.load(path)
    assert len(loaded) == 50
    assert [item.audio.name for item in loaded] == names
    assert [loaded[i].audio.name for i in (49, 0, -1, -50, 17)] == [names[i] for i in (49, 0, 49, 0, 17)]
    assert [item.audio.name for item in loaded[45:]] == names[45:]
    sent = elsewhere(loaded.__getitem__, slice(None, None, -10))  # to a loader's worker, say
    assert [item.audio.name for item in sent] == names[::-10]
    assert loaded[np.int64(3)] == loaded[3]
    for index in (50, -51):
        with pytest.raises(IndexError, match="expected one of 50"):
            loaded[index]


def test_a_file_that_changes_under_its_index(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"audio": "a"}, {"audio": "b"})
    loaded = manifest.load(path)
    write(path, {"audio": "a"}, {"audio": "bb"})
    with pytest.raises(ManifestError, match=r"a\.jsonl: has changed since it was checked; load it again"):
        loaded[0]
    with pytest.raises(ManifestError, match="has changed"):
        list(loaded)
    path.unlink()
    for call in (
        lambda: loaded[0],
        lambda: list(loaded),
        lambda: manifest.load(path),
        lambda: list(manifest.stream(path)),
    ):
        with pytest.raises(ManifestError, match="cannot be read"):
            call()


BAD: list[tuple[Any, str]] = [
    ("{", "not JSON .* repair it"),
    ("[" * 100_000, "maximum recursion|not JSON"),
    ("7", "got 7, expected an object with the key audio"),
    ({}, r"no audio is given"),
    ({"audio": None}, "audio is None; give a text"),
    ({"audio": " "}, "audio is blank"),
    ({"licence": "x", "audio": "a", "license": "x"}, r"unknown key 'license'; did you mean 'licence'\?"),
    ({"audio": "a", "zzz": 1}, "unknown key 'zzz'; expected one of audio, start, duration"),
    ('{"audio": "a", "audio": "b"}', "the keys of one object name 'audio' twice"),
    ({"audio": "a", "start": -1}, "start is -1.0; give seconds, 0 or more"),
    ({"audio": "a", "start": "0"}, "start is '0'; give a number"),
    ({"audio": "a", "start": True}, "start is True; give a number"),
    ({"audio": "a", "start": float("nan")}, "got NaN, expected a finite number"),
    ('{"audio": "a", "start": 1e999}', "start is inf"),
    ({"audio": "a", "start": 10**400}, "too large"),
    ({"audio": "a", "duration": 0}, "duration is 0.0; give seconds, more than 0"),
    ({"audio": "a", "events": {}}, "events is {}; give a list"),
    ({"audio": "a", "events": [3]}, r"events\[0\] is 3; give {onset, offset, label}"),
    ({"audio": "a", "events": [{"onset": 0, "offset": 1}]}, r"events\[0\] has no label"),
    (
        {"audio": "a", "events": [{"onset": 0, "offset": 1, "event_label": "x"}]},
        r"unknown key 'events\[0\]\.event_label'; did you mean 'label'\?",
    ),
    (
        {"audio": "a", "events": [{"onset": 1, "offset": 1, "label": "x"}]},
        r"events\[0\]: an event lasts from 1",
    ),
    ({"audio": "a", "events": [{"onset": 0, "offset": 1, "label": " "}]}, r"events\[0\]: .*label is ' '"),
    ({"audio": "a", "events": [{"onset": 0, "offset": 1, "label": 5}]}, r"events\[0\]: .*label is 5"),
    (
        {"audio": "a", "start": 5, "duration": 2, "events": [{"onset": 1, "offset": 2.1, "label": "x"}]},
        "an event of 'x' ends at 2.1 s of an item of 2.0 s; give times inside it, from its own start",
    ),
    ({"audio": "a", "events": [{"onset": 0, "offset": 1, "label": "x"}] * 2}, "events name Event.* twice"),
    ({"audio": "a", "unknown": [[0, 3]], "duration": 2}, "an unknown span ends at 3.0 s"),
    ({"audio": "a", "unknown": [[0]]}, r"unknown\[0\] is \[0\]; give \[onset, offset\] or"),
    ({"audio": "a", "unknown": [[2, 1]]}, r"unknown\[0\]: an unknown span lasts from 2.0 s to 1.0 s"),
    ({"audio": "a", "unknown": [[0, 1, ""]]}, r"unknown\[0\]: a label of an unknown span is ''"),
    ({"audio": "a", "unknown": [[0, 1, None]]}, r"unknown\[0\] has the label null; leave it out"),
    ({"audio": "a", "unknown": [[0, 1], [0, 1]]}, "unknown spans name Unknown.* twice"),
    ({"audio": "a", "weak": "dog"}, "weak is 'dog'; give a list"),
    ({"audio": "a", "weak": [["dog"]]}, r"a label of weak is \['dog'\]"),
    ({"audio": "a", "weak": ["dog", "dog"]}, "weak name 'dog' twice"),
    ({"audio": "a", "negatives": ["\t"]}, r"a label of negatives is '\\t'"),
    ({"audio": "a", "weak": ["dog"], "negatives": ["dog"]}, "events, weak and negatives name 'dog' twice"),
    (
        {"audio": "a", "weak": ["x"], "events": [{"onset": 0, "offset": 1, "label": "x"}]},
        "events, weak and negatives name 'x' twice",
    ),
    ({"audio": "a", "exhaustive": 1}, "exhaustive is 1; give true or false"),
    ({"audio": "a", "split": ""}, "split is blank"),
    ({"audio": "a", "split": None}, "split is None; give a text"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[f"{i}" for i in range(len(BAD))])
def test_lines_that_are_refused_name_file_and_line(tmp_path: Path, line: Any, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", {"audio": "ok"}, "", line, {"audio": "never read"})
    for read in (manifest.load, lambda given: list(manifest.stream(given))):
        with pytest.raises(ManifestError, match=rf"bad\.jsonl:3: .*(?:{message})") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_files_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes('{"audio": "a"}\n{"audio": "Tür"}\n'.encode("latin-1"))
    with pytest.raises(ManifestError, match=r"latin\.jsonl:2: byte 12 is not UTF-8; save the file as UTF-8"):
        manifest.load(tmp_path / "latin.jsonl")
    with pytest.raises(ManifestError, match="has no items"):
        manifest.load(write(tmp_path / "empty.jsonl", "", " "))
    with pytest.raises(ManifestError, match="cannot be read"):
        manifest.load(tmp_path)
    twice = {"audio": "x/../b", "start": 1, "duration": 2}
    path = write(
        tmp_path / "t.jsonl", "", {"audio": "a"}, twice, {**twice, "start": 2}, {**twice, "start": 1.0}, twice
    )
    with pytest.raises(ManifestError, match=r"t\.jsonl:5: the same audio, start and duration as in line 3"):
        manifest.load(path)


def test_save_is_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    manifest.save(path, [Item(Path("a"))])
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="got no items to write"):
        manifest.save(path, [])
    with pytest.raises(ManifestError, match=r"a\.jsonl:3: the same audio, start and duration as in line 1"):
        manifest.save(path, [Item(Path("a")), Item(Path("b")), Item(Path("./a"))])
    with pytest.raises(ManifestError, match=r"a\.jsonl:2: .*not valid Unicode"):
        manifest.save(path, [Item(Path("b")), Item(Path("a\udc80"))])
    with pytest.raises(ZeroDivisionError):
        manifest.save(path, (Item(Path(str(1 // left))) for left in (1, 0)))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.jsonl"]
    with pytest.raises(FormatError, match="cannot be written"):
        manifest.save(tmp_path / "missing/a.jsonl", [Item(Path("a"))])


def test_items_made_by_hand_are_checked_too() -> None:
    with pytest.raises(OptionError, match=r"an event of 'x' ends at 1\.00002 s"):
        Item(Path("a"), duration=1.0, events=(Event(0, 1.00002, "x"),))
    assert Item(Path("a"), duration=1.0, events=(Event(0, 1.000001, "x"),)).frames == 25  # the same sample
    with pytest.raises(OptionError, match="0 <= onset < offset"):
        Unknown(1, float("inf"))


def test_summary() -> None:
    items = [
        Item(
            Path("a"), duration=1800, events=(Event(0, 36, "dog"), Event(50, 86, "dog"), Event(1, 2, "cat"))
        ),
        Item(Path("b"), duration=3600, weak=("dog",), negatives=("cat", "owl"), split="valid", licence="CC0"),
        Item(Path("c"), weak=("bee",)),
    ]
    told = manifest.summary(iter(items))
    assert told == manifest.Summary(
        items=3,
        hours=1.5,
        unmeasured=1,
        events=3,
        labels={
            "dog": (2, pytest.approx(0.02), 1, 0),
            "cat": (1, pytest.approx(1 / 3600), 0, 1),
            "bee": (0, 0, 1, 0),
            "owl": (0, 0, 0, 1),
        },
        splits={"train": 2, "valid": 1},
        licences={"": 2, "CC0": 1},
    )
    assert list(told.labels) == ["dog", "cat", "bee", "owl"]
    assert str(told).splitlines() == [
        "3 items (train 2, valid 1), 1.50 h, and 1 items of a length not said",
        "3 events, 4 labels",
        "  dog: 2 events, 72.0 s; weak in 1, absent from 0",
        "  cat: 1 events, 1.0 s; weak in 0, absent from 1",
        "  bee: 0 events, 0.0 s; weak in 1, absent from 0",
        "  owl: 0 events, 0.0 s; weak in 0, absent from 1",
    ]


LABELS = ["dog", "wind", "siren", "owl"]
ITEM = Item(
    Path("a"),
    start=100.0,
    duration=0.4,
    events=(Event(0.04, 0.2, "dog"), Event(0.1, 0.24, "dog"), Event(0.0, 0.1, "not asked for")),
    weak=("wind",),
    negatives=("siren",),
    unknown=(Unknown(0.16, 0.28, "dog"), Unknown(0.36, 0.4), Unknown(0, 0.4, "nor this")),
)


def test_targets() -> None:
    found = manifest.targets(ITEM, LABELS, 12)
    assert (found.dtype, found.shape) == (np.int8, (12, 4))
    assert found[:, 0].tolist() == [-1, 1, 1, 1, 0, 0, 0, -1, -1, 0, 0, 0]  # the end of the item is frame 10
    assert found[:, 1].tolist() == [0] * 12
    assert found[:, 2].tolist() == [-1] * 9 + [0] * 3
    assert found[:, 3].tolist() == [0] * 12
    every = manifest.targets(Item(**{**vars(ITEM), "exhaustive": True}), LABELS, 12)
    assert every[:, 3].tolist() == [-1] * 9 + [0] * 3
    assert every[:, :3].tolist() == found[:, :3].tolist()
    assert manifest.targets(ITEM, [], 3).shape == (3, 0)
    assert manifest.targets(Item(Path("a"), exhaustive=True), ["x"], 3).tolist() == [[-1]] * 3
    with pytest.raises(OptionError, match="labels name 'dog' twice"):
        manifest.targets(ITEM, ["dog", "dog"], 3)


def test_weak_targets() -> None:
    assert manifest.weak_targets(ITEM, LABELS).tolist() == [1, 1, -1, 0]
    sure = Item(
        Path("a"), weak=("wind",), negatives=("siren",), unknown=(Unknown(0, 1, "owl"),), exhaustive=True
    )
    assert manifest.weak_targets(sure, [*LABELS, "bee"]).tolist() == [-1, 1, -1, 0, -1]
    hidden = Item(Path("a"), negatives=("siren",), unknown=(Unknown(0, 1),), exhaustive=True)
    assert manifest.weak_targets(hidden, ["siren", "owl"]).tolist() == [-1, 0]
    with pytest.raises(OptionError, match="labels name 'a' twice"):
        manifest.weak_targets(ITEM, ["a", "a"])


MEASURE = """
import sys, tracemalloc
from peaframe.data import manifest
tracemalloc.start()
loaded = manifest.load(sys.argv[1])
peak = tracemalloc.get_traced_memory()[1]
own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, manifest.__file__)])
print(len(loaded), sum(trace.size for trace in own.traces), peak, loaded[9_999].audio.name)
"""


def test_many_lines_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    manifest.save(path, (Item(Path(f"{'folder' * 20}/{n}.wav"), duration=10.0) for n in range(10_000)))
    # in a process of its own: in this one, other tests' tables may grow meanwhile
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    count, kept, peak, name = done.stdout.split()
    assert (count, name) == ("10000", "9999.wav")
    assert 160_000 <= int(kept) < 200_000  # 16 bytes an item
    assert int(peak) < 3_000_000  # the items themselves would take over 7 MB


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter(str.strip)


@st.composite
def items(draw: st.DrawFn) -> Item:
    duration = draw(st.one_of(st.none(), st.floats(1e-3, 1e6)))
    labels = draw(st.lists(TEXT, max_size=6, unique=True))
    cut = sorted(draw(st.tuples(*[st.integers(0, len(labels))] * 2)))
    end = 1e6 if duration is None else duration

    def span() -> tuple[float, float]:
        onset = draw(st.floats(0, end, exclude_max=True))
        return onset, draw(st.floats(onset, end, exclude_min=True))

    known = {
        Event(*span(), label, draw(st.one_of(st.none(), st.floats(0, 1)))): 0 for label in labels[: cut[0]]
    }
    hidden = {Unknown(*span(), label): 0 for label in draw(st.lists(st.one_of(st.none(), TEXT), max_size=3))}
    return Item(
        audio=Path("/d")
        / draw(TEXT.filter(lambda text: not set("/\0") & set(text) and text not in (".", ".."))),
        start=draw(st.floats(0, 1e6)),
        duration=duration,
        events=tuple(known),
        weak=tuple(labels[cut[0] : cut[1]]),
        unknown=tuple(hidden),
        negatives=tuple(labels[cut[1] :]),
        exhaustive=draw(st.booleans()),
        split=draw(TEXT),
        licence=draw(st.one_of(st.just(""), TEXT)),
        source=draw(st.one_of(st.just(""), TEXT)),
    )


@given(items(), st.sampled_from([Path("/"), Path("/d"), Path("/d/other")]))
def test_any_item_comes_back_from_one_line(item: Item, folder: Path) -> None:
    line = to_line(item, folder)
    assert line.endswith("\n")
    assert line.encode("utf-8").count(b"\n") == 1
    assert from_line(line.encode("utf-8"), folder, "f:1") == item


@given(items(), st.integers(0, 60), st.lists(TEXT, max_size=3, unique=True))
def test_targets_say_no_more_than_the_item(item: Item, frames: int, others: list[str]) -> None:
    own = [*(event.label for event in item.events), *item.weak, *item.negatives]
    labels = list(dict.fromkeys([*own, *others]))
    grid, whole = manifest.targets(item, labels, frames), manifest.weak_targets(item, labels)
    heard = {event.label for event in item.events}
    for column, label in enumerate(labels):
        states = set(grid[:, column].tolist())
        assert (1 in states) <= (label in heard)
        assert label not in item.weak or states <= {0}
        assert label not in item.negatives or (states <= {-1, 0} and whole[column] == -1)
        assert label in own or item.exhaustive or (states <= {0} and whole[column] == 0)
        assert (label in heard or label in item.weak) == (whole[column] == 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(line: bytes) -> None:
    refusal = "f:1: "
    try:
        from_line(line, Path("/d"), "f:1")
    except ManifestError as error:
        refusal = str(error)
    assert refusal.startswith("f:1: ")
    assert "\n" not in refusal
