"""Captions by machine for a table of clips, and a report on how good they are.

    python -m peaframe.recipes.caption CLIPS.csv --out DIR \
        --audio local:FOLDER_OR_ID --audio endpoint:MODEL@http://localhost:8000/v1 \
        --video local:FOLDER_OR_ID --writer endpoint:MODEL@http://localhost:8000/v1

CLIPS is .csv, .parquet or .jsonl with the column `media`, and may have `start` and `end` (seconds) and `transcript`.
Captioners and the writer are `local:FOLDER_OR_ID` (transformers, safetensors), `endpoint:MODEL@URL` (anything that
speaks OpenAI's chat completions and, for captioners, takes sound or pictures), or, for the writer, `vllm:FOLDER_OR_ID`.

Writes DIR/captions.parquet (or --table), failed.csv, quality.json and quality.html; DIR/answers.sqlite keeps every
answer, so the same command again goes on where it stopped, and with other prompts or parts asks only for what is new.
Several processes share the work with `--part 1/4` ... `--part 4/4` and the same DIR; then the command without it writes
the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from peaframe.captions.answers import Answers
from peaframe.captions.checks import Checks
from peaframe.captions.engine import CaptionOptions, Engine
from peaframe.captions.hearing import FrameEar, FrameScorer
from peaframe.captions.languages import LANGUAGES
from peaframe.captions.named import Manner, captioner, writer
from peaframe.captions.parts import Parts
from peaframe.captions.prompts import load_prompts
from peaframe.captions.quality import quality
from peaframe.captions.quality_page import quality_page
from peaframe.captions.tables import read_clips, write_captions, write_failed
from peaframe.errors import FormatError, OptionError
from peaframe.infer.detector import load
from peaframe.json_files import save_json
from peaframe.models.checkpoint import write_text
from peaframe.recipes.prepare_files import folder_at, run


def main(arguments: Sequence[str] | None = None) -> None:
    """Caption the clips of a table."""
    args = _arguments(arguments)
    number, of = _part(args.part)
    clips = read_clips(args.clips, args.media)
    scorer = ear = None
    if args.scorer != "none":
        detector = load(args.scorer, args.device)
        scorer = FrameScorer(detector, *args.bounds)
        ear = None if args.labels is None else FrameEar(detector, _labels(args.labels))
    elif args.labels is not None:
        raise OptionError("got --labels and --scorer none, expected a model that listens for them")
    manner = Manner(args.device, args.batch, args.key_variable, args.timeout, args.threads)
    video = None if args.video is None else captioner(args.video, manner, pictures=True)
    audio = tuple(captioner(text, manner) for text in args.audio)
    parts = Parts(audio, writer(args.writer, manner), video, scorer, ear)
    checks = Checks(args.language, args.words[0], args.words[1])
    options = CaptionOptions(args.batch, args.jobs, args.pictures, args.longest, checks)
    out = folder_at(args.out)
    answers = Answers(out / "answers.sqlite")
    engine = Engine(parts, answers, options, load_prompts(args.prompts))
    some = clips[number - 1 :: of]
    with tqdm(total=len(some), desc="caption", unit="clip", disable=None) as bar:
        captioned, failed = engine.run(some, bar.update, whole=of == 1)
    answers.close()
    print(f"{len(captioned)} clips captioned, {len(failed)} left out")
    if of > 1:
        print(f"  part {number} of {of}: answers are kept; when all parts are done, run without --part")
        return
    write_captions(out / args.table, captioned, engine.made_by)
    write_failed(out / "failed.csv", failed)
    found = quality(captioned, failed, None if scorer is None else scorer.vectors, args.language)
    save_json(out / "quality.json", "peaframe-captions-quality", 1, {"made_by": engine.made_by, **found})
    write_text(out / "quality.html", quality_page(found, f"Captions of {args.clips.name}"))
    for kind, own in found["kinds"].items():
        why = ", ".join(f"{reason} {count}" for reason, count in own["refused_by_reason"].items())
        print(f"  {kind}: {own['written']} written, {own['refused']} refused{f' ({why})' if why else ''}")


def _part(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise OptionError(f"got --part {text!r}, expected one such as 1/4")
    return int(number), int(of)


def _labels(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); expected a label on each line") from error
    return [line.strip() for line in lines if line.strip()]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS", help="table of clips")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write, or to go on with")
    add("--audio", action="append", default=[], metavar="PART", help="captioner of sound; give two or more")
    add("--video", metavar="PART", help="captioner of pictures")
    add("--writer", required=True, metavar="PART", help="language model that writes the captions")
    add("--scorer", default="peaframe-mini", metavar="MODEL", help="peaframe model for confidence, or none")
    add("--bounds", type=float, nargs=2, default=(0.1, 0.3), help="scores above which trust is medium, high")
    add("--labels", type=Path, metavar="FILE", help="labels to listen for, one a line, for the report")
    add("--media", type=Path, metavar="DIR", help="where names of media count from (default: the table)")
    add("--prompts", type=Path, metavar="DIR", help="prompts of your own, such as audio.txt")
    add("--table", default="captions.parquet", metavar="NAME", help=".parquet, .csv or .jsonl in DIR")
    add("--language", default="English", choices=LANGUAGES, help="of the captions")
    add("--words", type=int, nargs=2, default=(3, 80), help="least and most words of a caption")
    add("--longest", type=float, default=60.0, metavar="S", help="leave out clips that are longer")
    add("--pictures", type=int, default=4, metavar="N", help="taken from each clip")
    add("--batch", type=int, default=8, metavar="N", help="clips at a time")
    add("--jobs", type=int, default=2, metavar="N", help="threads that decode")
    add("--part", default="1/1", metavar="I/N", help="only this share of the clips, to fill the answers")
    add("--device", default="auto", help="auto, cpu, cuda ... of models on this machine")
    add("--key-variable", metavar="NAME", help="environment variable that holds the endpoints' key")
    add("--timeout", type=float, default=120.0, metavar="S", help="of an endpoint's answer")
    add("--threads", type=int, default=8, metavar="N", help="requests to an endpoint at a time")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
