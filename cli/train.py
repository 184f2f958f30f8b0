"""`peaframe train`: fine-tune a model on labelled recordings, or pre-train one on clips with captions."""

from __future__ import annotations

import argparse

from peaframe.cli.output import print_text, table
from peaframe.errors import OptionError
from peaframe.recipes.config_files import known_configs
from peaframe.recipes.train import declare, train

KINDS = ("fine-tuning", "pre-training")
HELP = "fine-tune a model on labelled recordings, or pre-train one on clips with captions"
EXAMPLES = """\
examples:
  peaframe train --list
  peaframe train desed --dry-run
  peaframe train desed optim.lr=3e-5 schedule.steps=2000 --out runs/desed_slow
  peaframe train mine.yaml model=pe-a-frame-small "data.manifests=[mine.jsonl, others.jsonl]"
  peaframe detect street.wav "dog barking" --model runs/desed/best
  peaframe train pretrain_stage1 --plan --gpus 126 --gpu-tflops 989 --gpu-gb 80 --price 2.5
  peaframe train pretrain_tiny

CONFIG says what is learned from, by which model, and how; each one that comes with peaframe begins with the commands
that make its data. One with `data.sources` is for pre-training (docs/pretraining.md), all others are for fine-tuning.
The run's folder gets last/ and best/, which --model takes, log.jsonl and what is needed to go on; a configuration that
learns queries leaves queries.json, which `peaframe detect --queries` takes.

Ctrl-C saves and stops (exit code 130); the same command goes on where it was. Several processes:
  torchrun --nproc-per-node 2 -m peaframe.recipes.finetune desed
  torchrun --nproc-per-node 8 -m peaframe.recipes.pretrain pretrain_stage1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `peaframe train` takes."""
    declare(parser)
    parser.add_argument("--list", action="store_true", help="list the configurations that come with peaframe")


def run(args: argparse.Namespace) -> int | None:
    """Train, or say what training would take."""
    if not args.list:
        return train(args, tell=print_text)
    if args.config is not None:
        raise OptionError(f"argument --list: got {args.config!r} beside it, expected no configuration")
    rows = [(name, kind, use) for kind in KINDS for name, use in known_configs(kind == KINDS[1]).items()]
    print_text(table(("name", "trains", "what for"), rows))
    return None
