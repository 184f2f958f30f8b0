r"""Train a captioner of sound: a decoder on the frozen embeddings of a PE-AV or a PE-A-Frame.

    python -m peaframe.recipes.train_captioner TABLE OUT --model MODEL --language-model FOLDER \
        --valid VALID --kind-columns full=audio_caption events=events_caption

TABLE and VALID are tables of clips with captions, as `peaframe shards` takes them and `recipes.caption` writes them.
MODEL hears every clip once; what it hears is kept in OUT/embeddings (or --cache). Neither it nor, unless
--learn-language is given, the language model (a causal one of transformers, with safetensors) learns.

OUT gets best/ and last/, which are captioners: `--audio prefix:full@OUT` of `recipes.caption` takes best/, and without
VALID last/; log.jsonl; failed.csv and failed_valid.csv, what could not be heard. The same command goes on where it was
stopped or killed, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from peaframe.captions.local_models import load_language_model
from peaframe.captions.prefix import PrefixConfig, PrefixDecoder
from peaframe.captions.prefix_captioner import load_captioner
from peaframe.captions.prefix_examples import Example, digest, read_examples
from peaframe.captions.prefix_rows import KeptRows, load_rows
from peaframe.captions.prefix_training import PrefixRun, PrefixTraining
from peaframe.captions.tables import write_failed
from peaframe.errors import OptionError
from peaframe.recipes import program
from peaframe.recipes.prepare_files import folder_at
from peaframe.train.optim import Schedule
from peaframe.train.parallel import processes
from peaframe.train.run import stop_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Hear the clips, train, write a few captions."""
    args = _arguments(arguments)
    columns = _columns(args.kind_columns)
    settings = PrefixTraining(
        Schedule(args.steps, args.steps // 10),
        args.batch,
        args.lr,
        args.learn_language,
        args.language_rate,
        seed=args.seed,
        evaluate_every=args.every,
        save_every=args.every,
    )
    language = args.language_model
    if os.path.isdir(language):
        language = os.path.abspath(language)
    with processes(args.device) as place:
        if place.world_size > 1:
            raise OptionError(f"got {place.world_size} processes, expected one; start it without torchrun")
        encoder = load_rows(args.model, args.device)
        torch.manual_seed(args.seed)
        sizes = PrefixConfig(encoder.width, args.tokens, args.heads, args.words, tuple(columns))
        decoder = PrefixDecoder(sizes, *load_language_model(language))
        out = folder_at(args.out)
        kept = KeptRows(folder_at(args.cache or out / "embeddings"), encoder)
        train = _examples(args.table, columns, kept, args.longest, out / "failed.csv")
        valid: list[Example] = []
        if args.valid is not None:
            valid = _examples(args.valid, columns, kept, args.longest, out / "failed_valid.csv")
        settings = replace(settings, data=f"{digest(train)} {digest(valid)}")
        training = PrefixRun(decoder, encoder, train, settings, out, place.device, valid, language)
        learns = sum(p.numel() for p in decoder.parameters() if p.requires_grad) / 1e6
        print(f"{learns:.2f} million parameters learn; begins behind step {training.step} of {args.steps}")
        with stop_signals() as stopped:
            if not training.run(lambda: stopped() > 0):
                print(f"stopped and saved in {out}; the same command goes on", file=sys.stderr)
                return 130
    _show(out, tuple(columns), valid or train, args.samples, args.device)
    return 0


def _examples(
    table: Path, columns: Mapping[str, str], kept: KeptRows, longest: float, failed_at: Path
) -> list[Example]:
    with tqdm(desc=f"hear {table.name}", unit="clip", disable=None) as bar:

        def tell(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        examples, failed = read_examples(table, columns, kept, longest, tell)
    write_failed(failed_at, failed)
    clips = len({example.heard for example in examples})
    print(f"{table}: {clips} clips, {len(examples)} captions, {len(failed)} clips left out")
    return examples


def _show(out: Path, kinds: Sequence[str], examples: Sequence[Example], count: int, device: str) -> None:
    """Print what the captioner writes of some clips, and what it was told, or was to write."""
    for kind in kinds:
        captioner = load_captioner(out, kind, device)
        own = [example for example in examples if example.kind == kind]
        some = own[:: max(1, len(own) // max(1, count))][:count]
        written = captioner.write([example.rows for example in some]) if some else []
        for example, text in zip(some, written, strict=True):
            print(f"{example.media}, {kind}: {text!r}, in the table {example.caption!r}")


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in given:
        kind, equals, column = text.partition("=")
        if not (kind and equals and column) or kind in columns or "@" in kind:
            raise OptionError(
                f"got --kind-columns {text!r}, expected KIND=COLUMN such as full=audio_caption, each kind once"
            )
        columns[kind] = column
    return columns


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = program.parser(__doc__)
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="clips with captions to learn from")
    add("out", type=Path, metavar="OUT", help="folder of the run, to write or to go on with")
    add(
        "--model",
        required=True,
        metavar="MODEL",
        help="PE-AV, PE-A-Frame or peaframe-mini: a name or a folder",
    )
    add("--language-model", required=True, metavar="FOLDER", help="a causal language model: folder or hub id")
    add(
        "--kind-columns",
        nargs="+",
        default=["full=audio_caption"],
        metavar="KIND=COLUMN",
        help="kinds of captions and their columns; default: full=audio_caption",
    )
    add("--valid", type=Path, metavar="TABLE", help="clips with captions to measure with")
    add("--steps", type=int, default=1000, metavar="N")
    add("--batch", type=int, default=16, metavar="N", help="captions a step")
    add("--lr", type=float, default=1e-3, help="rate of what joins sound and language, at its peak")
    add("--learn-language", action="store_true", help="the language model learns, too")
    add("--language-rate", type=float, default=0.02, help="factor of --lr for it")
    add("--seed", type=int, default=0, metavar="N")
    add(
        "--every",
        type=int,
        default=200,
        metavar="N",
        help="steps between measurements and states to go on from",
    )
    add("--tokens", type=int, default=16, metavar="N", help="that stand before a caption")
    add("--heads", type=int, default=4, metavar="N", help="of attention to the sound")
    add("--words", type=int, default=64, metavar="N", help="tokens of a caption at most")
    add("--longest", type=float, default=60.0, metavar="S", help="leave out clips that are longer")
    add("--cache", type=Path, metavar="DIR", help="what is heard is kept here (default: OUT/embeddings)")
    add("--samples", type=int, default=4, metavar="N", help="captions of each kind to print in the end")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    program.run(main)
