"""What language models are asked, as text files with `$names` to fill in, told apart by a hash of their content.

The paper says that Llama-3.1-8B rewrites captions, not what it is asked; these words are ours.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peaframe.errors import FormatError

KINDS = ("audio", "visual", "audio_visual")
AGAIN = "again"
FIELDS = {
    "audio": frozenset({"heard", "seen", "language"}),
    "visual": frozenset({"seen", "language"}),
    "audio_visual": frozenset({"heard", "seen", "language"}),
    AGAIN: frozenset({"prompt", "answer", "reason", "language"}),
}
FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Prompt:
    """A text with names to fill in.

    Attributes:
        name: `audio`, `visual`, `audio_visual` or `again`.
        text: with `$names`; a dollar sign that is none is written twice.
    """

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Twelve hex digits of the text's SHA-256: its version."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with values in place of names; what a value holds is never filled in again."""
        return string.Template(self.text).substitute(values)


def load_prompts(folder: str | Path | None = None) -> dict[str, Prompt]:
    """All four prompts by name.

    Args:
        folder: whose `audio.txt`, `visual.txt`, `audio_visual.txt` and `again.txt` stand in for the package's; those
            that are not there are the package's.

    Raises:
        FormatError: no such folder, none of these files in it, or one that is empty, unreadable, or has unknown names.
    """
    if folder is not None and not any((Path(folder) / f"{name}.txt").is_file() for name in FIELDS):
        raise FormatError(
            f"{folder}: holds no prompts; expected one of {', '.join(f'{n}.txt' for n in FIELDS)}"
        )
    return {name: _load(name, folder) for name in FIELDS}


def _load(name: str, folder: str | Path | None) -> Prompt:
    path = FOLDER / f"{name}.txt"
    if folder is not None and (Path(folder) / path.name).is_file():
        path = Path(folder) / path.name
    try:
        prompt = Prompt(name, path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as a prompt ({error}); expected UTF-8 text") from error
    if not prompt.text:
        raise FormatError(f"{path}: is empty; expected what to ask a language model")
    known = " ".join(f"${field}" for field in sorted(FIELDS[name]))
    try:
        prompt.fill(dict.fromkeys(FIELDS[name], ""))
    except (KeyError, ValueError) as error:
        raise FormatError(
            f"{path}: has a wrong name ({error}); expected {known}, and $$ for a dollar"
        ) from error
    return prompt
