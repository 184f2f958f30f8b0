"""Which captions are of no use, and why."""

import pytest

from peaframe.captions.checks import Checks, collapsed, fold, kind, problem, tidy
from peaframe.captions.languages import LANGUAGES, wrong_language
from peaframe.errors import OptionError

GOOD = [
    "A dog barks twice while rain falls on a metal roof.",
    "Dog barking loudly nearby",
    'A man says "I\'m sorry" as a door closes.',
    "A woman asks a crowd whether anyone can provide help.",
    "A sorry-looking dog whimpers, then a siren wails in the distance.",
    "Sorry is the first word a man speaks over loud music.",
    "Two people talk, and then two people laugh, and a bell rings.",
    "Tick, tock: a clock ticks in a quiet room.",
    "A machine beeps, 3 times, at about 1000 Hz.",
    "An unknown animal growls.",
    'A man asks, "Can you provide a receipt?" in a shop.',
    "An AI robot in a film speaks with a metallic voice.",
]
REFUSED = [
    "I'm sorry, but I cannot describe this recording.",
    "I’m sorry, I can’t help with that.",
    "Sorry, there is nothing to describe here.",
    "I cannot provide a caption for this clip.",
    "I am unable to determine what is heard.",
    "As an AI language model, I do not hear sounds.",
    "Unfortunately, the captions are empty.",
    "My apologies, but this is not possible.",
    "Unable to generate a caption.",
    "Could you provide more context about the clip?",
    "There is not enough information to write one.",
    "I don't have access to the audio in question.",
    "The input is empty. Please provide a caption.",
    "N/A",
    "[caption of the sound goes here]",
    "No caption.",
]


@pytest.mark.parametrize("caption", GOOD)
def test_good_captions_pass(caption):
    assert problem(caption, Checks()) is None


@pytest.mark.parametrize("caption", REFUSED)
def test_refusals_in_many_wordings(caption):
    assert kind(problem(caption, Checks())) == "refusal"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", "empty: it has no words"),
        (" ... ", "empty: it has no words"),
        ("Rain falls", "too short: it has 2 words, at least 3 are needed"),
        (" ".join(f"word{i}" for i in range(81)), "too long: it has 81 words, 80 at most are wanted"),
        ("A dog dog dog barks", "repeated: 'dog' three times in a row"),
        ("A dog barks. Rain falls. A dog barks!", "repeated: the same sentence twice"),
        ("a dog barks, so a dog barks, if a dog barks, fine", "repeated: 'a dog barks' 3 times"),
        (
            "rain wind rain bell wind rain wind bell rain bell bell wind rain",
            "repeated: only 23% of its words are different",
        ),
        ("Ein Hund bellt und der Regen fällt auf das Dach.", "language: it reads like German, not English"),
        (
            "Un chien aboie dans la rue et des oiseaux chantent.",
            "language: it reads like French, not English",
        ),
        ("一只狗在雨中叫", "language: only 0% of its letters are of English"),
    ],
)
def test_other_reasons(caption, expected):
    assert problem(caption, Checks()) == expected


@pytest.mark.parametrize(
    ("language", "caption"),
    [
        ("German", "Ein Hund bellt, während Regen auf das Dach fällt."),
        ("French", "Un chien aboie dans la rue, puis une porte claque."),
        ("Spanish", "Un perro ladra en la calle mientras cae la lluvia."),
        ("Italian", "Un cane abbaia per la strada mentre piove sul tetto."),
        ("Portuguese", "Um cão ladra na rua enquanto a chuva cai no telhado."),
        ("Dutch", "Een hond blaft terwijl de regen op het dak valt."),
        ("Chinese", "一只狗在雨中大声叫"),
        ("Japanese", "犬が雨の中で吠えている"),
        ("Korean", "비가 오는 거리에서 개가 짖는다"),
        ("Russian", "Собака лает под дождём на улице"),
        ("Greek", "Ένας σκύλος γαβγίζει στη βροχή"),
        ("Arabic", "كلب ينبح في المطر"),
        ("Hebrew", "כלב נובח בגשם"),
        ("Thai", "สุนัขเห่าในสายฝน"),
        ("Hindi", "बारिश में कुत्ता भौंक रहा है"),
    ],
)
def test_every_language_knows_its_own_and_refuses_english(language, caption):
    assert wrong_language(caption, language) is None
    assert problem(caption, Checks(language)) is None
    assert wrong_language("The dog barks in the street and a man speaks.", language)
    assert wrong_language(caption, "English")


def test_fifteen_languages_and_english():
    assert len(LANGUAGES) == 16


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ('  "A dog\nbarks."  ', "A dog barks."),
        ("Caption: A dog barks.", "A dog barks."),
        ("**Audio caption:** A dog barks.", "A dog barks."),
        ("“A dog barks.”", "A dog barks."),
        ('Visual caption: "A dog."', "A dog."),
        ('"Go" and "stop"', '"Go" and "stop"'),
        ("A caption: it is held up by a man.", "A caption: it is held up by a man."),
    ],
)
def test_answers_are_tidied(answer, caption):
    assert tidy(answer) == caption


def test_a_caption_of_too_many_clips_is_collapse():
    pairs = [(f"clip {i}", "A Dog barks!" if i % 2 else f"thing {i}") for i in range(10)]
    assert collapsed(pairs, Checks(collapse_clips=4)) == {"a dog barks": 5}
    assert collapsed(pairs, Checks(collapse_clips=5)) == {}
    assert collapsed(pairs, Checks(collapse_clips=1, collapse_share=0.5)) == {}
    assert collapsed([("same clip", "a dog barks")] * 50, Checks()) == {}
    assert collapsed([(str(i), "") for i in range(50)], Checks()) == {}
    assert fold("A  dog, barks!") == "a dog barks"


@pytest.mark.parametrize(
    "options",
    [
        {"language": "Klingon"},
        {"least_words": 9, "most_words": 8},
        {"collapse_share": 2.0},
        {"least_different": float("nan")},
        {"collapse_clips": 0},
    ],
)
def test_checks_that_make_no_sense(options, refusal):
    assert "expected" in refusal(OptionError, Checks, **options)
