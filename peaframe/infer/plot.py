"""A detection as a picture: the sound, every query's score, and the events, one above the other."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from peaframe import audio
from peaframe.clock import samples_of_seconds
from peaframe.errors import MissingExtraError, OptionError
from peaframe.files import atomic_path
from peaframe.infer.spectrogram import HIGHEST_HERTZ, LOWEST_HERTZ, mel, spectrogram

try:
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MultipleLocator
except ImportError as error:
    raise MissingExtraError("matplotlib", "plot", "drawing a plot") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from peaframe.infer.detector import Detection

WIDTH_PIXELS = 1_200
_DPI = 100
_INK, _FAINT = "#2b2f36", "#d5d8dd"
# Okabe and Ito's colours (2008), told apart by colour-blind eyes too; then their darker kin.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31", "#5c6b73")
_MAX_POINTS = 1_200
_MAX_LABEL = 22


def plot(detection: Detection, recording: str | Path | NDArray[np.floating[Any]]) -> Figure:
    """Draw what was heard: the sound, the scores with their thresholds, one row of events per query.

    Args:
        detection: the result of `Detector.detect`.
        recording: what it was made from: the file, or samples (samples,) at 48 kHz.

    Returns:
        A matplotlib figure, 1200 pixels wide, tied to no window and to none of pyplot's state.

    Raises:
        AudioError: the recording cannot be read.
    """
    scores = detection.scores
    rows = len(scores.labels)
    heights = (2.9, 1.9, 0.25 + 0.3 * rows)
    margins = 0.5 + 0.55  # inches above and below
    height = sum(heights) + margins + 0.2
    figure = Figure(figsize=(WIDTH_PIXELS / _DPI, height), dpi=_DPI, facecolor="white")
    grid = figure.add_gridspec(3, height_ratios=heights, hspace=0.08)
    grid.update(left=0.19, right=0.975, top=1 - 0.5 / height, bottom=0.55 / height)
    above, middle, below = (figure.add_subplot(grid[row]) for row in range(3))
    colours = dict(zip(scores.labels, _palette(rows), strict=True))
    for axes in (above, middle, below):
        _tidy(axes)
    _draw_sound(above, detection, recording)
    _draw_scores(middle, detection, colours)
    _draw_events(below, detection, colours)
    for axes in (above, middle, below):
        axes.set_xlim(scores.start, scores.end)
        _tick_time(axes, scores.end - scores.start, labelled=axes is below)
    model = detection.settings.get("model", "")
    above.set_title(Path(detection.source).name, loc="left", color=_INK, fontsize=13, parse_math=False)
    above.set_title(model, loc="right", color=_INK, fontsize=10, parse_math=False)
    return figure


def save_plot(
    detection: Detection, recording: str | Path | NDArray[np.floating[Any]], path: str | Path
) -> None:
    """Write `plot` to a PNG file, at once or not at all.

    Raises:
        AudioError: the recording cannot be read.
        OptionError: the file's name does not end in .png, or it cannot be written there.
    """
    if Path(path).suffix.lower() != ".png":
        raise OptionError(f"{path}: plots are PNG files; give a name that ends in .png")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for what the font lacks
        plot(detection, recording).savefig(buffer, format="png")
    with atomic_path(path) as temp:
        temp.write_bytes(buffer.getvalue())


def _draw_sound(axes: Axes, detection: Detection, recording: str | Path | NDArray[np.floating[Any]]) -> None:
    scores = detection.scores
    samples = samples_of_seconds(scores.end - scores.start)
    if isinstance(recording, (str, Path)):
        blocks = audio.blocks(recording, start=scores.start if scores.start > 0 else None)
    else:
        first = samples_of_seconds(scores.start)
        blocks = iter([np.asarray(recording[first : first + samples], dtype=np.float32)])
    levels = spectrogram(blocks, samples)
    top = max(float(np.percentile(levels, 99.8)), -60.0)  # digital silence stays dark
    floor = float(np.clip(np.percentile(levels, 10), top - 80, top - 40))
    extent = (scores.start, scores.end, float(mel(LOWEST_HERTZ)), float(mel(HIGHEST_HERTZ)))
    axes.imshow(
        levels.T,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="magma",
        vmin=floor,
        vmax=top,
        resample=True,
    )
    named = {100: "100", 500: "500", 1_000: "1k", 2_000: "2k", 5_000: "5k", 10_000: "10k", 20_000: "20k"}
    axes.set_yticks([float(mel(hertz)) for hertz in named], list(named.values()))
    axes.set_ylabel("Hz", color=_INK)


def _draw_scores(axes: Axes, detection: Detection, colours: Mapping[str, str]) -> None:
    scores = detection.scores
    options = detection.settings["options"]
    times, curves = _envelope(scores.times, scores.values)
    width = 1.5 if len(times) < _MAX_POINTS / 2 else 0.8
    for label, curve in zip(scores.labels, curves.T, strict=True):
        axes.plot(times, curve, color=colours[label], linewidth=width)
    by_query = isinstance(next(iter(options.values())), Mapping)
    own = {label: (options[label] if by_query else options)["threshold"] for label in scores.labels}
    shared = len(set(own.values())) == 1
    for label, threshold in own.items():
        colour = _INK if shared else colours[label]
        axes.axhline(threshold, color=colour, linewidth=0.9, linestyle=(0, (4, 4)))
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_ylabel("score", color=_INK)


def _draw_events(axes: Axes, detection: Detection, colours: Mapping[str, str]) -> None:
    labels = detection.scores.labels
    least = (
        detection.scores.end - detection.scores.start
    ) / 600  # a short event in a long recording stays visible
    for row, label in enumerate(labels):
        spans = [(e.onset, max(e.offset - e.onset, least)) for e in detection.events if e.label == label]
        axes.broken_barh(spans, (row - 0.36, 0.72), facecolor=colours[label])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), [_shortened(label) for label in labels], parse_math=False)
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_color(colours[label])
        tick.set_fontweight("bold")
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _envelope(
    times: NDArray[np.float64], values: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The curves' peaks in at most `_MAX_POINTS` steps of time."""
    size = -(-len(times) // _MAX_POINTS)
    starts = np.arange(0, len(times), size)
    return times[starts], np.maximum.reduceat(values, starts, axis=0)


def _palette(count: int) -> list[str]:
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    from matplotlib import colormaps

    return [to_hex(colour) for colour in 0.8 * colormaps["turbo"](np.linspace(0.05, 0.95, count))[:, :3]]


def _shortened(label: str) -> str:
    line = " ".join(label.split())
    return line if len(line) <= _MAX_LABEL else line[: _MAX_LABEL - 1].rstrip() + "…"


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(length=3, color=_FAINT, labelcolor=_INK, labelsize=10)


def _tick_time(axes: Axes, seconds: float, *, labelled: bool) -> None:
    """Ticks at whole seconds, minutes or hours, ten or so; labels under the lowest panel only."""
    steps = (
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        15,
        30,
        60,
        120,
        300,
        600,
        900,
        1_800,
        3_600,
        7_200,
    )
    step = next((step for step in steps if seconds / step <= 12), 3_600 * max(1, round(seconds / 36_000)))
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: _clock(time, seconds)))
    axes.tick_params(axis="x", labelbottom=labelled)
    if labelled:
        axes.set_xlabel("time (s)" if seconds < 120 else "time", color=_INK)


def _clock(time: float, span: float) -> str:
    if span < 120:
        return f"{time:.10g}"
    minutes, seconds = divmod(round(time), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
