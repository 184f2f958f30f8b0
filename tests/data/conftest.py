import numpy as np
import pytest

from peaframe.data.latent_shards import ShardWriter
from peaframe.data.latents import LatentCache


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
