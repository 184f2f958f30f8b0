"""The index on disk: what is kept, that it goes on after a stop, and what it refuses."""

import json
import multiprocessing
import shutil

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.index.moments import best_moment, likeness
from peaframe.index.store import MediaIndex

MADE_BY = {"model": "m", "fingerprint": "0", "windows": (250, 50)}


def media(folder, *contents):
    folder.mkdir(exist_ok=True)
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.wav")
        paths[-1].write_bytes(content)
    return paths


def rows(seed, n=5, dim=3):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float16)


def test_what_is_added_is_read_again_by_content(tmp_path):
    one, two = media(tmp_path / "media", b"one", b"two")
    with MediaIndex(tmp_path / "index", MADE_BY) as index:
        assert index.find(one) is None
        entry = index.add([one], {"frames": rows(0), "token": rows(1, 1, 7)}, 1.5)
        index.add([two], {"frames": rows(2, 0)}, 0.0)
        np.testing.assert_array_equal(index.read(entry, "frames"), rows(0))
    moved = one.rename(tmp_path / "media/moved.mp3")
    copy = shutil.copy(moved, tmp_path / "media/copy.mp3")
    with MediaIndex(tmp_path / "index", MADE_BY) as index:
        assert len(index) == 2
        for path in (moved, tmp_path / "media" / copy):
            entry = index.find(path)
            assert entry.seconds == 1.5
            values = index.read(entry, "token")
            assert isinstance(values, np.memmap)
            np.testing.assert_array_equal(values, rows(1, 1, 7))
        assert index.read(index.find(two), "frames").shape == (0, 3)
        moved.write_bytes(b"something else")
        assert index.find(moved) is None
    assert (tmp_path / "index/rows.f16").stat().st_size == 2 * (5 * 3 + 7)


def test_files_that_make_one_thing_are_one_entry(tmp_path):
    sound, pictures = media(tmp_path / "media", b"sound", b"pictures")
    with MediaIndex(tmp_path / "index", MADE_BY) as index:
        index.add([sound, pictures], {"a": rows(0)}, 1.0)
        assert index.find(sound) is None
        assert index.find(pictures, sound) is None
        np.testing.assert_array_equal(index.read(index.find(sound, pictures), "a"), rows(0))


@pytest.mark.parametrize(
    "torn", [b'{"content": "ab', b'{"path": "x", "size": 3', b'{"content": "c", "seconds": 1']
)
def test_a_stop_in_the_middle_costs_what_was_in_the_middle(tmp_path, torn):
    one, two = media(tmp_path / "media", b"one", b"two")
    with MediaIndex(tmp_path / "index", MADE_BY) as index:
        index.add([one], {"a": rows(0)}, 1.0)
    whole = {name: (tmp_path / "index" / name).read_bytes() for name in ("rows.f16", "entries.jsonl")}
    for name, extra in (("rows.f16", b"half a"), ("entries.jsonl", torn)):
        (tmp_path / "index" / name).write_bytes(whole[name] + extra)
    with MediaIndex(tmp_path / "index", MADE_BY) as index:
        assert {name: (tmp_path / "index" / name).read_bytes() for name in whole} == whole
        index.add([two], {"a": rows(1)}, 1.0)
    with MediaIndex(tmp_path / "index", MADE_BY) as index:
        for seed, path in enumerate((one, two)):
            np.testing.assert_array_equal(index.read(index.find(path), "a"), rows(seed))


def test_what_it_refuses(tmp_path, refusal):
    (one,) = media(tmp_path / "media", b"one")
    folder = tmp_path / "index"
    with MediaIndex(folder, MADE_BY) as index:
        assert "numbers that half precision holds" in refusal(
            OptionError, index.add, [one], {"a": [[1e9]]}, 1.0
        )
        assert "got a of shape (1,)" in refusal(OptionError, index.add, [one], {"a": [1.0]}, 1.0)
        entry = index.add([one], {"a": rows(0)}, 1.0)
        assert "got the array 'b', expected one of a" in refusal(OptionError, index.read, entry, "b")
        assert "cannot be read" in refusal(FormatError, index.find, tmp_path / "none.wav")
    other = {**MADE_BY, "fingerprint": "1"}
    assert "which differs in fingerprint" in refusal(OptionError, MediaIndex, folder, other)
    assert "holds other files" in refusal(FormatError, MediaIndex, tmp_path / "media", MADE_BY)
    assert "cannot be used" in refusal(FormatError, MediaIndex, one, MADE_BY)
    (folder / "rows.f16").write_bytes(b"")
    assert "is cut short" in refusal(FormatError, MediaIndex, folder, MADE_BY)
    (folder / "entries.jsonl").write_text(json.dumps({"content": "a"}) + "\n", encoding="utf-8")
    assert "entries.jsonl:1: is damaged" in refusal(FormatError, MediaIndex, folder, MADE_BY)
    MediaIndex.remove(folder)
    assert list(folder.iterdir()) == []


def _open(folder, answer):
    try:
        MediaIndex(folder, MADE_BY)
    except OptionError as error:
        answer.put(str(error))


def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    with MediaIndex(tmp_path / "index", MADE_BY):
        process = context.Process(target=_open, args=(tmp_path / "index", answer))
        process.start()
        assert "another process is using this index" in answer.get(timeout=30)
        process.join()
    assert len(MediaIndex(tmp_path / "index", MADE_BY)) == 0


def test_the_best_moment_is_round_the_first_peak():
    assert best_moment([0, 0.2, 0.5, 0.8, 0.41, 0.4, 0.9, 0.1], 0.3) == (0.24, 0.28, 0.9)
    assert best_moment([0, 0.3, 0.6, 0.5, 0.2, 0.6], 0.21) == (0.08, 0.16, 0.6)
    assert best_moment([0.7, 0.7], 0.07) == (0.0, 0.07, 0.7)
    assert best_moment([0.0, 0.0], 0.08) == (0.0, 0.04, 0.0)


def test_likeness_is_the_cosine_with_the_mean(monkeypatch):
    monkeypatch.setattr("peaframe.index.moments._ROWS", 2)
    frames = [[2.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]
    found = likeness(np.array(frames), np.array([[5.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(found, [0.5**0.5, 0.5**0.5, 0, 1, 0], atol=1e-6)
