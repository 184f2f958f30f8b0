"""Mix the demo recording, `demo.flac`, and its true events, `demo.tsv`.

    python examples/make_demo.py CLIPS

This is how the two files were made; nobody needs to run it to use them. CLIPS is a folder with the clips
that `CREDITS.md` names: each is a file of a Debian package under its own name, except `telephone.ogg`, the
preset "Telephone" of a soundfont rendered to audio.

The hiss and crackle of a record player run through the 30 s. Over them lie twelve events of five kinds, two
of them partly over another. An event's level is the power of its 10 ms frames that count as sound, in dB over
the hiss.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from peaframe import Event, audio, formats
from peaframe.clock import SAMPLE_RATE, samples_of_seconds

HERE = Path(__file__).parent
SEED = 48
SECONDS = 30.0
BACKGROUND_LEVEL = -46.0  # dB re full scale
BACKGROUND_RATE = 24_000  # nothing of the hiss over 12 kHz, which keeps the file small
CROSSFADE = 0.6
STEP_SAMPLES = SAMPLE_RATE // 100  # the truth's resolution: 10 ms
FLOOR = 35.0  # sound this many dB under its clip's loudest 10 ms has ended
BRIDGED = 0.2  # shorter pauses, in seconds, do not end an event

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """[start, end) of a file of CLIPS, in seconds, faded out over `fade` seconds; end None is the file's."""

    file: str
    label: str
    start: float = 0.0
    end: float | None = None
    fade: float = 0.01


HISS = "vinyl_hiss.flac"
DOG = Clip("LRBark_1_LA_cut.ogg", "dog barking", start=0.5)
CROW = Clip("misc_crow.flac", "crow cawing")
PHONE = Clip("telephone.ogg", "telephone ringing", end=1.8, fade=0.15)
GUITAR = Clip("guit_e_fifths.flac", "guitar playing", end=2.5, fade=0.15)
LONG_PROMPT = Clip("confbridge-only-one.wav", "woman speaking")
SHORT_PROMPT = Clip("vm-star-cancel.wav", "woman speaking")

# (where the clip begins, in seconds; what; how many dB over the hiss)
SCORE = (
    (1.20, DOG, 24.0),
    (3.55, LONG_PROMPT, 16.0),
    (7.90, PHONE, 14.0),
    (9.15, CROW, 22.0),
    (11.30, GUITAR, 18.0),
    (14.45, CROW, 18.0),
    (15.60, DOG, 18.0),
    (17.85, PHONE, 22.0),
    (20.60, SHORT_PROMPT, 20.0),
    (21.95, DOG, 20.0),
    (24.40, CROW, 24.0),
    (26.00, GUITAR, 12.0),
)


def load(folder: Path, clip: Clip) -> Waveform:
    """The clip as (samples,) at 48 kHz, its mean removed and its ends faded."""
    wave = audio.read(folder / clip.file)
    end = None if clip.end is None else samples_of_seconds(clip.end)
    wave = wave[samples_of_seconds(clip.start) : end] - wave.mean()
    fade_in = np.linspace(0.0, 1.0, samples_of_seconds(0.005), dtype=np.float32)
    fade_out = np.linspace(1.0, 0.0, samples_of_seconds(clip.fade), dtype=np.float32)
    wave[: len(fade_in)] *= fade_in
    wave[-len(fade_out) :] *= fade_out
    faded: Waveform = wave
    return faded


def sounding(wave: Waveform) -> NDArray[np.bool_]:
    """For each 10 ms of the clip, whether it is within `FLOOR` of the loudest; shape (steps,)."""
    powers = step_powers(wave)
    loud: NDArray[np.bool_] = powers > powers.max() * 10 ** (-FLOOR / 10)
    return loud


def step_powers(wave: Waveform) -> NDArray[np.float64]:
    """Mean square of each 10 ms, the last one padded with silence; shape (steps,)."""
    padded = np.pad(wave.astype(np.float64), (0, -len(wave) % STEP_SAMPLES))
    powers: NDArray[np.float64] = np.square(padded).reshape(-1, STEP_SAMPLES).mean(axis=1)
    return powers


def spans(active: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Runs of True as [onset, offset) in seconds from the clip's start, pauses under `BRIDGED` closed."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], active.astype(np.int8), [0]))))
    found: list[tuple[float, float]] = []
    for first, stop in edges.reshape(-1, 2) * STEP_SAMPLES / SAMPLE_RATE:
        if found and first - found[-1][1] < BRIDGED - 1e-9:
            found[-1] = (found[-1][0], float(stop))
        else:
            found.append((float(first), float(stop)))
    return found


def hiss(folder: Path, random: np.random.Generator) -> Waveform:
    """Random parts of the hiss, crossfaded at equal power, levelled; shape (samples,)."""
    total, fade = samples_of_seconds(SECONDS), samples_of_seconds(CROSSFADE)
    ramp = np.sin(np.linspace(0.0, np.pi / 2, fade)).astype(np.float32)
    source = audio.read(folder / HISS, start=0.2, end=7.8)
    size = samples_of_seconds(4.0)
    mixed = np.zeros(0, dtype=np.float32)
    while len(mixed) < total:
        first = random.integers(len(source) - size)
        part = source[first : first + size].copy()
        if len(mixed):
            part[:fade] = part[:fade] * ramp + mixed[-fade:] * ramp[::-1]
            mixed = mixed[:-fade]
        mixed = np.concatenate((mixed, part))
    mixed = soxr.resample(mixed, SAMPLE_RATE, BACKGROUND_RATE)
    mixed = soxr.resample(mixed, BACKGROUND_RATE, SAMPLE_RATE)[:total]
    levelled: Waveform = mixed * np.float32(10 ** (BACKGROUND_LEVEL / 20) / np.sqrt(np.square(mixed).mean()))
    return levelled


def mix(folder: Path) -> tuple[Waveform, list[Event]]:
    """The recording, (samples,) at 48 kHz, and its true events by onset."""
    recording = hiss(folder, np.random.default_rng(SEED))
    events = []
    for begin, clip, decibels in SCORE:
        wave = load(folder, clip)
        active = sounding(wave)
        power = step_powers(wave)[active].mean()
        gain = np.float32(np.sqrt(10 ** ((BACKGROUND_LEVEL + decibels) / 10) / power))
        first = samples_of_seconds(begin)
        recording[first : first + len(wave)] += gain * wave
        events += [
            Event(round(begin + on, 3), round(begin + off, 3), clip.label) for on, off in spans(active)
        ]
    return recording, sorted(events)


def main() -> None:
    """Write `demo.flac` and `demo.tsv` beside this script."""
    recording, events = mix(Path(sys.argv[1]))
    soundfile.write(HERE / "demo.flac", recording, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)
    formats.save(HERE / "demo.tsv", {"demo.flac": events})
    print(f"demo.flac: peak {20 * np.log10(np.abs(recording).max()):.1f} dB, {len(events)} events")


if __name__ == "__main__":
    main()
