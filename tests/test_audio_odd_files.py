"""Files that are not what they should be: one clear line each, and never half a recording in silence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from peaframe import audio
from peaframe.errors import AudioError


def noise(seconds: float, rate: int = 44100) -> np.ndarray:
    return (0.1 * np.random.default_rng(3).standard_normal(round(rate * seconds))).astype(np.float32)


def write_mp4(path: Path, seconds: float, sound: bool, **options: str) -> None:
    with av.open(str(path), "w", options=options) as container:
        if sound:
            stream = container.add_stream("aac", rate=44100)
            stream.codec_context.layout = "mono"
            frame = av.AudioFrame.from_ndarray(noise(seconds)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 0
            fit = av.AudioResampler(stream.codec_context.format, "mono", 44100, 1024)
            for piece in [*fit.resample(frame), *fit.resample(None)]:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
        else:
            picture = container.add_stream("mpeg4", rate=25)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
            for number in range(round(seconds * 25)):
                still = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                still.pts = number
                container.mux(picture.encode(still))
            container.mux(picture.encode(None))


def error_of(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        audio.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def readable_seconds(message: str) -> float:
    match = re.search(r"only the first ([0-9.]+) s can be read", message)
    assert match, message
    return float(match.group(1))


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def set_wav_sizes(path: Path, data: int, riff: int) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = data.to_bytes(4, "little")
    content[4:8] = riff.to_bytes(4, "little")
    path.write_bytes(content)


def test_missing_folder_empty_and_pipe(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "missing.wav")
    assert "is a folder" in error_of(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "is empty (0 bytes)" in error_of(tmp_path / "empty.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert "not a regular file" in error_of(tmp_path / "pipe.wav")


@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac", "raw", "mp4", "txt", "ogg"])
def test_text_by_another_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes.{suffix}"
    path.write_text("these are words, not sound\n" * 300)
    assert "give a" in error_of(path)


def test_random_bytes_and_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(np.random.default_rng(0).bytes(20_000))
    error_of(tmp_path / "a.wav")
    with av.open(str(tmp_path / "a.png"), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "rgb24"
        image = av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(image), *stream.encode(None)])
    assert "no audio stream" in error_of(tmp_path / "a.png")


def test_video_without_sound(tmp_path: Path) -> None:
    write_mp4(tmp_path / "mute.mp4", 2, sound=False)
    assert "no audio stream" in error_of(tmp_path / "mute.mp4")


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.ogg", "a.mp3"])
def test_no_samples(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(0, np.float32), 44100)
    error_of(tmp_path / name)
    if name == "a.wav":
        assert "holds no samples" in error_of(tmp_path / name)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 192000])
def test_one_sample_and_silence_are_fine(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "one.wav", np.array([0.5], np.float32), rate)
    assert len(audio.read(tmp_path / "one.wav")) == max(1, 48000 // rate)
    soundfile.write(tmp_path / "silent.wav", np.zeros(rate, np.float32), rate)
    assert np.array_equal(audio.read(tmp_path / "silent.wav"), np.zeros(48000, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_nan_and_infinite_samples(tmp_path: Path, value: float, rate: int) -> None:
    sound = np.zeros((3 * rate, 2), np.float32)
    sound[2 * rate, 1] = value
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    assert "NaN or infinite samples, first at 2.000 s" in error_of(tmp_path / "a.wav")
    assert len(audio.read(tmp_path / "a.wav", end=1.0)) == 48000


@pytest.mark.parametrize("name", ["-", "https://example.org/a.wav"])
def test_what_is_no_file_but_a_stream_is_told_to_become_one(name: str) -> None:
    with pytest.raises(AudioError, match="save the sound to a file first"):
        audio.read(name)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_floating_point_samples_in_another_unit(tmp_path: Path, rate: int) -> None:
    sound = np.zeros(3 * rate, np.float32)
    sound[2 * rate] = -32768
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    assert "has samples up to -32768, expected -1 to 1, first at 2.000 s; re-export it" in error_of(
        tmp_path / "a.wav"
    )
    soundfile.write(tmp_path / "loud.wav", sound / 1000, rate, subtype="FLOAT")
    assert audio.read(tmp_path / "loud.wav").min() == pytest.approx(-32.768, rel=0.2)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.wav", "a.aiff", "a.ogg", "a.au", "a.w64"])
def test_cut_files_say_how_far_they_go(tmp_path: Path, name: str, share: float) -> None:
    soundfile.write(tmp_path / name, noise(20), 44100)
    cut(tmp_path / name, share)
    assert readable_seconds(error_of(tmp_path / name)) == pytest.approx(20 * share, abs=1.5)


def test_what_lies_before_the_cut_can_be_asked_for(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(20), 44100)
    whole = audio.read(tmp_path / "a.flac")
    cut(tmp_path / "a.flac", 0.6)
    np.testing.assert_allclose(audio.read(tmp_path / "a.flac", 3, 10), whole[3 * 48000 : 480_000], atol=1e-4)
    with pytest.raises(AudioError, match="cut short or damaged"):
        audio.read(tmp_path / "a.flac", 3, 18)


def test_cut_mp4(tmp_path: Path) -> None:
    write_mp4(tmp_path / "fast.mp4", 20, sound=True, movflags="faststart")
    cut(tmp_path / "fast.mp4", 0.5)
    assert readable_seconds(error_of(tmp_path / "fast.mp4")) == pytest.approx(10, abs=1)
    write_mp4(tmp_path / "slow.mp4", 20, sound=True)  # its index comes last, so nothing can be read
    cut(tmp_path / "slow.mp4", 0.5)
    assert "cannot be read as a recording" in error_of(tmp_path / "slow.mp4")


def test_cut_mkv(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mkv", 20, sound=True)
    cut(tmp_path / "a.mkv", 0.5)
    assert readable_seconds(error_of(tmp_path / "a.mkv")) == pytest.approx(10, abs=1)


def test_damage_in_the_middle_of_a_flac(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(20), 44100)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = np.random.default_rng(1).bytes(4000)
    (tmp_path / "a.flac").write_bytes(content)
    assert readable_seconds(error_of(tmp_path / "a.flac")) == pytest.approx(10, abs=1)


def test_a_wav_header_that_promises_more_is_a_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(3), 44100)
    size = 3 * 44100 * 2
    set_wav_sizes(tmp_path / "a.wav", 2 * size, 2 * size + 36)
    assert audio.probe(tmp_path / "a.wav").duration == pytest.approx(6)
    assert readable_seconds(error_of(tmp_path / "a.wav")) == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("data", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 44])
@pytest.mark.parametrize("riff", ["nothing", "as data"])
def test_a_wav_header_never_finished_is_read_to_the_end(tmp_path: Path, data: int, riff: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise(3), 44100)
    whole = audio.read(tmp_path / "a.wav")
    set_wav_sizes(tmp_path / "a.wav", data, min(data + 36, 0xFFFFFFFF) if riff == "as data" else 0)
    assert np.array_equal(audio.read(tmp_path / "a.wav"), whole)


def test_a_wav_header_that_promises_less_is_believed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(4), 44100)
    set_wav_sizes(tmp_path / "a.wav", 2 * 44100 * 2, 2 * 44100 * 2 + 36)
    assert len(audio.read(tmp_path / "a.wav")) == 2 * 48000


def test_a_flac_from_a_pipe_has_no_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(5), 44100)
    whole = audio.read(tmp_path / "a.flac")
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert audio.probe(tmp_path / "a.flac").duration == pytest.approx(5)
    np.testing.assert_allclose(audio.read(tmp_path / "a.flac"), whole, atol=1e-6)


def test_a_playlist_opens_nothing_else(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1), 44100)
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile http://127.0.0.1:9/a.wav\n")
    error_of(tmp_path / "list.wav")


@pytest.mark.parametrize("name", ["12:30:00.mp4", "-", "ä ö 録音.m4a", "http:x.mp4", "a%d.m4a"])
def test_names_that_look_like_something_else(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mp4(tmp_path / "plain.mp4", 1, sound=True)
    os.rename(tmp_path / "plain.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(audio.read(name)) == pytest.approx(48000, abs=2000)
