"""How fast is PE-A-Frame here, beside transformers' own forward, and how much memory does it take?

    python benchmarks/engine.py [--size small] [--seconds 20] [--rounds 3] [--parts speed memory queries start]

Builds the model at its true size with random weights (speed and memory do not depend on their values), writes it in
transformers' layout, and prints for one thread:

- speed: CPU-seconds per second of audio of transformers' PeAudioFrameLevelModel and of peaframe's detector, exact and
  fast, taking turns in one run, and by how much the probabilities differ (`pip install transformers==5.23.0`);
- memory: peak of a long detection above the loaded model (`--size tiny --minutes 1440`: a day, by a model so small
  that it is heard the same day);
- queries: 100 queries against 1, their embeddings new and then cached;
- start: seconds of a whole `peaframe detect` on 10 seconds of audio, model on disk.

The scale and bias are set so that probabilities spread as those of a trained model do (logits of deviation 2).
Absolute times hold for this machine and hour only; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peaframe.clock import SAMPLE_RATE
from peaframe.infer.detector import Detector
from peaframe.models.load import load_model, save_pe
from peaframe.models.pe_frame import PEFrameModel, public_config

COMMAND = "import sys; from peaframe.cli.main import main; sys.exit(main())"
TINY = Path(__file__).parent.parent / "tests" / "golden" / "pe_a_frame_original"
WORDS = [f"sound number {i}" for i in range(100)]


def sound(seconds: float) -> np.ndarray:
    """Noise whose loudness and colour change, so that frames differ."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * f * t + 3 * np.sin(2 * np.pi * t / p)) for f, p in ((220, 3), (1330, 1.7)))
    wave = 0.1 * rng.standard_normal(len(t)) * (1 + np.sin(2 * np.pi * t / 2.3)) + 0.1 * tones
    return wave.astype(np.float32)


def word_tokenizer() -> str:
    """The text of a tokenizer.json that knows numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: i for i, word in enumerate(("[UNK]", "[CLS]", "[SEP]", *map(str, range(400))))}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return str(tokenizer.to_str())


@torch.no_grad()
def build(size: str, folder: Path) -> None:
    """Write a model of a public size, or the tests' tiny one, with random weights in transformers' layout."""
    if size == "tiny":
        save_pe(load_model(TINY), folder, "transformers", word_tokenizer())
        return
    torch.manual_seed(0)
    model = PEFrameModel(public_config(size)).eval()
    for name, p in model.named_parameters():
        if name.endswith("alpha"):
            p.uniform_(0.5, 1.5)
    frames = model.encode_audio(torch.from_numpy(sound(4.0))[None])[0]
    texts = model.encode_tokens(
        torch.tensor([[1, 5 + i, 2] for i in range(8)]), torch.ones(8, 3, dtype=torch.long)
    )
    dots = frames @ texts.T
    model.logit_scale.fill_(2.0 / dots.std().item())
    model.logit_bias.fill_(-2.0 * dots.mean().item() / dots.std().item())
    save_pe(model, folder, "transformers", word_tokenizer())


def theirs(folder: Path) -> Any:
    """Transformers' model, its audio side as a function (samples,) -> (frames, dim)."""
    from transformers import PeAudioFrameLevelModel  # type: ignore[import-not-found]

    model = PeAudioFrameLevelModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def embed(samples: np.ndarray) -> torch.Tensor:
        clip = torch.from_numpy(samples)[None, None]
        return model.get_audio_embeds(clip, padding_mask=torch.ones(clip.shape[::2], dtype=torch.bool))[0]

    return embed


def speed(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Ours and theirs in turns; theirs hears the recording in pieces of 10 s, the cheapest way it has."""
    piece = 10 * SAMPLE_RATE
    samples = sound(seconds)
    embed, queries = theirs(folder), WORDS[:10]
    detectors = {kind: Detector(load_model(folder), "cpu", kind) for kind in ("exact", "fast")}
    texts = detectors["exact"]._texts(queries)

    def transformers() -> Any:
        return [embed(samples[i : i + piece]) for i in range(0, len(samples), piece)]

    ways = {"transformers": transformers}
    ways |= {kind: (lambda d=d: d.score(samples, queries)) for kind, d in detectors.items()}
    best: dict[str, float] = {}
    for _ in range(rounds):
        for kind, way in ways.items():
            began = time.process_time()
            way()
            best[kind] = min(best.get(kind, 1e9), (time.process_time() - began) / seconds)
    with torch.inference_mode():
        model = detectors["exact"].model
        truth = model.score(embed(samples[:piece])[None], texts).sigmoid()[0].numpy()
    result: dict[str, Any] = {"seconds": seconds, "cpu_seconds_per_second": best}
    for kind, detector in detectors.items():
        found = detector.score(samples[:piece], queries).values
        result[kind] = {
            "products": str(detector.model.audio.products),
            "times_quicker": best["transformers"] / best[kind],
            "largest_difference": float(np.abs(found - truth).max()),
            "decisions_changed_at_0.3": float(((found > 0.3) != (truth > 0.3)).mean()),
        }
    return result


def memory(folder: Path, minutes: float) -> dict[str, Any]:
    """Peak memory of a process that has loaded the model and detected in 10 s, and once it has in all of it."""
    from soundfile import SoundFile

    recording = folder / "long.flac"
    with SoundFile(recording, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        minute = sound(60.0)
        for _ in range(max(1, round(minutes))):
            file.write(minute)
    code = f"""if True:
        import torch
        from peaframe.infer.detector import load
        detector = load({str(folder)!r}, "cpu")
        def peak():  # of this process alone; ru_maxrss is never less than that of the one that started it
            with open("/proc/self/status") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        detector.model.encode_tokens(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.long))
        for p in detector.model.parameters():
            p.sum()  # weights lie on the disk until they are looked at
        loaded = peak()
        detector.detect({str(recording)!r}, ["1"], end=30.0)
        short = peak()
        detector.detect({str(recording)!r}, ["1"])
        print(loaded, short, peak())
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_plain()
    )
    loaded, short, whole = (int(n) / 1024 for n in done.stdout.split())
    return {"minutes": minutes, "mib_loaded": loaded, "mib_after_30_s": short, "mib_at_the_end": whole}


def _plain() -> dict[str, str]:
    """The environment without a number of threads, as a user has it."""
    return {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}


def queries(folder: Path, seconds: float) -> dict[str, Any]:
    """The same recording asked for 1 and for 100 queries, whose embeddings are new, then on disk."""
    samples, result = sound(seconds), {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PEAFRAME_CACHE"] = cache
        for name, words in {
            "1 query": WORDS[:1],
            "100 new queries": WORDS,
            "100 kept queries": WORDS,
        }.items():
            detector = Detector(load_model(folder), "cpu", "exact")
            began = time.process_time()
            detector.score(samples, words)
            result[name] = time.process_time() - began
        del os.environ["PEAFRAME_CACHE"]
    return {"seconds": seconds, "cpu_seconds": result}


def start(folder: Path) -> dict[str, Any]:
    """Wall seconds of the whole command on 10 s of audio, all cores; the query is kept from the first time on."""
    from soundfile import write

    recording = folder / "short.wav"
    write(recording, sound(10.0), SAMPLE_RATE)
    command = [sys.executable, "-c", COMMAND, "detect", str(recording), "7", "--model", str(folder)]
    times, said = [], ""
    for _ in range(3):
        began = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=_plain()).stderr
        times.append(time.perf_counter() - began)
    return {"cores": os.cpu_count(), "wall_seconds": times, "it_said": said.strip()}


def main() -> None:
    """Measure what was asked for, print it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="small", choices=("tiny", "small", "base", "large"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the recording for memory")
    parser.add_argument("--rounds", type=int, default=3)
    parts = ("speed", "memory", "queries", "start")
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    args = parser.parse_args()
    torch.set_num_threads(1)
    able = torch.cpu.get_capabilities()
    machine = {
        key: able.get(key) for key in ("cpu_name", "avx512_f", "avx512_bf16", "avx512_fp16", "amx_fp16")
    }
    print(
        json.dumps({"torch": torch.__version__, "python": platform.python_version(), "threads": 1, **machine})
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(args.size, folder)
        print(
            json.dumps({"size": args.size, "bytes": (folder / "model.safetensors").stat().st_size}),
            flush=True,
        )
        for part in args.parts:
            if part == "speed":
                found = speed(folder, args.seconds, args.rounds)
            elif part == "memory":
                found = memory(folder, args.minutes)
            else:
                found = queries(folder, args.seconds) if part == "queries" else start(folder)
            print(json.dumps({part: found}, indent=1), flush=True)
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
