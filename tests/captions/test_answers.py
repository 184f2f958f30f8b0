"""Answers are kept whole, for several processes, and found again."""

import subprocess
import sys

from peaframe.captions.answers import Answers, key
from peaframe.errors import FormatError


def test_what_was_put_is_found(tmp_path):
    answers = Answers(tmp_path / "answers.sqlite")
    answers.put([("a", "ein Wort ü 狗"), ("b", 0.25), ("c", ["dog", "rain"]), ("d", "")])
    assert answers.get(["d", "x", "b", "a", "c"]) == ["", None, 0.25, "ein Wort ü 狗", ["dog", "rain"]]
    answers.put([("a", "new")])
    answers.close()
    assert Answers(tmp_path / "answers.sqlite").get(["a", "b"]) == ["new", 0.25]


def test_keys_differ_where_anything_does():
    keys = [
        key("p", "c"),
        key("p", "c", ""),
        key("p", "c", "d"),
        key("pc", ""),
        key("p", "cd"),
        key("", "p", "c"),
    ]
    assert len(set(keys)) == 6
    assert key("p", "c", "d") == keys[2]
    assert len(keys[0]) == 64


def test_processes_write_into_one_file(tmp_path):
    path = tmp_path / "answers.sqlite"
    code = (
        "import sys; from peaframe.captions.answers import Answers\n"
        "answers = Answers(sys.argv[1])\n"
        "for i in range(40): answers.put([(f'{sys.argv[2]} {i}', i)])"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "abc"]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    answers = Answers(path)
    assert answers.get([f"{name} {i}" for name in "abc" for i in range(40)]) == 3 * list(range(40))


def test_what_is_no_file_of_answers(tmp_path, refusal):
    (tmp_path / "text").write_text("no answers " * 500)
    assert "remove it" in refusal(FormatError, Answers, tmp_path / "text")
    assert "cannot be used" in refusal(FormatError, Answers, tmp_path / "nowhere/answers.sqlite")
