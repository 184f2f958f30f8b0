"""Shards of real sound, read: in an order that can be taken up anywhere, on any rank; damage is named."""

import io
import json
import runpy
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe import audio
from peaframe.data.shards import ShardReader, write_shards
from peaframe.errors import FormatError, OptionError

processes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "processes.py")))

DEMO = Path(__file__).parents[2] / "examples" / "demo.flac"
GOOD = [f"label {i}" for i in (0, 1, 3, 4, 5, 7, 8, 9, 10)]


@pytest.fixture
def written(items, tmp_path):
    """Nine samples in three shards."""
    write_shards(items, tmp_path / "out", shard_bytes=150_000)
    return tmp_path / "out"


def labels(samples):
    return [item.weak[0] for item, _ in samples]


def test_without_shuffling_samples_come_as_they_were_given(written, items):
    samples = list(ShardReader(written, shuffle=False))
    assert labels(samples) == GOOD
    for item, waveform in samples:
        source = items[int(item.weak[0].split()[1])].audio
        np.testing.assert_allclose(waveform, audio.read(source), atol=0.51 / 32768)


@pytest.mark.parametrize("buffer", [1, 4, 100])
def test_every_epoch_has_every_sample_once_in_an_order_of_its_own(written, buffer):
    reader = ShardReader(written, seed=3, shuffle_buffer=buffer)
    epochs = [labels(reader) for _ in range(4)]
    assert reader.epoch == 4
    assert len(reader) == 9
    assert all(sorted(epoch) == sorted(GOOD) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    assert [labels(ShardReader(written, seed=3, shuffle_buffer=buffer))] == epochs[:1]
    assert labels(ShardReader(written, seed=4, shuffle_buffer=100)) != epochs[0]


def test_threads_change_nothing(written):
    plain, ahead = (list(ShardReader(written, seed=1, shuffle_buffer=4, workers=n)) for n in (0, 3))
    assert labels(plain) == labels(ahead)
    for (_, one), (_, two) in zip(plain, ahead, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("world", [2, 4, 5, 9])
def test_ranks_share_the_samples_evenly(written, world):
    found = [labels(ShardReader(written, seed=2, rank=r, world_size=world)) for r in range(world)]
    each = -(-9 // world)
    assert [len(own) for own in found] == [each] * world
    assert all(len(set(own)) == each for own in found)
    often = Counter(name for own in found for name in own)
    assert set(often) == set(GOOD)
    assert sorted(often.values())[: 9 - (each * world - 9)] == [1] * (9 - (each * world - 9))


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"shuffle": False}, {"rank": 1, "world_size": 2}])
@pytest.mark.parametrize("buffer", [1, 3, 100])
def test_left_in_the_middle_it_goes_on_with_the_very_rest(written, options, buffer):
    options = {"seed": 5, "shuffle_buffer": buffer, **options}
    straight = ShardReader(written, **options)
    whole = list(straight) + list(straight)
    for stop in range(len(whole)):
        first = ShardReader(written, **options)
        given = []
        while len(given) < stop:
            for sample in first:
                given.append(sample)
                if len(given) == stop:
                    break
        state = json.loads(json.dumps(first.state_dict()))
        again = ShardReader(written, **options)
        again.load_state_dict(state)
        while again.epoch < 2:
            given += list(again)
        assert labels(given) == labels(whole)
        for (_, one), (_, two) in zip(given, whole, strict=True):
            np.testing.assert_array_equal(one, two)


def test_shards_that_were_gone_through_are_not_read_again(written):
    reader = ShardReader(written, shuffle=False)
    steps = iter(reader)
    for _ in range(4):
        next(steps)
    state = reader.state_dict()
    (written / "shard-000000.tar").write_bytes(bytes((written / "shard-000000.tar").stat().st_size))
    again = ShardReader(written, shuffle=False)
    again.load_state_dict(state)
    assert labels(again) == GOOD[4:]


def test_a_state_of_other_options_is_refused(written, refusal):
    state = ShardReader(written, seed=1).state_dict()
    for options in ({"seed": 2}, {"seed": 1, "shuffle_buffer": 7}, {"seed": 1, "world_size": 2}):
        assert "of other shards or options" in refusal(
            OptionError, ShardReader(written, **options).load_state_dict, state
        )


def test_tar_files_can_be_named_one_by_one_or_by_address(written):
    paths = [written / "shard-000002.tar", str(written / "shard-000000.tar")]
    assert labels(ShardReader(paths, shuffle=False)) == GOOD[6:] + GOOD[:3]
    assert labels(ShardReader(f"file://{written}", shuffle=False)) == GOOD


def test_an_address_whose_files_cannot_jump_is_read_straight_on(written):
    with processes.served(written) as address:
        reader = ShardReader(address, seed=1, shuffle_buffer=4)
        assert labels(reader) == labels(ShardReader(written, seed=1, shuffle_buffer=4))


@pytest.mark.parametrize("kept", ["0", "100", "512", "1024", "20000", "end", "-3"])
def test_a_shard_that_was_cut_is_named(written, refusal, kept):
    path = written / "shard-000001.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        end = tar.getmembers()[-1].offset_data + -(-tar.getmembers()[-1].size // 512) * 512
    path.write_bytes(whole[: end if kept == "end" else int(kept)])
    said = refusal(FormatError, ShardReader, written)
    assert said.startswith(f"{path}: damaged shard (")
    if kept != "-3":  # only zeros are missing then
        assert refusal(FormatError, ShardReader, [path]).startswith(f"{path}: damaged shard (")


def test_a_header_that_was_spoilt_does_not_end_a_shard(written, refusal):
    path = written / "shard-000001.tar"
    whole = bytearray(path.read_bytes())
    second = whole.index(b"000000005.json")
    whole[second : second + 4] = b"\xff\xfe\x00\x01"
    path.write_bytes(whole)
    said = refusal(FormatError, list, ShardReader(written, shuffle=False))
    assert said.startswith(f"{path}: damaged shard (")


def test_sound_and_latents_that_were_spoilt_are_known_by_their_checksum(written, items, refusal):
    path = written / "shard-000001.tar"
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"fLaC") + 20_000] ^= 1
    path.write_bytes(whole)
    said = refusal(FormatError, list, ShardReader(written, shuffle=False))
    assert said.startswith(f"{path}: damaged shard (sample 000000004 does not fit its checksum)")
    again = refusal(FormatError, write_shards, items, written, shard_bytes=150_000)
    assert again == f"{path}: is not as shards.json says; give a new folder, or a whole copy"


def test_what_is_no_shard_of_ours_is_refused(tmp_path, refusal):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.json", b'{"audio": "a.flac", "colour": 1}'), ("a.flac", DEMO.read_bytes())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert "unknown key 'colour'" in refusal(FormatError, list, ShardReader([path]))
    assert "cannot be read" in refusal(FormatError, ShardReader, [tmp_path / "none.tar"])
    assert "cannot be read" in refusal(FormatError, ShardReader, tmp_path)
    path.write_bytes(bytes(10_240))
    assert "without samples" in refusal(OptionError, ShardReader, [path])
    for options in ({"seed": -1}, {"shuffle_buffer": 0}, {"rank": 1}, {"workers": -1}):
        assert "expected a buffer" in refusal(OptionError, ShardReader, [path], **options)
