"""The configurations that come with peaframe, and how a configuration is named on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peaframe.errors import ConfigError, MissingExtraError

CONFIGS = Path(__file__).parent / "configs"
BUILT_IN = CONFIGS / "mini.yaml"
"""The recipe of the built-in model, which another trainer reads."""
_PRETRAINING = "pretrain_"  # how names of configurations for `peaframe.recipes.pretrain` begin


def known_configs(pretraining: bool = False) -> dict[str, str]:
    """Name -> the first line of each configuration of fine-tuning or pre-training, which says what it is for."""
    firsts = {
        path.stem: path.read_text(encoding="utf-8").partition("\n")[0]
        for path in CONFIGS.glob("*.yaml")
        if path.stem.startswith(_PRETRAINING) == pretraining
    }
    return {name: firsts[name].removeprefix("#").strip() for name in sorted(firsts)}


def is_pretraining(config: Path, overrides: Sequence[str] = ()) -> bool:
    """Whether a configuration is for pre-training: it says `data.sources`, which no other one has.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML", "train", "reading a configuration") from error
    if any(override.partition("=")[0] == "data.sources" for override in overrides):
        return True
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # whoever reads it says what is wrong
    data = values.get("data") if isinstance(values, dict) else None
    return isinstance(data, dict) and "sources" in data


def find_config(name: str | Path, pretraining: bool | None = False, overrides: Sequence[str] = ()) -> Path:
    """A configuration by its path, or by its name among those of peaframe.

    Args:
        name: its path or name.
        pretraining: whether it must be for pre-training, or for fine-tuning; None if either will do.
        overrides: changes to it.

    Raises:
        ConfigError: there is no such file, or it is the built-in model's recipe, or for the other kind of training.
    """
    path, known = Path(name), CONFIGS / f"{name}.yaml"
    if not path.is_file():
        if path.name != str(name) or not known.is_file():
            kinds = (False, True) if pretraining is None else (pretraining,)
            names = ", ".join(own for kind in kinds for own in known_configs(kind) if own != BUILT_IN.stem)
            raise ConfigError(f"{name}: no such file; give a YAML file, or one of {names}")
        path = known
    if path.samefile(BUILT_IN):
        raise ConfigError(
            f"{name}: is the recipe of the built-in model, trained by `python -m peaframe.recipes.mini`; to go on from "
            "that model give a configuration with `model: peaframe-mini`, such as mini-cpu"
        )
    if pretraining is not None and is_pretraining(path, overrides) != pretraining:
        command = "peaframe train" if pretraining else "python -m peaframe.recipes.pretrain"
        raise ConfigError(f"{name}: is a configuration for `{command}`")
    return path


def folder_of_run(config: Path) -> Path:
    """Where a run goes that is told no other place."""
    return Path("runs") / config.stem
