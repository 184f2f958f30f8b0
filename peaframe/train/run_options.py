"""What every run may be told, of fine-tuning and of pre-training; `peaframe.config` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from peaframe.errors import ConfigError

_CHOICES = {
    "precision": ("float32", "bfloat16"),
    "parallel": ("ddp", "fsdp"),
    "device": ("auto", "cpu", "cuda"),
}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the settings of both kinds of run have in common.

    Attributes:
        precision: `float32` or `bfloat16` (autocast).
        parallel: `ddp` or `fsdp`, on several processes.
        compile: whether layers of towers are compiled (`peaframe.train.layers`).
        device: `auto`, `cpu` or `cuda`.
        evaluate_every: steps between measurements; the last step is always measured, and `last/` written then.
        save_every: steps between states to go on from.
        seed: of everything random.

    Raises:
        ConfigError: a word is unknown, or a number makes no sense.
    """

    precision: str = "float32"
    parallel: str = "ddp"
    compile: bool = False
    device: str = "auto"
    evaluate_every: int = 1000
    save_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"got {name} {getattr(self, name)!r}, expected {' or '.join(known)}")
        for name, least in (("evaluate_every", 1), ("save_every", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"got {name} {getattr(self, name)}, expected {least} or more")
