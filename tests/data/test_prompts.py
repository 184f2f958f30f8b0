import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import peaframe.recipes
from peaframe.data.prompts import TEMPLATES, Prompts, read_prompts
from peaframe.data.soundbank import Clip
from peaframe.errors import ManifestError

SHIPPED = Path(peaframe.recipes.__path__[0]) / "mini_data" / "prompts.json"

SMALL = {
    "labels": {
        "dog": {"paraphrases": ["woof", "a dog barks"], "held_out": ["barking dog"]},
        "cat": {"paraphrases": ["meow"], "held_out": ["mewing"]},
        "siren": {"paraphrases": ["wailing"], "held_out": ["police car"]},
    },
    "same": [["dog", "cat"]],
    "audioset": {"Bark": ["bow wow"], "Siren": [], "Music": ["a tune"]},
    "audioset_to_label": {"dog": ["Bark"], "cat": [], "siren": ["Siren"]},
    "distractors": ["a train of thought"],
    "vague": {"dog": ["animal"]},
}


def clip(label, *captions):
    return Clip(Path(f"{label}.wav"), label, captions, "event", "made", "CC0", "train")


CLIPS = [clip("dog", "animal", "woof"), clip("cat", "animal"), clip("dog", "big dog")]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "prompts.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def content():
    return json.loads(SHIPPED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shipped(content):
    return read_prompts(SHIPPED, [clip(label) for label in content["labels"]])


def test_labels_captions_and_paraphrases_are_joined(write):
    prompts = read_prompts(write(SMALL), CLIPS)
    assert prompts.labels == ["cat", "dog"]
    assert prompts.phrases["dog"] == ("dog", "woof", "big dog", "a dog barks")
    assert prompts.phrases["cat"] == ("cat", "animal", "meow")  # vague for a dog only
    assert prompts.held_out == {"dog": ("barking dog",), "cat": ("mewing",)}
    assert prompts.distractors == ("a train of thought",)


def test_labels_without_clips_teach_through_the_teacher(write):
    prompts = read_prompts(write(SMALL), CLIPS)
    assert prompts.teacher == {"Bark": ("bow wow",), "Siren": ("siren", "wailing"), "Music": ("a tune",)}


def test_overlap_is_symmetric_and_not_with_oneself():
    prompts = Prompts({"a": ("a",), "b": ("b",), "c": ("c",)}, same=[["c", "a"], ["b", "elsewhere"]])
    expected = [[False, False, True], [False, False, False], [True, False, False]]
    np.testing.assert_array_equal(prompts.overlap(), expected)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "5", "{}", *({k: v for k, v in SMALL.items() if k != missing} for missing in SMALL)],
)
def test_what_is_no_prompts_file_is_refused(write, refusal, content):
    path = write(content)
    assert f"{path}: no prompts file" in refusal(ManifestError, read_prompts, path, CLIPS)


@pytest.mark.parametrize("key", ["labels", "audioset", "vague"])
def test_lists_where_tables_belong_are_refused(write, refusal, key):
    assert "no prompts file" in refusal(ManifestError, read_prompts, write({**SMALL, key: ["dog"]}), CLIPS)


def test_a_missing_file_is_refused(tmp_path, refusal):
    assert "no prompts file" in refusal(ManifestError, read_prompts, tmp_path / "p.json", CLIPS)


def test_a_label_without_an_entry_has_its_captions(write):
    assert read_prompts(write(SMALL), [clip("horse", "neigh")]).phrases == {"horse": ("horse", "neigh")}


def test_templates_hold_one_phrase():
    assert all(template.format("rain").count("rain") == 1 for template in TEMPLATES)


def test_the_shipped_file_covers_its_labels(content, shipped):
    assert len(shipped.labels) == len(content["audioset_to_label"]) == 234
    assert set(content["audioset_to_label"]) == set(shipped.labels)
    assert min(len(phrases) for phrases in shipped.phrases.values()) >= 11  # the label and ten paraphrases
    assert {len(shipped.held_out[label]) for label in shipped.labels} == {3}
    assert len(shipped.teacher) == 521
    assert len(set(shipped.distractors)) == len(shipped.distractors) >= 1_000


def test_shipped_phrases_are_plain_words(shipped):
    everything = [*shipped.phrases.values(), *shipped.held_out.values(), *shipped.teacher.values()]
    phrases = [phrase for own in everything for phrase in own]
    assert [phrase for phrase in phrases if not phrase.isascii()] == []
    phrases += shipped.distractors
    assert [phrase for phrase in phrases if phrase != phrase.strip() or not phrase] == []


def test_no_shipped_phrase_means_two_labels_that_are_negatives_of_each_other(shipped):
    overlap = shipped.overlap()
    row = {label: i for i, label in enumerate(shipped.labels)}
    meaning = {}
    for table in (shipped.phrases, shipped.held_out):
        for label, phrases in table.items():
            for phrase in phrases:
                meaning.setdefault(phrase.lower(), set()).add(label)
    torn = {
        phrase: labels
        for phrase, labels in meaning.items()
        if not all(overlap[row[a], row[b]] for a, b in combinations(sorted(labels), 2))
    }
    assert torn == {}


def test_shipped_held_out_phrases_are_nowhere_in_training(shipped):
    tables = (*shipped.phrases.values(), *shipped.teacher.values(), shipped.distractors)
    trained = {phrase.lower() for own in tables for phrase in own}
    trained |= {t.format(p).lower() for own in shipped.phrases.values() for p in own[:4] for t in TEMPLATES}
    assert [phrase for own in shipped.held_out.values() for phrase in own if phrase.lower() in trained] == []


def test_shipped_distractors_are_no_phrases_of_sounds(shipped):
    sounds = {phrase.lower() for own in shipped.phrases.values() for phrase in own}
    sounds |= {name.lower() for name in shipped.teacher} | {
        p.lower() for own in shipped.teacher.values() for p in own
    }
    assert [phrase for phrase in shipped.distractors if phrase.lower() in sounds] == []


def test_shipped_groups_name_known_labels_and_classes(content, shipped):
    assert {label for group in content["same"] for label in group} <= set(shipped.labels)
    assert all(len(set(group)) == len(group) >= 2 for group in content["same"])
    assert {name for names in content["audioset_to_label"].values() for name in names} <= set(shipped.teacher)
    assert set(content["vague"]) <= set(shipped.labels)
