"""Shards of real sound: what is in them, what is refused, going on after a kill."""

import csv
import hashlib
import io
import json
import resource
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from peaframe import audio
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache, fill
from peaframe.data.manifest import Unknown, save
from peaframe.data.manifest_item import Item
from peaframe.data.shards import ShardReader, load_index, write_shards
from peaframe.errors import FormatError, OptionError
from peaframe.events import Event
from peaframe.models.load import load_model

processes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "processes.py")))
DEMO = Path(__file__).parents[2] / "examples" / "demo.flac"
TABLES = ("shards.json", "failed.csv")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_tar(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_a_part_of_a_recording_is_cut_out(tmp_path):
    item = Item(
        DEMO,
        start=1.5,
        duration=2.0,
        events=(Event(0.5, 1.25, "dog"),),
        unknown=(Unknown(1.5, 2.0),),
        negatives=("siren",),
        exhaustive=True,
        split="valid",
        licence="CC0",
        source="made",
    )
    index = write_shards([item], tmp_path / "out", base=DEMO.parent.parent)
    assert (index.samples, index.failed, index.content) == (1, 0, "audio")
    files = in_tar(tmp_path / "out/shard-000000.tar")
    assert list(files) == ["000000000.json", "000000000.flac"]
    said = json.loads(files["000000000.json"])
    assert isinstance(said.pop("crc32"), int)
    assert said == {
        "audio": "000000000.flac",
        "duration": 2.0,
        "events": [{"onset": 0.5, "offset": 1.25, "label": "dog"}],
        "unknown": [[1.5, 2.0]],
        "negatives": ["siren"],
        "exhaustive": True,
        "split": "valid",
        "licence": "CC0",
        "source": "made",
        "key": "000000000",
        "origin": "examples/demo.flac",
        "origin_start": 1.5,
    }
    stored, rate = soundfile.read(io.BytesIO(files["000000000.flac"]), dtype="float32")
    facts = soundfile.info(io.BytesIO(files["000000000.flac"]))
    assert (rate, facts.subtype, facts.channels, stored.shape) == (48_000, "PCM_16", 1, (96_000,))
    np.testing.assert_allclose(stored, audio.read(DEMO, 1.5, 3.5), atol=0.51 / 32768)
    ((read, waveform),) = ShardReader(tmp_path / "out")
    np.testing.assert_array_equal(waveform, stored)
    assert waveform.dtype == np.float32
    assert (read.start, read.duration, read.events, read.unknown) == (0.0, 2.0, item.events, item.unknown)
    assert read.audio == tmp_path / "out/shard-000000.tar/000000000.flac"


def test_whole_recordings_become_48_khz_mono_and_get_a_duration(tmp_path):
    x = np.random.default_rng(0).normal(0, 0.1, (11_025, 2))
    soundfile.write(tmp_path / "stereo.wav", x, 22_050)
    write_shards([Item(tmp_path / "stereo.wav")], tmp_path / "out")
    ((item, waveform),) = ShardReader(tmp_path / "out")
    assert (item.duration, waveform.shape) == (0.5, (24_000,))
    np.testing.assert_allclose(waveform, audio.read(tmp_path / "stereo.wav"), atol=0.51 / 32768)


def test_files_of_a_tar_have_no_time_and_no_owner(items, tmp_path):
    write_shards(items[:1], tmp_path / "out")
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        told = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar}
    assert told == {(0, 0, 0, "", "", 0o644)}


def test_bad_recordings_are_left_out_and_told(items, tmp_path):
    late = Item(items[0].audio, events=(Event(0.1, 0.9, "dog"),))  # half a second long
    index = write_shards([*items, late], tmp_path / "out", shard_bytes=150_000, base=tmp_path)
    assert [shard.name for shard in index.shards] == [f"shard-{i:06}.tar" for i in range(3)]
    assert [shard.samples for shard in index.shards] == [3, 3, 3]
    assert (index.samples, index.failed) == (9, 3)
    for shard in index.shards:
        whole = (tmp_path / "out" / shard.name).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    with (tmp_path / "out/failed.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:2] for row in rows] == [
        ["key", "path"],
        ["000000002", str(items[2].audio)],
        ["000000006", str(items[6].audio)],
        ["000000011", str(late.audio)],
    ]
    assert "no such file" in rows[1][2]
    assert "only the first" in rows[2][2]
    assert "ends at 0.9 s" in rows[3][2]
    assert load_index(tmp_path / "out") == index
    assert set(content(tmp_path / "out")) == {*TABLES, *(shard.name for shard in index.shards)}


def test_the_same_items_give_the_same_bytes_with_any_number_of_jobs(items, tmp_path):
    write_shards(items, tmp_path / "one", shard_bytes=150_000)
    write_shards(iter(items), tmp_path / "two", shard_bytes=150_000, jobs=3)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_sample_larger_than_a_shard_stands_alone(items, tmp_path):
    index = write_shards(items[3:6], tmp_path / "out", shard_bytes=1)
    assert [shard.samples for shard in index.shards] == [1, 1, 1]


def test_latents_come_from_the_cache(items, golden_folder, tmp_path):
    model = load_model(golden_folder / "pe_a_frame_original")
    parts = [AudioPart(items[0].audio, 0.1, 0.3), AudioPart(items[1].audio)]
    with LatentCache(tmp_path / "cache") as cache:
        fill(cache, parts, model, progress=False)
    wanted = [
        Item(items[0].audio, 0.1, 0.3, events=(Event(0.1, 0.2, "dog"),)),
        Item(items[3].audio, 0.0, 0.5),  # not in the cache
        Item(items[1].audio),
    ]
    index = write_shards(wanted, tmp_path / "out", content="latents", cache=cache)
    assert (index.content, index.samples, index.failed) == ("latents", 2, 1)
    assert "has no latents of" in (tmp_path / "out/failed.csv").read_text().splitlines()[1]
    names = ["000000000.json", "000000000.npy", "000000002.json", "000000002.npy"]
    assert list(in_tar(tmp_path / "out/shard-000000.tar")) == names
    found = list(ShardReader(tmp_path / "out", shuffle=False))
    for (item, rows), part, seconds, shape in zip(
        found, parts, (0.3, 0.52), ((8, 16), (13, 16)), strict=True
    ):
        assert (item.duration, rows.shape, rows.dtype) == (seconds, shape, np.float16)
        np.testing.assert_array_equal(rows, cache.get(cache.key(part)))
    assert found[0][0].events == wanted[0].events
    again = write_shards(wanted, tmp_path / "again", content="latents", cache=cache)
    assert again.shards == index.shards


def test_finished_shards_are_not_made_again(items, tmp_path):
    out = tmp_path / "out"
    first = write_shards(items, out, shard_bytes=150_000)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (out / "shard-000002.tar").unlink()
    items[0].audio.unlink()  # is in a whole shard, so it is not needed any more
    assert write_shards(items, out, shard_bytes=150_000) == first
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert [name for name in sorted(after) if after[name] == before[name]] == [
        "shard-000000.tar",
        "shard-000001.tar",
    ]


def test_shards_of_other_items_or_options_are_refused(items, tmp_path, refusal):
    out = tmp_path / "out"
    write_shards(items, out, shard_bytes=150_000)
    before = content(out)
    other = [*items[:4], Item(items[4].audio, 0.0, 0.5, weak=("other",)), *items[5:]]
    said = refusal(OptionError, write_shards, other, out, shard_bytes=150_000)
    assert "shard-000001.tar: was made of other items (sample 000000004" in said
    assert "holds finished shards of fewer" in refusal(
        OptionError, write_shards, [*items, items[0]], out, shard_bytes=150_000
    )
    assert "was made of other items" in refusal(
        OptionError, write_shards, items[:8], out, shard_bytes=150_000
    )
    assert "shards of shard_bytes 150000, got 99" in refusal(
        OptionError, write_shards, items, out, shard_bytes=99
    )
    assert content(out) == before


def test_options_that_make_no_sense_are_refused(items, tmp_path, refusal):
    out = tmp_path / "out"
    for options in ({"content": "video"}, {"content": "latents"}, {"cache": LatentCache(tmp_path / "none")}):
        assert "got content" in refusal(OptionError, write_shards, items, out, **options)
    for options in ({"shard_bytes": 0}, {"jobs": 0}, {"prefix": "a/b"}, {"prefix": ""}):
        assert "got shard_bytes" in refusal(OptionError, write_shards, items, out, **options)
    assert "got no items" in refusal(OptionError, write_shards, [], out)
    assert "none of 1 items can be read" in refusal(OptionError, write_shards, [items[2]], tmp_path / "bad")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.tar").write_bytes(b"mine")
    assert "holds other tar files" in refusal(OptionError, write_shards, items, tmp_path / "full")


def test_two_writers_do_not_share_a_folder(items, tmp_path, refusal):
    out = tmp_path / "out"
    said = []

    def while_writing():
        yield items[0]
        said.append(refusal(OptionError, write_shards, items, out))

    write_shards(while_writing(), out)
    assert said == [f"{out}: another process is writing to it; wait for it to end"]


WRITER = """
import sys
from peaframe.data import manifest
from peaframe.data.shards import write_shards
write_shards(manifest.load(sys.argv[1]), sys.argv[2], shard_bytes=150_000)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(items, tmp_path):
    many = [
        Item(own.audio, start, 0.05, weak=own.weak)
        for own in items
        for start in np.arange(0, 0.4, 0.005).tolist()
    ]
    save(tmp_path / "many.jsonl", many)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "many.jsonl"), str(tmp_path / "out")]
    write_shards(many, tmp_path / "whole", shard_bytes=150_000)
    total = len(load_index(tmp_path / "whole").shards)
    assert total > 18
    for wanted in (1, 3, 6):
        processes.kill_writer(command, tmp_path / "out", tmp_path / "whole", wanted, total)
        assert not (tmp_path / "out/shards.json").exists()
        with pytest.raises(FormatError, match="finish writing the shards"):
            ShardReader(tmp_path / "out")
    subprocess.run(command, check=True, timeout=60)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_leaves_nothing_half_written(items, tmp_path):
    save(tmp_path / "items.jsonl", items)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "items.jsonl"), str(tmp_path / "out")]
    no_more = 100_000  # bytes that a file may have; a shard has more

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (no_more, no_more))

    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=60)
    assert "FormatError" in done.stderr
    assert "shard-000000.tar: cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert set(content(tmp_path / "out")) == {"unfinished.json"}
    subprocess.run(command, check=True, timeout=60)
    write_shards(items, tmp_path / "whole", shard_bytes=150_000)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
