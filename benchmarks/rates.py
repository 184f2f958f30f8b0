"""What can `fast` reach on this processor? The rates of its matrix products, and what they leave for the codec.

    python benchmarks/rates.py [--rounds 5]

One thread. Times products of the codec's shapes (times x channels by channels x channels) in every type, and sums for
each type what DAC-VAE's encoder takes if all of it ran at that rate: a floor, without transformer, conversions or
memory. float32 is also summed with Toom-Cook's 10 products instead of 28 in convolutions of width 7, as
`codec/stream.py` has them; other types round too much for that. Sines are float32 in every type.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from peaframe.clock import SAMPLE_RATE
from peaframe.codec.dac_vae import Codec, CodecConfig, Snake
from peaframe.codec.stream import OUTPUTS, TAPS, TILE_VALUES

TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)


def seconds(run: Callable[[], object], rounds: int) -> float:
    """The least CPU-seconds of a call."""
    run()
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        run()
        best = min(best, time.process_time() - began)
    return best


def matrix(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """Values as they come, in any type."""
    return torch.randn(rows, columns).mul(20).to(dtype)


def product_rate(channels: int, dtype: torch.dtype, rounds: int) -> float | None:
    """Operations a second of a tile's product, or None where torch has none of that type."""
    rows = TILE_VALUES // channels
    x, weight = matrix(rows, channels, dtype), matrix(channels, channels, dtype)
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    try:
        return 2 * rows * channels**2 / seconds(lambda: product(x, weight), rounds)
    except RuntimeError:
        return None


def layers(codec: Codec) -> Iterator[tuple[nn.Module, float]]:
    """Convolutions and snakes of the encoder, and how many times a second each gives or takes a row of channels."""
    encoder = codec.encoder
    rows = float(SAMPLE_RATE)
    yield encoder.conv1, rows
    for block in encoder.block:
        for module in block.modules():
            if isinstance(module, nn.Conv1d):
                rows /= module.stride[0]
            if isinstance(module, nn.Conv1d | Snake):
                yield module, rows
    yield encoder.snake1, rows
    yield encoder.conv2, rows


def main() -> None:
    """Time, sum, print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    convolutions: list[tuple[int, float, bool]] = []  # channels, operations a second, whether of width 7
    snaked = 0.0
    for layer, rows in layers(Codec(CodecConfig())):
        if isinstance(layer, Snake):
            snaked += rows * layer.alpha.numel()
        elif isinstance(layer, nn.Conv1d):
            (taps,), into, out = layer.kernel_size, layer.in_channels, layer.out_channels
            convolutions.append((max(64, into), 2 * rows * into * out * taps, taps == TAPS and into == out))
    values = torch.randn(TILE_VALUES)
    sines = snaked * seconds(lambda: torch.sin(values), rounds) / TILE_VALUES
    able = torch.cpu.get_capabilities()
    known = ("cpu_name", "avx512_f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_bf16", "amx_fp16")
    print(json.dumps({"torch": torch.__version__, "threads": 1} | {key: able.get(key) for key in known}))
    work_of_all = sum(work for _, work, _ in convolutions)
    print(
        f"a second of audio: {work_of_all / 1e9:.1f} G operations of products, {snaked / 1e6:.0f} million sines"
    )
    print(f"the sines: {sines:.3f} CPU-seconds\n")
    print("type            G a second, by channels             all products, CPU-seconds")
    for dtype in TYPES:
        rates = {c: product_rate(c, dtype, rounds) for c in sorted({c for c, _, _ in convolutions})}
        name = str(dtype).removeprefix("torch.")
        if None in rates.values():
            print(f"{name:15s} not here")
            continue
        shown = " ".join(f"{c}: {rate / 1e9:.0f}" for c, rate in rates.items() if rate)
        plain = sum(work / (rates[c] or 1) for c, work, _ in convolutions)
        print(f"{name:15s} {shown:35s} {plain:.3f}", end="")
        share = (OUTPUTS + TAPS - 1) / (OUTPUTS * TAPS)
        toom = sum(work * (share if wide else 1) / (rates[c] or 1) for c, work, wide in convolutions)
        print(f", Toom-Cook {toom:.3f}" if dtype == torch.float32 else "")


if __name__ == "__main__":
    main()
