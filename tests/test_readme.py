"""README's examples run as they stand, beside a recording called street.wav and a folder of labelled ones."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
import soundfile

from peaframe import formats

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(language):
    """(line number, text) of README's code blocks in a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 2, match[2]


def commands():
    """(line number, command) of README's commands; a line that ends in a backslash goes on."""
    for first, text in blocks("console"):
        lines = text.split("\n")
        for i, line in enumerate(lines):
            if line.startswith("$ peaframe "):
                while line.endswith("\\"):
                    i += 1
                    line = line[:-1] + lines[i]
                yield first + i, line.removeprefix("$ ")


@pytest.fixture
def street(tmp_path, monkeypatch):
    samples, rate = soundfile.read(ROOT / "examples" / "demo.flac")
    soundfile.write(tmp_path / "street.wav", samples, rate)
    (tmp_path / "labelled").mkdir()
    soundfile.write(tmp_path / "labelled" / "demo.wav", samples, rate)
    truth = formats.load(ROOT / "examples" / "demo.tsv")
    events = [event for events in truth.values() for event in events]
    formats.save(tmp_path / "labelled" / "ground_truth.tsv", {"demo.wav": events})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_shows_the_library_and_the_command():
    assert list(blocks("python"))
    assert list(commands())


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other(street):
    names = {"__name__": "readme"}
    for line, text in blocks("python"):
        exec(compile("\n" * (line - 1) + text, str(ROOT / "README.md"), "exec"), names)


@pytest.mark.slow
def test_commands_run(street):
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    for line, command in commands():
        done = subprocess.run(
            command,
            shell=True,
            cwd=street,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"README.md:{line}: {command}\n{done.stderr}"
