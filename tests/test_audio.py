"""Reading recordings: any container, rate, depth and channel count gives the same sound at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from peaframe import audio
from peaframe.errors import AudioError, FormatError, OptionError

SECONDS, ONSET, PITCH = 4.0, 2.0, 1000.0


def tone(rate: int, seconds: float = SECONDS, onset: float = ONSET) -> np.ndarray:
    """Silence, then from `onset` on a sine of 1 kHz and amplitude 0.5."""
    times = np.arange(round(rate * seconds)) / rate
    return np.where(times >= onset, 0.5 * np.sin(2 * np.pi * PITCH * (times - onset)), 0.0).astype(np.float32)


def noise(rate: int, seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(7).standard_normal(round(rate * seconds))).astype(np.float32)


def write_media(
    path: Path, codec: str, rate: int, waveform: np.ndarray, video: float = 0, **options: str
) -> None:
    """Mux mono sound, and `video` seconds of picture, into whatever the suffix of `path` says."""
    with av.open(str(path), "w", options=options) as container:
        sound = container.add_stream(codec, rate=rate)
        sound.codec_context.layout = "mono"
        if video:
            picture = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=25)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
            for number in range(round(video * 25)):
                image = np.full((64, 64, 3), number % 255, np.uint8)
                still = av.VideoFrame.from_ndarray(image, format="rgb24")
                still.pts = number
                container.mux(picture.encode(still))
            container.mux(picture.encode(None))
        fit = av.AudioResampler(
            sound.codec_context.format, "mono", rate, sound.codec_context.frame_size or 1024
        )
        whole = av.AudioFrame.from_ndarray(waveform[None], format="flt", layout="mono")
        whole.sample_rate, whole.pts = rate, 0
        for frame in [*fit.resample(whole), *fit.resample(None)]:
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def check_tone(waveform: np.ndarray, amplitude: float = 0.5, tolerance: float = 0.01) -> None:
    """Frequency within 0.05 Hz, amplitude, place in time within a sample (by phase), silence before."""
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    sounding = waveform[round((ONSET + 0.5) * 48000) : round((ONSET + 1.5) * 48000)].astype(np.float64)
    phase = 2 * np.pi * PITCH * np.arange(48000) / 48000
    cosine, sine = 2 * np.mean(sounding * np.cos(phase)), 2 * np.mean(sounding * np.sin(phase))
    assert np.hypot(cosine, sine) == pytest.approx(amplitude, abs=tolerance)
    assert abs(np.arctan2(cosine, sine)) < 2 * np.pi * PITCH * 1.0 / 48000  # within one sample in time
    spectrum = np.abs(np.fft.rfft(sounding * np.hanning(48000), 960_000))
    assert np.argmax(spectrum) * 48000 / 960_000 == pytest.approx(PITCH, abs=0.05)
    onset = int(np.argmax(np.abs(waveform) > 0.2 * amplitude))
    assert abs(onset - ONSET * 48000) <= 12  # a sine takes samples to rise, ADPCM more
    assert np.abs(waveform[: round((ONSET - 0.1) * 48000)]).max() < 0.01


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_bit_depth(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(44100), 44100, subtype=subtype)
    waveform = audio.read(tmp_path / "a.wav")
    assert len(waveform) == 4 * 48000
    check_tone(waveform)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000, 44099])
def test_every_rate(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype="FLOAT")
    waveform = audio.read(tmp_path / "a.wav")
    assert len(waveform) == 4 * 48000
    check_tone(waveform, tolerance=0.001)


def test_48_khz_is_untouched(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(48000, 3), 48000, subtype="FLOAT")
    assert np.array_equal(audio.read(tmp_path / "a.wav"), noise(48000, 3))


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.zeros((4 * 48000, 8), np.float32)
    channels[:, 3] = tone(48000)
    channels[:, 5] = tone(48000)
    soundfile.write(tmp_path / "a.wav", channels, 48000, subtype="FLOAT")
    assert audio.probe(tmp_path / "a.wav").channels == 8
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), tone(48000) / 4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "format", "subtype", "rate"),
    [
        ("a.flac", "FLAC", "PCM_24", 96000),
        ("a.ogg", "OGG", "VORBIS", 44100),
        ("a.opus", "OGG", "OPUS", 48000),
        ("a16.opus", "OGG", "OPUS", 16000),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 44100),
        ("a8.mp3", "MP3", "MPEG_LAYER_III", 16000),
        ("a.aiff", "AIFF", "PCM_16", 22050),
        ("a.au", "AU", "PCM_16", 8000),
        ("a.caf", "CAF", "PCM_16", 44100),
        ("a.w64", "W64", "PCM_16", 44100),
        ("rf64.wav", "RF64", "PCM_16", 44100),
        ("adpcm.wav", "WAV", "IMA_ADPCM", 44100),
        ("ulaw.wav", "WAV", "ULAW", 16000),
    ],
)
def test_containers_of_libsndfile(tmp_path: Path, name: str, format: str, subtype: str, rate: int) -> None:
    soundfile.write(tmp_path / name, tone(rate), rate, format=format, subtype=subtype)
    info = audio.probe(tmp_path / name)
    assert (info.sample_rate, info.channels) == (rate, 1)
    assert info.codec == f"{format}/{subtype}".lower()
    padding = 0.1 if subtype == "IMA_ADPCM" else 0.001  # whole blocks
    assert info.duration == pytest.approx(SECONDS, abs=padding)
    waveform = audio.read(tmp_path / name)
    assert len(waveform) == pytest.approx(SECONDS * 48000, abs=padding * 48000)
    check_tone(waveform, tolerance=0.02)


MEDIA = [
    ("a.m4a", "aac", 44100, 0.0),
    ("a.mp4", "aac", 48000, 4.0),
    ("b.mp4", "aac", 16000, 4.0),
    ("alac.m4a", "alac", 44100, 0.0),
    ("a.mov", "pcm_s16le", 44100, 4.0),
    ("a.mkv", "aac", 44100, 4.0),
    ("b.mkv", "aac", 48000, 9.0),
    ("c.mkv", "flac", 44100, 0.0),
    ("d.mkv", "libmp3lame", 44100, 0.0),
    ("e.mkv", "libopus", 48000, 0.0),
    ("f.mkv", "pcm_f32le", 8000, 0.0),
    ("a.webm", "libopus", 48000, 0.0),
    ("b.webm", "libopus", 48000, 4.0),
]


@pytest.mark.parametrize(("name", "codec", "rate", "video"), MEDIA)
def test_containers_of_ffmpeg(tmp_path: Path, name: str, codec: str, rate: int, video: float) -> None:
    write_media(tmp_path / name, codec, rate, tone(rate), video)
    info = audio.probe(tmp_path / name)
    assert (info.sample_rate, info.channels, info.path) == (rate, 1, tmp_path / name)
    assert info.duration == pytest.approx(SECONDS, abs=0.1)
    waveform = audio.read(tmp_path / name)
    assert len(waveform) == pytest.approx(SECONDS * 48000, abs=0.1 * 48000)
    check_tone(waveform, 0.475 if codec == "libmp3lame" else 0.5, tolerance=0.02)  # LAME turns down by 5 %


def test_a_stream_without_duration(tmp_path: Path) -> None:
    write_media(tmp_path / "live.webm", "libopus", 48000, tone(48000), live="1")
    with av.open(str(tmp_path / "live.webm")) as container:
        assert container.duration is None
    assert audio.probe(tmp_path / "live.webm").duration == pytest.approx(SECONDS, abs=0.02)
    check_tone(audio.read(tmp_path / "live.webm"), tolerance=0.02)


def test_sound_that_begins_after_the_picture_keeps_its_time(tmp_path: Path) -> None:
    sound = tone(48000, onset=0.5)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000)
        stream.codec_context.layout = "mono"
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        still = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        still.pts = 0
        container.mux([*picture.encode(still), *picture.encode(None)])
        for begin in range(0, len(sound), 48000):
            part = np.rint(sound[None, begin : begin + 48000] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, begin + 72000  # 1.5 s late
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    check_tone(audio.read(tmp_path / "a.mkv"))


@pytest.mark.parametrize("seconds", [0.01, 0.37, 1 / 3, 1.0, 30.0])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.mkv"])
def test_blocks_joined_are_read(tmp_path: Path, name: str, seconds: float) -> None:
    sound = noise(44100, 5.3)
    if name.endswith("mkv"):
        write_media(tmp_path / name, "aac", 44100, sound)
    else:
        soundfile.write(tmp_path / name, sound, 44100)
    blocks = list(audio.blocks(tmp_path / name, seconds))
    size = int(seconds * 48000 + 0.5)
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert 0 < len(blocks[-1]) <= size
    assert np.array_equal(np.concatenate(blocks), audio.read(tmp_path / name))
    part = np.concatenate(list(audio.blocks(tmp_path / name, seconds, start=2.345, end=4.2)))
    assert np.array_equal(part, audio.read(tmp_path / name, 2.345, 4.2))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "", 44100),
        ("b.wav", "", 8000),
        ("c.wav", "", 192000),
        ("d.wav", "", 44099),
        ("a.flac", "", 44100),
        ("a.ogg", "", 44100),
        ("a.opus", "OPUS", 48000),
        ("a.mp3", "", 44100),
        ("b.mp3", "libmp3lame", 44100),
        ("a.m4a", "aac", 44100),
        ("a.mkv", "aac", 44100),
        ("b.mkv", "flac", 44100),
        ("a.webm", "libopus", 48000),
    ],
)
def test_a_part_is_the_slice_of_the_whole(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    sound = tone(rate, 12.0, 1.0) + np.linspace(0, 0.3, 12 * rate, dtype=np.float32) * tone(rate, 12.0, 7.0)
    if codec and codec != "OPUS":
        write_media(tmp_path / name, codec, rate, sound, write_xing="0")
    else:
        form = {"format": "OGG", "subtype": codec} if codec else {}
        soundfile.write(tmp_path / name, sound, rate, **form)
    whole = audio.read(tmp_path / name)
    for start, end in [(0.0, 1.5), (0.5, 2.0), (2.0, 3.0), (1.23456, 6.54321), (9.87, 11.01), (10.9, None)]:
        first, last = int(start * 48000 + 0.5), None if end is None else int(end * 48000 + 0.5)
        part = audio.read(tmp_path / name, start, end)
        assert len(part) == len(whole[first:last])
        np.testing.assert_allclose(part, whole[first:last], atol=1e-4)


def test_mp3_in_chunks_is_mp3_at_once(tmp_path: Path) -> None:
    """A decoder that is made to jump between chunks loses its bit reservoir and clicks."""
    soundfile.write(tmp_path / "a.mp3", noise(48000, 20), 48000)
    at_once, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    assert np.array_equal(audio.read(tmp_path / "a.mp3"), at_once)


@pytest.mark.slow
def test_late_starts_do_not_decode_what_lies_before(tmp_path: Path) -> None:
    sound = noise(44100, 150)
    soundfile.write(tmp_path / "a.flac", sound, 44100)
    soundfile.write(tmp_path / "a.mp3", sound, 44100)
    write_media(tmp_path / "a.m4a", "aac", 44100, sound)
    write_media(tmp_path / "a.mkv", "aac", 44100, sound)
    for name in ("a.flac", "a.mp3", "a.m4a", "a.mkv"):
        began = time.process_time()
        whole = audio.read(tmp_path / name)
        middle = time.process_time()
        part = audio.read(tmp_path / name, 146, 148)
        assert time.process_time() - middle < 0.3 * (middle - began)
        correlation = np.corrcoef(part, whole[146 * 48000 : 148 * 48000])[0, 1]
        assert correlation > 0.999


MEASURE = """
import resource, sys
from peaframe import audio
def peak():
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
for _ in audio.blocks(sys.argv[1], end=40):
    pass
before, samples = peak(), 0
for block in audio.blocks(sys.argv[1]):
    samples += len(block)
print(samples, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_memory_stays_bounded_on_twenty_minutes(tmp_path: Path, name: str) -> None:
    sound = np.tile(noise(16000, 60), 20)
    if name == "a.m4a":
        write_media(tmp_path / name, "aac", 16000, sound)
    else:
        soundfile.write(tmp_path / name, sound, 16000)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    samples, megabytes = done.stdout.split()
    assert int(samples) == pytest.approx(1200 * 48000, abs=0.1 * 48000)
    assert float(megabytes) < 15  # the whole would be 230


def test_start_and_end_must_lie_in_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(44100), 44100)
    assert len(audio.read(path, end=audio.probe(path).duration)) == 4 * 48000
    for start, end in [
        (4.0, None),
        (9.0, None),
        (-1.0, None),
        (None, 4.001),
        (2.0, 2.0),
        (3.0, 2.0),
        (None, 0.0),
    ]:
        with pytest.raises(AudioError, match=r"a\.wav: "):
            audio.blocks(path, start=start, end=end)
    for odd in (float("nan"), float("inf")):
        with pytest.raises(AudioError, match="expected seconds"):
            audio.read(path, start=odd)
        with pytest.raises(OptionError, match="positive length"):
            audio.blocks(path, seconds=odd)
    with pytest.raises(OptionError, match="positive length"):
        audio.blocks(path, seconds=0.0)


def test_write_wav(tmp_path: Path) -> None:
    sound = np.array([0.0, 0.5, -0.5, 1.5, -1.5, 0.25], np.float32)
    audio.write_wav(tmp_path / "a.wav", sound)
    info = audio.probe(tmp_path / "a.wav")
    assert (info.sample_rate, info.channels, info.codec) == (48000, 1, "wav/pcm_16")
    assert audio.read(tmp_path / "a.wav").tolist() == [0.0, 0.5, -0.5, 32767 / 32768, -1.0, 0.25]
    for bad in (np.zeros((2, 2), np.float32), np.zeros(0, np.float32), np.array([np.nan], np.float32)):
        with pytest.raises(AudioError, match="expected finite samples"):
            audio.write_wav(tmp_path / "b.wav", bad)
    with pytest.raises(FormatError, match="cannot be written"):
        audio.write_wav(tmp_path / "no" / "a.wav", sound)
    assert os.listdir(tmp_path) == ["a.wav"]
