"""The recipe from a table to captions, killed in the middle, and shared between processes."""

import csv
import json
import subprocess
import sys

import pytest

from peaframe.captions.tables import read_clips
from peaframe.errors import OptionError
from peaframe.recipes import caption

REST = ["--scorer", "none", "--table", "captions.jsonl", "--batch", "2"]


@pytest.mark.slow
def test_from_a_table_to_captions_and_a_report(arguments, media, tmp_path, capsys, models):
    (media / "labels.txt").write_text("sine wave beep\n\ndog barking\n")
    caption.main(arguments("out", "--device", "cpu", "--labels", str(media / "labels.txt")))
    printed = capsys.readouterr().out
    assert "4 clips captioned, 2 left out" in printed
    assert "audio: 3 written, 0 refused" in printed
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert {"answers.sqlite", "captions.parquet", "failed.csv", "quality.html", "quality.json"} <= names
    with (out / "failed.csv").open(newline="") as file:
        assert [row["media"] for row in csv.DictReader(file)] == ["broken.wav", "gone.wav"]
    found = json.loads((out / "quality.json").read_text())
    assert (found["format"], found["clips"], found["failed"]) == ("peaframe-captions-quality", 4, 2)
    assert found["made_by"]["scorer"] == "peaframe-mini"
    assert found["agreement"][0]["clips"] <= 3
    assert -1 <= found["agreement"][0]["cosine"] <= 1
    assert found["events"]["clips"] == 3
    assert "Captions of clips.csv" in (out / "quality.html").read_text()
    clips = read_clips(out / "captions.parquet")
    assert [clip.media for clip in clips] == [
        f"../media/{name}" for name in ("low.wav", "high.flac", "both.mp4", "silent.mp4")
    ]
    assert all(clip.path.is_file() for clip in clips)


@pytest.mark.slow
def test_parts_fill_the_answers_and_the_last_run_writes_the_table(arguments, server, tmp_path, capsys):
    caption.main(arguments("whole", *REST))
    asked = sorted(server.prompts())
    server.bodies.clear()
    for number in (1, 2, 3):
        caption.main(arguments("shared", *REST, "--part", f"{number}/3"))
        assert not (tmp_path / "shared/captions.jsonl").exists()
    assert sorted(server.prompts()) == asked
    caption.main(arguments("shared", *REST))
    assert sorted(server.prompts()) == asked
    same = [(tmp_path / name / "captions.jsonl").read_bytes() for name in ("whole", "shared")]
    assert same[0] == same[1]
    assert "part 2 of 3" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(arguments, server, many, tmp_path, killed_at_the_fifth):
    caption.main(arguments("whole", *REST, clips=many.name))
    expected = sorted(server.prompts())
    assert len(expected) == 12
    server.bodies.clear()
    kept = killed_at_the_fifth(arguments("killed", *REST, clips=many.name))
    assert not (tmp_path / "killed/captions.jsonl").exists()
    server.bodies.clear()
    caption.main(arguments("killed", *REST, clips=many.name))
    assert sorted(server.prompts()) == sorted(set(expected) - set(kept))
    same = [(tmp_path / name / "captions.jsonl").read_bytes() for name in ("whole", "killed")]
    assert same[0] == same[1]


@pytest.mark.slow
def test_command_lines_that_make_no_sense(arguments, refusal, media):
    assert "1/4" in refusal(OptionError, caption.main, arguments("out", "--part", "5/4"))
    labels = str(media / "clips.csv")
    assert "--labels" in refusal(OptionError, caption.main, arguments("out", *REST, "--labels", labels))
    done = subprocess.run(
        [sys.executable, "-m", "peaframe.recipes.caption", *arguments("out", "--part", "x")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "peaframe: error: got --part 'x', expected one such as 1/4\n"
