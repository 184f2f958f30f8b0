"""Which text is held against which clip, by targets made by hand."""

from pathlib import Path

import numpy as np
import pytest

from peaframe.data.manifest_item import Item, Unknown
from peaframe.data.manifest_targets import targets
from peaframe.data.vocabulary import Vocabulary
from peaframe.events import Event
from peaframe.train.pairs import Matchmaker, Said, said

LABELS = ("bell", "cat", "dog", "rain")
BELL, CAT, DOG, RAIN = range(4)
FRAMES = 8
ALL = Said(frozenset(), None, FRAMES)  # an item that says something of every label


def vocabulary(**words):
    return Vocabulary(LABELS, {label: (f"a {label}",) for label in LABELS}, **words)


@pytest.fixture
def pairs():
    """Texts of a batch as a list of (phrase, clip, id, states, weak)."""

    def pairs(
        targets, sources, counted=None, partners=None, negatives=0, other=0, absent=True, share=None, **words
    ):
        """`targets` by clip: {label: states of its frames}, -1 for labels that are not named."""
        grid = np.full((len(targets), FRAMES, 4), -1, np.int8)
        for clip, own in enumerate(targets):
            for label, states in own.items():
                grid[clip, :, label] = states
        known = np.ones((len(targets), FRAMES), bool) if counted is None else np.array(counted, bool)
        match = Matchmaker(vocabulary(**words), sources, negatives, other, absent, share or (lambda a: a))
        items = list(range(len(targets)))
        found = match(grid, known, items, partners or [-1] * len(targets), np.random.default_rng(0))
        assert found.states.shape == (len(found.phrases), FRAMES)
        return list(
            zip(
                found.phrases,
                found.clip.tolist(),
                found.ids.tolist(),
                found.states.tolist(),
                found.weak.tolist(),
                strict=True,
            )
        )

    return pairs


PART = [-1, -1, 1, 1, 0, 0, -1, -1]


def test_a_label_that_is_heard_has_its_targets_and_an_absent_one_no_text(pairs):
    assert pairs([{DOG: PART}, {}], [ALL, ALL]) == [("a dog", 0, DOG, PART, False)]


def test_a_clip_of_which_all_is_known_and_nothing_is_heard_has_no_texts(pairs):
    assert pairs([{}], [ALL]) == []


@pytest.mark.parametrize("states", [[-1] * 6 + [0, 0], [0] * 8], ids=["in part", "wholly"])
def test_an_unknown_label_has_a_text_where_it_is_asked_for(pairs, states):
    """It would be a negative of that clip otherwise."""
    got = pairs([{DOG: PART}, {DOG: states, CAT: states}], [ALL, ALL])
    assert got == [("a dog", 0, DOG, PART, False), ("a dog", 1, DOG, states, False)]


def test_frames_that_do_not_count_say_nothing(pairs):
    counted = [[True] * 4 + [False] * 4] * 2
    late, vague = [-1] * 4 + [1] * 4, [-1] * 4 + [0] * 4
    got = pairs([{DOG: late, CAT: PART}, {CAT: vague}], [ALL, ALL], counted)
    assert got == [("a cat", 0, CAT, PART, False)]


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "unknown"])
def test_a_label_that_an_item_says_nothing_of(pairs, absent):
    """Said to be absent, it may be a negative; else it has a text of unknown states."""
    quiet = Said(frozenset(), frozenset({CAT}), FRAMES)
    got = pairs([{DOG: PART}, {DOG: 0}], [ALL, quiet], absent=absent)
    expected = [("a dog", 0, DOG, PART, False)]
    assert got == (expected if absent else [*expected, ("a dog", 1, DOG, [0] * 8, False)])


@pytest.mark.parametrize("absent", [True, False])
def test_a_label_that_is_named_and_unknown_is_unknown_in_any_case(pairs, absent):
    named = Said(frozenset(), frozenset({DOG}), FRAMES)
    got = pairs([{DOG: PART}, {DOG: 0}], [ALL, named], absent=absent)
    assert got[1:] == [("a dog", 1, DOG, [0] * 8, False)]


def test_a_weak_label_of_a_whole_item_is_heard_nobody_knows_when(pairs):
    weak = Said(frozenset({RAIN}), frozenset({RAIN}), FRAMES)
    assert pairs([{RAIN: 0}], [weak]) == [("a rain", 0, RAIN, [1] * 8, True)]


@pytest.mark.parametrize(("frames", "counts"), [(10, True), (11, False)])
def test_a_weak_label_of_a_crop_counts_if_that_is_three_quarters(pairs, frames, counts):
    weak = Said(frozenset({RAIN}), frozenset({RAIN}), frames)
    got = pairs([{RAIN: 0}, {RAIN: PART}], [weak, ALL])
    first = ("a rain", 0, RAIN, [1] * 8, True) if counts else ("a rain", 0, RAIN, [0] * 8, False)
    assert got == [first, ("a rain", 1, RAIN, PART, False)]


def test_a_weak_label_of_a_crop_that_nobody_asks_for_has_no_text(pairs):
    weak = Said(frozenset({RAIN}), frozenset({RAIN}), 100)
    assert pairs([{RAIN: 0}], [weak]) == []


def test_what_is_padding_or_blotted_out_holds_no_weak_label(pairs):
    """A clip of 5 frames in a batch of 8 into which an item of 8 was mixed: 5 of its frames are heard."""
    short = Said(frozenset(), frozenset(), 5)
    weak = Said(frozenset({RAIN}), frozenset({RAIN}), 8)
    counted = [[True] * 5 + [False] * 3, [True] * 8]
    got = pairs([{RAIN: 0}, {RAIN: 0}], [short, weak], counted, partners=[1, -1])
    assert got == [("a rain", 0, RAIN, [0] * 8, False), ("a rain", 1, RAIN, [1] * 8, True)]


def test_a_weak_label_that_is_heard_in_the_partner_has_the_partners_times(pairs):
    weak = Said(frozenset({RAIN}), frozenset({RAIN}), FRAMES)
    mixed = [0, 0, 1, 1, 0, 0, 0, 0]  # the greater of unknown and the partner's
    got = pairs([{RAIN: mixed}, {RAIN: PART}], [weak, ALL], partners=[1, -1])
    assert got[0] == ("a rain", 0, RAIN, mixed, False)


def test_a_partners_weak_label_is_heard(pairs):
    weak = Said(frozenset({RAIN}), frozenset({RAIN}), FRAMES)
    got = pairs([{RAIN: 0}, {RAIN: 0}], [ALL, weak], partners=[1, -1])
    assert got == [("a rain", 0, RAIN, [1] * 8, True), ("a rain", 1, RAIN, [1] * 8, True)]


@pytest.mark.parametrize("named", [True, False])
def test_a_label_is_absent_from_a_mixture_if_neither_item_says_anything_of_it(pairs, named):
    one = Said(frozenset(), frozenset({CAT}), FRAMES)
    other = Said(frozenset(), frozenset({CAT, DOG} if named else {CAT}), FRAMES)
    got = pairs([{DOG: 0}, {DOG: PART}], [one, other], partners=[1, -1])
    assert ("a dog", 0, DOG, [0] * 8, False) in got if named else [row[1] for row in got] == [1]


def test_labels_of_no_clip(pairs):
    """All four are drawn: the one heard gets no second text, the unknown one its clip's."""
    got = pairs([{DOG: PART, CAT: 0}], [ALL], other=9)
    assert got[:2] == [("a cat", 0, CAT, [0] * 8, False), ("a dog", 0, DOG, PART, False)]
    assert sorted(got[2:]) == [
        (f"a {LABELS[label]}", -1, label, [-1] * 8, False) for label in (BELL, CAT, RAIN)
    ]


def test_as_many_labels_of_no_clip_as_asked_for(pairs):
    got = pairs([{}], [ALL], other=2)
    assert len({label for _, _, label, _, _ in got}) == 2
    assert [(clip, states, weak) for _, clip, _, states, weak in got] == [(-1, [-1] * 8, False)] * 2


def test_negatives_are_hard_ones_of_what_is_asked_for_then_distractors(pairs):
    words = {
        "hard_negatives": {"dog": ("a wolf",), "cat": ("a lynx",)},
        "distractors": ("a thought", "a wish"),
    }
    got = pairs([{DOG: PART}], [ALL], negatives=2, **words)
    assert got[1][:3] == ("a wolf", -1, -1)
    assert got[2][0] in ("a thought", "a wish")
    assert [row[1:] for row in got[1:]] == [(-1, -1, [-1] * 8, False)] * 2
    assert sorted(row[0] for row in pairs([{DOG: PART}], [ALL], negatives=9, **words)) == [
        "a dog",
        "a thought",
        "a wish",
        "a wolf",
    ]


def test_what_another_process_asks_for_is_unknown_here_and_brings_its_negatives(pairs):
    asked = []

    def share(mine):
        asked.append(mine.tolist())
        return mine | (np.arange(4) == CAT)

    words = {"hard_negatives": {"cat": ("a lynx",)}}
    got = pairs([{DOG: PART, CAT: 0, RAIN: 0}], [ALL], share=share, negatives=1, **words)
    assert asked == [[False, False, True, False]]
    assert got == [
        ("a cat", 0, CAT, [0] * 8, False),
        ("a dog", 0, DOG, PART, False),
        ("a lynx", -1, -1, [-1] * 8, False),
    ]


def test_what_an_item_says():
    item = Item(
        Path("a.wav"),
        events=(Event(0.0, 1.0, "bell"), Event(0.0, 1.0, "no label")),
        weak=("cat",),
        unknown=(Unknown(0.0, 1.0, "rain"),),
        negatives=("no label either",),
    )
    assert said(item, LABELS, 30) == Said(frozenset({CAT}), frozenset({BELL, CAT, RAIN}), 30)
    full = Item(Path("a.wav"), weak=("dog",), exhaustive=True)
    assert said(full, LABELS, 30) == Said(frozenset({DOG}), None, 30)
    hole = Item(Path("a.wav"), weak=("dog",), unknown=(Unknown(0.0, 1.0),))
    assert said(hole, LABELS, 30).named is None  # nothing may be said of any label there: none is absent


def test_from_items_to_texts():
    """Targets of the manifest's own making, eight frames each."""
    items = [
        Item(Path("a.wav"), duration=0.32, events=(Event(0.0, 0.16, "dog"),), exhaustive=True),
        Item(Path("b.wav"), duration=0.32, weak=("rain",)),
        Item(Path("c.wav"), duration=0.32, unknown=(Unknown(0.16, 0.32),), exhaustive=True),
        Item(Path("d.wav"), duration=0.32, unknown=(Unknown(0.16, 0.32),), negatives=("rain",)),
    ]
    grid = np.stack([targets(item, LABELS, FRAMES) for item in items])
    match = Matchmaker(vocabulary(), [said(i, LABELS, FRAMES) for i in items], 0, 0, True, lambda a: a)
    got = match(grid, np.ones((4, FRAMES), bool), range(4), [-1] * 4, np.random.default_rng(0))
    half, gap = [1] * 4 + [-1] * 4, [-1] * 4 + [0] * 4
    assert list(
        zip(got.clip.tolist(), got.ids.tolist(), got.states.tolist(), got.weak.tolist(), strict=True)
    ) == [
        (0, DOG, half, False),
        (1, RAIN, [1] * 8, True),
        (2, DOG, gap, False),
        (2, RAIN, gap, False),
        (3, DOG, [0] * 8, False),
        (3, RAIN, gap, False),
    ]
