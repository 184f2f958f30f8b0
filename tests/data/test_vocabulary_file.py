"""Words files: what they say, in JSON, in YAML and in the way of peaframe-mini, and what is none."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import peaframe.data.vocabulary_file
import peaframe.recipes
from peaframe.data.prompts import Prompts
from peaframe.data.vocabulary_file import read_vocabulary
from peaframe.errors import ManifestError, MissingExtraError, OptionError

SHIPPED = Path(peaframe.recipes.__path__[0]) / "mini_data" / "prompts.json"

WORDS = {
    "labels": {
        "dog": {
            "phrases": ["dog barking", "a dog barks"],
            "hard_negatives": ["wolf howling"],
            "parents": ["pet"],
        },
        "pet": {"parents": ["animal"]},
    },
    "same": [["speech", "talking"]],
    "distractors": ["a train of thought", "justice"],
}


def test_the_documented_example(write):
    words = read_vocabulary(["speech", "dog", "talking", "animal"], write(WORDS))
    assert words.labels == ("speech", "dog", "talking", "animal")
    assert words.phrases == {
        "speech": ("speech",),
        "dog": ("dog barking", "a dog barks"),
        "talking": ("talking",),
        "animal": ("animal",),
    }
    assert words.hard_negatives == {"dog": ("wolf howling",)}
    assert words.related == (
        ("speech", "talking"),
        ("dog", "animal"),
    )  # by way of pet, which is not asked for
    assert words.distractors == ("a train of thought", "justice")
    ids = words.related_ids()
    assert ids.dtype == np.int64
    assert ids.tolist() == [[0, 2], [1, 3]]


def test_the_example_in_the_docstring_reads(write):
    doc = peaframe.data.vocabulary_file.__doc__
    example = doc[doc.index("    {\n") : doc.index("    }\n\n") + 6]
    words = read_vocabulary(["animal", "dog", "speech", "talking"], write(example))
    assert words.phrases["dog"] == ("dog barking", "a dog barks")
    assert words.related == (("animal", "dog"), ("speech", "talking"))


def test_yaml_says_the_same_as_json(write):
    text = """
labels:
  dog:
    phrases: [dog barking, a dog barks]
    hard_negatives:
      - wolf howling
    parents: [pet]
  pet: {parents: [animal]}
  animal:
same:
  - [speech, talking]
distractors: [a train of thought, justice]
"""
    labels = ["speech", "dog", "talking", "animal"]
    assert read_vocabulary(labels, write(text, "words.YML")) == read_vocabulary(labels, write(WORDS))


def test_without_files_a_label_is_its_own_phrase_with_spaces():
    words = read_vocabulary(["Running_water", "dog", "_"])
    assert words.phrases == {"Running_water": ("Running water",), "dog": ("dog",), "_": ("_",)}
    assert (words.hard_negatives, words.related, words.distractors) == ({}, (), ())
    assert words.related_ids().shape == (0, 2)
    assert words.all_phrases() == ("Running water", "dog", "_")


def test_phrases_are_tidied_and_those_given_twice_are_there_once(write):
    content = {"labels": {"a": {"phrases": [" a  dog\n", "a dog", "woof"], "hard_negatives": ["x", "x"]}}}
    words = read_vocabulary(["a"], write({**content, "distractors": ["d", " d"]}))
    assert words.phrases == {"a": ("a dog", "woof")}
    assert words.hard_negatives == {"a": ("x",)}
    assert words.distractors == ("d",)


def test_an_entry_without_phrases_has_its_name(write):
    entries = {"big_dog": {"hard_negatives": ["cat"]}, "cat": None}
    words = read_vocabulary(["cat", "big_dog"], write({"labels": entries}))
    assert words.phrases == {"cat": ("cat",), "big_dog": ("big dog",)}
    assert words.hard_negatives == {"big_dog": ("cat",)}


def test_groups_do_not_reach_beyond_themselves(write):
    content = {"same": [["a", "b", "c"], ["c", "d"], ["d", "elsewhere"], ["a", "a", "b"]]}
    words = read_vocabulary(["d", "c", "b", "a"], write(content))
    assert words.related_ids().tolist() == [[0, 1], [1, 2], [1, 3], [2, 3]]
    assert words.related == (("d", "c"), ("c", "b"), ("c", "a"), ("b", "a"))


def test_parents_are_transitive_and_siblings_stay_apart(write):
    parents = {
        "puppy": ["dog"],
        "dog": ["pet", "canine"],
        "cat": ["pet"],
        "pet": ["animal"],
        "fox": ["canine"],
    }
    path = write({"labels": {label: {"parents": own} for label, own in parents.items()}})
    words = read_vocabulary(["animal", "cat", "dog", "fox", "puppy"], path)
    assert words.related == (("animal", "cat"), ("animal", "dog"), ("animal", "puppy"), ("dog", "puppy"))


def test_circles_of_parents_end(write):
    parents = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["d", "b"]}
    path = write({"labels": {label: {"parents": own} for label, own in parents.items()}})
    everything = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert read_vocabulary(["a", "b", "c", "d", "e"], path).related_ids().tolist() == everything


def test_a_phrase_of_two_labels_makes_them_related(write):
    content = {"labels": {"tree": {"phrases": ["Bark"]}, "dog": {"phrases": ["dog", "bark"]}}}
    assert read_vocabulary(["cat", "dog", "tree"], write(content)).related == (("dog", "tree"),)


def test_a_distractor_that_is_a_phrase_of_an_asked_label_is_left_out(write):
    path = write(
        {"labels": {"a": {"phrases": ["rain"]}, "b": {"phrases": ["snow"]}}, "distractors": ["Rain", "snow"]}
    )
    assert read_vocabulary(["a"], path).distractors == ("snow",)
    assert read_vocabulary(["a", "b"], path).distractors == ()


@pytest.fixture(scope="module")
def shipped():
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


def test_the_words_of_mini(shipped):
    labels = sorted(shipped["labels"])
    words = read_vocabulary(labels, SHIPPED)
    assert words.labels == tuple(labels)
    assert len(labels) == 234
    assert words.phrases == {
        label: tuple(dict.fromkeys([label, *shipped["labels"][label]["paraphrases"]])) for label in labels
    }
    assert words.hard_negatives == {}
    assert words.distractors == tuple(shipped["distractors"])
    held_out = {phrase for entry in shipped["labels"].values() for phrase in entry["held_out"]}
    assert held_out.isdisjoint(words.all_phrases())
    overlap = Prompts({label: (label,) for label in labels}, same=shipped["same"]).overlap()
    np.testing.assert_array_equal(words.related_ids(), np.argwhere(np.triu(overlap)))


def test_some_labels_of_mini_and_one_of_ones_own(shipped):
    words = read_vocabulary(["music", "my_kettle", "banjo", "accordion"], SHIPPED)
    assert words.phrases["my_kettle"] == ("my kettle",)
    assert words.phrases["banjo"][0] == "banjo"
    assert words.related == (("music", "banjo"), ("music", "accordion"))


def test_a_small_file_in_mini_s_way_and_what_is_in_both_ways(write, refusal):
    content = {"labels": {"dog": {"paraphrases": ["woof"], "held_out": ["bow wow"]}, "cat": {"held_out": []}}}
    words = read_vocabulary(["dog", "cat"], write({**content, "same": [["dog", "cat"]], "vague": {}}))
    assert words.phrases == {"dog": ("dog", "woof"), "cat": ("cat",)}
    assert words.related == (("dog", "cat"),)
    content["labels"]["cat"] = {"phrases": ["meow"]}
    message = refusal(ManifestError, read_vocabulary, ["dog"], write(content))
    assert message.endswith("words.json: unknown key 'labels.dog.paraphrases'; did you mean 'phrases'?")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"label": {}}, "unknown key 'label'; did you mean 'labels'?"),
        ({"audioset": {}}, "unknown key 'audioset'; expected one of labels, same, distractors"),
        (
            {"labels": {"a": {"negatives": []}}},
            "unknown key 'labels.a.negatives'; did you mean 'hard_negatives'?",
        ),
        ({"labels": {"a": {"parent": ["b"]}}}, "unknown key 'labels.a.parent'; did you mean 'parents'?"),
        (
            {"labels": {"a": {"held_out": [], "paraphrase": []}}},
            "'labels.a.paraphrase'; did you mean 'paraphrases'?",
        ),
        ({"labels": ["a"]}, "labels is ['a']; give an object of labels"),
        ({"labels": {"a": ["b"]}}, "labels.a is ['b']; give an object with phrases, hard_negatives, parents"),
        ({"labels": {"a": ""}}, "labels.a is ''; give an object"),
        ({"labels": {" ": {}}}, "a key of labels is ' '; give a text that is not blank"),
        ({"labels": {"a\nb": 5}}, "labels.a b is 5; give an object"),
        ({"labels": {"a": {"phrases": []}}}, "labels.a.phrases is empty; give one or more"),
        ({"labels": {"a": {"phrases": "b"}}}, "labels.a.phrases is 'b'; give a list"),
        ({"labels": {"a": {"phrases": ["b", " "]}}}, "labels.a.phrases[1] is ' '; give a text"),
        (
            {"labels": {"a": {"phrases": ["b", "\ud800"]}}},
            "labels.a.phrases[1] is '\\ud800', which is no Unicode",
        ),
        ({"labels": {"a": {"parents": [None]}}}, "labels.a.parents[0] is None; give a text"),
        (
            {"labels": {"a": {"phrases": ["A b"], "hard_negatives": ["a B"]}}},
            "labels.a.hard_negatives has 'a b'",
        ),
        ({"labels": {"a": {"paraphrases": [], "held_out": [7]}}}, "labels.a.held_out[0] is 7; give a text"),
        ({"same": [["a", "b"], "cd"]}, "same[1] is 'cd'; give a list"),
        ({"same": [["a", "b"], ["c", 1]]}, "same[1][1] is 1; give a text"),
        ({"same": {"a": "b"}}, "same is {'a': 'b'}; give a list of groups"),
        ({"distractors": "none"}, "distractors is 'none'; give a list"),
        ([], "the content is []; give an object with labels, same, distractors"),
        ('{"labels": {"a": {}, "a": {}}}', "the keys of one object name 'a' twice"),
        ('{\n"labels": }', "words.json:2: not JSON (Expecting value)"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_words_file_is_refused_with_file_and_key(write, refusal, content, expected):
    path = write(content)
    message = refusal(ManifestError, read_vocabulary, ["a"], path)
    assert message.startswith(str(path))
    assert expected in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("labels:\n  dog: {}\n  cat: {}\n  dog: {}\n", "the keys from line 2 on name 'dog' twice"),
        (
            "same: [&x [a, b], *x]\ndistractors: [yes]\n",
            "distractors[0] is True; give a text that is not blank, in quot",
        ),
        ("labels:\n  1: {}\n", "a key of labels is 1; give a text"),
        ("labels: [a\n", "not YAML (while parsing a flow sequence"),
        ("a: 1\n---\nb: 2\n", "not YAML (expected a single document"),
        ("same: &x [*x]\n", "same[0][0] is [[...]]; give a text"),
        ("", "the content is None; give an object"),
        ("dog: &x {barks: *x}\n", "unknown key 'dog'"),
    ],
)
def test_what_is_no_yaml_words_file_is_refused(write, refusal, content, expected):
    path = write(content, "words.yaml")
    message = refusal(ManifestError, read_vocabulary, ["a"], path)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_files_that_cannot_be_read_are_refused(tmp_path, refusal):
    missing = tmp_path / "words.json"
    assert f"{missing}: cannot be read" in refusal(ManifestError, read_vocabulary, ["a"], missing)
    latin = tmp_path / "latin.json"
    latin.write_bytes(b'{"distractors": ["caf\xe9"]}')
    assert "latin.json: byte 21 is not UTF-8" in refusal(ManifestError, read_vocabulary, ["a"], latin)
    latin.write_bytes(b'\xef\xbb\xbf{"distractors": ["cafe"]}')
    assert read_vocabulary(["a"], latin).distractors == ("cafe",)


def test_yaml_without_pyyaml_names_what_to_install(write, refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    message = refusal(MissingExtraError, read_vocabulary, ["a"], write("same: []", "words.yaml"))
    assert "pip install 'peaframe[train]'" in message


def test_labels_that_are_none_are_refused(refusal):
    assert "got no labels" in refusal(OptionError, read_vocabulary, [])
    assert "labels name 'a' twice" in refusal(OptionError, read_vocabulary, ["a", "b", "a"])
    assert "a label is ' '" in refusal(OptionError, read_vocabulary, ["a", " "])
