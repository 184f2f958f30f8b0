"""Which way of running the codec is the quickest here? Its own stream beside eager torch, torch.compile and others.

    python benchmarks/runtimes.py [--seconds 12] [--rounds 3] [--compile] [--onnxruntime] [--openvino]

DAC-VAE's encoder at its public size with random weights, one thread; the variants take turns in one run. Prints
CPU-seconds per second of audio, times quicker than eager torch, and the largest difference of a latent from eager
float32 as a share of their deviation. `--onnxruntime` and `--openvino` need those packages (and onnx); int8 is
onnxruntime's dynamic quantisation and OpenVINO's bfloat16 its `INFERENCE_PRECISION_HINT`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from peaframe.codec.dac_vae import Codec, CodecConfig
from peaframe.codec.encode import ChunkStream, LatentStream, encode
from peaframe.codec.stream import CodecStream, StreamEncoder

CHUNK = 4 * 48_000
Way = Callable[[torch.Tensor], torch.Tensor]


def in_chunks(run: Way) -> Way:
    """Whole chunks through a runtime that wants one shape; edges are not exact, times are."""
    return lambda samples: torch.cat([run(samples[i : i + CHUNK]) for i in range(0, len(samples), CHUNK)])


def stream(codec: Codec, dtype: torch.dtype) -> Way:
    """Peaframe's own."""
    ready = StreamEncoder(codec, dtype)
    return lambda samples: encode(LatentStream(CodecStream(ready), codec), samples)


def onnx_ways(codec: Codec, folder: Path) -> dict[str, Way]:
    """onnxruntime, float32 and with dynamically quantised weights."""
    import onnxruntime  # type: ignore[import-not-found]
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-not-found]

    file = folder / "codec.onnx"
    torch.onnx.export(codec, (torch.zeros(1, CHUNK),), file, input_names=["x"], dynamo=False)
    quantize_dynamic(file, folder / "int8.onnx", weight_type=QuantType.QUInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    def way(path: Path) -> Way:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return in_chunks(lambda x: torch.from_numpy(session.run(None, {"x": x[None].numpy()})[0][0]))

    return {"onnxruntime float32": way(file), "onnxruntime int8": way(folder / "int8.onnx")}


def openvino_ways(codec: Codec) -> dict[str, Way]:
    """OpenVINO, float32 and bfloat16."""
    import openvino  # type: ignore[import-not-found]

    graph = openvino.convert_model(codec, example_input=torch.zeros(1, CHUNK), input=[1, CHUNK])

    def way(precision: str) -> Way:
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
        model = openvino.compile_model(graph, "CPU", hints)
        return in_chunks(lambda x: torch.from_numpy(np.array(model(x[None].numpy())[0][0])))

    return {"OpenVINO float32": way("f32"), "OpenVINO bfloat16": way("bf16")}


@torch.no_grad()
def main() -> None:
    """Let all ways take turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=3)
    for name in ("compile", "onnxruntime", "openvino"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codec = Codec(CodecConfig()).eval()
    samples = torch.randn(round(args.seconds * 48_000) // 1920 * 1920) * 0.1
    ways: dict[str, Way] = {"eager, one pass": lambda x: codec(x[None])[0]}
    ways["eager, chunks of 4 s"] = lambda x: encode(LatentStream(ChunkStream(codec), codec), x)
    ways["stream float32"] = stream(codec, torch.float32)
    ways["stream bfloat16"] = stream(codec, torch.bfloat16)
    with tempfile.TemporaryDirectory() as temporary:
        if args.compile:
            compiled = torch.compile(codec, dynamic=False)
            ways["torch.compile, no context"] = in_chunks(lambda x: compiled(x[None])[0])
        if args.onnxruntime:
            ways |= onnx_ways(codec, Path(temporary))
        if args.openvino:
            ways |= openvino_ways(codec)
        truth, best, worst = codec(samples[None])[0], dict.fromkeys(ways, 1e9), {}
        inner = slice(6, CHUNK // 1920 - 6)  # of the first chunk: exact in every way
        for _ in range(args.rounds):
            for name, way in ways.items():
                began = time.process_time()
                found = way(samples)
                best[name] = min(best[name], (time.process_time() - began) / args.seconds)
                worst[name] = float((found - truth)[inner].abs().max() / truth.std())
    print(
        f"{torch.__version__}, {torch.cpu.get_capabilities().get('cpu_name')}, one thread, {args.seconds:g} s"
    )
    for name in ways:
        print(
            f"{name:28} {best[name]:.3f} s/s  x{best['eager, one pass'] / best[name]:.2f}  {worst[name]:.1e}"
        )


if __name__ == "__main__":
    main()
