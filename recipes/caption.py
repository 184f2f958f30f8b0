r"""Captions by machine for a table of clips, and a report on how good they are.

    python -m peaframe.recipes.caption CLIPS.csv --out DIR \
        --audio local:FOLDER_OR_ID --audio endpoint:MODEL@http://localhost:8000/v1 \
        --video local:FOLDER_OR_ID --writer endpoint:MODEL@http://localhost:8000/v1

CLIPS is .csv, .parquet or .jsonl with the column `media`, and may have `start` and `end` (seconds) and `transcript`.
Captioners and the writer are `local:FOLDER_OR_ID` (transformers, safetensors), `endpoint:MODEL@URL` (anything that
speaks OpenAI's chat completions and, for captioners, takes sound or pictures), for the writer `vllm:FOLDER_OR_ID`, and
for sound `prefix:KIND@FOLDER`, which `peaframe.recipes.train_captioner` left.

Writes DIR/captions.parquet (or --table), failed.csv, quality.json and quality.html; DIR/answers.sqlite keeps every
answer, so the same command again goes on where it stopped, and with other prompts or parts asks only for what is new.

`--jobs N` are N processes, `--engine ray` workers of a Ray cluster, which need media, models and endpoints under the
same names; what is written is the same, byte for byte. Processes that are started by hand share the work by `--part
1/4` ... `--part 4/4` and the same DIR; then the command without it writes the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from peaframe.captions.captioned import Captioned, Failed
from peaframe.captions.checks import Checks
from peaframe.captions.engine import CaptionOptions
from peaframe.captions.hearing import FrameScorer
from peaframe.captions.languages import LANGUAGES
from peaframe.captions.named import Manner
from peaframe.captions.prompts import load_prompts
from peaframe.captions.quality import quality
from peaframe.captions.quality_page import quality_page
from peaframe.captions.run import caption
from peaframe.captions.tables import read_clips, write_captions, write_failed
from peaframe.captions.workers import CaptionFacts, CaptionMachine, many_workers, one_worker
from peaframe.errors import FormatError, OptionError
from peaframe.infer.detector import load
from peaframe.json_files import save_json
from peaframe.models.checkpoint import write_text
from peaframe.recipes import program
from peaframe.recipes.prepare_files import folder_at
from peaframe.workers.chosen import ENGINES, check, engine_of
from peaframe.workers.threads import one_thread


def main(arguments: Sequence[str] | None = None) -> None:
    """Caption the clips of a table."""
    args = _arguments(arguments)
    check(args.engine, args.jobs, args.ray_address)
    number, of = _part(args.part)
    clips = read_clips(args.clips, args.media)
    some = clips[number - 1 :: of]
    machine = _machine(args)
    options, answers = machine.options, args.out / "answers.sqlite"
    working = (
        one_worker(machine, answers)
        if args.engine == "local" and args.jobs in (None, 1)
        else many_workers(engine_of(machine, args.engine, args.jobs, args.ray_address), answers)
    )
    with one_thread():
        with working as (facts, do), tqdm(total=len(some), desc="caption", unit="clip", disable=None) as bar:
            folder_at(args.out)
            captioned, failed = caption(some, do, options.batch, options.checks, bar.update, whole=of == 1)
        print(f"{len(captioned)} clips captioned, {len(failed)} left out")
        if of == 1:
            _write(args, machine, facts, captioned, failed)
        else:
            print(f"  part {number} of {of}: answers are kept; when all parts are done, run without --part")


def _write(
    args: argparse.Namespace,
    machine: CaptionMachine,
    facts: CaptionFacts,
    captioned: list[Captioned],
    failed: list[Failed],
) -> None:
    """The table, what was left out, and the report."""
    out, scorer, made_by = args.out, None, facts.made_by
    if machine.scorer is not None:
        here = args.device if args.engine == "local" or args.device == "cpu" else "auto"
        scorer = FrameScorer(load(machine.scorer, here))
    write_captions(out / args.table, captioned, made_by)
    write_failed(out / "failed.csv", failed)
    found = quality(captioned, failed, None if scorer is None else scorer.vectors, args.language)
    save_json(out / "quality.json", "peaframe-captions-quality", 1, {"made_by": made_by, **found})
    write_text(out / "quality.html", quality_page(found, f"Captions of {args.clips.name}"))
    for kind, own in found["kinds"].items():
        why = ", ".join(f"{reason} {count}" for reason, count in own["refused_by_reason"].items())
        print(f"  {kind}: {own['written']} written, {own['refused']} refused{f' ({why})' if why else ''}")


def _machine(args: argparse.Namespace) -> CaptionMachine:
    """All that makes captions."""
    checks = Checks(args.language, args.words[0], args.words[1])
    return CaptionMachine(
        tuple(args.audio),
        args.writer,
        args.video,
        None if args.scorer == "none" else args.scorer,
        tuple(args.bounds),
        None if args.labels is None else tuple(_labels(args.labels)),
        Manner(args.device, args.batch, args.key_variable, args.timeout, args.threads),
        CaptionOptions(args.batch, args.decoders, args.pictures, args.longest, checks),
        load_prompts(args.prompts),
    )


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
    parser = program.parser(__doc__)
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
    add("--decoders", type=int, default=2, metavar="N", help="threads that decode, of each worker")
    add("--jobs", type=int, metavar="N", help="workers; default: 1, or all that a Ray cluster has room for")
    add("--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster")
    add("--ray-address", metavar="ADDRESS", help="of a cluster; default: a Ray of this machine's own")
    add("--part", default="1/1", metavar="I/N", help="only this share of the clips, to fill the answers")
    add("--device", default="auto", help="auto, cpu, cuda ... of models on this machine")
    add("--key-variable", metavar="NAME", help="environment variable that holds the endpoints' key")
    add("--timeout", type=float, default=120.0, metavar="S", help="of an endpoint's answer")
    add("--threads", type=int, default=8, metavar="N", help="requests to an endpoint at a time")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    program.run(main)
