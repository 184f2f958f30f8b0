"""The whole chain: tiny models on this machine, a language model behind a real server, peaframe's own ear."""

import json
import re
import shutil
import threading

import numpy as np
import pytest
import soundfile

from peaframe.captions.answers import Answers
from peaframe.captions.captioned import Failed
from peaframe.captions.checks import Checks
from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.endpoint import Endpoint, EndpointOptions
from peaframe.captions.endpoint_media import EndpointSound
from peaframe.captions.engine import CaptionOptions, Engine
from peaframe.captions.hearing import FrameEar, FrameScorer
from peaframe.captions.local_models import LocalPictures, LocalSound, LocalWriter
from peaframe.captions.parts import Parts
from peaframe.captions.prompts import load_prompts
from peaframe.captions.tables import read_clips
from peaframe.captions.writing import kinds
from peaframe.errors import ModelError, OptionError


def spoken(body):
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def good_answer(body, count):
    """A usable caption, another one for every prompt."""
    prompt = spoken(body)
    number = sum(ord(letter) * (i + 1) for i, letter in enumerate(prompt))
    names = ("dog", "bell", "train", "child", "kettle", "river", "violin")
    return f"A {names[number % 7]} number {number} is near a {names[number // 7 % 7]}."


@pytest.fixture(scope="module")
def ears(models):
    return tuple(LocalSound(models / name, "cpu", tokens=8) for name in ("one", "two"))


@pytest.fixture(scope="module")
def eyes(models):
    return LocalPictures(models / "eyes", "cpu", tokens=6)


@pytest.fixture
def writer(server):
    server.answer = good_answer
    return Endpoint(EndpointOptions(server.url, "tiny", attempts=2), lambda seconds: None)


@pytest.fixture
def engine(tmp_path, writer, ears, eyes, detector):
    """Makes an engine of all parts; others and options can be given."""

    def engine(checks=None, batch=4, prompts=None, file="answers.sqlite", **others):
        given = {"audio": ears, "writer": writer, "video": eyes, "scorer": FrameScorer(detector)}
        options = CaptionOptions(batch=batch, checks=checks or Checks())
        return Engine(Parts(**{**given, **others}), Answers(tmp_path / file), options, prompts)

    return engine


@pytest.mark.slow
def test_the_whole_chain(engine, media, server, ears, eyes, detector):
    clips = read_clips(media / "clips.csv")
    labels = ("sine wave beep", "dog barking")
    made, failed = engine(ear=FrameEar(detector, labels)).run(clips)
    assert [one.clip.media for one in made] == ["low.wav", "high.flac", "both.mp4", "silent.mp4"]
    assert [kinds(one) for one in made] == [
        ("audio",),
        ("audio",),
        ("audio", "visual", "audio_visual"),
        ("visual",),
    ]
    assert [one.clip.media for one in failed] == ["broken.wav", "gone.wav"]
    assert all(one.reason for one in failed)
    both, silent = made[2], made[3]
    opened = OpenClip(both.clip)
    assert [h.caption for h in both.heard] == [ear.caption([opened])[0] for ear in ears]
    assert both.seen == eyes.caption([opened])[0]
    for heard in both.heard:
        mean = float(detector.score(opened.sound, [heard.caption]).values.mean())
        assert heard.score == pytest.approx(mean, abs=1e-6)
        assert heard.level == ("high" if mean > 0.3 else "medium" if mean > 0.1 else "low")
    assert (silent.heard, silent.events) == ((), None)
    expected = {event.label for event in detector.detect(opened.sound, labels).events}
    assert both.events == tuple(label for label in labels if label in expected)
    prompt = load_prompts()["audio_visual"].fill(
        {
            "heard": "\n".join(f"- {h.caption} (trust: {h.level})" for h in both.heard),
            "seen": both.seen,
            "language": "English",
        }
    )
    assert server.prompts().count(prompt) == 1
    assert both.written["audio_visual"].caption == good_answer({"messages": [{"content": prompt}]}, 0)
    assert len(server.bodies) == 6
    assert all(one.refused == "" for one in made)


@pytest.mark.slow
def test_batches_change_nothing(engine, media):
    clips = read_clips(media / "clips.csv")
    assert engine(batch=8).run(clips) == engine(batch=1, file="other.sqlite").run(clips)


@pytest.mark.slow
def test_kept_answers_are_not_asked_for_again(engine, media, server, tmp_path, models):
    clips = read_clips(media / "clips.csv")
    first = engine().run(clips)
    asked = len(server.bodies)
    told = []
    assert engine().run(clips, told.append) == first
    assert (len(server.bodies), told) == (asked, [4, 2])

    shutil.copy(media / "low.wav", media / "same.wav")  # the same content by another name
    made, _ = engine().run([Clip("same.wav", media / "same.wav")])
    assert len(server.bodies) == asked
    assert made[0].written == first[0][0].written

    own = tmp_path / "prompts"
    own.mkdir()
    (own / "visual.txt").write_text("What is seen? $seen In $language.")
    engine(prompts=load_prompts(own)).run(clips)
    assert len(server.bodies) == asked + 2  # of the two clips with pictures

    soundfile.write(media / "low.wav", np.zeros(48_000, np.float32) + 0.01, 48_000)
    engine().run(clips)
    assert len(server.bodies) == asked + 3


def test_a_useless_answer_is_asked_for_once_more(engine, media, server):
    clips = read_clips(media / "clips.csv")[:1]
    again = "Your last answer was:\nI'm sorry, I can't."

    def answer(body, count):
        return good_answer(body, count) if again in spoken(body) else "I'm sorry, I can't."

    server.answer = answer
    ((made,), _) = engine().run(clips)
    reason = "refusal: it is no caption but says why there is none"
    assert made.written["audio"].reasons == (reason,)
    assert made.written["audio"].attempts == 2
    assert made.written["audio"].caption.startswith("A ")
    assert made.refused == ""
    assert "It cannot be used: it is no caption but says why there is none." in server.prompts()[1]

    server.answer = lambda body, count: "Ja, das ist der Regen und ein Hund."
    ((made,), _) = engine(file="other.sqlite").run(clips)
    assert made.refused == "audio: language: it reads like German, not English"
    assert (made.written["audio"].caption, made.written["audio"].attempts) == ("", 2)
    assert len(server.bodies) == 4


def test_random_weights_write_nothing_of_use_and_that_is_said(engine, media, models):
    clips = read_clips(media / "clips.csv")[:3]
    pen = LocalWriter(models / "pen", "cpu", tokens=24)
    made, failed = engine(writer=pen).run(clips)
    assert failed == []
    for one in made:
        for own in one.written.values():
            assert 1 <= own.attempts <= 2
            assert len(own.reasons) == (own.attempts if own.refused else own.attempts - 1)
    assert made == engine(writer=pen).run(clips)[0]


def test_no_answer_is_a_reason_and_is_not_kept(engine, media, server):
    clips = read_clips(media / "clips.csv")[:1]
    server.answer = lambda body, count: (500, {}, b"")
    ((made,), _) = engine().run(clips)
    assert made.written["audio"].reasons == ("no answer: tiny: HTTP 500, 2 times",) * 2
    assert made.refused == "audio: no answer: tiny: HTTP 500, 2 times"
    server.answer = good_answer
    ((made,), _) = engine().run(clips)
    assert made.refused == ""


def test_one_captioner_may_fail_and_all_may_not(engine, media, server, writer, ears):
    clips = read_clips(media / "clips.csv")[:1]
    heard = EndpointSound(writer)

    def answer(body, count):
        return good_answer(body, count) if isinstance(body["messages"][0]["content"], str) else (400, {}, b"")

    server.answer = answer
    ((made,), _) = engine(audio=(ears[0], heard)).run(clips)
    assert [(h.by, h.failure) for h in made.heard][1] == ("tiny", "tiny: HTTP 400")
    assert made.refused == ""
    assert engine(audio=(heard,)).run(clips) == ([], [Failed(clips[0], "tiny: HTTP 400")])


def test_a_server_that_is_gone_stops_the_run_which_goes_on_later(engine, media, server, writer):
    clips = read_clips(media / "clips.csv")[:4]

    def answer(body, count):
        return good_answer(body, count) if count <= 2 else (404, {}, b"")

    server.answer = answer
    with pytest.raises(ModelError, match="check the address"):
        engine(batch=1).run(clips)
    server.answer = good_answer
    made, _ = engine(batch=1).run(clips)
    assert [one.refused for one in made] == [""] * 4
    asked = server.prompts()
    assert asked.count(asked[0]) == asked.count(asked[1]) == 1  # kept before it stopped


def test_the_same_clip_twice_in_a_batch_is_captioned_once(engine, media, server):
    clip = read_clips(media / "clips.csv")[0]
    made, _ = engine().run([clip, clip])
    assert made[0] == made[1]
    assert len(server.bodies) == 1
    broken = Clip("broken.wav", media / "broken.wav")
    (media / "cut.flac").write_bytes((media / "high.flac").read_bytes()[:9000])
    cut = Clip("cut.flac", media / "cut.flac")
    made, failed = engine().run([cut, broken, clip, cut])
    assert [one.clip for one in made] == [clip]
    assert [one.clip for one in failed] == [cut, broken, cut]
    assert failed[0].reason == failed[2].reason


def many(media, make_tone, count=8):
    paths = [media / f"{i}.wav" for i in range(count)]
    for i, path in enumerate(paths):
        soundfile.write(path, make_tone(200 + 300 * i, 1.0, i), 48_000)
    return [Clip(path.name, path) for path in paths]


@pytest.mark.slow
def test_captions_that_too_many_clips_have(engine, media, make_tone, server):
    clips = many(media, make_tone)
    again = "too many clips have the same caption"

    def answer(body, count):  # five of eight are alike; asked again, two of these are not
        if again in spoken(body):
            return good_answer(body, count) if lock() <= 2 else "Somebody is doing something!"
        return good_answer(body, count) if lock("first") <= 3 else "Somebody is doing something."

    server.answer, lock = answer, counter()
    checks = Checks(collapse_clips=2)
    made, _ = engine(checks, batch=1).run(clips)
    refused = [one.refused for one in made]
    assert refused == [""] * 5 + ["audio: collapse: too many clips have the same caption"] * 3
    assert [one.written["audio"].attempts for one in made] == [1] * 3 + [2] * 5
    assert len({one.written["audio"].caption for one in made[:5]}) == 5
    assert len(server.bodies) == 13

    made, _ = engine(checks).run(clips, whole=False)
    assert not any(one.refused for one in made)


def counter():
    counts, lock = {}, threading.Lock()

    def count(name=""):
        with lock:
            counts[name] = counts.get(name, 0) + 1
            return counts[name]

    return count


def test_long_clips_and_clips_for_nobody_are_left_out(engine, media, ears, writer, tmp_path):
    clips = read_clips(media / "clips.csv")
    short = Engine(Parts(ears, writer), Answers(tmp_path / "a.sqlite"), CaptionOptions(longest_seconds=1.2))
    made, failed = short.run(clips[:4])
    assert [one.clip.media for one in made] == ["high.flac"]
    assert [re.sub(r"^[^ ]+ ", "", one.reason) for one in failed] == [
        "is 1.5 s long, expected 1.2 s or less; cut it, or raise the limit",
        "is 2.0 s long, expected 1.2 s or less; cut it, or raise the limit",
        "is 2.0 s long, expected 1.2 s or less; cut it, or raise the limit",
    ]
    deaf, failed = engine(audio=()).run(clips[:4])
    assert [one.clip.media for one in deaf] == ["both.mp4", "silent.mp4"]
    assert all(tuple(one.written) == ("visual",) for one in deaf)
    assert len(failed) == 2


def test_provenance_is_plain(engine):
    about = engine().made_by
    assert json.loads(json.dumps(about)) == about
    assert about["prompts"] == {name: prompt.digest for name, prompt in load_prompts().items()}
    assert about["checks"]["language"] == "English"


def test_engines_that_make_no_sense(engine, ears, refusal, detector):
    assert "no captioner" in refusal(OptionError, engine, audio=(), video=None)
    assert "different ones" in refusal(OptionError, engine, audio=(ears[0], ears[0]))
    assert "1 or more" in refusal(OptionError, CaptionOptions, batch=0)
    assert "more than 0" in refusal(OptionError, CaptionOptions, longest_seconds=float("nan"))
    assert "medium <= high" in refusal(OptionError, FrameScorer, detector, 0.5, 0.2)
    assert "no labels" in refusal(OptionError, FrameEar, detector, [])
