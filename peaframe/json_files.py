"""Our own small JSON files: a format's name, its version, and what they hold; nothing in them is ever executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peaframe.errors import FormatError
from peaframe.files import atomic_path


def save_json(path: str | Path, format: str, version: int, content: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all.

    Raises:
        FormatError: It cannot be written there.
    """
    whole = {"format": format, "version": version, **content}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", errors="surrogatepass")


def load_json(path: str | Path, format: str, version: int, what: str, hint: str) -> dict[str, Any]:
    """Read a file.

    Args:
        path: The file.
        format: What it must be.
        version: Of which version.
        what: What it is called in a message, such as "a calibration".
        hint: What was expected.

    Raises:
        FormatError: It is missing, no JSON, or of another format or version.
    """
    noun = what.removeprefix("a ")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8", errors="surrogatepass"))
    except OSError as error:
        raise FormatError(f"{path}: cannot read the {noun} ({error.strerror}); {hint}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no {noun}, it is not JSON; {hint}") from error
    if not isinstance(content, dict) or content.get("format") != format:
        raise FormatError(f"{path}: no {noun}, it does not say format {format!r}; {hint}")
    if content.get("version") != version:
        raise FormatError(
            f"{path}: {what} of version {content.get('version')!r}, expected {version}; "
            "use the peaframe that wrote it"
        )
    return content
