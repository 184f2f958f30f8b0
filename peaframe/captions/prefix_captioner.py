"""A trained captioning decoder with the model that it hears through, as a captioner of the engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from peaframe.captions.clips import OpenClip
from peaframe.captions.parts import Answer
from peaframe.captions.prefix import CONFIG, PrefixDecoder, load_prefix
from peaframe.captions.prefix_rows import Rows, fingerprint, load_rows
from peaframe.errors import CheckpointError, FormatError, OptionError
from peaframe.json_files import load_json, save_json

ENCODER = "encoder.json"
_FORMAT = "peaframe-captioner-encoder"
_FOLDERS = ("best", "last")  # of a run, the first that is there


class PrefixCaptioner:
    """A trained decoder as a captioner of sound for the engine, of one kind of caption."""

    def __init__(self, decoder: PrefixDecoder, encoder: Rows, kind: str) -> None:
        """Join the decoder to what it was trained on.

        Raises:
            OptionError: the encoder's width is another one, or there is no such kind.
        """
        if encoder.width != decoder.config.width or kind not in decoder.config.kinds:
            raise OptionError(
                f"got embeddings of {encoder.width} channels and kind {kind!r}, "
                f"expected {decoder.config.width} and one of {', '.join(decoder.config.kinds)}"
            )
        self._decoder, self._encoder, self._kind = decoder.eval(), encoder, kind
        self.name = kind
        self.identity = f"prefix {kind} {decoder.config} {fingerprint(decoder)} {encoder.identity}"

    def caption(self, clips: Sequence[OpenClip]) -> list[Answer]:
        """One caption for each clip's sound."""
        return list(self.write([self._encoder.rows(clip.sound) for clip in clips]))

    def write(self, rows: list[Tensor]) -> list[str]:
        """One caption for each clip that was heard before, (frames, width)."""
        return self._decoder.write(rows, self._kind)


def write_encoder(folder: Path, encoder: Rows) -> None:
    """Write which model's embeddings a decoder was trained on; a folder by its whole path."""
    name = os.path.abspath(encoder.name) if os.path.isdir(encoder.name) else encoder.name
    save_json(folder / ENCODER, _FORMAT, 1, {"model": name, "identity": encoder.identity})


def load_captioner(folder: str | Path, kind: str | None = None, device: str = "auto") -> PrefixCaptioner:
    """Load a captioner with the model that it hears through.

    Args:
        folder: of a run of training, whose `best/` is taken, or else its `last/`; or one of these.
        kind: of captions; None takes its first one.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` ...

    Raises:
        CheckpointError: the folder is incomplete, or the models it names are others now.
        ModelError: they cannot be loaded.
        OptionError: it does not write this kind.
    """
    own = Path(folder)
    if not (own / CONFIG).is_file():
        own = next((own / name for name in _FOLDERS if (own / name / CONFIG).is_file()), own)
    changed = tuple((own / name).stat().st_mtime_ns for name in (CONFIG, ENCODER) if (own / name).is_file())
    decoder, encoder = _joined(own, changed, device)
    return PrefixCaptioner(decoder, encoder, decoder.config.kinds[0] if kind is None else kind)


@lru_cache(maxsize=1)
def _joined(folder: Path, changed: tuple[int, ...], device: str) -> tuple[PrefixDecoder, Rows]:
    """Decoder and encoder; captioners of several kinds share them."""
    decoder = load_prefix(folder)
    path = folder / ENCODER
    try:
        told = load_json(path, _FORMAT, 1, "an encoder's name", "expected one beside prefix.json")
        model, wanted = str(told["model"]), told["identity"]
    except (FormatError, KeyError) as error:
        raise CheckpointError(f"{path}: does not name a model ({error}); get a whole copy") from error
    encoder = load_rows(model, device)
    if encoder.identity != wanted:
        raise CheckpointError(
            f"{path}: names {model}, which is {encoder.identity!r}, expected {wanted!r}; write there where the model "
            "of the training lies"
        )
    wide = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return decoder.to(torch.device(wide)), encoder
