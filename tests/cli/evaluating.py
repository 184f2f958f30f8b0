"""What tests of commands share: recordings with beeps, a table's header, one line of error, what is in a folder."""

import numpy as np
import soundfile

RATE = 48_000

HEADER = "filename\tonset\toffset\tevent_label\n"


def beeps(path, onsets, seconds=4.0, seed=0):
    """Faint noise with a loud tone of half a second at each onset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.003 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE // 2) / RATE)
    for onset in onsets:
        samples[round(onset * RATE) :][: len(tone)] += tone
    soundfile.write(path, samples, RATE)


def one_line(ran, *parts):
    """The single line of an error, which holds these parts."""
    assert ran.code == 2, ran.err
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    assert [part for part in parts if part not in line] == []
    return line


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
