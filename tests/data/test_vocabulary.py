import json
import pickle
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import peaframe.data.vocabulary
import peaframe.recipes
from peaframe.data.prompts import Prompts
from peaframe.data.vocabulary import Vocabulary, read_vocabulary
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

ONTOLOGY = [
    {"id": "/m/a", "name": "Animal", "child_ids": ["/m/p"], "restrictions": ["abstract"]},
    {"id": "/m/p", "name": "Domestic animals, pets", "child_ids": ["/m/d", "/m/c"]},
    {"id": "/m/d", "name": "Dog", "child_ids": ["/m/b", "/m/h"]},
    {"id": "/m/b", "name": "Bark", "child_ids": []},
    {"id": "/m/h", "name": "Howl"},
    {"id": "/m/c", "name": "Cat", "child_ids": ["/m/m"]},
    {"id": "/m/m", "name": "Meow", "child_ids": []},
    {"id": "/m/v", "name": "Vehicle", "child_ids": ["/m/k", "/m/gone"]},
    {"id": "/m/k", "name": "Car", "child_ids": ["/m/o"]},
    {"id": "/m/o", "name": "Vehicle horn, car horn, honking", "child_ids": []},
    {"id": "/m/s", "name": "Inside, small room", "child_ids": []},
    {"id": "/m/i", "name": "Inside, public space", "child_ids": []},
    {"id": "/m/r", "name": "Roaring cats (lions, tigers)", "child_ids": []},
]


@pytest.fixture
def write(tmp_path):
    def write(content, name="words.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def related(write):
    """The related pairs of labels by an ontology and, perhaps, a words file."""

    def related(labels, words=None, ontology=ONTOLOGY):
        path = None if words is None else write(words)
        return set(read_vocabulary(labels, path, write(ontology, "ontology.json")).related)

    return related


@pytest.fixture
def small():
    return Vocabulary(
        ("cat", "dog", "wolf"),
        {"cat": ("cat meowing", "meow"), "dog": ("dog", "a dog barks", "woof"), "wolf": ("wolf howling",)},
        {"dog": ("Wolf howling", "a fox"), "cat": ("a cat purring", "a fox", "squeak")},
        (("wolf", "dog"),),
        ("justice", "A DOG BARKS", "Meow", "freedom", "Justice"),
    )


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
    doc = peaframe.data.vocabulary.__doc__
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


def test_the_ontology_relates_all_above_also_through_what_is_no_label(related):
    labels = ["animal", "bark", "CAT", "howl", "meow", "dog"]
    assert related(labels) == {
        *(("animal", "bark"), ("animal", "CAT"), ("animal", "howl"), ("animal", "meow"), ("animal", "dog")),
        *(("bark", "dog"), ("howl", "dog"), ("CAT", "meow")),
    }


def test_names_with_commas_are_found_whole_and_by_their_parts(related):
    whole, car = "Vehicle horn, car horn, honking", "car"
    assert related([car, whole]) == {(car, whole)}
    assert related([car, "Car_horn"]) == {(car, "Car_horn")}
    assert related(["honking", "vehicle horn", "vehicle"]) == {
        ("honking", "vehicle horn"),  # the same class
        ("honking", "vehicle"),
        ("vehicle horn", "vehicle"),
    }
    assert related(["animal", "PETS"]) == {("animal", "PETS")}
    assert related(["animal", "horn", "lions", "car hor"]) == set()  # no parts at all


def test_a_whole_name_goes_before_a_part(related):
    ontology = [
        {"id": "1", "name": "Horn", "child_ids": []},
        {"id": "2", "name": "Car", "child_ids": ["3"]},
        {"id": "3", "name": "Honk, horn", "child_ids": []},
    ]
    assert related(["car", "honk", "horn"], ontology=ontology) == {("car", "honk")}


def test_a_part_of_two_names_does_not_join_them(related):
    small, public = "Inside, small room", "Inside, public space"
    assert related([small, "inside", public]) == {(small, "inside"), ("inside", public)}


def test_commas_in_parentheses_part_no_names(related):
    ontology = [*ONTOLOGY, {"id": "/m/l", "name": "Lion", "child_ids": ["/m/r"]}]
    assert related(["lion", "tigers)", "Roaring cats (lions"], ontology=ontology) == set()
    assert related(["lion", "roaring cats (lions, tigers)"], ontology=ontology) == {
        ("lion", "roaring cats (lions, tigers)")
    }


def test_circles_and_classes_of_one_name_in_the_ontology(related):
    ontology = [
        {"id": "1", "name": "A", "child_ids": ["2", "1"]},
        {"id": "2", "name": "B", "child_ids": ["3"]},
        {"id": "3", "name": "C", "child_ids": ["1", "4"]},
        {"id": "4", "name": "D", "child_ids": []},
        {"id": "5", "name": "E", "child_ids": ["6"]},
        {"id": "6", "name": "d", "child_ids": []},
    ]
    assert related(["a", "c", "d"], ontology=ontology) == {("a", "c"), ("a", "d"), ("c", "d")}
    assert related(["d", "e", "a"], ontology=ontology) == {("d", "e"), ("d", "a")}


def test_words_and_ontology_lead_on_to_one_another(related):
    words = {
        "labels": {
            "my dog": {"parents": ["dog"]},
            "animal": {"parents": ["nature"]},
            "cat": {"parents": ["tom"]},
        }
    }
    assert related(["my dog", "pets", "nature", "meow", "tom"], words) == {
        ("my dog", "pets"),
        ("my dog", "nature"),
        ("pets", "nature"),
        ("pets", "meow"),
        ("nature", "meow"),
        ("meow", "tom"),
    }


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"id": "1"}, "the content is {'id': '1'}; give a list of classes"),
        ([{"id": "1", "name": "A"}, "B"], "[1] is 'B'; give an object with id, name, child_ids"),
        ([{"name": "A"}], "[0].id is None; give a text"),
        ([{"id": "1", "name": 5}], "[0].name is 5; give a text"),
        ([{"id": "1", "name": "A", "child_ids": "2"}], "[0].child_ids is '2'; give a list"),
        ([{"id": "1", "name": "A", "child_ids": ["2", 3]}], "[0].child_ids[1] is 3; give a text"),
        ([{"id": "1", "name": "A"}, {"id": "1", "name": "B"}], "the ids name '1' twice"),
        ("[", "ontology.json:1: not JSON"),
    ],
)
def test_what_is_no_ontology_is_refused_with_file_and_key(write, refusal, content, expected):
    path = write(content, "ontology.json")
    message = refusal(ManifestError, read_vocabulary, ["a"], None, path)
    assert message.startswith(str(path))
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


def test_the_same_seed_draws_the_same_also_elsewhere(small):
    other = pickle.loads(pickle.dumps(small))  # as a loader's workers get it
    draws = [
        (words.draw([0, 1, 2] * 5, rng), words.draw_negatives([0], 4, rng))
        for words, rng in ((small, np.random.default_rng(7)), (other, np.random.default_rng(7)))
    ]
    assert draws[0] == draws[1]


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
