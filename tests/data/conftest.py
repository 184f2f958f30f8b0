import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from peaframe.data.clip_shards import ClipContent, write_clip_shards
from peaframe.data.clips_table import stream
from peaframe.data.latent_shards import ShardWriter
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item
from peaframe.models.text import QueryTokenizer

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_files.py")))


@pytest.fixture
def stored(tmp_path):
    """A cache of made-up latents, 4 channels, of these lengths; latent t of item i is (i, t, channel, 0)."""

    def write(*frames):
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        writer = ShardWriter(folder, "codec", "made up", 4)
        for i, count in enumerate(frames):
            rows = np.zeros((count, 4), np.float16)
            rows[:, 0], rows[:, 1], rows[:, 2] = i, np.arange(count), 7
            writer.write(rows)
            writer.keep(f"key{i}", f"/sounds/{i}.wav", 1, 1)
        writer.close()
        return LatentCache(folder)

    return write


@pytest.fixture
def write(tmp_path):
    """Writes a file, `words.json` unless it is named: text as it is, all else as JSON."""

    def write(content, name="words.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def items(tmp_path):
    """Eleven items of half a second (46 kB as FLAC), the third of a missing file, the seventh of a damaged one."""
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    paths = [sounds / f"{i}.wav" for i in range(11)]
    for seed, path in enumerate(paths):
        soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 24_000), 48_000)
    paths[2].unlink()
    paths[6].write_bytes(paths[6].read_bytes()[:5000])
    return [Item(path, 0.0, 0.5, weak=(f"label {i}",)) for i, path in enumerate(paths)]


# ---- clips; read these folders only


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A tiny PE-AV."""
    return clips.write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """The table of clips, beside its media."""
    folder = tmp_path_factory.mktemp("media")
    return clips.write_table(folder / "clips.csv", clips.write_media(folder))


@pytest.fixture(scope="session")
def wanted(model_folder):
    """Latents, and four pictures of each clip."""
    return ClipContent(model=str(model_folder), frames=4)


@pytest.fixture(scope="session")
def written(table, wanted, tmp_path_factory):
    """What one process makes of the table."""
    out = tmp_path_factory.mktemp("written") / "out"
    index = write_clip_shards(stream(table), out, wanted, shard_bytes=clips.SHARD_BYTES)
    assert (index.samples, index.failed, index.duplicates) == (14, 5, 1)
    return out


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """A real death: workers import a site of the test's own, whose decoder kills itself on one path."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from peaframe import audio\n"
        "def read(path, *more, plain=audio.read):\n"
        "    if str(path).endswith('same.wav'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(path, *more)\n"
        "audio.read = read\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))


@pytest.fixture(scope="session")
def latents(table, model_folder, tmp_path_factory):
    """Fourteen clips, all pictures, in shards of some."""
    out = tmp_path_factory.mktemp("shards") / "latents"
    wanted = ClipContent(model=str(model_folder), frames="all")
    assert len(write_clip_shards(stream(table), out, wanted, shard_bytes=10_000).shards) > 3
    return out


@pytest.fixture(scope="session")
def more(table, model_folder, tmp_path_factory):
    """Four more clips, by the same model."""
    out = tmp_path_factory.mktemp("shards") / "more"
    rows = [replace(row, start=0.05) for row in stream(table) if row.row > 16]
    write_clip_shards(rows, out, ClipContent(model=str(model_folder), frames="all"))
    return out


@pytest.fixture(scope="session")
def words(tokenizer_file):
    """A tokenizer of captions."""
    return QueryTokenizer(tokenizer_file, 16)
