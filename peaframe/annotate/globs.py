"""Globs: `*` and `?` stay within a name, `[a-z]` is one of these, `[!a-z]` none, `**` any number of folders."""

from __future__ import annotations

import functools
import re

from peaframe.errors import OptionError


@functools.lru_cache(maxsize=1024)
def regex(pattern: tuple[str, ...]) -> re.Pattern[str]:
    """A glob, split at `/`, as a regular expression that does not tell capitals from small letters.

    Raises:
        OptionError: a range such as `[z-a]` makes no sense.
    """
    text = ""
    for number, part in enumerate(pattern, start=1):
        last = number == len(pattern)
        text += (r"(?:[^/]+/)*" + r"[^/]+" * last) if part == "**" else _one(part) + "/" * (not last)
    try:
        return re.compile(text, re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise OptionError(
            f"{'/'.join(pattern)}: is no pattern ({error}); check what is in brackets"
        ) from error


def _one(part: str) -> str:
    """A glob of a single name."""
    text = ""
    for found in re.finditer(r"\*|\?|\[!?\]?[^\]]*\]|.", part, re.DOTALL):
        token = found[0]
        if len(token) > 1:
            inside = (
                token[1:-1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]").replace("^", r"\^")
            )
            text += f"[{'^' + inside[1:] if inside.startswith('!') else inside}]"
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token))
    return text
