"""What a captioning decoder learns from: clips of a table, heard once, with the captions of its columns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from peaframe.captions.captioned import Failed
from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.prefix_rows import KeptRows, read_rows
from peaframe.data.clips_table import ClipRow, captions_in, stream
from peaframe.errors import AudioError, FormatError, OptionError, VideoError
from peaframe.infer.ahead import ahead
from peaframe.train.pretrain_batch import CAPTIONS

_ENDING = "_caption"


@dataclass(frozen=True)
class Example:
    """A clip with a caption.

    Attributes:
        heard: (frames, width), its embeddings, or the file that keeps them.
        kind: of the caption.
        caption: what is to be written.
        media: the clip's file, as a table names it.
    """

    heard: Tensor | Path
    kind: str
    caption: str
    media: str = ""

    @property
    def rows(self) -> Tensor:
        """(frames, width) float32; raises FormatError if the file is gone or damaged."""
        return read_rows(self.heard) if isinstance(self.heard, Path) else self.heard


def read_examples(
    table: Path,
    columns: Mapping[str, str],
    kept: KeptRows,
    longest_seconds: float = 60.0,
    tell: Callable[[int, int], object] | None = None,
) -> tuple[list[Example], list[Failed]]:
    """The clips of a table with their captions; what has none is passed over, unheard.

    Args:
        table: as `peaframe shards` takes it.
        columns: kind of caption -> the column that has it.
        kept: keeps what is heard, and hears what it does not have.
        longest_seconds: clips that are longer are left out.
        tell: told after each clip with captions how many are done, and of how many.

    Returns:
        An example for each caption, in the table's order, and the clips that were left out, with the reasons.

    Raises:
        ManifestError: the table cannot be read, or a row makes no sense.
        FormatError: a column never holds a caption, no clip can be heard, or there is no room for what is heard.
    """
    rows = [(row, said) for row in stream(table) if (said := _said(row, columns))]
    for kind, column in columns.items():
        if not any(kind == own for _, said in rows for own, _ in said):
            raise FormatError(
                f"{table}: no row has a caption in the column {column!r}, for kind {kind}; name another one"
            )
    examples: list[Example] = []
    failed: list[Failed] = []
    for count, (clip, said, opened) in enumerate(ahead(_opened(rows, kept, longest_seconds)), 1):
        try:
            if isinstance(opened, str):
                raise AudioError(opened)
            path = kept.keep(opened)
            opened.forget()
            examples += [Example(path, kind, caption, clip.media) for kind, caption in said]
        except (AudioError, OptionError) as error:
            failed.append(Failed(clip, str(error)))
        if tell is not None:
            tell(count, len(rows))
    if not examples:
        raise FormatError(f"{table}: no clip with captions can be heard; {failed[0].reason}")
    return examples, failed


def _opened(
    rows: Sequence[tuple[ClipRow, list[tuple[str, str]]]], kept: KeptRows, longest: float
) -> Iterator[tuple[Clip, list[tuple[str, str]], OpenClip | str]]:
    """Clips, decoded if they were not heard before, or why they cannot be."""
    for row, said in rows:
        clip = Clip(row.media, Path(row.path), row.start, row.end, row.transcript)
        opened: OpenClip | str
        try:
            opened = OpenClip(clip)
            if not opened.streams.sound:
                raise AudioError(f"{clip.media}: has no sound")
            if opened.seconds > longest:
                raise AudioError(
                    f"{clip.media}: the clip has {opened.seconds:.1f} s, expected {longest:g} s at most"
                )
            if not kept.path(opened).is_file():
                opened.sound  # noqa: B018  # decoded here, in the thread
        except (AudioError, VideoError) as error:
            opened = str(error)
        yield clip, said, opened


def _said(row: ClipRow, columns: Mapping[str, str]) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    for kind, column in columns.items():
        known = column.removesuffix(_ENDING)
        if column.endswith(_ENDING) and known in CAPTIONS:
            captions = list(row.captions.get(known, ()))
        else:
            captions = list(captions_in(row.metadata.get(column), column, f"row {row.row}"))
        said += [(kind, caption) for caption in captions]
    return said


def digest(examples: Sequence[Example]) -> str:
    """Sixteen hex digits that tell what is learnt apart: clips by what was heard, kinds and captions, in order."""
    told = hashlib.sha256()
    for example in examples:
        heard = example.heard
        if isinstance(heard, Path):
            told.update(f"{heard.name}\n".encode())
        else:
            told.update(heard.float().cpu().contiguous().numpy().tobytes())
        told.update(f"{example.kind}\n{example.caption}\n".encode())
    return told.hexdigest()[:16]


def other_sounds(examples: Sequence[Example]) -> list[int | None]:
    """For each example the next one of its kind, round the end, that is another clip with other words, if any is."""
    by_kind: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        by_kind.setdefault(example.kind, []).append(i)
    found: list[int | None] = [None] * len(examples)
    for numbers in by_kind.values():
        for place, i in enumerate(numbers):
            after = (numbers[(place + n) % len(numbers)] for n in range(1, len(numbers)))
            found[i] = next((j for j in after if _differ(examples[i], examples[j])), None)
    return found


def _differ(one: Example, other: Example) -> bool:
    if one.caption.lower() == other.caption.lower():
        return False
    if isinstance(one.heard, Path) and isinstance(other.heard, Path):
        return one.heard != other.heard
    return one.heard is not other.heard


def padded_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Clips (frames, width) as one batch (clips, frames, width), and the mask (clips, frames) of what is theirs."""
    lengths = torch.tensor([len(own) for own in rows])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), mask
