"""What all programs here do alike: how they read their arguments, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from peaframe.errors import OptionError, PeaframeError


class Parser(argparse.ArgumentParser):
    """Raises what is wrong with a command line, instead of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise OptionError."""
        raise OptionError(f"{message}; see {self.prog} --help")


def parser(text: str | None) -> Parser:
    """A parser for the module whose docstring is `text`: that is its help."""
    started = str(getattr(sys.modules["__main__"].__spec__, "name", ""))
    return Parser(
        prog=f"python -m {started}" if started.startswith("peaframe.") else None,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def guarded(main: Callable[[], int | None]) -> int:
    """The exit code of `main`: what the user can put right is one line on stderr and 2, Ctrl-C 130.

    Anything else that it raises is a bug, and shows its traceback.
    """
    try:
        return main() or 0
    except PeaframeError as error:
        print("peaframe: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... | head` is no error
        return 141


def run(main: Callable[[], int | None]) -> NoReturn:
    """Leave the process with the exit code of `main`."""
    sys.exit(guarded(main))
