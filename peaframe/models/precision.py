"""How exactly a model computes: `exact` in float32, `fast` in half precision where the processor gains by it."""

from __future__ import annotations

import torch

from peaframe.errors import OptionError

EXACT, FAST = PRECISIONS = ("exact", "fast")


def check_precision(precision: str) -> str:
    """Give `precision` back; raises OptionError for anything but `exact` and `fast`."""
    if precision not in PRECISIONS:
        raise OptionError(f"got precision {precision!r}, expected exact or fast")
    return precision


def product_type(precision: str, device: torch.device) -> torch.dtype:
    """The type of matrix products.

    Fast mode takes float16 on a CPU that multiplies it at full speed (AMX-FP16, AVX512-FP16), bfloat16 on one that
    does so with that (AMX), float32 on all others: AVX512-BF16 without AMX is a fifth quicker at a thousand times
    the error. On a GPU it takes bfloat16 where there is such, else float16.
    """
    if check_precision(precision) == EXACT:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    able = (
        torch.cpu.get_capabilities()
        if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities")
        else {}
    )
    if able.get("amx_fp16") or able.get("avx512_fp16"):
        return torch.float16
    return torch.bfloat16 if able.get("amx_bf16") else torch.float32
