"""The recipe from manifests on disk to shards that are read."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from peaframe.data import manifest
from peaframe.data.latent_rows import AudioPart
from peaframe.data.latents import LatentCache, fill
from peaframe.data.manifest_item import Item
from peaframe.data.shards import ShardReader, load_index
from peaframe.errors import ManifestError, OptionError
from peaframe.models.load import load_model
from peaframe.recipes import make_shards


@pytest.fixture
def manifests(tmp_path):
    """Two manifests in folders of their own: items train 0, valid 1, train 2; train 3, and one that is missing."""
    items = []
    for i in range(5):
        path = tmp_path / ("one" if i < 3 else "two") / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        if i < 4:
            soundfile.write(path, np.random.default_rng(i).normal(0, 0.1, 24_000), 48_000)
        items.append(Item(path, weak=(f"label {i}",), split="valid" if i == 1 else "train"))
    paths = [tmp_path / "one/a.jsonl", tmp_path / "two/b.jsonl"]
    manifest.save(paths[0], items[:3])
    manifest.save(paths[1], items[3:])
    return [str(path) for path in paths]


def labels(folder):
    return [item.weak[0] for item, _ in ShardReader(folder, shuffle=False)]


def test_shards_of_two_manifests(manifests, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--out", str(out), "--shard-mb", "0.1", "--jobs", "2", "--prefix", "yard"]
    make_shards.main([*manifests, *options])
    said = capsys.readouterr().out.splitlines()
    size = sum(path.stat().st_size for path in out.glob("yard-00000?.tar"))
    assert said == [
        f"{out}: 4 of 5 items (audio) in 2 shards, {size / 1e6:.1f} MB",
        f"  1 left out, see {out / 'failed.csv'}",
    ]
    assert labels(out) == [f"label {i}" for i in range(4)]
    assert "two/4.wav: no such file" in (out / "failed.csv").read_text()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    make_shards.main([*manifests, *options])  # all there
    assert capsys.readouterr().out.splitlines() == said
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} == before


@pytest.mark.slow
def test_one_split_as_a_command(manifests, tmp_path):
    command = [
        sys.executable,
        "-m",
        "peaframe.recipes.make_shards",
        *manifests,
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*command, "--split", "valid"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (
        0,
        f"{tmp_path / 'out'}: 1 of 1 items (audio) in 1 shards, 0.1 MB\n",
    )
    ((item, waveform),) = ShardReader(tmp_path / "out")
    assert (item.weak, item.split, item.duration, waveform.shape) == (("label 1",), "valid", 0.5, (24_000,))
    refused = subprocess.run([*command, "--split", "none"], capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert refused.stderr.startswith("peaframe: error: no item is of --split none")


def test_latents_of_a_cache(manifests, golden_folder, tmp_path, capsys):
    model = load_model(golden_folder / "pe_a_frame_original")
    with LatentCache(tmp_path / "cache") as cache:
        parts = [AudioPart(item.audio) for item in manifest.load(manifests[0])]
        fill(cache, parts, model, progress=False)
    options = ["--content", "latents", "--cache", str(tmp_path / "cache")]
    make_shards.main([manifests[0], "--out", str(tmp_path / "out"), *options])
    assert "3 of 3 items (latents) in 1 shards" in capsys.readouterr().out
    assert load_index(tmp_path / "out").content == "latents"
    for (_, rows), part in zip(ShardReader(tmp_path / "out", shuffle=False), parts, strict=True):
        np.testing.assert_array_equal(rows, cache.get(cache.key(part)))


def test_what_makes_no_sense_is_refused(manifests, tmp_path, refusal):
    out = ["--out", str(tmp_path / "out")]
    for options in (["--content", "latents"], ["--cache", str(tmp_path)]):
        assert "--content latents needs --cache" in refusal(
            OptionError, make_shards.main, [*manifests, *out, *options]
        )
    gone = ["--content", "latents", "--cache", str(tmp_path / "gone")]
    assert "expected a folder of latents" in refusal(OptionError, make_shards.main, [*manifests, *out, *gone])
    (tmp_path / "bad.jsonl").write_text(json.dumps({"audio": 3}) + "\n")
    assert "bad.jsonl:1" in refusal(ManifestError, make_shards.main, [str(tmp_path / "bad.jsonl"), *out])
    assert not (tmp_path / "out").exists()
