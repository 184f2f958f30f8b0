"""`peaframe shards`: from a table of real media to shards, and one line for what goes wrong."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.data.clip_reader import ClipReader
from peaframe.data.shard_files import load_index

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "data" / "clip_files.py")))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return clips.write_model(tmp_path_factory.mktemp("model") / "tiny", frames=16)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return clips.write_table(folder / "clips.tsv", clips.write_media(folder))


def keys(folder):
    return [int(clip.key) for clip in ClipReader(folder, shuffle=False)]


@pytest.mark.slow
def test_a_table_becomes_shards(run, table, model, tmp_path):
    out = tmp_path / "out"
    done = run("shards", table, out, "--model", model, "--shard-mb", 0.03)
    count = len(load_index(out).shards)
    size = load_index(out).bytes / 1e6
    assert done.code == 0
    assert done.out == (
        f"{out}: 14 of 20 clips (latents, features of pictures) in {count} shards, {size:.1f} MB\n"
        f"  5 cannot be read, see {out / 'failed.csv'}\n"
        f"  1 have the content of an earlier one, see {out / 'duplicates.csv'}\n"
    )
    assert count > 1
    assert keys(out) == clips.KEYS
    assert load_index(out).made["video"]["frames"] == 16  # the model's
    assert [len(clip.video) for clip in ClipReader(out, shuffle=False) if clip.video is not None] == [16] * 6
    before = clips.content(out)
    again = run("shards", table, out, "--model", model, "--shard-mb", 0.03)
    assert (again.out, clips.content(out)) == (done.out, before)
    other = run("shards", table, out, "--model", model, "--shard-mb", 0.03, "--frames", "all")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "holds shards of made" in other.err


@pytest.mark.slow
def test_processes_of_the_installed_command_give_the_same(shell, run, table, model, tmp_path):
    options = ("--model", model, "--frames", 4, "--shard-mb", 0.02)
    assert shell("shards", table, tmp_path / "two", *options, "--jobs", 2).code == 0
    assert run("shards", table, tmp_path / "one", *options).code == 0
    assert clips.content(tmp_path / "two") == clips.content(tmp_path / "one")


def test_parts_and_sources(run, table, tmp_path):
    plain = ("--content", "audio", "--video", "none")
    found = []
    for part in (1, 2, 3):
        assert run("shards", table, tmp_path / str(part), *plain, "--part", f"{part}/3").code == 0
        found += [(clip.media, clip.start) for clip in ClipReader(tmp_path / str(part), shuffle=False)]
    assert run("shards", table, tmp_path / "all", *plain).code == 0
    whole = [(clip.media, clip.start) for clip in ClipReader(tmp_path / "all", shuffle=False)]
    assert set(found) == {*whole, ("same.wav", 0.0)}  # a double is known within a part
    assert len(found) == len(whole) + 1
    assert run("shards", table, tmp_path / "made", *plain, "--source", "made").code == 0
    (clip,) = ClipReader(tmp_path / "made")
    assert (clip.media, clip.source) == ("pan.mkv", "made")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ((), "got no model; give a PE-AV"),
        (("--content", "audio"), "got no model; give a PE-AV"),
        (("--content", "audio", "--video", "none", "--source", "web"), "no clip is of --source web"),
        (("--content", "audio", "--video", "none", "--jobs", "0"), "--jobs: got 0, expected 1 or more"),
        (
            ("--content", "audio", "--video", "none", "--ray-address", "auto"),
            "--ray-address needs --engine ray",
        ),
        (("--content", "audio", "--video", "none", "--shard-mb", "0"), "--shard-mb 0"),
        (("--frames", "0"), "got '0', expected 1 or more, or all"),
        (("--part", "4/3"), "got '4/3', expected K/N"),
        (("--model", "peaframe-mini"), "has no codec"),
        (("--model", "pe-av-tiny"), "unknown model 'pe-av-tiny'"),
        (("--content", "audio", "--video", "none", "--device", "toaster"), "device 'toaster' is not there"),
    ],
)
def test_what_makes_no_sense_is_one_line(run, table, tmp_path, options, part):
    done = run("shards", table, tmp_path / "out", *options)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert part in done.err
    assert not (tmp_path / "out").exists()


def test_a_bad_row_is_told_before_anything_is_written(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("media,start\na.wav,0\nb.wav,soon\n")
    done = run("shards", path, tmp_path / "out", "--content", "audio", "--video", "none")
    assert done.code == 2
    assert f"{path}: row 2: got start 'soon', expected seconds of 0 or more, or nothing" in done.err
    assert not (tmp_path / "out").exists()
    path.write_text("media\na.wav\n")
    done = run("shards", path, tmp_path / "out", "--content", "audio", "--video", "none")
    assert "none of 1 items can be read, the first: " in done.err
    assert (tmp_path / "out" / "failed.csv").read_text().startswith("key,path,reason\n000000000,a.wav,")
