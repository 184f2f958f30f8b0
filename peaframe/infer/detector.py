"""The main job: a recording and some words in, events out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe import audio, formats
from peaframe.audio.arrays import from_array
from peaframe.calibration import Calibration
from peaframe.clock import (
    HOP_SAMPLES,
    frame_at,
    frame_count,
    frame_start_seconds,
    samples_of_seconds,
    seconds_of_samples,
)
from peaframe.errors import AudioError, ModelError, OptionError
from peaframe.events import Event, EventOptions, events_from_scores
from peaframe.infer.embeddings import SUFFIX, Embeddings
from peaframe.infer.listening import Listener, Stretch, Use
from peaframe.infer.texts import TextEmbeddings
from peaframe.infer.windows import OVERLAP_FRAMES, WINDOW_FRAMES, Stitcher, window_count
from peaframe.models.device import device_of
from peaframe.models.frame import FrameModel
from peaframe.models.load import load_model
from peaframe.models.names import BUILT_IN
from peaframe.models.precision import EXACT, check_precision
from peaframe.queries import QueryFile
from peaframe.scores import Scores
from peaframe.version import __version__

if TYPE_CHECKING:
    import pandas as pd

Options = EventOptions | Mapping[str, EventOptions]
BLOCK_SECONDS = 10.0  # decoded at a time; two more wait
_ROWS = 2_000  # of embeddings, scored at a time


@dataclass(frozen=True)
class Asked:
    """Queries as a model knows them: `texts` (queries, dim) and what is added to their logits, `biases` (queries,)."""

    texts: torch.Tensor
    biases: torch.Tensor


@dataclass(frozen=True)
class Detection:
    """What was heard in one recording.

    Attributes:
        source: the recording's path as it was given, or `array`.
        events: the events, sorted by onset.
        scores: the probabilities behind them, (frames, queries), 40 ms apart.
        settings: what made them: version, model, queries, event options, window, device.
    """

    source: str
    events: list[Event]
    scores: Scores
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dataframe(self) -> pd.DataFrame:
        """The events as a table with the columns filename, onset, offset, event_label, score."""
        import pandas as pd

        rows = [(self.source, e.onset, e.offset, e.label, e.score) for e in self.events]
        return pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label", "score"])

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write the events; the format is a name of `peaframe.formats`, or follows from the suffix."""
        formats.save(path, {self.source: self.events}, format, meta=self.settings)


class Detector:
    """A frame model ready to hear recordings."""

    def __init__(
        self,
        model: FrameModel,
        device: str = "auto",
        precision: str = EXACT,
        window_frames: int = WINDOW_FRAMES,
        overlap_frames: int = OVERLAP_FRAMES,
    ) -> None:
        """Put `model` on a device.

        Args:
            model: from `peaframe.models.load_model`.
            device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` ...
            precision: `exact` (float32) or `fast` (half precision where the processor gains by it).
            window_frames: 40 ms frames that the transformer hears at a time; see docs/engine.md.
            overlap_frames: how many of them neighbouring windows share at least.

        Raises:
            OptionError: no such device here, no such precision, or an overlap that is no part of a window.
        """
        if not 0 <= overlap_frames < window_frames:
            raise OptionError(
                f"got windows of {window_frames} frames that share {overlap_frames}, expected 0 <= overlap < window"
            )
        self.window_frames, self.overlap_frames = window_frames, overlap_frames
        self.device = device_of(device)
        self.model = model.to(self.device).eval()
        self.model.set_precision(precision)
        self._texts = TextEmbeddings(model)

    def use_queries(self, queries: QueryFile) -> None:
        """Take these query vectors for queries of their names from now on, and no longer any that were taken before.

        Raises:
            OptionError: they were tuned for another model.
        """
        self._texts.use(queries)

    def detect(
        self,
        source: str | Path | NDArray[np.floating[Any]],
        queries: Sequence[str],
        options: Options | None = None,
        *,
        calibration: Calibration | None = None,
        start: float | None = None,
        end: float | None = None,
        progress: bool = False,
    ) -> Detection:
        """Find when each described sound is heard.

        Args:
            source: an audio or video file, mono samples (samples,) at 48 kHz in [-1, 1] (or int16, int32 or uint8, as
                WAV files hold them), or a `.npz` file of embeddings.
            queries: descriptions such as "dog barking", or names given to `use_queries`; repeated ones count once.
            options: how scores become events, for all queries or by query; None takes the calibration's, and the
                model's own for queries it does not know.
            calibration: what was fitted for this model; scores of queries it knows are calibrated.
            start: where to begin, in seconds; times in the result still count from the recording's start.
            end: where to stop, in seconds.
            progress: show a bar on stderr if that is a terminal.

        Returns:
            Events, scores and settings. Audio memory does not grow with the recording's length.

        Raises:
            AudioError: the recording cannot be read, or has no sound in that range.
            ModelError: a query is empty or too long.
            OptionError: no queries, a query without options, or a calibration of another model.
        """
        words = _checked(queries)
        chosen = self.model.event_options if options is None else options
        if calibration is not None:
            calibration.check_model(self.model.name, self.model.fingerprint())
            if options is None:
                chosen = calibration.options(words, self.model.event_options)
        if not isinstance(chosen, EventOptions | Mapping):
            raise OptionError(
                f"got the options {chosen!r}, expected EventOptions, or a mapping from queries to them"
            )
        if isinstance(chosen, Mapping) and (missing := [word for word in words if word not in chosen]):
            raise OptionError(f"no event options for {missing[0]!r}; expected some for every query")
        scores = self.score(source, words, start=start, end=end, progress=progress)
        if calibration is not None:
            scores = calibration.apply(scores)
        settings = {
            "peaframe": __version__,
            "model": self.model.name,
            "device": str(self.device),
            "precision": self.model.precision,
            "products": str(self.model.products).removeprefix("torch."),
            "queries": words,
            "options": _plain(chosen),
            "tuned": self._texts.own(words),
            "calibrated": [] if calibration is None else calibration.known(words),
            "window_frames": self.window_frames,
            "overlap_frames": self.overlap_frames,
        }
        name = str(source) if isinstance(source, (str, Path)) else "array"
        return Detection(name, events_from_scores(scores, chosen), scores, settings)

    def score(
        self,
        source: str | Path | NDArray[np.floating[Any]],
        queries: Sequence[str],
        *,
        start: float | None = None,
        end: float | None = None,
        progress: bool = False,
    ) -> Scores:
        """The probabilities alone; arguments and errors as in `detect`."""
        words = _checked(queries)
        asked = self.ask(words)
        kept = _load_embeddings(source)
        if kept is not None:
            return self.score_embeddings(kept, words, start=start, end=end)
        stitcher, use = self.scoring(asked)
        logits, heard = self._listen(source, start, end, progress, stitcher(), use)
        return Scores(_sigmoid(logits), tuple(words), start or 0.0, seconds_of_samples(heard), self._meta())

    def embed(
        self,
        source: str | Path | NDArray[np.floating[Any]],
        *,
        start: float | None = None,
        end: float | None = None,
        progress: bool = False,
        file: IO[bytes] | None = None,
    ) -> Embeddings:
        """What the model hears, to be scored against any query later.

        Args:
            source: as in `detect`, but no embeddings.
            start: where to begin, in seconds.
            end: where to stop, in seconds.
            progress: show a bar on stderr if that is a terminal.
            file: opened for reading and writing, holds the embeddings instead of memory, 2 * dim bytes a frame (46 MB
                an hour with peaframe-mini), for as long as the result is used.
        """
        stitcher = Stitcher(self.model.embedding_dim, self.overlap_frames, np.float16, file)
        values, heard = self._listen(source, start, end, progress, stitcher, lambda x: x)
        name = str(source) if isinstance(source, (str, Path)) else "array"
        seconds = seconds_of_samples(heard)
        return Embeddings(values, self.model.name, self.model.fingerprint(), start or 0.0, seconds, name)

    @torch.inference_mode()
    def score_embeddings(
        self,
        embeddings: Embeddings,
        queries: Sequence[str],
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> Scores:
        """Probabilities from what `embed` kept, equal to those from the audio up to half precision.

        Raises:
            OptionError: another model made the embeddings, or they do not reach from `start` to `end`.
        """
        if embeddings.fingerprint != self.model.fingerprint():
            raise OptionError(
                f"these embeddings were made by {embeddings.model} ({embeddings.fingerprint}), "
                f"this model is {self.model.name} ({self.model.fingerprint()}); use --model {embeddings.model}"
            )
        words = _checked(queries)
        last = embeddings.start + embeddings.duration
        begin, stop = embeddings.start if start is None else start, last if end is None else min(end, last)
        beyond = end is not None and end > last + frame_start_seconds(1)  # containers round their length
        if beyond or not embeddings.start <= begin < stop:
            raise OptionError(
                f"got start {start} s and end {end} s, the embeddings reach from {embeddings.start:g} to {last:g} s"
            )
        first = frame_at(begin - embeddings.start)
        began = embeddings.start + frame_start_seconds(first)
        seconds = stop - began
        rows = embeddings.values[first : first + frame_count(samples_of_seconds(seconds))]
        values = self.probabilities(rows, self.ask(words), embedded=True)
        return Scores(values, tuple(words), began, seconds, self._meta())

    def listener(self) -> Listener:
        """What hears many recordings, or parts of some, at a time; see `scoring` and `embedding`."""
        return Listener(self.model, self.window_frames, self.overlap_frames)

    def ask(self, queries: Sequence[str]) -> Asked:
        """Queries as the model knows them; errors as in `detect`."""
        words = _checked(queries)
        return Asked(self._texts(words), self._texts.biases(words))

    def scoring(self, asked: Asked) -> tuple[Callable[[], Stitcher], Use]:
        """What a `Listener` needs to give logits (frames, queries)."""
        columns = len(asked.texts)
        return lambda: Stitcher(columns, self.overlap_frames), lambda x: self._logits(x, asked)

    def embedding(self) -> tuple[Callable[[], Stitcher], Use]:
        """What a `Listener` needs to give embeddings (frames, dim) in float16."""
        dim = self.model.embedding_dim
        return lambda: Stitcher(dim, self.overlap_frames, np.float16), lambda x: x

    @torch.inference_mode()
    def probabilities(
        self, rows: NDArray[np.floating[Any]], asked: Asked, embedded: bool
    ) -> NDArray[np.float32]:
        """Probabilities (frames, queries) from rows of `embedding`, or from logits of `scoring`."""
        if not embedded:
            return _sigmoid(rows.astype(np.float32))
        values = np.empty(
            (len(rows), len(asked.texts)), np.float32
        )  # small pieces kept would hold on to the heap
        for first in range(0, len(rows), _ROWS):
            part = torch.tensor(rows[first : first + _ROWS]).to(self.device, asked.texts.dtype)
            values[first : first + _ROWS] = self._logits(part[None], asked)[0].cpu().numpy()
        return _sigmoid(values)

    def _logits(self, frames: torch.Tensor, asked: Asked) -> torch.Tensor:
        return self.model.score(frames, asked.texts) + asked.biases

    def _meta(self) -> dict[str, str]:
        return {"model": self.model.name, "peaframe": __version__}

    def _listen(
        self,
        source: str | Path | NDArray[np.floating[Any]],
        start: float | None,
        end: float | None,
        progress: bool,
        stitcher: Stitcher,
        use: Use,
    ) -> tuple[NDArray[Any], int]:
        """Hear one recording.

        Returns:
            What `use` made of its frames, (frames, columns), and how many samples were heard.
        """
        finite = start is not None and 0 <= start < math.inf  # _open refuses all else
        lead = min(self.model.lead_frames, frame_at(start)) if start and finite else 0
        blocks, expected = _open(source, start, end, lead)
        size = self.window_frames, self.overlap_frames
        total = window_count(expected, *size) if expected else None
        with tqdm(total=total, desc="listen", unit="window", disable=None if progress else True) as bar:
            stretches = [Stretch(blocks, lead)]
            (heard,) = self.listener().hear(stretches, use, lambda: stitcher, bar.update)
        if heard.error is not None:
            raise heard.error
        return heard.values[: frame_count(heard.samples)], heard.samples


def load(name: str | Path = BUILT_IN, device: str = "auto", precision: str = EXACT) -> Detector:
    """Load a model by name or folder and make it a `Detector`; see `load_model` and `Detector` for errors."""
    return Detector(load_model(name), device, check_precision(precision))


def _load_embeddings(source: str | Path | NDArray[np.floating[Any]]) -> Embeddings | None:
    """The embeddings in a file that holds some, by its suffix; None for anything else."""
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() == SUFFIX and Path(source).is_file():
        return Embeddings.load(source)
    return None


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = torch.sigmoid(torch.from_numpy(logits)).numpy()
    return values


def _checked(queries: Sequence[str]) -> list[str]:
    if isinstance(queries, str):
        raise OptionError(f"got the text {queries!r}, expected a list of queries such as [{queries!r}]")
    for query in queries:
        if not isinstance(query, str) or _broken(query):
            raise OptionError(f"got the query {query!r}, expected text such as 'dog barking', in UTF-8")
    words = list(dict.fromkeys(query.strip() for query in queries))
    if not words:
        raise OptionError("got no queries, expected one or more texts such as 'dog barking'")
    if "" in words:
        raise ModelError("got an empty query, expected a few words such as 'dog barking'")
    return words


def _broken(query: str) -> bool:
    """Whether a query holds bytes of a command line that are no UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in query)


def _open(
    source: str | Path | NDArray[np.floating[Any]], start: float | None, end: float | None, lead: int
) -> tuple[Iterable[NDArray[np.float32]], int]:
    """Blocks of samples, from `lead` frames before the start, and how many to expect behind it (0 when unknown)."""
    if isinstance(source, (str, Path)):
        info = audio.probe(source)
        last = info.duration if end is None else min(end, info.duration or end)
        expected = samples_of_seconds(max(0.0, last - (start or 0.0)))
        blocks = audio.blocks(source, BLOCK_SECONDS, start, end)
        if start is not None and lead:
            blocks = audio.blocks(source, BLOCK_SECONDS, start - frame_start_seconds(lead), end)
        return blocks, expected
    samples = from_array(source)
    times = (0.0 if start is None else start, seconds_of_samples(len(samples)) if end is None else end)
    first, stop = (samples_of_seconds(time) if math.isfinite(time) else -1 for time in times)
    if not 0 <= first < stop <= len(samples):
        raise AudioError(
            f"got start {start} s and end {end} s in {seconds_of_samples(len(samples)):g} s of audio, "
            "expected 0 <= start < end <= its length"
        )
    return [samples[first - lead * HOP_SAMPLES : stop]], stop - first


def _plain(options: Options) -> dict[str, Any]:
    if isinstance(options, Mapping):
        return {query: dataclasses.asdict(own) for query, own in options.items()}
    return dataclasses.asdict(options)
