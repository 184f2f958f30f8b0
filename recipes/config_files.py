"""The configurations that come with peaframe, and how a configuration is named on a command line."""

from __future__ import annotations

from pathlib import Path

from peaframe.errors import ConfigError

CONFIGS = Path(__file__).parent / "configs"
BUILT_IN = CONFIGS / "mini.yaml"
"""The recipe of the built-in model, which another trainer reads."""


def known_configs() -> dict[str, str]:
    """Name -> the first line of each configuration, which says what it is for."""
    firsts = {
        path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in CONFIGS.glob("*.yaml")
    }
    return {name: firsts[name].removeprefix("#").strip() for name in sorted(firsts)}


def find_config(name: str | Path) -> Path:
    """A configuration of fine-tuning by its path, or by its name among those that come with peaframe.

    Raises:
        ConfigError: there is no such file, or it is the built-in model's recipe.
    """
    path, known = Path(name), CONFIGS / f"{name}.yaml"
    if not path.is_file():
        if path.name != str(name) or not known.is_file():
            names = ", ".join(own for own in known_configs() if own != BUILT_IN.stem)
            raise ConfigError(f"{name}: no such file; give a YAML file, or one of {names}")
        path = known
    if path.samefile(BUILT_IN):
        raise ConfigError(
            f"{name}: is the recipe of the built-in model, trained by `python -m peaframe.recipes.mini`; to go on from "
            "that model give a configuration with `model: peaframe-mini`, such as mini-cpu"
        )
    return path
