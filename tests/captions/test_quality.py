"""Numbers about captions, counted by hand, and the page that shows them."""

import json
import re

import numpy as np
import pytest

from peaframe.captions.captioned import Captioned, Failed, Heard, Written
from peaframe.captions.clips import Clip
from peaframe.captions.hearing import FrameScorer
from peaframe.captions.quality import mentions, quality, token_f1
from peaframe.captions.quality_page import quality_page


def clip(name, one, two, audio, events, **more):
    heard = (Heard("one", one, "high", 0.9), Heard("two", two, "low", 0.01))
    return Captioned(
        Clip(name, None), name, heard, more.get("seen"), {"audio": audio, **more.get("w", {})}, events
    )


SHORT = ("too short: it has 1 words", "too short: it has 1 words")
CLIPS = [
    clip(
        "a", "a dog barks", "dog barks loudly", Written("A dog is barking in rain."), ("dog barking", "rain")
    ),
    clip("b", "rain falls", "a dog barks", Written("Rain."[:4], SHORT, 2), ("rain",)),
    clip("c", "rain falls", "rain falls", Written("Rain falls down hard.", SHORT[:1], 2), ("siren", "rain")),
    clip(
        "d",
        "",
        "a <b>bell</b>",
        Written("A bell rings."),
        (),
        seen="x",
        w={"visual": Written("", ("empty: no",), 1)},
    ),
]


def test_token_f1_and_mentions():
    assert token_f1("a dog barks", "Dog barks loudly!") == pytest.approx(2 * 2 / 6)
    assert token_f1("dog dog", "dog") == pytest.approx(2 / 3)
    assert token_f1("", "") == 0
    assert mentions("Dogs are barking.", "dog barking")
    assert mentions("A dog barks.", "the sound of a dog barking")
    assert not mentions("A dog sleeps.", "dog barking")
    assert not mentions("A catalogue is read.", "cat")
    assert not mentions("Anything", "the sound")


def test_numbers_by_hand():
    found = quality(CLIPS, [Failed(Clip("e", None), "e: no such file")])
    assert (found["clips"], found["failed"], found["failures"]) == (4, 1, [["e", "e: no such file"]])
    audio = found["kinds"]["audio"]
    assert audio == {
        "asked": 4,
        "written": 3,
        "refused": 1,
        "share_refused": 0.25,
        "refused_by_reason": {"too short": 1},
        "first_answers_by_reason": {"too short": 2},
        "words": {"least": 3.0, "median": 4.0, "mean": pytest.approx(13 / 3), "most": 6.0},
        "share_different": 1.0,
    }
    assert found["kinds"]["visual"]["refused_by_reason"] == {"empty": 1}
    assert found["kinds"]["audio_visual"]["share_refused"] is None
    one = found["captioners"]["one"]
    assert (one["captions"], one["empty"], one["levels"]) == (4, 1, {"high": 4})
    assert (one["commonest"], one["share_commonest"]) == ("rain falls", 0.5)
    (pair,) = found["agreement"]
    assert (pair["captioners"], pair["clips"]) == (["one", "two"], 3)
    assert pair["token_f1"] == pytest.approx((4 / 6 + 0 + 1) / 3)
    assert pair["token_f1_by_chance"] == pytest.approx((1 + 1 + 0) / 3)  # a-b, b-c, c-a
    assert "cosine" not in pair
    assert found["events"] == {
        "clips": 3,
        "clips_with_events": 2,
        "events": 4,
        "mentioned": 3,
        "share_mentioned": 0.75,
        "share_by_chance": 0.25,  # a's rain in c's caption
        "labels": {"rain": [2, 2], "dog barking": [1, 1], "siren": [0, 1]},
    }
    assert [sample["media"] for sample in found["samples"]] == ["a", "b", "c", "d"]
    assert json.loads(json.dumps(found, allow_nan=False))["clips"] == 4


def test_cosines_by_peaframe(detector):
    vectors = FrameScorer(detector).vectors
    (pair,) = quality(CLIPS, [], vectors)["agreement"]
    rows = {text: vectors([text])[0] for text in ("a dog barks", "dog barks loudly", "rain falls")}
    own = [
        rows["a dog barks"] @ rows["dog barks loudly"],
        rows["rain falls"] @ rows["a dog barks"],
        1.0,
    ]
    assert pair["cosine"] == pytest.approx(np.mean(own), abs=1e-5)
    assert own[0] > own[1] + 0.2
    np.testing.assert_array_equal(vectors([" "]), 0)


def test_nothing_at_all():
    found = quality([], [])
    assert found["events"] is None
    assert found["kinds"]["audio"]["share_refused"] is None
    assert "0 clips have captions" in quality_page(found)


def test_the_page_is_whole_and_escaped():
    page = quality_page(quality(CLIPS, [Failed(Clip("<script>", None), "why & how")]), "Mine <i>")
    assert page.startswith("<!DOCTYPE html>")
    assert "a &lt;b&gt;bell&lt;/b&gt;" in page
    assert "<b>bell" not in page
    assert "<script" not in page
    assert "why &amp; how" in page
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)
    assert page.count("<article>") == 4
    assert "mentions 75.0 % of them, that of the next clip 25.0 %" in page
    assert "too short 1" in page
