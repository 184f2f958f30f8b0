"""`peaframe embed`: hear a recording once, ask it any question later."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from peaframe.cli.options import add_listening_arguments
from peaframe.cli.output import check_destinations
from peaframe.errors import FormatError

HELP = "keep what a model heard in a recording, to be asked later without the audio"
EXAMPLES = """\
examples:
  peaframe embed street.wav -o street.npz
  peaframe detect street.npz "dog barking" "a siren"

The file holds one embedding per 40 ms in half precision (peaframe-mini: 46 MB an hour), its clock, and which model made
it; `peaframe detect` must be given the same model.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe embed` takes."""
    parser.add_argument("recording", help="an audio or video file, of any length")
    parser.add_argument(
        "-o", "--output", type=_npz, required=True, metavar="FILE.npz", help="where to put the embeddings"
    )
    add_listening_arguments(parser)


def _npz(text: str) -> Path:
    if not text.lower().endswith(".npz"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a name that ends in .npz")
    return Path(text)


def run(args: argparse.Namespace) -> None:
    """Listen, write, and say on standard error how it went."""
    check_destinations(args.recording, output=args.output)
    from peaframe import audio

    audio.probe(args.recording)
    from peaframe.infer.detector import load

    detector = load(args.model, args.device, args.precision)
    began = time.perf_counter()
    # not in memory, which a day of embeddings would fill, and not in the system's folder, which may be memory too
    try:
        with tempfile.TemporaryFile(dir=args.output.resolve().parent) as file:
            heard = detector.embed(args.recording, start=args.start, end=args.end, progress=True, file=file)
            seconds = time.perf_counter() - began
            heard.save(args.output)
            frames, dim = heard.values.shape
    except OSError as error:
        raise FormatError(f"{args.output}: cannot be written ({error.strerror or error})") from error
    print(
        f"{heard.model} on {detector.device}: heard {heard.duration:.2f} s in {seconds:.2f} s, "
        f"{heard.duration / seconds:.1f} times real time; {frames} embeddings of {dim} in {args.output}",
        file=sys.stderr,
    )
