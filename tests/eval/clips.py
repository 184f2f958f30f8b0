"""What the tests on whole clips share: cuts of the demo recording, videos, a tiny PE-AV that sees, hears and reads.

Loaded with runpy by the tests that need it: pytest does not put tests on the path.
"""

import dataclasses
import json
from pathlib import Path

import av
import numpy as np
import soundfile

ROOT = Path(__file__).parent.parent
DEMO = ROOT.parent / "examples" / "demo.flac"
SPANS = {  # what is heard in the demo, in seconds
    "dog barking": (1.2, 2.5),
    "woman speaking": (3.6, 6.8),
    "telephone ringing": (17.8, 19.7),
    "guitar playing": (26.0, 28.5),
    "crow cawing": (24.3, 25.0),
}


def cut(path, start, end):
    """A part of the demo as a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples, rate = soundfile.read(DEMO, always_2d=True)
    soundfile.write(path, samples[round(start * rate) : round(end * rate)], rate)
    return path


def video(path, shade, seconds=1.0, sound=True):
    """A second of a square on a ground of some shade, with or without a tone, which is higher for brighter ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        tones = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for i in range(round(seconds * 10)):
            image = np.full((48, 64, 3), shade, dtype=np.uint8)
            image[8:24, 2 * i : 2 * i + 16] = (250, 40, 40)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(pictures.encode())
        if tones is not None:
            time = np.arange(round(seconds * 48_000)) / 48_000
            wave = (0.3 * np.sin(2 * np.pi * (200 + 10 * shade) * time)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(tones.encode(frame))
            container.mux(tones.encode())
    return path


def tiny_pe_av(folder, tokenizer_content):
    """A PE-AV checkpoint of random weights, with an image encoder and a tokenizer."""
    from safetensors.torch import load_file

    from peaframe.models.image import ImageConfig, ImageEncoder
    from peaframe.models.load import load_audio_video_model, save_pe

    golden = ROOT / "golden"
    model = load_audio_video_model(golden / "pe_av_original")
    sizes = ImageConfig(size=42, patch=14, width=32, layers=2, heads=2, pool_heads=4)
    model.image = ImageEncoder(sizes, 24).eval()
    model.image.load_state_dict(load_file(golden / "pe_core_timm" / "model.safetensors"))
    seen = dataclasses.replace(model.config.video, image=sizes)
    model.config = dataclasses.replace(model.config, video=seen)
    save_pe(model, folder, "transformers", json.dumps(tokenizer_content))
    return folder


def lines(path, *rows):
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path
