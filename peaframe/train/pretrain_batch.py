"""What PE-AV's pre-training looks at: some clips, and whatever there is of each; nothing is made up for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from peaframe.errors import OptionError

CAPTIONS = ("audio", "visual", "audio_visual")  # what a caption tells of; each kind has its own head
_FACTOR = 6364136223846793005  # an odd number of 63 bits


@dataclass(frozen=True, eq=False)
class Tokens:
    """A text for each clip that has one.

    Attributes:
        ids: (clips, tokens) int64.
        mask: (clips, tokens), 1 or true where there are words; nowhere in a clip without text.
    """

    ids: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """(clips,) bool: which clips have a text."""
        return self.mask.bool().any(dim=1)

    def same(self) -> Tensor:
        """(clips,) int64: equal for the same words, on any process and with any padding; -1 without text."""
        keep = self.mask.bool()
        powers = torch.full_like(self.ids, _FACTOR).cumprod(
            dim=1
        )  # int64 wraps round: a polynomial modulo 2**64
        mixed = ((self.ids + 1) * powers * keep).sum(dim=1)
        mixed = mixed ^ (mixed >> 29)
        return (mixed & (2**63 - 1)).masked_fill(~self.present, -1)


@dataclass(frozen=True, eq=False)
class PretrainBatch:
    """Clips; what has 0 frames or no words is not there.

    Attributes:
        latents: (clips, frames, channels), 25 a second, of the codec.
        audio_frames: (clips,) int64, frames that belong to each clip; 0 for one without sound.
        video: (clips, pictures, features) of the image encoder, of unit length.
        video_frames: (clips,) int64, pictures that belong to each clip; 0 for one without pictures.
        captions: texts by kind, of `CAPTIONS`; a kind that no clip has may be missing.
        transcript: what is said in a clip; see `with_transcripts`.
    """

    latents: Tensor
    audio_frames: Tensor
    video: Tensor
    video_frames: Tensor
    captions: Mapping[str, Tokens]
    transcript: Tokens | None = None

    def __post_init__(self) -> None:
        """Check that shapes fit."""
        clips = len(self.latents)
        odd = [kind for kind in self.captions if kind not in CAPTIONS]
        if odd:
            raise OptionError(f"got captions of kind {odd[0]!r}, expected {', '.join(CAPTIONS)}")
        for name, x, counts in (
            ("latents", self.latents, self.audio_frames),
            ("video", self.video, self.video_frames),
        ):
            if x.dim() != 3 or len(x) != clips or tuple(counts.shape) != (clips,):
                raise OptionError(
                    f"got {name} {tuple(x.shape)} with frames {tuple(counts.shape)}, "
                    f"expected (clips, frames, channels) and (clips,) of {clips} clips"
                )
            if clips and not 0 <= int(counts.min()) <= int(counts.max()) <= x.shape[1]:
                raise OptionError(
                    f"got clips of {int(counts.min())} to {int(counts.max())} frames in {name}, "
                    f"expected from 0 (none there) to {x.shape[1]}"
                )
        for name, text in self._texts().items():
            if text.ids.dim() != 2 or len(text.ids) != clips or text.mask.shape != text.ids.shape:
                raise OptionError(
                    f"got {name} ids {tuple(text.ids.shape)} with a mask {tuple(text.mask.shape)}, "
                    f"expected (clips, tokens) for both, of {clips} clips"
                )

    def _texts(self) -> dict[str, Tokens]:
        return {**self.captions, **({} if self.transcript is None else {"transcript": self.transcript})}

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def audio_mask(self) -> Tensor:
        """(clips, frames) bool."""
        return _within(self.latents, self.audio_frames)

    @property
    def video_mask(self) -> Tensor:
        """(clips, pictures) bool."""
        return _within(self.video, self.video_frames)

    def caption(self, kind: str) -> Tokens:
        """The captions of a kind; of a kind that is missing, none for any clip."""
        found = self.captions.get(kind)
        if found is not None:
            return found
        ids = torch.zeros(len(self), 1, dtype=torch.int64, device=self.latents.device)
        return Tokens(ids, torch.zeros_like(ids))

    def present(self) -> dict[str, Tensor]:
        """Which clips have `audio`, `visual`, `audio_text`, `visual_text`, `audio_visual_text`, each (clips,) bool."""
        own = {"audio": self.audio_frames > 0, "visual": self.video_frames > 0}
        return own | {f"{kind}_text": self.caption(kind).present for kind in CAPTIONS}

    def to(self, device: torch.device | str) -> PretrainBatch:
        """The same on a device."""
        return self._map(lambda x: x.to(device, non_blocking=True))

    def part(self, rows: slice | Tensor) -> PretrainBatch:
        """Some of the clips."""
        return self._map(lambda x: x[rows])

    def pieces(self, clips: int) -> list[PretrainBatch]:
        """The batch in pieces of so many clips; the last one may have fewer."""
        if clips < 1:
            raise OptionError(f"got pieces of {clips} clips, expected 1 or more")
        return [self.part(slice(first, first + clips)) for first in range(0, len(self), clips)]

    def _map(self, change: Callable[[Tensor], Tensor]) -> PretrainBatch:
        def move(text: Tokens) -> Tokens:
            return Tokens(change(text.ids), change(text.mask))

        return replace(
            self,
            **{f.name: change(getattr(self, f.name)) for f in fields(self)[:4]},
            captions={kind: move(text) for kind, text in self.captions.items()},
            transcript=None if self.transcript is None else move(self.transcript),
        )


def _within(x: Tensor, counts: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=counts.device) < counts[:, None]


def with_transcripts(batch: PretrainBatch, probability: float, generator: torch.Generator) -> PretrainBatch:
    """What is said in place of the caption of the sound: always where there is no such caption, else now and then.

    The paper puts transcripts in with a probability that is not known, into which captions neither.

    Args:
        batch: with transcripts; without any, it comes back as it is.
        probability: of a transcript to stand for a caption, from 0 to 1.
        generator: on the CPU.
    """
    if not 0 <= probability <= 1:
        raise OptionError(f"got a probability of transcripts of {probability}, expected a number from 0 to 1")
    if batch.transcript is None:
        return batch
    said, caption = batch.transcript, batch.caption("audio")
    drawn = (torch.rand(len(batch), generator=generator) < probability).to(said.ids.device)
    taken = (said.present & (drawn | ~caption.present)).tolist()
    rows = [
        source.ids[i][source.mask[i].bool()]
        for i, source in enumerate(said if own else caption for own in taken)
    ]
    ids = pad_sequence([row if len(row) else row.new_zeros(1) for row in rows], batch_first=True)
    counts = torch.tensor([len(row) for row in rows], device=ids.device)
    mask = (torch.arange(ids.shape[1], device=ids.device) < counts[:, None]).to(said.mask.dtype)
    return replace(batch, captions={**batch.captions, "audio": Tokens(ids, mask)})


def spread_frames(batch: PretrainBatch, frames: int | None) -> PretrainBatch:
    """As many pictures of each clip as the model takes, evenly spread from the first to the last, as on whole videos.

    A clip of fewer pictures has some more than once, and one without any still has none.

    Args:
        batch: with all pictures.
        frames: how many; None for all of them, as they are.
    """
    if frames is None:
        return batch
    if not batch.video.shape[1]:
        return batch
    steps = torch.arange(frames, device=batch.video.device)
    last = (batch.video_frames - 1).clamp(min=0)
    wanted = steps * last[:, None] // max(1, frames - 1)
    video = torch.take_along_dim(batch.video, wanted[:, :, None], dim=1)
    return replace(batch, video=video, video_frames=(batch.video_frames > 0) * frames)
