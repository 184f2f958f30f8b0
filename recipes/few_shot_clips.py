"""What few_shot teaches from: a few clips of each held label, each alone in a little noise."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from peaframe import audio
from peaframe.clock import HOP_SAMPLES, frames_of_seconds
from peaframe.data.manifest_item import Item
from peaframe.data.mix import MixConfig, label_tracks
from peaframe.data.mix_folder import write_flac
from peaframe.data.soundbank import Clip
from peaframe.errors import ManifestError, OptionError

SECONDS = 5.12
WHISPER_DB = (-60.0, -40.0)  # of the noise, under the clip's peak


def choose(clips: Sequence[Clip], held: Sequence[str], count: int, seed: int) -> list[Clip]:
    """The first `count` training clips of each held label in an order drawn by `seed`; more hold all that fewer do.

    Raises:
        OptionError: a label has fewer.
    """
    chosen = []
    for label in sorted(held):
        own = [clip for clip in clips if clip.label == label and clip.split == "train"]
        if len(own) < count:
            raise OptionError(f"got {len(own)} training clips of {label!r}, expected {count}; take fewer")
        digits = int(hashlib.sha256(label.encode()).hexdigest()[:8], 16)
        order = np.random.default_rng((seed, digits)).permutation(len(own))
        chosen += [own[i] for i in order[:count]]
    return chosen


def alone(clip: Clip, folder: Path) -> Item:
    """A clip as an item: alone in 5.12 s with a whisper of noise; the same clip always gives the same sound.

    Of a longer one the loudest stretch is taken. The sound is written to `folder`.
    """
    name = hashlib.sha256("/".join((clip.label, *clip.path.parts[-2:])).encode()).hexdigest()[:16]
    rng = np.random.default_rng(int(name, 16))
    x = audio.read(clip.path)
    if not np.abs(x).max(initial=0) > 0:
        raise ManifestError(f"{clip.path}: is silent, expected a sound; take it out of the sound bank")
    samples = frames_of_seconds(SECONDS) * HOP_SAMPLES
    track = np.zeros(samples, dtype=np.float32)
    if len(x) > samples:
        power = np.concatenate(([0.0], np.cumsum(np.square(x, dtype=np.float64))))
        start = int(np.argmax(power[samples:] - power[:-samples]))
        track[:] = x[start : start + samples]
    else:
        at = int(rng.integers(0, samples - len(x) + 1))
        track[at : at + len(x)] = x
    track *= np.float32(0.5 / np.abs(track).max())
    noise = rng.standard_normal(samples).astype(np.float32)
    noise *= np.float32(0.5 * 10 ** (rng.uniform(*WHISPER_DB) / 20))
    scene = label_tracks([track, noise], [clip.label], HOP_SAMPLES, MixConfig())
    path = folder / f"{name}.flac"
    write_flac(path, scene.waveform)
    item = Item(path, duration=SECONDS, events=tuple(scene.events()), exhaustive=True)
    return replace(item, licence=clip.license, source=clip.source)
