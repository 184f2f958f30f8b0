"""How recipes end: with 0, or one line and 2; the same for every one that is there."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from peaframe.errors import FormatError
from peaframe.recipes import program

RECIPES = sorted(
    path.stem
    for path in Path(program.__file__).parent.glob("*.py")
    if "program.run(main)" in path.read_text(encoding="utf-8")
)


def ended(main):
    with pytest.raises(SystemExit) as caught:
        program.run(main)
    return caught.value.code


def test_there_are_recipes():
    assert {"caption", "finetune", "make_manifest", "mini", "pretrain", "train_captioner"} < set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_an_option_that_is_unknown_is_one_line(name, capsys):
    recipe = importlib.import_module(f"peaframe.recipes.{name}")
    assert ended(lambda: recipe.main(["--no-such-option"])) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("peaframe: error: ")
    assert told.err.endswith(" --help\n")


def test_how_a_program_ends(capsys):
    def refused():
        raise FormatError("a file of\n  two lines")

    def stopped():
        raise KeyboardInterrupt

    assert [ended(main) for main in (lambda: None, lambda: 0, lambda: 7, refused, stopped)] == [
        0,
        0,
        7,
        2,
        130,
    ]
    assert capsys.readouterr().err == "peaframe: error: a file of two lines\n"
    with pytest.raises(ZeroDivisionError):  # a bug
        program.run(lambda: 1 // 0)


def test_a_recipe_says_how_it_is_called():
    name = "peaframe.recipes.prepare_desed"
    done = subprocess.run([sys.executable, "-m", name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    lacking = "the following arguments are required: source, out"
    assert done.stderr == f"peaframe: error: {lacking}; see python -m {name} --help\n"
