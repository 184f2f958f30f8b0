"""Batches to pre-train PE-AV on, from shards of clips: cut, one caption of each kind chosen, tokenised, padded.

What happens to a clip depends on the seed, its source, its epoch, and its key alone. So threads change nothing, and a
run that goes on anywhere gets the batches that the uninterrupted one would have got.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peaframe.clock import HOP_SAMPLES, SAMPLE_RATE, frame_count, frames_of_seconds, samples_of_seconds
from peaframe.codec.encode import encode
from peaframe.data.clip_maker import codec_facts, video_facts
from peaframe.data.clip_reader import ClipMixture, ClipReader, ClipSample, Drawn, refuse_others
from peaframe.errors import ModelError, OptionError
from peaframe.models.load import PEModel
from peaframe.models.text import QueryTokenizer
from peaframe.train.pretrain_batch import CAPTIONS, PretrainBatch, Tokens

_CAPTION, _TRANSCRIPT = "{caption}", "{transcript}"


@dataclass(frozen=True)
class ClipOptions:
    """What happens to clips. How the paper puts in transcripts is not known; that they may is all it says.

    Attributes:
        crop_seconds: longer clips are cut to this length, sound and pictures together, elsewhere in every epoch; None
            for whole clips.
        transcripts: probability that what is spoken is put in; where there is no caption to put it into, it always
            is. None to leave transcripts alone (stage 1).
        transcript_kinds: into which captions.
        transcript_form: what becomes of a caption then; `{caption}` and `{transcript}` stand for both.

    Raises:
        OptionError: a number or a kind makes no sense.
    """

    crop_seconds: float | None = None
    transcripts: float | None = None
    transcript_kinds: tuple[str, ...] = ("audio",)
    transcript_form: str = _TRANSCRIPT

    def __post_init__(self) -> None:
        if self.crop_seconds is not None and not frames_of_seconds(self.crop_seconds) >= 1:
            raise OptionError(f"got crop_seconds {self.crop_seconds}, expected 0.04 s or more, or None")
        if self.transcripts is not None and not 0 <= self.transcripts <= 1:
            raise OptionError(
                f"got transcripts {self.transcripts}, expected a probability from 0 to 1, or None"
            )
        if not set(self.transcript_kinds) <= set(CAPTIONS):
            raise OptionError(
                f"got transcript_kinds {self.transcript_kinds}, expected some of {', '.join(CAPTIONS)}"
            )
        if _TRANSCRIPT not in self.transcript_form:
            raise OptionError(f"got transcript_form {self.transcript_form!r}, expected {_TRANSCRIPT} in it")


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips in a batch.

    Attributes:
        inputs: latents, features and token ids, padded; what a clip does not have has 0 frames or no words. Its
            `transcript` stays None: what is spoken is in the captions by then, if it is wanted.
        keys: of the clips, in their folders.
        sources: number of each clip's reader in the mixture.
        texts: what was tokenised, by kind; None where a clip has no caption.
        starts: where each clip was cut, in seconds from its own beginning.
    """

    inputs: PretrainBatch
    keys: tuple[str, ...]
    sources: tuple[int, ...]
    texts: Mapping[str, tuple[str | None, ...]]
    starts: tuple[float, ...]

    @property
    def has_audio(self) -> Tensor:
        """(clips,) bool: which have sound."""
        return self.inputs.audio_frames > 0

    @property
    def has_video(self) -> Tensor:
        """(clips,) bool: which have pictures."""
        return self.inputs.video_frames > 0


@dataclass(frozen=True, eq=False)
class _Crop:
    """A clip as it goes into a batch."""

    drawn: Drawn
    latents: NDArray[np.float32] | None
    video: NDArray[np.float32] | None
    texts: Mapping[str, str]
    start: float


class ClipBatches:
    """Batches of an epoch of a reader, or of a mixture without end; left anywhere, it goes on there.

    The last batch of an epoch may be smaller; those of a mixture are all full.
    """

    def __init__(
        self,
        clips: ClipReader | ClipMixture,
        tokenizer: QueryTokenizer,
        *,
        batch_size: int,
        options: ClipOptions | None = None,
        seed: int = 0,
        model: PEModel | None = None,
    ) -> None:
        """Prepare.

        Args:
            clips: gives those of this rank; nobody else may take any.
            tokenizer: of the text tower; captions that are too long for it lose their end, and one without a known
                word is no caption.
            batch_size: most clips of a batch.
            options: what happens to clips; None for nothing.
            seed: of crops, captions and transcripts.
            model: what is trained: shards that other models made are refused, and its codec hears shards of
                sound. None where there are only latents, and nobody minds whose.

        Raises:
            OptionError: a number makes no sense, or there are shards of sound and no model.
            ModelError: latents or features are of another model.
        """
        if batch_size < 1 or seed < 0:
            raise OptionError(f"got batch_size {batch_size}, seed {seed}; expected 1 or more, and 0 or more")
        if clips.content == "audio" and model is None:
            raise OptionError("got shards of sound and no model; give the one whose codec is to hear them")
        if model is not None:
            looks = "video" in clips.made and getattr(model, "image", None) is not None
            refuse_others(clips.made, codec_facts(model), video_facts(model) if looks else None)
        self._clips, self._tokenizer, self._model = clips, tokenizer, model
        self._size, self._seed, self._options = batch_size, seed, options or ClipOptions()
        described = [batch_size, seed, asdict(self._options), tokenizer.max_tokens]
        self._data = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
        facts = clips.made.get("latents") or ({} if model is None else codec_facts(model))
        self._channels = int(facts.get("channels", 0)), int(clips.made.get("video", {}).get("channels", 0))

    def __iter__(self) -> Iterator[ClipBatch]:
        """The batches that have not been given; of a reader, those of this epoch.

        Raises:
            FormatError: while iterating: a shard is damaged.
        """
        with closing(_generator(self._clips)) as clips:
            while taken := list(islice(clips, self._size)):
                yield self._together([self._cut(drawn) for drawn in taken])

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and a hash of the options."""
        return {"clips": self._clips.state_dict(), "data": self._data}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            OptionError: it had other clips or options, so its batches were others.
        """
        if state.get("data") != self._data:
            raise OptionError(
                f"got the state {state.get('data')} of other options, this one is {self._data}; resume with the "
                "batches, crops, transcripts and seed of the run that is resumed"
            )
        self._clips.load_state_dict(state["clips"])

    def _cut(self, drawn: Drawn) -> _Crop:
        clip = drawn.clip
        mark = int.from_bytes(hashlib.sha256(clip.key.encode("utf-8")).digest()[:8], "big")
        rng = np.random.default_rng((self._seed, drawn.source, drawn.epoch, mark))
        share = float(rng.random())  # drawn in any case, so that captions do not depend on crops
        texts = chosen_texts(clip, self._options, rng)
        frames = clip_frames(clip)
        first, last = 0, frames
        if self._options.crop_seconds is not None:
            wanted = frames_of_seconds(self._options.crop_seconds)
            if frames > wanted:
                first = int(share * (frames - wanted + 1))
                last = first + wanted
        video = clip.video
        if video is not None and not clip.still and (first, last) != (0, frames):
            video = video[crop_of_pictures(len(video), first / frames, last / frames)]
        latents = None if clip.sound is None else self._hear(clip.sound, first, last)
        return _Crop(
            drawn,
            latents,
            None if video is None else video.astype(np.float32),
            texts,
            first * HOP_SAMPLES / SAMPLE_RATE,
        )

    def _hear(self, sound: NDArray[Any], first: int, last: int) -> NDArray[np.float32]:
        """Latents of the frames from `first` to `last`, which are kept or made here."""
        if sound.ndim == 2 or self._model is None:
            return sound[first:last].astype(np.float32)
        with torch.no_grad():
            waveform = torch.from_numpy(sound[first * HOP_SAMPLES : last * HOP_SAMPLES])
            rows = encode(self._model.audio.open_stream(), waveform).float().cpu().numpy()
        return np.asarray(rows, np.float32)

    def _together(self, crops: Sequence[_Crop]) -> ClipBatch:
        latents, audio_frames = _padded([crop.latents for crop in crops], self._channels[0])
        video, video_frames = _padded([crop.video for crop in crops], self._channels[1])
        texts = {kind: tuple(crop.texts.get(kind) for crop in crops) for kind in CAPTIONS}
        captions, kept = {}, {}
        for kind, own in texts.items():
            captions[kind], kept[kind] = _tokens(own, self._tokenizer)
        return ClipBatch(
            PretrainBatch(latents, audio_frames, video, video_frames, captions),
            tuple(crop.drawn.clip.key for crop in crops),
            tuple(crop.drawn.source for crop in crops),
            kept,
            tuple(crop.start for crop in crops),
        )


def chosen_texts(clip: ClipSample, options: ClipOptions, rng: np.random.Generator) -> dict[str, str]:
    """One caption of each kind that there is, and what is spoken put into them."""
    texts = {}
    for kind in CAPTIONS:
        places, put = rng.random(2)
        given = clip.captions.get(kind, ())
        if given:
            texts[kind] = given[int(places * len(given))]
        if options.transcripts is None or not clip.transcript or kind not in options.transcript_kinds:
            continue
        if kind not in texts:
            texts[kind] = clip.transcript
        elif put < options.transcripts:
            form = options.transcript_form.replace(_TRANSCRIPT, "\0").replace(_CAPTION, texts[kind])
            texts[kind] = form.replace("\0", clip.transcript)
    return texts


def clip_frames(clip: ClipSample) -> int:
    """How many frames of 40 ms a clip lasts: of its sound, or of its pictures where there is none; one at least."""
    if clip.sound is not None:
        return len(clip.sound) if clip.sound.ndim == 2 else frame_count(len(clip.sound))
    return max(1, frame_count(samples_of_seconds(clip.seconds)))


def crop_of_pictures(count: int, begin: float, end: float) -> slice:
    """Which of evenly spread pictures stand in a part of a clip, from share to share of it; one at least."""
    places = (np.arange(count) + 0.5) / count
    first = int(np.searchsorted(places, begin))
    last = int(np.searchsorted(places, end))
    if first < last:
        return slice(first, last)
    nearest = int(np.argmin(np.abs(places - (begin + end) / 2)))
    return slice(nearest, nearest + 1)


def _padded(rows: Sequence[NDArray[np.float32] | None], channels: int) -> tuple[Tensor, Tensor]:
    """(clips, frames, channels) with zeros behind each, and how many frames each has."""
    counts = [0 if own is None else len(own) for own in rows]
    out = torch.zeros(len(rows), max(1, *counts) if counts else 1, channels)
    for place, own in zip(out, rows, strict=True):
        if own is not None:
            place[: len(own)] = torch.from_numpy(own)
    return out, torch.tensor(counts)


def _tokens(texts: Sequence[str | None], tokenizer: QueryTokenizer) -> tuple[Tokens, tuple[str | None, ...]]:
    """Token ids, and the texts that became some."""
    rows: list[Tensor] = []
    kept: list[str | None] = []
    for text in texts:
        try:
            own = None if text is None else tokenizer([text], cut=True)[0][0]
        except ModelError:
            own = None  # without a word that the tokenizer knows
        rows.append(torch.zeros(0, dtype=torch.int64) if own is None else own)
        kept.append(None if own is None else text)
    ids = torch.zeros(len(rows), max(1, *(len(row) for row in rows)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return Tokens(ids, mask), tuple(kept)


def _generator(clips: ClipReader | ClipMixture) -> Generator[Drawn, None, None]:
    yield from clips.drawn()
