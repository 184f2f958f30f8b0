"""The words of a label set: what holds together, what is related, what is drawn."""

from collections import Counter

import numpy as np
import pytest

from peaframe.data.vocabulary import Vocabulary
from peaframe.errors import OptionError


@pytest.fixture
def small():
    return Vocabulary(
        ("cat", "dog", "wolf"),
        {"cat": ("cat meowing", "meow"), "dog": ("dog", "a dog barks", "woof"), "wolf": ("wolf howling",)},
        {"dog": ("Wolf howling", "a fox"), "cat": ("a cat purring", "a fox", "squeak")},
        (("wolf", "dog"),),
        ("justice", "A DOG BARKS", "Meow", "freedom", "Justice"),
    )


def test_a_vocabulary_holds_together(refusal):
    assert "'b' has no phrase" in refusal(OptionError, Vocabulary, ("a", "b"), {"a": ("a",)})
    assert "'a' has no phrase" in refusal(OptionError, Vocabulary, ("a",), {"a": ()})
    one = {"a": ("a",)}
    assert "'b', which is no label" in refusal(OptionError, Vocabulary, ("a",), {**one, "b": ("b",)})
    assert "'c', which is no label" in refusal(OptionError, Vocabulary, ("a",), one, {"c": ("b",)})
    assert "'d', which is no label" in refusal(OptionError, Vocabulary, ("a",), one, {}, (("a", "d"),))


def test_related_pairs_are_there_once_the_smaller_first():
    own = {label: (label,) for label in "abcd"}
    pairs = (("d", "c"), ("c", "a"), ("c", "d"), ("b", "b"), ("a", "c"))
    assert Vocabulary(tuple("abcd"), own, {}, pairs).related_ids().tolist() == [[0, 2], [2, 3]]


def test_all_phrases_are_there_once_in_order(small):
    assert small.all_phrases() == (
        *("cat meowing", "meow", "dog", "a dog barks", "woof", "wolf howling"),
        *("a cat purring", "a fox", "squeak", "Wolf howling"),
        *("justice", "A DOG BARKS", "Meow", "freedom", "Justice"),
    )


def test_draws_one_phrase_of_each_label_with_its_share(small):
    rng = np.random.default_rng(0)
    drawn = small.draw([1] * 30_000, rng)
    share = {phrase: count / 30_000 for phrase, count in Counter(drawn).items()}
    others = 2 / 3 / 3
    assert share == pytest.approx({"dog": 1 / 3 + others, "a dog barks": others, "woof": others}, abs=0.01)
    assert small.draw(np.array([1, 0, 2, 1]), rng, 1.0) == ["dog", "cat meowing", "wolf howling", "dog"]
    even = Counter(small.draw([0] * 10_000, rng, plain_share=0.0))
    assert even["meow"] / 10_000 == pytest.approx(0.5, abs=0.02)
    assert small.draw([], rng) == []


def test_the_same_seed_draws_the_same_also_elsewhere(small, elsewhere):
    """In another process, as a loader's workers are, where strings hash otherwise."""
    for draw, arguments in ((small.draw, [[0, 1, 2] * 5]), (small.draw_negatives, [[0], 4])):
        here = draw(*arguments, np.random.default_rng(7))
        assert elsewhere(draw, *arguments, np.random.default_rng(7)) == here
        assert draw(*arguments, np.random.default_rng(7)) == here


def test_negatives_are_hard_ones_first_then_distractors(small):
    for seed in range(50):
        drawn = small.draw_negatives([0, 0], 100, np.random.default_rng(seed))
        assert set(drawn[:3]) == {"a cat purring", "a fox", "squeak"}
        rest = [phrase.lower() for phrase in drawn[3:]]
        assert sorted(rest) == ["a dog barks", "freedom", "justice"]  # no meow, and justice once
    first = Counter(small.draw_negatives([0], 1, np.random.default_rng(seed))[0] for seed in range(300))
    assert set(first) == {"a cat purring", "a fox", "squeak"}
    assert min(first.values()) > 60
    assert len(small.draw_negatives([0], 4, np.random.default_rng(0))) == 4
    assert small.draw_negatives([0], 0, np.random.default_rng(0)) == []


def test_negatives_are_never_a_phrase_of_what_is_heard_or_related_to_it(small):
    for seed in range(50):
        drawn = small.draw_negatives([1], 100, np.random.default_rng(seed))
        assert drawn[0] == "a fox"  # a wolf is related to the dog
        assert sorted(phrase.lower() for phrase in drawn[1:]) == ["freedom", "justice", "meow"]
        drawn = small.draw_negatives([2, 0], 100, np.random.default_rng(seed))
        assert set(drawn[:3]) == {"a cat purring", "a fox", "squeak"}
        assert sorted(phrase.lower() for phrase in drawn[3:]) == ["freedom", "justice"]


def test_a_hard_negative_of_one_label_that_another_heard_one_is_called_is_not_drawn():
    words = Vocabulary(("cat", "fox"), {"cat": ("cat",), "fox": ("a fox",)}, {"cat": ("A fox", "squeak")})
    rng = np.random.default_rng(0)
    assert sorted(words.draw_negatives([0], 5, rng)) == ["A fox", "squeak"]
    assert words.draw_negatives([0, 1], 5, rng) == ["squeak"]
    assert words.draw_negatives([1], 5, rng) == []


@pytest.mark.parametrize("number", [-1, 3])
def test_numbers_of_no_label_are_refused(small, refusal, number):
    rng = np.random.default_rng(0)
    expected = f"got the label number {number}, expected 0 to 2"
    assert expected in refusal(OptionError, small.draw, [0, number], rng)
    assert expected in refusal(OptionError, small.draw_negatives, [number], 1, rng)


def test_shares_and_counts_out_of_range_are_refused(small, refusal):
    rng = np.random.default_rng(0)
    for share in (-0.1, 1.1, float("nan")):
        assert "expected 0 to 1" in refusal(OptionError, small.draw, [0], rng, share)
    assert "got a count of -1" in refusal(OptionError, small.draw_negatives, [0], -1, rng)
