"""`peaframe models`: what `--model` can be."""

from __future__ import annotations

import argparse

from peaframe.cli.output import print_text, table
from peaframe.models.names import MODELS

HELP = "list the models that can be loaded by name"
EXAMPLES = 'example:\n  peaframe detect street.wav "dog barking" --model peaframe-mini'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`peaframe models` takes none."""


def run(args: argparse.Namespace) -> None:
    """Print name, size, licence and a line about each model."""
    rows = [(m.name, f"{m.parameters:g} M", m.licence, m.description) for m in MODELS.values()]
    header = ("name", "parameters", "licence", "description")
    print_text(table(header, rows, right={"parameters"}))
