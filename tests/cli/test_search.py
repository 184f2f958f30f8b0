"""`peaframe search`, seen from outside: real sounds, the built-in model, a tiny PE-AV."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "eval/clips.py")))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def recordings(tmp_path):
    """A folder of recordings, one of them below, one broken, one that is no recording."""
    folder = tmp_path / "my recordings"
    for name, (start, end) in {
        "one.wav": (0.0, 7.0),  # a dog, then a woman
        "deep/two.flac": (10.5, 14.0),  # a guitar
        "three.ogg": (17.0, 20.0),  # a telephone
        "four.wav": (23.8, 25.2),  # a crow
    }.items():
        clips.cut(folder / name, start, end)
    (folder / "broken.wav").write_bytes(b"RIFF of nothing")
    (folder / "notes.txt").write_text("no recording")
    return folder


def found(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.slow
def test_words_find_the_moment(run, recordings):
    for words, name, start, end in (
        ("dog barking", "one.wav", 1.25, 2.44),
        ("woman speaking", "one.wav", 3.64, 6.76),
        ("guitar playing", "deep/two.flac", 0.8, 3.28),
        ("telephone ringing", "three.ogg", 0.85, 2.62),
        ("crow cawing", "four.wav", 0.6, 1.07),
    ):
        answer = found(run("search", recordings, words, "--json"))
        hits = answer["hits"]
        assert sorted(hit["file"] for hit in hits) == ["deep/two.flac", "four.wav", "one.wav", "three.ogg"]
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        best = hits[0]
        assert (best["file"], best["by"]) == (name, "sound")
        assert best["path"] == str(recordings.absolute() / name)
        assert start - 0.3 < best["start"] < best["end"] < end + 0.5
        assert best["score"] > 0.3 > hits[2]["score"]
        assert [Path(one["path"]).name for one in answer["left_out"]] == ["broken.wav"]


@pytest.mark.slow
def test_a_sound_finds_its_like_and_both_together(run, recordings, tmp_path):
    dog = clips.cut(tmp_path / "dog.wav", 15.65, 16.84)  # another moment of the demo than that in the folder
    for words in ([], ["dog barking"]):
        hits = found(run("search", recordings, *words, "--audio", dog, "--json"))["hits"]
        assert hits[0]["file"] == "one.wav"
        assert 0.8 < hits[0]["start"] < hits[0]["end"] < 2.9
        assert hits[0]["score"] > 0.8
        assert hits[1]["score"] < hits[0]["score"] - 0.2
    sound, text, both = (
        {hit["file"]: hit["score"] for hit in found(run("search", recordings, *words, "--json"))["hits"]}
        for words in (["--audio", dog], ["dog barking"], ["dog barking", "--audio", dog])
    )
    for name, score in both.items():
        assert score <= (sound[name] * text[name]) ** 0.5 + 1e-6


def test_the_table_is_for_people(run, recordings):
    ran = run("search", recordings, "dog barking", "--top", 2)
    header, first, second = ran.out.splitlines()
    assert header.split() == ["score", "start", "end", "by", "file"]
    assert first.endswith("sound  one.wav")
    assert len(second.split()) == 5
    left, how = ran.err.splitlines()
    assert left.startswith("left out: ")
    assert "broken.wav" in left
    assert how.startswith("peaframe-mini on cpu: 4 files, 14.9 s of sound; 4 of them heard just now in ")


@pytest.mark.slow
def test_an_index_hears_each_content_once_and_goes_on(run, recordings, tmp_path):
    index = tmp_path / "kept"
    fresh = found(run("search", recordings, "guitar playing", "--json"))
    late = recordings / "one.wav"
    late.rename(tmp_path / "late.wav")
    ran = run("search", recordings, "dog barking", "--index", index)
    assert "3 of them heard just now" in ran.err
    (tmp_path / "late.wav").rename(late)
    (recordings / "three.ogg").rename(recordings / "renamed.ogg")
    ran = run("search", recordings, "guitar playing", "--index", index, "--json")
    assert "1 of them heard just now" in ran.err
    again = {Path(hit["file"]).stem.replace("renamed", "three"): hit for hit in found(ran)["hits"]}
    for hit in fresh["hits"]:
        same = again[Path(hit["file"]).stem]
        assert (same["start"], same["end"]) == (hit["start"], hit["end"])
        assert same["score"] == pytest.approx(hit["score"], abs=1e-6)
    assert "0 of them heard just now" in run("search", recordings, "rain", "--index", index).err
    assert sorted(path.name for path in index.iterdir()) == ["entries.jsonl", "index.json", "rows.f16"]
    (recordings / "four.wav").unlink()
    hits = found(run("search", recordings, "crow cawing", "--index", index, "--json"))["hits"]
    assert "four.wav" not in {hit["file"] for hit in hits}


@pytest.mark.slow
def test_pe_av_searches_pieces_of_sound_and_pictures(run, tmp_path, tokenizer_content, monkeypatch):
    from peaframe import audio
    from peaframe.index.clips import ClipEncoder
    from peaframe.models.load import load_audio_video_model

    monkeypatch.setattr("peaframe.index.clips.PIECE_SECONDS", 2.0)
    model = clips.tiny_pe_av(tmp_path / "model", tokenizer_content)
    films = tmp_path / "films"
    clips.video(films / "dark.mp4", 20)
    clips.video(films / "bright.mp4", 200, sound=False)
    clips.cut(films / "sound.wav", 0, 5)
    query = clips.cut(tmp_path / "query.wav", 2, 4)
    index = tmp_path / "kept"
    options = ["--model", model, "--json", "--device", "cpu"]
    answers = {
        words: found(run("search", films, *words, *options, "--index", index))["hits"]
        for words in (("a dog barking",), ("--audio", str(query)), ("a dog barking", "--audio", str(query)))
    }
    clip = ClipEncoder(load_audio_video_model(model), "cpu")
    said = clip.texts(["a dog barking"])
    heard = clip.sound(audio.read(query))
    joined = clip.joined("audio", heard["audio_token"], said["text_token"])

    def near(one, other):
        return (one @ other.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other))[:, 0]

    parts = [
        clip.sound(audio.read(films / "sound.wav", start, end))["audio"]
        for start, end in ((0, 2), (2, 4), (4, 5))
    ]
    sound = np.concatenate(parts)
    bright = clip.clip(None, films / "bright.mp4")[0]["visual"]
    for (words, hits), sounds, pictures in zip(
        answers.items(),
        ([said["audio_text"]], [heard["audio"]], [said["audio_text"], heard["audio"]]),
        (said["visual_text"], heard["audio"], joined),
        strict=True,
    ):
        by_name = {hit["file"]: hit for hit in hits}
        assert set(by_name) == {"dark.mp4", "bright.mp4", "sound.wav"}, words
        expected = np.mean([near(sound, vector) for vector in sounds], axis=0)
        hit = by_name["sound.wav"]
        assert hit["score"] == pytest.approx(expected.max(), abs=2e-3)
        best = int(expected.argmax())
        assert (hit["start"], hit["end"], hit["by"]) == (2 * best, min(2 * best + 2, 5), "sound")
        hit = by_name["bright.mp4"]
        assert hit["score"] == pytest.approx(near(bright, pictures)[0], abs=2e-3)
        assert (hit["start"], hit["end"], hit["by"]) == (None, None, "pictures")
    assert answers["--audio", str(query)][0]["file"] == "sound.wav"  # the query is a piece of it
    assert answers["--audio", str(query)][0]["start"] == 2.0
    text = run("search", films, "a dog", *options[:2], "--index", index)
    assert "0 of them heard just now" in text.err


@pytest.mark.slow
def test_bad_input_is_one_line(run, recordings, tmp_path):
    index = tmp_path / "kept"
    assert run("search", recordings, "rain", "--index", index).code == 0
    soundless = tmp_path / "soundless"
    soundless.mkdir()
    (soundless / "a.wav").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    soundfile.write(tmp_path / "other.wav", np.zeros(4800), 48_000)
    for words, told in (
        ([recordings], "got nothing to look for"),
        ([recordings, "  "], "got nothing to look for"),
        ([tmp_path / "none", "rain"], "no such folder"),
        ([tmp_path / "empty", "rain"], "empty"),
        ([soundless, "rain"], "none of 1 files can be read"),
        ([recordings, "rain", "--top", "0"], "--top: got 0"),
        ([recordings, "--audio", tmp_path / "none.wav"], "none.wav"),
        ([recordings, "rain", "--index", tmp_path / "other.wav"], "other.wav"),
        ([recordings, "rain", "--index", soundless], "holds other files"),
        ([recordings, "rain", "--index", index, "--model", "no-such-model"], "unknown model"),
    ):
        ran = run("search", *words)
        assert ran.code == 2, words
        assert ran.out == ""
        line = ran.err.splitlines()[-1]
        assert line.startswith("peaframe: error: ")
        assert told in line
