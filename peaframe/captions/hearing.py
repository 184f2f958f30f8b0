"""peaframe's own model in the engine: how far a caption fits the sound, and which events are heard.

The paper scores captions with Joint-CLAP. Here it is the mean over the clip of the frame scores of the caption taken
as a query; this and the bounds of low, medium and high are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from peaframe.captions.clips import OpenClip
from peaframe.captions.parts import Failure
from peaframe.errors import ModelError, OptionError
from peaframe.infer.detector import Detector

LOW, MEDIUM, HIGH = "low", "medium", "high"


class FrameScorer:
    """Confidence of a caption: the mean over frames of the probability that what it says is heard."""

    def __init__(self, detector: Detector, medium: float = 0.1, high: float = 0.3) -> None:
        """Score with a detector's model.

        Args:
            detector: from `peaframe.load`.
            medium: scores above this are at least medium,
            high: and above this, high.

        Raises:
            OptionError: not 0 <= medium <= high <= 1.
        """
        if not 0 <= medium <= high <= 1:
            raise OptionError(f"got bounds {medium} and {high}, expected 0 <= medium <= high <= 1")
        self._detector, self._bounds = detector, (medium, high)
        self.name = detector.model.name
        self.identity = f"mean frame score {detector.model.fingerprint()}"

    def score(self, clips: Sequence[OpenClip], captions: Sequence[str]) -> list[float | Failure]:
        """From 0 to 1 for each clip with its caption; a caption the model cannot read is a failure."""
        return [self._score(clip, caption) for clip, caption in zip(clips, captions, strict=True)]

    def level(self, score: float) -> str:
        """The score as `low`, `medium` or `high`."""
        medium, high = self._bounds
        return HIGH if score > high else MEDIUM if score > medium else LOW

    def vectors(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Captions in the model's space, (captions, dim) of unit length; zeros for those it cannot read."""
        rows = np.zeros((len(captions), self._detector.model.embedding_dim), np.float32)
        for i, caption in enumerate(captions):
            try:
                vector = self._detector.ask([caption]).texts[0].float().cpu().numpy()
            except (ModelError, OptionError):
                continue
            rows[i] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return rows

    def _score(self, clip: OpenClip, caption: str) -> float | Failure:
        try:
            scores = self._detector.score(clip.sound, [caption])
        except (ModelError, OptionError) as error:
            return Failure(str(error))
        return float(scores.values.mean(dtype=np.float64))


class FrameEar:
    """Hears events of given labels, with the model's own thresholds."""

    def __init__(self, detector: Detector, labels: Sequence[str]) -> None:
        """Listen for `labels`; raises OptionError if there are none."""
        if not labels:
            raise OptionError("got no labels to listen for; expected one or more, such as 'dog barking'")
        self._detector, self._labels = detector, tuple(dict.fromkeys(labels))
        self.name = detector.model.name
        options = detector.model.event_options
        self.identity = f"events {detector.model.fingerprint()} {options} {self._labels}"

    def hear(self, clips: Sequence[OpenClip]) -> list[tuple[str, ...]]:
        """Labels of what is heard in each clip, in the order given."""
        heard = []
        for clip in clips:
            events = self._detector.detect(clip.sound, self._labels).events
            found = {event.label for event in events}
            heard.append(tuple(label for label in self._labels if label in found))
        return heard
