"""`peaframe search`: which files of a folder hold this, and where?"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peaframe.cli.options import add_model_arguments
from peaframe.cli.output import print_text, table
from peaframe.errors import FormatError, OptionError

if TYPE_CHECKING:
    from peaframe.index.search import Filled, Hit
    from peaframe.index.store import MediaIndex

SHOWN = 5  # files that could not be read
HELP = "find the files of a folder that hold something, by words, by a sound, or by both"
EXAMPLES = """\
examples:
  peaframe search recordings "a dog barks"
  peaframe search recordings "a dog barks" --index recordings.index --top 50
  peaframe search recordings --audio this_bird.wav --index recordings.index
  peaframe search films "a train arrives" --audio train.wav --model pe-av-small --index films.index --json

A frame model (peaframe-mini, pe-a-frame-*) gives the best moment of each file: where the score is highest, and as long
as it stays above half of that. The score is the probability of the words; for a sound how alike both are, as a
cosine; for both the geometric mean. PE-AV compares pieces of 30 s of sound, and all pictures of a video at once, by
cosines (pictures with words and a sound: with both as one query). Every folder inside is looked into.

With --index what the model made of the files is kept, in half precision: the next search hears only files that are new
or changed, and one that was stopped goes on. Files are known by their content, so they may be moved and renamed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe search` takes."""
    parser.add_argument("folder", type=Path, help="where the audio and video files are")
    parser.add_argument("text", nargs="?", help='what to look for, such as "a dog barks"')
    parser.add_argument(
        "--audio", type=Path, metavar="FILE", help="a sound to look for; a few seconds are best"
    )
    parser.add_argument(
        "--top", type=int, default=20, metavar="N", help="how many files to show; default: 20"
    )
    parser.add_argument(
        "--index", type=Path, metavar="FOLDER", help="where to keep what was heard; default: nowhere"
    )
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print for machines")


def run(args: argparse.Namespace) -> None:
    """Hear what is new, rank, and print."""
    text = None if args.text is None else args.text.strip()
    if not text and args.audio is None:
        raise OptionError("got nothing to look for; give a TEXT such as 'a dog barks', or --audio FILE")
    if args.top < 1:
        raise OptionError(f"argument --top: got {args.top}, expected 1 or more")
    if not args.folder.is_dir():
        raise FormatError(f"{args.folder}: no such folder; give one with audio or video files")
    from peaframe import audio
    from peaframe.annotate.sources import find

    if args.audio is not None:
        audio.probe(args.audio)
    paths = [Path(path) for _, path in find([str(args.folder)])]
    from peaframe.index.clips import embeds_clips

    search = _by_clips if embeds_clips(args.model) else _by_frames
    with ExitStack() as stack:
        kept = args.index or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hits, filled, how = search(args, text or None, paths, kept)
    print_text(_json(args, hits, filled) if args.json else _table(args, hits))
    for reason in list(filled.unreadable.values())[:SHOWN]:
        print("left out:", " ".join(reason.split()), file=sys.stderr)
    if len(filled.unreadable) > SHOWN:
        print(f"left out: {len(filled.unreadable) - SHOWN} more", file=sys.stderr)
    print(how, file=sys.stderr)


Found = tuple[list["Hit"], "Filled", str]


def _by_frames(args: argparse.Namespace, text: str | None, paths: list[Path], kept: Path) -> Found:
    """With a frame model."""
    import numpy as np

    from peaframe.index.moments import likeness
    from peaframe.index.search import hits_in_frames
    from peaframe.index.store import MediaIndex
    from peaframe.infer.detector import load

    detector = load(args.model, args.device, args.precision)
    asked = None if text is None else detector.ask([text])
    sound = None if args.audio is None else detector.embed(args.audio).values

    def rate(rows: Any) -> Any:
        scores = [] if asked is None else [detector.probabilities(rows, asked, embedded=True)[:, 0]]
        scores += [] if sound is None else [likeness(rows, sound)]
        return np.prod(scores, axis=0) ** (1 / len(scores))

    made_by = {
        "model": detector.model.name,
        "fingerprint": detector.model.fingerprint(),
        "products": str(detector.model.products).removeprefix("torch."),
        "windows": [detector.window_frames, detector.overlap_frames],
    }
    with MediaIndex(kept, made_by) as index, tempfile.TemporaryFile(dir=kept) as spill:

        def media(path: Path) -> tuple[dict[str, Any], float]:
            spill.seek(0)
            spill.truncate()
            heard = detector.embed(path, file=spill)
            return {"frames": heard.values}, heard.duration

        filled, how = _filled(index, paths, media, f"{detector.model.name} on {detector.device}")
        return hits_in_frames(index, filled, rate)[: args.top], filled, how


def _by_clips(args: argparse.Namespace, text: str | None, paths: list[Path], kept: Path) -> Found:
    """With PE-AV."""
    from peaframe import audio
    from peaframe.index.clips import PIECE_SECONDS, load_clips
    from peaframe.index.search import hits_in_pieces
    from peaframe.index.store import MediaIndex

    if args.precision != "exact":
        raise OptionError(
            f"got --precision {args.precision} for {args.model}, expected exact: it has no other here"
        )
    clips = load_clips(args.model, args.device)
    queries: dict[str, list[Any]] = {"audio": [], "visual": []}
    words = None if text is None else clips.texts([text])
    heard = None if args.audio is None else clips.sound(audio.read(args.audio))
    if words is not None:
        queries["audio"].append(words["audio_text"])
    if heard is not None:
        queries["audio"].append(heard["audio"])
    if words is not None and heard is not None:
        queries["visual"].append(clips.joined("audio", heard["audio_token"], words["text_token"]))
    elif words is not None:
        queries["visual"].append(words["visual_text"])
    elif heard is not None:
        queries["visual"].append(heard["audio"])
    made_by = {"model": clips.name, "fingerprint": clips.fingerprint(), "piece_seconds": PIECE_SECONDS}
    with MediaIndex(kept, made_by) as index:
        filled, how = _filled(index, paths, clips.media, f"{clips.name} on {clips.device}")
        return hits_in_pieces(index, filled, queries, PIECE_SECONDS)[: args.top], filled, how


def _filled(
    index: MediaIndex, paths: list[Path], media: Callable[[Path], Any], who: str
) -> tuple[Filled, str]:
    """The index with all files in it, and a line on how that went.

    Raises:
        FormatError: None of the files can be read.
    """
    from tqdm import tqdm

    from peaframe.index.search import fill

    began = time.perf_counter()
    bar: Iterable[Path] = tqdm(paths, desc="listen", unit="file", disable=None)
    filled = fill(index, bar, media)
    if not filled.entries:
        raise FormatError(f"none of {len(paths)} files can be read: {next(iter(filled.unreadable.values()))}")
    seconds = time.perf_counter() - began
    return filled, (
        f"{who}: {len(filled.entries)} files, {filled.seconds:.1f} s of sound; {filled.heard} of them heard just now "
        f"in {seconds:.1f} s"
    )


def _table(args: argparse.Namespace, hits: list[Hit]) -> str:
    rows = [
        (f"{hit.score:.4f}", _seconds(hit.start), _seconds(hit.end), hit.by, str(_name(args, hit)))
        for hit in hits
    ]
    return table(("score", "start", "end", "by", "file"), rows, right={"score", "start", "end"})


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _name(args: argparse.Namespace, hit: Hit) -> Path:
    """A file as it is called below the folder."""
    base = args.folder.absolute()
    return hit.path.relative_to(base) if hit.path.is_relative_to(base) else hit.path


def _json(args: argparse.Namespace, hits: list[Hit], filled: Filled) -> str:
    rows = [
        {
            "file": str(_name(args, hit)),
            "path": str(hit.path),
            "score": hit.score,
            "start": hit.start,
            "end": hit.end,
            "by": hit.by,
        }
        for hit in hits
    ]
    left = [{"path": str(path), "reason": reason} for path, reason in filled.unreadable.items()]
    return (
        json.dumps({"model": args.model, "hits": rows, "left_out": left}, indent=1, ensure_ascii=False) + "\n"
    )
