"""Soundscapes mixed from single sounds, with exact labels from the energy of each source.

Scene `i` of a mixer depends on its seed and `i` alone, so any number of workers gives the same data. The design
follows Scaper (Salamon et al., WASPAA 2017) and FLAM's synthetic data (arXiv 2505.05335, appendix).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from peaframe.clock import FRAME_RATE, frame_start_seconds, frames_of_seconds
from peaframe.data.augment import AugmentConfig, Waveform, augment, fade
from peaframe.data.soundbank import Bank
from peaframe.errors import ManifestError
from peaframe.events import Event

ACTIVE, UNKNOWN, INACTIVE = 1, 0, -1


@dataclass(frozen=True)
class MixConfig:
    """What soundscapes are like.

    Attributes:
        max_events: a scene has 0 to this many events.
        snr_db: range of an event's level over the background, measured where it sounds.
        single: share of scenes that hold one clip alone, over silence or a whisper of background.
        no_background: share of the others without background.
        repeat: probability that an event is heard twice or three times.
        split: probability that an event is cut in two with a pause between.
        level_db: range of the scene's peak, dB of full scale.
        floor_db: a source is inactive where it lies this far under its own peak frame.
        masked_db: a source's state is unknown where the rest is this much louder.
        bridge_seconds: pauses up to this long inside an event belong to it.
        balance: labels are drawn with probability (number of clips) ** balance.
        augment: what happens to each sound before.
    """

    max_events: int = 6
    snr_db: tuple[float, float] = (-5.0, 25.0)
    single: float = 0.35
    no_background: float = 0.1
    repeat: float = 0.15
    split: float = 0.1
    level_db: tuple[float, float] = (-24.0, -1.0)
    floor_db: float = 35.0
    masked_db: float = 18.0
    bridge_seconds: float = 0.2
    balance: float = 0.6
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class Scene:
    """A soundscape and what is heard when.

    Attributes:
        waveform: (samples,) float32.
        labels: the label of each source; the background is one of them.
        states: (frames, sources) int8: ACTIVE, INACTIVE, or UNKNOWN where the source is there but drowned out.
    """

    waveform: Waveform
    labels: list[str]
    states: NDArray[np.int8]

    def events(self) -> list[Event]:
        """What a listener would mark: sorted events, those of one label joined where they touch.

        A source that is drowned out for a while counts as going on, one that is drowned out most of the time is
        left out.
        """
        found = []
        for label in sorted(set(self.labels)):
            rows = [i for i, own in enumerate(self.labels) if own == label]
            here = np.pad((self.states[:, rows] != INACTIVE).any(axis=1), 1).astype(np.int8)
            heard = (self.states[:, rows] == ACTIVE).any(axis=1)
            edges = np.flatnonzero(np.diff(here))
            for on, off in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                if 2 * int(heard[on:off].sum()) >= off - on:
                    found.append(Event(frame_start_seconds(on), frame_start_seconds(off), label))
        return sorted(found)


class Mixer:
    """Draws soundscapes from a bank."""

    def __init__(self, bank: Bank, config: MixConfig, seed: int) -> None:
        self.bank = bank
        self.config = config
        self.seed = seed
        self.hop = bank.rate // FRAME_RATE
        self._events = _by_label(bank, "event")
        self._backgrounds = _by_label(bank, "background")
        self._everything = _by_label(bank, None)
        if not self._events or not self._backgrounds:
            raise ManifestError(
                f"got a bank of {len(bank)} clips, expected events and backgrounds among them"
            )

    def scene(self, index: int, seconds: float) -> Scene:
        """Mix scene `index`, `seconds` long (a whole number of frames)."""
        rng = np.random.default_rng((self.seed, index))
        samples = frames_of_seconds(seconds) * self.hop
        if rng.random() < self.config.single:
            tracks, labels = self._single(samples, rng)
        else:
            tracks, labels = self._soundscape(samples, rng)
        scene = label_tracks(tracks, labels, self.hop, self.config)
        peak = float(np.abs(scene.waveform).max())
        if peak > 0:
            scene.waveform *= np.float32(10 ** (rng.uniform(*self.config.level_db) / 20) / peak)
        return scene

    def _single(self, samples: int, rng: np.random.Generator) -> tuple[list[Waveform], list[str]]:
        """One clip alone: at its start, as a file of it would be, or anywhere; now and then over a whisper."""
        index = self._draw(self._everything, rng)
        clip = self.bank.clips[index]
        x = self.bank.waveform(index)
        if rng.random() < 0.7:
            x = augment(x, self.bank.rate, self.config.augment, rng)
        track = np.zeros(samples, dtype=np.float32)
        if clip.role == "background":
            track = _fill(x, samples, self.bank.rate, rng)
        elif len(x) >= samples:
            energy = _frame_energy(x[: len(x) // self.hop * self.hop], self.hop)
            loud = int(rng.choice(np.flatnonzero(energy >= energy.max() / 10))) * self.hop
            start = loud - int(rng.integers(0, samples - self.hop + 1))  # so that the part holds a loud frame
            start = min(max(start, 0), len(x) - samples)
            track = x[start : start + samples].copy()
        else:
            at = 0 if rng.random() < 0.5 else int(rng.integers(0, samples - len(x) + 1))
            track[at : at + len(x)] = x
        noise = rng.standard_normal(samples).astype(np.float32)
        noise *= np.float32(np.abs(track).max() * 10 ** (rng.uniform(-90, -45) / 20))
        return [track, noise], [clip.label]

    def _soundscape(self, samples: int, rng: np.random.Generator) -> tuple[list[Waveform], list[str]]:
        config, rate = self.config, self.bank.rate
        tracks: list[Waveform] = []
        labels: list[str] = []
        bed = rng.random() >= config.no_background
        if bed:
            index = self._draw(self._backgrounds, rng)
            x = augment(self.bank.waveform(index), rate, config.augment, rng)
            tracks.append(_fill(x, samples, rate, rng))
            labels.append(self.bank.clips[index].label)
        level = _rms(tracks[0]) if bed else 0.01
        count = int(rng.integers(0 if bed else 1, config.max_events + 1))
        count = max(int(not bed), round(count * min(1.0, samples / rate / 8)))
        for _ in range(count):
            index = self._draw(self._events, rng)
            x = augment(self.bank.waveform(index), rate, config.augment, rng)
            gain = 10 ** (rng.uniform(*config.snr_db) / 20) * level / max(_loud_rms(x, self.hop), 1e-6)
            tracks.append(self._place(x * np.float32(gain), samples, rng))
            labels.append(self.bank.clips[index].label)
        return tracks, labels

    def _place(self, x: Waveform, samples: int, rng: np.random.Generator) -> Waveform:
        """Put a sound somewhere on a track; it may begin before or end behind it, repeat, or be split."""
        rate = self.bank.rate
        track = np.zeros(samples, dtype=np.float32)
        pieces = [x]
        if rng.random() < self.config.split and len(x) > rate:
            middle = int(rng.integers(rate // 2, len(x) - rate // 2 + 1))
            pieces = [fade(x[:middle], rate), fade(x[middle:], rate)]
        elif rng.random() < self.config.repeat:
            pieces = [x] * int(rng.integers(2, 4))
        at = int(rng.integers(-len(x) // 4, max(1, samples - min(len(x), samples) // 2)))
        for piece in pieces:
            left, right = max(at, 0), min(at + len(piece), samples)
            if left < right:
                track[left:right] += piece[left - at : right - at]
            at += len(piece) + int(rng.uniform(0.1, 1.5) * rate)
        return track

    def _draw(self, groups: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> int:
        weights = np.array([len(group) ** self.config.balance for group in groups])
        group = groups[int(rng.choice(len(groups), p=weights / weights.sum()))]
        return int(rng.choice(group))


def label_tracks(tracks: Sequence[Waveform], labels: Sequence[str], hop: int, config: MixConfig) -> Scene:
    """Add tracks up and say in which frames each labelled one is heard.

    Args:
        tracks: the sources, each (samples,); those behind the last label are unlabelled noise.
        labels: the labels of the first tracks.
        hop: samples a frame.
        config: the rules (`floor_db`, `masked_db`, `bridge_seconds`).

    Returns:
        The scene: a source is active from `floor_db` under its loudest frame, pauses up to `bridge_seconds`
        bridged; where the rest is `masked_db` louder, its state is unknown.
    """
    energies = np.stack([_frame_energy(track, hop) for track in tracks], axis=1)
    total = energies.sum(axis=1, keepdims=True)
    own = energies[:, : len(labels)]
    loud = own > np.maximum(own.max(axis=0, keepdims=True) * 10 ** (-config.floor_db / 10), 1e-12)
    bridge = frames_of_seconds(config.bridge_seconds)
    active = np.stack([_bridge(column, bridge) for column in loud.T], axis=1) if labels else loud
    drowned = active & (own < (total - own) * 10 ** (-config.masked_db / 10))
    states = np.where(drowned, UNKNOWN, np.where(active, ACTIVE, INACTIVE)).astype(np.int8)
    return Scene(np.sum(tracks, axis=0, dtype=np.float32), list(labels), states)


def _bridge(active: NDArray[np.bool_], longest: int) -> NDArray[np.bool_]:
    """Fill pauses of at most `longest` frames between two active frames."""
    out: NDArray[np.bool_] = active.copy()
    where = np.flatnonzero(active)
    for left, right in itertools.pairwise(where.tolist()):
        if 1 < right - left <= longest + 1:
            out[left:right] = True
    return out


def _by_label(bank: Bank, role: str | None) -> list[NDArray[np.int64]]:
    groups: dict[str, list[int]] = {}
    for i, clip in enumerate(bank.clips):
        if role is None or clip.role == role:
            groups.setdefault(clip.label, []).append(i)
    return [np.array(groups[label]) for label in sorted(groups)]


def _fill(x: Waveform, samples: int, rate: int, rng: np.random.Generator) -> Waveform:
    """A stretch of `samples` from a background, looped over short cross-fades where it is too short."""
    overlap = min(rate // 4, len(x) // 3)
    ramp = np.linspace(0, 1, overlap, dtype=np.float32)
    while len(x) < samples:
        joint = x[-overlap:] * ramp[::-1] + x[:overlap] * ramp if overlap else x[:0]
        x = np.concatenate((x[: len(x) - overlap], joint, x[overlap:]))
    start = int(rng.integers(0, len(x) - samples + 1))
    stretch: Waveform = x[start : start + samples].copy()
    return stretch


def _frame_energy(x: Waveform, hop: int) -> NDArray[np.float64]:
    energy: NDArray[np.float64] = np.mean(x.reshape(-1, hop).astype(np.float64) ** 2, axis=1)
    return energy


def _rms(x: Waveform) -> float:
    return float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))


def _loud_rms(x: Waveform, hop: int) -> float:
    """RMS over the frames within 20 dB of the loudest."""
    energy = _frame_energy(np.pad(x, (0, -len(x) % hop)), hop)
    return float(np.sqrt(energy[energy >= energy.max() / 100].mean()))
