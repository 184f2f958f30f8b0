"""JSON and YAML that people write, read with care: what is wrong is said with the file and the key.

`.yaml` and `.yml` are YAML, all others JSON, in UTF-8. No object may have a key twice.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from peaframe.data.manifest_item import refuse_doubles
from peaframe.errors import ManifestError, MissingExtraError, OptionError

__all__ = ["check_keys", "expect", "from_file", "text_at", "texts_at"]

T = TypeVar("T")


def from_file(path: Path, understand: Callable[[Any], T]) -> T:
    """What `understand` makes of a file's content; it says what is wrong by OptionError.

    Raises:
        ManifestError: The file cannot be read, is no JSON or YAML, has a key twice, or is not understood; with file.
        MissingExtraError: It is YAML and PyYAML is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() in (".yaml", ".yml"):
            return understand(_from_yaml(text))
        return understand(json.loads(text, object_pairs_hook=_keys_once))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}:{error.lineno}: not JSON ({error.msg}); repair it") from error
    except (OptionError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path}: {' '.join(str(error).split())}") from error


def check_keys(values: Mapping[Any, Any], known: Sequence[str], place: str) -> None:
    """Raise OptionError at the first key that is not known, and name the nearest one that is."""
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise OptionError(f"unknown key {f'{place}{key}'!r}; {hint}")


def expect(kind: type[T], value: Any, place: str, expected: str) -> T:
    """Give `value` back; raises OptionError if it is of another kind than what is `expected` at a place."""
    if not isinstance(value, kind):
        raise OptionError(f"{place} is {value!r:.60}; give {expected}")
    return value


def texts_at(values: Mapping[str, Any], key: str, place: str, clean: bool = True) -> tuple[str, ...]:
    """The texts of a list, each once; clean ones have single spaces between words.

    Raises:
        OptionError: It is no list, or what is in it no text.
    """
    rows = expect(list, values.get(key, []), place + key, "a list of texts")
    texts = [text_at(row, f"{place}{key}[{i}]") for i, row in enumerate(rows)]
    return tuple(dict.fromkeys(" ".join(text.split()) if clean else text for text in texts))


def text_at(value: Any, place: str) -> str:
    """Give `value` back; raises OptionError if it is no text, a blank one, or no Unicode."""
    if not isinstance(value, str) or not value.strip():
        raise OptionError(f"{place} is {value!r:.60}; give a text that is not blank, in quotation marks")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise OptionError(f"{place} is {value!r:.60}, which is no Unicode; repair it")
    return value


def _from_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", "train", "reading words from YAML") from error
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        left, done = [node], set()
        while left:  # PyYAML lets the last of two equal keys win
            here = left.pop()
            if isinstance(here, yaml.CollectionNode) and here not in done:
                done.add(here)
                pairs = here.value if isinstance(here, yaml.MappingNode) else ()
                keys = [str(key.value) for key, _ in pairs]
                refuse_doubles(keys, f"the keys from line {here.start_mark.line + 1} on")
                left += [value for _, value in pairs] or here.value
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"not YAML ({error}); repair it") from error


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    refuse_doubles([key for key, _ in pairs], "the keys of one object")
    return dict(pairs)
