"""The configurations that come with peaframe, and how a configuration is named on a command line."""

from __future__ import annotations

from pathlib import Path

from peaframe.errors import ConfigError

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


def find_config(name: str | Path, pretraining: bool = False) -> Path:
    """A configuration of fine-tuning, or of pre-training, by its path, or by its name among those of peaframe.

    Raises:
        ConfigError: there is no such file, or it is the built-in model's recipe, or for the other kind of training.
    """
    path, known = Path(name), CONFIGS / f"{name}.yaml"
    if not path.is_file():
        if path.name != str(name) or not known.is_file():
            names = ", ".join(own for own in known_configs(pretraining) if own != BUILT_IN.stem)
            raise ConfigError(f"{name}: no such file; give a YAML file, or one of {names}")
        path = known
        if path.stem.startswith(_PRETRAINING) != pretraining:
            command = "peaframe train" if pretraining else "python -m peaframe.recipes.pretrain"
            raise ConfigError(f"{name}: is a configuration for `{command}`")
    if path.samefile(BUILT_IN):
        raise ConfigError(
            f"{name}: is the recipe of the built-in model, trained by `python -m peaframe.recipes.mini`; to go on from "
            "that model give a configuration with `model: peaframe-mini`, such as mini-cpu"
        )
    return path
