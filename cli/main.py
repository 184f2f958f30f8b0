"""The entry point `peaframe`: picks the command and turns errors into one line and an exit code.

Exit codes: 0 done, 1 done but for some recordings (`annotate`), 2 something the user can put right (one line on stderr
says what), 130 stopped by Ctrl-C, 141 the reader of the output went away. Anything else is a
bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from peaframe.cli import (
    annotate,
    calibrate,
    convert,
    detect,
    embed,
    evaluate,
    mix,
    models,
    search,
    shards,
    train,
)
from peaframe.recipes.program import Parser, guarded
from peaframe.version import __version__

COMMANDS = {
    "annotate": annotate,
    "calibrate": calibrate,
    "convert": convert,
    "detect": detect,
    "embed": embed,
    "eval": evaluate,
    "mix": mix,
    "models": models,
    "search": search,
    "shards": shards,
    "train": train,
}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, one sub-command for each file in `COMMANDS`."""
    whole = Parser(
        prog="peaframe",
        description="Sound event detection for any words: when is the described sound heard?",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"peaframe {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words behind `peaframe`; None takes those of the process.

    Returns:
        The exit code.
    """

    def command() -> int | None:
        args = parser().parse_args(arguments)
        code: int | None = COMMANDS[args.command].run(args)
        return code

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
