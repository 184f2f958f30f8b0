"""The order of clips: each once an epoch on any ranks, by weights, and the same after a kill."""

import json
import runpy
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.data.clip_batches import ClipBatches, ClipOptions
from peaframe.data.clip_reader import ClipMixture
from peaframe.errors import OptionError

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_files.py")))
reading = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_reading.py")))
processes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "processes.py")))
reader, mixture, keys = reading.reader, reading.mixture, reading.keys
take, all_same = reading.take, reading.all_same


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_every_clip_once_an_epoch_over_all_ranks(latents, words, world_size):
    ranks = [reader(latents, rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(2):
        found = [keys(ClipBatches(own, words, batch_size=3)) for own in ranks]
        assert len({len(own) for own in found}) == 1
        often = Counter(key for own in found for key in own)
        assert sorted(often) == clips.KEYS
        assert sum(often.values()) == -(-14 // world_size) * world_size


def test_threads_change_nothing_and_neither_do_batches(latents, words):
    options = ClipOptions(crop_seconds=0.5, transcripts=0.5)
    alone = list(ClipBatches(reader(latents), words, batch_size=4, options=options))
    ahead = list(ClipBatches(reader(latents, workers=3), words, batch_size=4, options=options))
    assert all_same(alone, ahead)
    other = list(ClipBatches(reader(latents), words, batch_size=1, options=options))
    assert [own.starts[0] for own in other] == [start for own in alone for start in own.starts]
    assert keys(other) == keys(alone)


def test_several_folders_as_one(latents, more, words):
    found = keys(ClipBatches(reader(latents, more), words, batch_size=5))
    assert Counter(found) == Counter(clips.KEYS) + Counter([0, 1, 2, 3])


def test_sources_are_drawn_by_their_weights(latents, more, words):
    found = take(mixture(latents, more, words), 100)
    assert all(len(batch.keys) == 4 for batch in found)
    often = Counter(source for batch in found for source in batch.sources)
    assert often[1] / 400 == pytest.approx(0.75, abs=0.06)
    ours = [
        int(key)
        for batch in found
        for key, source in zip(batch.keys, batch.sources, strict=True)
        if source == 0
    ]
    for first in range(0, len(ours) - 13, 14):  # each source is gone through epoch by epoch
        assert sorted(ours[first : first + 14]) == clips.KEYS
    assert not all_same(found[:5], take(mixture(latents, more, words, seed=6), 5))
    assert all_same(found[:5], take(mixture(latents, more, words, workers=2), 5))


@pytest.mark.parametrize("given", [1, 4, 11])
def test_a_mixture_goes_on_where_it_was(latents, more, words, given):
    whole = take(mixture(latents, more, words), 20)
    one = mixture(latents, more, words, workers=2)
    take(one, given)
    state = json.loads(json.dumps(one.state_dict()))
    other = mixture(latents, more, words)
    other.load_state_dict(state)
    assert all_same(whole[given:], take(other, 20 - given))
    assert all_same(whole[given : given + 3], take(one, 3))  # itself, gone through again


def test_a_reader_goes_on_in_the_middle_of_an_epoch(latents, words):
    def make():
        return ClipBatches(reader(latents), words, batch_size=3, options=ClipOptions(crop_seconds=0.4))

    straight = make()
    whole = list(straight) + list(straight)
    one = make()
    take(one, 2)
    other = make()
    other.load_state_dict(one.state_dict())
    assert all_same(whole[2:], list(other) + list(other))


def test_other_data_or_options_are_refused(latents, more, words, refusal):
    state = mixture(latents, more, words).state_dict()
    assert "of weights [1.0, 3.0]" in refusal(
        OptionError, mixture(latents, more, words, (1, 2)).load_state_dict, state
    )
    assert "other shards or options" in refusal(
        OptionError, mixture(more, latents, words).load_state_dict, state
    )
    other = ClipBatches(reader(latents), words, batch_size=7)
    assert "of other options" in refusal(OptionError, other.load_state_dict, state)
    for weights in ((1,), (1, 0), (1, float("nan")), ()):
        assert "expected a weight above 0" in refusal(
            OptionError, ClipMixture, [reader(latents), reader(more)], weights
        )


def test_addresses_give_the_same(latents, words):
    with processes.served(latents) as address:
        far = list(ClipBatches(reader(address), words, batch_size=4))
    assert all_same(far, list(ClipBatches(reader(latents), words, batch_size=4)))


READER = """
import json, sys
from pathlib import Path
from peaframe.data.clip_batches import ClipBatches, ClipOptions
from peaframe.data.clip_reader import ClipMixture, ClipReader
from peaframe.files import atomic_path
from peaframe.models.text import QueryTokenizer
one, two, tokenizer, state, log = sys.argv[1:]
mixed = ClipMixture([ClipReader(folder, seed=3, shuffle_buffer=5, workers=2) for folder in (one, two)], (1, 3), seed=5)
options = ClipOptions(crop_seconds=0.5, transcripts=0.5)
batches = ClipBatches(mixed, QueryTokenizer(Path(tokenizer), 16), batch_size=4, options=options, seed=1)
if Path(state).exists():
    batches.load_state_dict(json.loads(Path(state).read_text()))
for batch in batches:
    with atomic_path(state) as temp:
        temp.write_text(json.dumps(batches.state_dict()))
    mark = [batch.keys, batch.sources, batch.starts, float(batch.inputs.latents.double().sum())]
    number = batches.state_dict()["clips"]["drawn"]
    with open(log, "a") as file:
        file.write(json.dumps([number, *mark]) + "\\n")
"""


@pytest.mark.slow
def test_killed_while_it_reads_it_goes_on_with_the_same(latents, more, words, tokenizer_file, tmp_path):
    log, state = tmp_path / "log", tmp_path / "state.json"
    command = [sys.executable, "-c", READER, latents, more, tokenizer_file, state, log]

    def few(least):
        return not log.exists() or log.read_text().count("\n") < least

    for least in (20, 60):
        processes.killed_while(command, partial(few, least))
    found = {}
    for line in log.read_text().splitlines():
        try:
            number, *mark = json.loads(line)
        except ValueError:
            continue  # cut by the kill
        assert found.setdefault(number, mark) == mark
    count = max(found) // 4
    assert len(found) >= count - 2  # a batch may be known to the state and not to the log, once for each kill
    for number, batch in enumerate(take(mixture(latents, more, words), count), start=1):
        if 4 * number in found:
            own = [
                list(batch.keys),
                list(batch.sources),
                list(batch.starts),
                float(batch.inputs.latents.double().sum()),
            ]
            assert found[4 * number] == own
