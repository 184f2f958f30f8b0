import json

import numpy as np
import pytest
import soundfile

from peaframe.data.latent_shards import ShardWriter
from peaframe.data.latents import LatentCache
from peaframe.data.manifest_item import Item


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
