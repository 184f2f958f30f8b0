"""Labels that an ontology relates, alone and together with a words file, and what is no ontology."""

import pytest

from peaframe.data.vocabulary_file import read_vocabulary
from peaframe.errors import ManifestError

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
def related(write):
    """The related pairs of labels by an ontology and, perhaps, a words file."""

    def related(labels, words=None, ontology=ONTOLOGY):
        path = None if words is None else write(words)
        return set(read_vocabulary(labels, path, write(ontology, "ontology.json")).related)

    return related


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
