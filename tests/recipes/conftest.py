"""Stamps, as recipes of pre-training read them."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "data" / "clip_files.py")))
RATE = 48_000


def tone(path, hertz, seconds):
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE), RATE)


@pytest.fixture
def stamps(tmp_path):
    """Stamps in the layout of the package: with and without sound and spoken names, drawn ones, and odd files."""
    folder = tmp_path / "stamps"
    for place in ("animals/birds", "town"):
        (folder / place).mkdir(parents=True)
    for i, (name, words) in enumerate(
        (
            ("animals/dog", "A dog."),
            ("animals/birds/crow", "A crow"),
            ("town/bell", "The bell!"),
            ("town/x", ""),
        )
    ):
        clips.write_picture(folder / f"{name}.png", i)
        (folder / f"{name}.txt").write_text(f"{words}\nde.utf8=Ein Ding.\n", encoding="utf-8")
    tone(folder / "animals/dog.ogg", 300, 0.2)
    tone(folder / "animals/birds/crow.ogg", 900, 5.0)
    tone(folder / "animals/dog_desc.ogg", 200, 0.8)
    tone(folder / "animals/dog_desc_de.ogg", 250, 0.8)
    (folder / "town/drawn.svg").write_text("<svg/>")
    (folder / "town/drawn.txt").write_text("A drawing")
    clips.write_picture(folder / "town/nameless.png")
    return folder
