"""Which files a run takes, what they are called, and whether they are still the same."""

import os
import tracemalloc

import pytest

from peaframe.annotate.sources import SUFFIXES, Fingerprint, find, fingerprint
from peaframe.errors import AudioError, OptionError


@pytest.fixture
def touch(tmp_path):
    """Make empty files below the test's folder."""

    def touch(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return touch


def names(*inputs, **options):
    return [name for name, _ in find([str(one) for one in inputs], **options)]


def test_a_folder_gives_its_recordings_by_name(touch):
    top = touch(
        "b.wav", "a/x.flac", "a.wav", "a!.WAV", "a-b/y.mp3", "notes.txt", "a/log.csv", "ä.wav", "Z.wav"
    )
    found = find([str(top)])
    assert found.base == str(top)
    expected = ["Z.wav", "a!.WAV", "a-b/y.mp3", "a.wav", "a/x.flac", "b.wav", "ä.wav"]
    assert list(found) == [(name, str(top / name)) for name in expected]
    assert expected == sorted(expected, key=lambda name: name.encode())
    assert list(found) == list(found)


def test_only_the_folder_itself_without_recursion(touch):
    assert names(touch("a/x.wav", "y.wav"), recursive=False) == ["y.wav"]


def test_hidden_files_are_left_out(touch):
    top = touch("._a.wav", ".Trash/b.wav", "$RECYCLE.BIN/c.wav", "sub/.d.wav", "e.wav")
    assert names(top) == ["e.wav"]
    assert names(top / ".Trash") == ["b.wav"]
    assert names(top / "._a.wav") == ["._a.wav"]


def test_every_file_comes_once(touch, monkeypatch):
    top = touch("a/x.wav", "b/y.wav")
    monkeypatch.chdir(top)
    assert names("a", top, top / "a" / "x.wav", "a/*.wav", "b/../a") == ["a/x.wav", "b/y.wav"]


def test_the_base_is_what_the_inputs_have_in_common(touch):
    top = touch("rec/a/x.wav", "rec/b/y.wav", "rec/ab/z.wav")
    rec = top / "rec"
    assert find([str(rec / "a" / "x.wav")]).base == str(rec / "a")
    assert find([str(rec / "*" / "*.wav")]).base == str(rec)
    assert find([str(rec / "a"), str(rec / "ab")]).base == str(rec)
    assert names(rec / "a" / "x.wav", rec / "ab") == ["a/x.wav", "ab/z.wav"]
    for path in (rec / "b" / "y.wav", rec / "ab" / "z.wav"):
        path.unlink()
    assert find([str(rec / "*" / "*.wav")]).base == str(rec)
    assert names(rec / "*" / "*.wav") == ["a/x.wav"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.wav", ["a.WAV"]),
        ("**/*.wav", ["2023/x/c.wav", "2024/b.wav", "a.WAV"]),
        ("2024/*", ["2024/b.wav"]),
        ("202[34]/**", ["2023/x/c.wav", "2024/b.wav"]),
        ("202[!4]/**/c.wav", ["2023/x/c.wav"]),
        ("**/?.raw", ["2024/d.raw"]),
        ("2023/*/*.wav", ["2023/x/c.wav"]),
        ("**/x/**/*", ["2023/x/c.wav"]),
    ],
)
def test_globs(touch, glob, expected):
    top = touch("a.WAV", "2024/b.wav", "2024/d.raw", "2023/x/c.wav", "2023/x/n.txt")
    found = find([str(top / glob)])
    common = glob.split("/")[0] if glob.startswith("2024") or glob.startswith("2023/") else ""
    assert found.base == str(top / common)
    assert [os.path.relpath(path, top).replace(os.sep, "/") for _, path in found] == expected


def test_a_name_with_brackets_is_a_name_where_there_is_one(touch):
    top = touch("rec[1].wav", "rec1.wav")
    assert names(top / "rec[1].wav") == ["rec[1].wav"]


def test_lists_of_files(touch):
    top = touch("rec/a.wav", "rec/b.raw", "rec/more/c.wav", "rec/more/d#1.wav", "else/e.wav")
    text = f"\ufeff# all of them\r\n\nb.raw\r\n  a.wav \nmore\n{top}/else/e.wav\ngone.wav\nmore/c.wav\n"
    (top / "rec" / "list.txt").write_text(text, encoding="utf-8")
    found = find([f"@{top}/rec/list.txt"])
    assert found.base == str(top)
    expected = ["else/e.wav", "rec/a.wav", "rec/b.raw", "rec/gone.wav", "rec/more/c.wav", "rec/more/d#1.wav"]
    assert list(found) == [(name, str(top / name)) for name in expected]


def test_include_says_which_files(touch):
    top = touch("a.wav", "B.WAV", "s/c.raw", "s/d.wav")
    assert names(top, include=["*.wav"]) == ["B.WAV", "a.wav", "s/d.wav"]
    assert names(top, include=["*.RAW", "b.*"]) == ["B.WAV", "s/c.raw"]
    assert names(top, include=["s/*.wav"]) == ["s/d.wav"]
    assert names(top, include=["**/*.wav"]) == ["B.WAV", "a.wav", "s/d.wav"]
    assert names(top / "s", top / "a.wav", include=["S/*.raw"]) == ["a.wav", "s/c.raw"]


def test_the_output_is_not_walked(touch, refusal):
    top = touch("a.wav", "out/clips/b.wav", "output/c.wav")
    assert names(top, skip=top / "out") == ["a.wav", "output/c.wav"]
    assert names(top, skip=top / "not there yet") == ["a.wav", "out/clips/b.wav", "output/c.wav"]
    for inside in (top / "out", top / "out" / "clips"):
        message = refusal(OptionError, find, [str(inside)], skip=top / "out")
        assert message == f"{inside}: is the output folder or lies in it; give another folder for the output"


def test_links_that_loop_end(touch):
    top = touch("a/b/x.wav", "c/y.wav")
    (top / "a" / "b" / "up").symlink_to(top / "a")
    (top / "a" / "other").symlink_to(top / "c")
    (top / "c" / "back").symlink_to(top / "a")
    assert names(top) == ["a/b/x.wav", "a/other/y.wav", "c/back/b/x.wav", "c/y.wav"]


def test_what_cannot_be_read_is_not_lost(touch, refusal):
    top = touch("a.wav")
    (top / "gone.wav").symlink_to(top / "nowhere.wav")
    (top / "self.wav").symlink_to("self.wav")
    os.mkfifo(top / "pipe.wav")
    found = find([str(top)])
    assert [name for name, _ in found] == ["a.wav", "gone.wav", "self.wav"]
    assert "no such file" in refusal(AudioError, fingerprint, str(top / "gone.wav"))
    assert "cannot be opened" in refusal(AudioError, fingerprint, str(top / "self.wav"))


def test_a_folder_too_deep_to_be_opened_does_not_stop_the_walk(touch, monkeypatch, refusal):
    """A name longer than the system takes as one path, made from inside."""
    top = touch("z.wav")
    monkeypatch.chdir(top)
    for _ in range(20):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    found = list(find([str(top)]))
    assert [name for name, _ in found] == ["/".join(["d" * 250] * found[0][0].count("d" * 250)), "z.wav"]
    assert len(found[0][1]) > 4_000
    assert "File name too long" in refusal(AudioError, fingerprint, found[0][1])


def test_odd_names_are_given_as_they_are(tmp_path):
    odd = [b"a\nb.wav", b"c\td.wav", b"\xff\xfe.wav"]
    for name in odd:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    found = list(find([str(tmp_path)]))
    assert [os.fsencode(name) for name, _ in found] == [b"a\nb.wav", b"c\td.wav", b"\xff\xfe.wav"]
    assert [fingerprint(path).size for _, path in found] == [0, 0, 0]


def test_what_is_not_there_is_refused(touch, refusal):
    top = touch("rec/a.txt", "rec/b.txt", "rec/c", "empty/.keep")

    def said(*inputs, **options):
        return refusal(OptionError, find, [str(one) for one in inputs], **options)

    assert said(top / "wrong") == f"{top}/wrong: no such file or folder; {top} holds empty, rec"
    assert said(top / "rec" / "x.wav").endswith(f"no such file or folder; {top}/rec holds a.txt, b.txt, c")
    assert said(top / "no" / "*.wav").endswith(f"no such file or folder; {top} holds empty, rec")
    assert "there are files: 2 .txt, 1 no suffix;" in said(top / "rec")
    assert said(top / "rec" / "*.wav") == (
        f"{top}/rec/*.wav: no file below {top}/rec matches it; give another pattern"
    )
    assert "there are files: 2 .txt;" in said(top / "rec" / "*.txt", include=["*.wav"])
    assert "there are files: 2 .txt, 1 no suffix;" in said(top / "**")
    assert "there are no files at all;" in said(top / "empty")
    assert "the list cannot be read (No such file or directory)" in said(f"@{top}/list.txt")
    (top / "list.txt").write_text("# nothing\n\n")
    assert "names no files" in said(f"@{top}/list.txt")
    assert "is no pattern" in said(top / "rec" / "[z-a].wav")
    assert "is no pattern" in said(top, include=["[z-a]"])
    assert "got the recordings []" in refusal(OptionError, find, [])
    assert "got the recordings 'rec'" in refusal(OptionError, find, "rec")


def test_suffixes_are_written_as_they_are_compared():
    assert [suffix for suffix in SUFFIXES if suffix != suffix.lower() or suffix[0] != "."] == []
    assert {".wav", ".flac", ".mp3", ".m4a", ".mkv", ".w64"} <= set(SUFFIXES)


def test_a_fingerprint_knows_a_changed_file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"x" * 100_000)
    os.utime(path, ns=(0, 1_700_000_000_123_456_700))
    first = fingerprint(str(path))
    assert first == Fingerprint(100_000, 1_700_000_000_123_456_700, first.head)
    assert (len(first.head), int(first.head, 16) > 0) == (16, True)
    assert fingerprint(path.as_uri()) == first
    os.utime(path, ns=(0, 5))
    assert fingerprint(str(path)) == Fingerprint(100_000, 5, first.head)
    path.write_bytes(b"y" + b"x" * 99_999)
    os.utime(path, ns=(0, 5))
    changed = fingerprint(str(path))
    assert (changed.size, changed.mtime_ns, changed.head != first.head) == (100_000, 5, True)


def test_a_fingerprint_of_what_is_no_file_is_refused(tmp_path, refusal):
    assert refusal(AudioError, fingerprint, str(tmp_path)) == f"{tmp_path}: is a folder; give a recording"
    assert "no such file" in refusal(AudioError, fingerprint, str(tmp_path / "x.wav"))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(AudioError, fingerprint, str(tmp_path / "pipe"))


def test_a_walk_holds_the_names_of_single_folders(tmp_path):
    for folder in range(50):
        place = tmp_path / f"{folder:03}"
        place.mkdir()
        for number in range(100):
            os.close(os.open(place / f"{number:03}.wav", os.O_CREAT | os.O_WRONLY))
    found = find([str(tmp_path)])
    tracemalloc.start()
    count = sum(1 for _ in found)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5_000
    assert peak < 200_000
