"""Clips that tests of shards share: a small PE-AV of random weights, and a folder of real media with its table."""

import csv
import dataclasses
import json
from pathlib import Path

import av
import numpy as np
import soundfile

from peaframe import audio
from peaframe.models.image import ImageConfig
from peaframe.models.load import save_pe
from peaframe.models.pretraining import av_config, new_model

DEMO = Path(__file__).parents[2] / "examples" / "demo.flac"
TINY = av_config("tiny")
SHARD_BYTES = 12_000
LATENT, SEEN = TINY.audio.codec.latent, TINY.video.features  # channels
IMAGE = ImageConfig(size=42, patch=14, width=32, layers=2, heads=2, pool_heads=4)


def write_model(folder, seed=0, frames=None):
    """A tiny PE-AV with an image encoder."""
    config = av_config("tiny", frames)
    config = dataclasses.replace(config, video=dataclasses.replace(config.video, image=IMAGE))
    save_pe(new_model(config, seed), folder, "transformers")
    return folder


def picture(i, size=(48, 32)):
    """A window that pans over a large picture."""
    x, y = np.meshgrid(np.arange(400), np.arange(size[1]))
    whole = np.stack(((x * 3) % 256, (y * 7 + x) % 256, (x // 9 * 40) % 256), axis=2).astype(np.uint8)
    return np.ascontiguousarray(whole[:, 4 * i : 4 * i + size[0]])


def write_video(path, frames, rate=10, sound=None, codec="ffv1", sound_codec="flac"):
    """Pictures 0, 1, 2 ...; FFV1 and FLAC keep pictures and sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0" if codec == "ffv1" else "yuv420p"
        heard = None
        if sound is not None:
            heard = container.add_stream(sound_codec, rate=48_000, layout="mono")
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if heard is not None:
            pcm = (sound * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate = 48_000
            resampler = av.AudioResampler(format=heard.codec_context.format, layout="mono", rate=48_000)
            fifo = av.AudioFifo()
            for part in resampler.resample(frame):
                part.pts = None
                fifo.write(part)
            place = 0
            while (part := fifo.read(1024, partial=True)) is not None:
                part.pts, place = place, place + part.samples
                container.mux(heard.encode(part))
            container.mux(heard.encode())
    return path


def write_picture(path, i=3, size=(48, 32)):
    codec = {".png": "png", ".jpg": "mjpeg"}[path.suffix]
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24" if codec == "png" else "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, size), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_media(folder):
    """Sound, videos with and without it, pictures, and what is broken; gives the rows of a table."""
    folder.mkdir(exist_ok=True)
    demo = audio.read(DEMO, 0.0, 4.0)
    soundfile.write(folder / "yard.flac", demo, 48_000, subtype="PCM_16")
    soundfile.write(folder / "same.wav", demo[48_000:72_000], 48_000, subtype="PCM_16")
    write_video(folder / "pan.mkv", 20, sound=demo[:96_000])
    write_video(folder / "pan.mp4", 15, sound=demo[48_000:120_000], codec="mpeg4", sound_codec="aac")
    write_video(folder / "silent.mkv", 12)
    write_picture(folder / "still.png")
    write_picture(folder / "photo.jpg")
    (folder / "broken.mp4").write_text("no video at all")
    whole = (folder / "yard.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 3])
    (folder / "empty.wav").write_bytes(b"")
    return [
        {
            "media": "yard.flac",
            "start": 0,
            "end": 1,
            "audio_caption": '["a dog", "a dog barks"]',
            "licence": "CC0",
        },
        {"media": "yard.flac", "start": 1, "end": 1.5, "audio_caption": "a buzz", "transcript": "good dog"},
        {"media": "same.wav", "audio_caption": "a buzz again"},
        {
            "media": "pan.mkv",
            "visual_caption": "the rain",
            "audio_visual_caption": "a siren in rain",
            "source": "made",
        },
        {"media": "pan.mkv", "start": 0.5, "end": 1.25, "visual_caption": "a beep"},
        {"media": "missing.wav"},
        {"media": "pan.mp4", "audio_caption": "siren", "transcript": "the rain in the distance"},
        {"media": "silent.mkv", "visual_caption": "a dog nearby", "start": 0.2, "end": 1},
        {"media": "broken.mp4"},
        {"media": "cut.flac"},
        {"media": "still.png", "visual_caption": "the dog"},
        {"media": "photo.jpg", "end": 3},
        {"media": "empty.wav"},
        {"media": "yard.flac", "start": 9, "end": 10},
        *(
            {"media": "yard.flac", "start": 0.1 * i, "end": 0.1 * i + 0.7, "audio_caption": f"a beep {i}"}
            for i in range(1, 7)
        ),
    ]


KEYS = [0, 1, 3, 4, 6, 7, 10, 11, 14, 15, 16, 17, 18, 19]  # of what can be read, each content once
FAILED = [5, 8, 9, 12, 13]
COLUMNS = ["media", "start", "end", "audio_caption", "visual_caption", "audio_visual_caption", "transcript"]
COLUMNS += ["source", "licence"]


def write_table(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def content(folder):
    """Bytes of all files by name, but for tar's own."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }
