"""Configurations: frozen dataclasses filled from YAML and `key.sub=value` overrides, unknown keys refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from peaframe.errors import ConfigError, MissingExtraError

T = TypeVar("T")


def build(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass of type `kind` from nested mappings.

    Args:
        kind: a dataclass; its fields may be dataclasses, numbers, strings, booleans, tuples of those, or optional.
        values: field name -> value.
        where: path of these values in the whole configuration, for messages.

    Raises:
        ConfigError: an unknown key (the nearest known one is named), a missing one, or a value of the wrong kind.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(fields)}"
            raise ConfigError(f"unknown key {f'{where}{key}'!r}; {hint}")
        made[key] = _convert(hints[key], value, where + key)
    for name, f in fields.items():
        unset = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if unset and name not in made:
            raise ConfigError(f"key {where + name!r} is missing; expected {hints[name]}")
    return kind(**made)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"key {where!r}: got {value!r}, expected keys of {hint.__name__}")
        return build(hint, value, where + ".")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(
                _convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
            )
    elif type(None) in inner:
        return (
            None if value is None else _convert(next(k for k in inner if k is not type(None)), value, where)
        )
    elif hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 1e-4 as text
            return float(value)
        except ValueError:
            pass
    elif hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif (
        origin is None
        and isinstance(hint, type)
        and isinstance(value, hint)
        and (hint is bool or not isinstance(value, bool))
    ):
        return value
    kind = "a list, such as [a, b]" if origin is tuple else getattr(hint, "__name__", hint)
    raise ConfigError(f"key {where!r}: got {value!r}, expected {kind}")


def load(kind: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file into a dataclass, then apply overrides such as `optim.lr=1e-4`.

    Raises:
        ConfigError: no such file, no YAML mapping, or anything `build` refuses.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", "train", "reading a configuration") from error
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not a readable YAML file ({error})".replace("\n", " ")) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: got {type(values).__name__}, expected keys and values")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"got override {override!r}, expected key=value")
        _override(values, key, text)
    return build(kind, values)


def _override(values: dict[str, Any], key: str, text: str) -> None:
    import yaml

    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise ConfigError(f"override {key!r}: {parent!r} is a value, expected a section with keys")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {key!r}: got {text!r}, expected a YAML value") from error


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values, ready for YAML or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result
