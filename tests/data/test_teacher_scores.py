import copy
import json
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from peaframe.data import teacher_scores
from peaframe.data.teacher_scores import open_teacher, recording_name, write_teacher
from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks.audio_files import SUFFIXES
from peaframe.losses.distillation import masked_distillation_loss

LABELS = ("dog", "a siren, far off")


def logits_of(frames, seed=0, labels=2):
    return np.random.default_rng(seed).normal(0, 5, (frames, labels)).astype(np.float16)


@pytest.fixture
def write(tmp_path):
    def write(items, labels=LABELS, **options):
        return write_teacher(tmp_path / "teacher", labels, items, source="a test", model="nobody", **options)

    return write


def edit(folder, **changes):
    file = folder / "teacher.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_recording_is_called_after_its_file():
    assert recording_name("sub/Yab-cd.mp3") == "Yab-cd"
    assert recording_name("C:\\sounds\\-ab_30000.FLAC") == "-ab_30000"
    assert recording_name("Yab_61.000_71.000") == "Yab_61.000_71.000"
    assert recording_name("at 10:30.v2.wav") == "at 10:30.v2"
    assert {recording_name("a" + suffix) for suffix in SUFFIXES} == {"a"}


@pytest.mark.parametrize("path", ["", "folder/", "sub/.wav", "__metadata__.wav"])
def test_what_has_no_name_is_refused(path):
    with pytest.raises(OptionError, match="expected a recording's file"):
        recording_name(path)


def test_what_is_read_is_what_was_written(write, tmp_path):
    items = {"Yab-cd": logits_of(250), "-ab_30000": logits_of(7, 1)}
    write(items.items())
    teacher = open_teacher(tmp_path / "teacher")
    assert (teacher.labels, teacher.source, teacher.model) == (LABELS, "a test", "nobody")
    assert list(teacher) == ["Yab-cd", "-ab_30000"]
    assert "Yab-cd" in teacher
    assert "Yab-cd.mp3" not in teacher
    assert [teacher.frames(name) for name in teacher] == [250, 7]
    for name, logits in items.items():
        assert teacher.get(name).dtype == np.float16
        np.testing.assert_array_equal(teacher.get(name), logits)


def test_the_folder_says_what_it_is(write, tmp_path):
    write([("a", logits_of(3)), ("b", logits_of(4))])
    content = json.loads((tmp_path / "teacher/teacher.json").read_text())
    assert content == {
        "format": "peaframe-teacher",
        "version": 1,
        "kind": "logits",
        "rate": 25,
        "model": "nobody",
        "source": "a test",
        "labels": list(LABELS),
        "shards": {"00000.safetensors": {"a": 3, "b": 4}},
    }
    umask = os.umask(0)
    os.umask(umask)
    for file in (tmp_path / "teacher").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask


def test_part_of_a_recording_is_padded_where_the_teacher_ends(write):
    logits = logits_of(10)
    teacher = write([("a", logits)])
    got, valid = teacher.rows("a", 7, 5)
    np.testing.assert_array_equal(got, np.concatenate([logits[7:], np.zeros((2, 2))]))
    assert valid.tolist() == [True, True, True, False, False]
    got, valid = teacher.rows("a", 2, 3)
    np.testing.assert_array_equal(got, logits[2:5])
    assert valid.all()
    got, valid = teacher.rows("a", 10, 4)
    assert not got.any()
    assert not valid.any()
    assert got.shape == (4, 2)
    for start, frames in ((-1, 3), (0, 0)):
        with pytest.raises(OptionError, match="expected 1 or more from 0 on"):
            teacher.rows("a", start, frames)


def test_padding_teaches_nothing(write):
    logits = logits_of(10)
    teacher = write([("a", logits)])
    got, valid = teacher.rows("a", 6, 8)
    student = torch.randn(1, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    taught = torch.sigmoid(torch.from_numpy(got.astype(np.float64)))[None]
    loss, _ = masked_distillation_loss(student, taught, torch.from_numpy(valid)[None, :, None])
    whole, _ = masked_distillation_loss(student[:, :4], taught[:, :4], torch.ones(1, 4, 2, dtype=torch.bool))
    assert float(loss) == pytest.approx(float(whole), abs=1e-12)


def test_few_shards_are_open_at_a_time_and_workers_open_their_own(write, monkeypatch, elsewhere):
    monkeypatch.setattr(teacher_scores, "_MOST_OPEN", 2)
    items = {f"r{i}": logits_of(5, i) for i in range(6)}
    teacher = write(items.items(), shard_bytes=1)
    assert len(list(teacher.folder.glob("*.safetensors"))) == 6
    for name in [*items, *reversed(items), *items]:
        np.testing.assert_array_equal(teacher.get(name), items[name])
        assert len(teacher._open) <= 2
    assert list(teacher._open) == ["00004.safetensors", "00005.safetensors"]
    assert not copy.deepcopy(teacher)._open
    np.testing.assert_array_equal(elsewhere(teacher.get, "r3"), items["r3"])


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_only_the_rows_asked_for_are_read(write):
    long = np.zeros((160_000, 200), np.float16)  # 64 MB
    long[159_990:] = 3
    folder = write([("long", long)], labels=tuple(map(str, range(200)))).folder
    teacher = open_teacher(folder)
    before = resident_bytes()
    got, valid = teacher.rows("long", 159_985, 10)
    assert got[:, 7].tolist() == [0] * 5 + [3] * 5
    assert valid.all()
    assert resident_bytes() - before < 8_000_000


def test_a_shard_is_written_as_soon_as_it_is_full(write, tmp_path):
    written = []

    def items():
        for i in range(6):
            written.append(len(list(tmp_path.glob("*/*.safetensors"))))
            yield f"r{i}", np.zeros((1000, 2), np.float16)  # 4000 bytes

    teacher = write(items(), shard_bytes=8000)
    assert written == [0, 0, 1, 1, 2, 2]
    shards = json.loads((teacher.folder / "teacher.json").read_text())["shards"]
    assert [list(own) for own in shards.values()] == [["r0", "r1"], ["r2", "r3"], ["r4", "r5"]]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([("a", logits_of(2)), ("a", logits_of(2))], "'a' twice"),
        ([("sub/a", logits_of(2))], "expected its name 'a'"),
        ([("a.wav", logits_of(2))], "expected its name 'a'"),
        ([("a", logits_of(2, labels=3))], r"shape \(2, 3\), expected \(frames, 2\)"),
        ([("a", logits_of(0))], r"shape \(0, 2\)"),
        ([("a", np.array([[0.0, np.nan]]))], "no number in float16"),
        ([("a", np.array([[0.0, 70_000.0]]))], "no number in float16"),
        ([], "got no recordings"),
    ],
)
def test_items_that_make_no_sense_leave_nothing_behind(write, tmp_path, items, message):
    with pytest.raises(OptionError, match=message):
        write(items, shard_bytes=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "message"),
    [((), "no labels"), (("dog", "dog"), "'dog' comes twice"), (("dog", " "), "' ' as a label")],
)
def test_labels_that_make_no_sense_are_refused(write, labels, message):
    with pytest.raises(OptionError, match=message):
        write([("a", logits_of(2))], labels=labels)


def test_an_interrupted_teacher_is_not_there(write, tmp_path):
    def items():
        yield "a", logits_of(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(items(), shard_bytes=1)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(write, tmp_path):
    (tmp_path / "teacher").mkdir()
    write([("a", logits_of(2))])
    with pytest.raises(OptionError, match="is there already"):
        write([("b", logits_of(2))])
    assert list(open_teacher(tmp_path / "teacher")) == ["a"]


def test_a_recording_that_was_not_heard_is_named(write):
    teacher = write([("Yab", logits_of(2))])
    with pytest.raises(OptionError, match=r"no scores of 'ab'.*such as 'Yab'"):
        teacher.get("ab")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 50}, "'logits' at 50 frames a second, expected 'logits' at 25"),
        ({"kind": "probabilities"}, "got 'probabilities' at 25"),
        ({"version": 2}, "version 2, expected 1"),
        ({"format": "other"}, "does not say format 'peaframe-teacher'"),
        ({"labels": ["dog", "dog"]}, "'dog' comes twice"),
        ({"labels": 3}, "makes no sense"),
        ({"shards": ["a"]}, "makes no sense"),
        ({"shards": {"../a.safetensors": {"a": 2}}}, "is not beside it"),
        ({"shards": {"x.safetensors": {"a": 2}}}, "x.safetensors: is missing"),
    ],
)
def test_a_teacher_that_makes_no_sense_is_refused(write, changes, message):
    folder = write([("a", logits_of(2))]).folder
    edit(folder, **changes)
    with pytest.raises(FormatError, match=message):
        open_teacher(folder)


def test_no_teacher_and_damaged_ones_are_named(write, tmp_path):
    with pytest.raises(FormatError, match=r"teacher\.json: cannot read the teacher"):
        open_teacher(tmp_path)
    folder = write([("a", logits_of(20))]).folder
    shard = folder / "00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(FormatError, match=r"00000\.safetensors: cannot be read"):
        open_teacher(folder).get("a")
    shard.write_bytes(whole)
    edit(folder, shards={"00000.safetensors": {"a": 21}})
    with pytest.raises(FormatError, match=r"'a' is F16 \[20, 2\], expected F16 \[21, 2\]"):
        open_teacher(folder).get("a")
    edit(folder, shards={"00000.safetensors": {"b": 20}})
    with pytest.raises(FormatError, match="cannot be read"):
        open_teacher(folder).get("b")
