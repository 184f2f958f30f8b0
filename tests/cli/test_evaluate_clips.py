"""`peaframe eval run` on benchmarks of whole clips, seen from outside."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "eval/clips.py")))
one_line = runpy.run_path(str(Path(__file__).parent / "evaluating.py"))["one_line"]


@pytest.fixture
def audiocaps(tmp_path):
    """AudioCaps' layout: three clips, two captions each, one clip missing."""
    data = tmp_path / "AudioCaps"
    rows = ["audiocap_id,youtube_id,start_time,caption"]
    for number, words in enumerate(("a dog barking", "rain in the distance", "a siren", "gone")):
        rows += [
            f"{number}{i},abcdefghij{number},{number},{start}{words}" for i, start in enumerate(("", "the "))
        ]
        if words != "gone":
            clips.video(data / f"video/abcdefghij{number}_{number}.mp4", 60 * number)
    clips.lines(data / "test.csv", *rows)
    return data


def test_audiocaps_with_a_pe_av(run, audiocaps, tmp_path, tokenizer_content):
    model = clips.tiny_pe_av(tmp_path / "pe-av-tiny", tokenizer_content)
    out = tmp_path / "out"
    words = [
        "eval",
        "run",
        "audiocaps",
        "--data",
        audiocaps,
        "--output",
        out,
        "--model",
        model,
        "--device",
        "cpu",
    ]
    one_line(
        run(*words), "972 of 975 recordings of audiocaps are missing", "'abcdefghij3_3'", "--allow-missing"
    )
    ran = run(*words, "--allow-missing", "--resamples", "10")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == f"audiocaps, 3 clips: 0.00 h of sound, retrieval, {model}"
    assert lines[1] == "PARTIAL: 972 clips missing, so this is not the score of audiocaps"
    assert lines[3].split() == ["metric", "value", "95", "%", "interval"]
    assert lines[4].startswith("text_to_audio_r1 ")
    assert lines[-1] == f"report: {out / 'report.md'}"
    document = json.loads(run(*words, "--allow-missing", "--resamples", "0", "--json").out)
    assert document["sizes"]["video_text_to_audio"] == [6, 3]
    assert document["sizes"]["audio_to_video"] == [3, 3]
    assert document["metrics"]["text_to_audio_r5_dual"] == {"high": None, "low": None, "value": 1.0}
    assert f"{document['metrics']['text_to_audio_r1']['value']:.3f}" in lines[4].split()
    one_line(run(*words, "--allow-missing", "--precision", "fast"), "expected exact")


def test_the_list_has_its_own_part(run):
    from peaframe.eval.benchmarks import CLIP_BENCHMARKS

    lines = run("eval", "list", "--clips").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(CLIP_BENCHMARKS)
    assert lines[1].split()[1:3] == ["975", "text_to_audio_r1"]
    rows = json.loads(run("eval", "list", "--clips", "--json").out)
    assert rows[7]["name"] == "vggsound"
    assert rows[7]["metrics"] == ["audio_top1"]


def test_bad_input_is_one_line(run, audiocaps, tmp_path):
    def words(name, data, *more):
        return ["eval", "run", name, "--data", data, "--output", tmp_path / "out", *more]

    one_line(
        run(*words("audiocapz", audiocaps)), "got the benchmark 'audiocapz'", "audiocaps", "desed-validation"
    )
    one_line(run(*words("audiocaps", tmp_path / "none")), "no such folder")
    one_line(run(*words("clotho", audiocaps)), "expected the folder of Clotho v2")
    one_line(run(*words("folder", audiocaps, "--pool", "max")), "--pool is for whole clips")
    assert not (tmp_path / "out").exists()
