"""Clips are opened as far as somebody asks, and known by their content."""

import base64
import shutil

import numpy as np
import pytest
import soundfile

from peaframe import audio
from peaframe.captions.clips import Clip, OpenClip, Streams
from peaframe.captions.endpoint_media import png
from peaframe.errors import AudioError, VideoError


def test_sound_and_pictures_of_a_stretch(media):
    clip = OpenClip(Clip("both.mp4", media / "both.mp4", 0.5, 1.5), pictures=4)
    assert clip.streams.sound
    assert clip.streams.pictures
    assert clip.seconds == 1.0
    np.testing.assert_array_equal(clip.sound, audio.read(media / "both.mp4", 0.5, 1.5))
    assert ["rgb"[int(p.mean((0, 1)).argmax())] for p in clip.pictures] == ["r", "r", "b", "b"]
    late = OpenClip(Clip("both.mp4", media / "both.mp4", 1.2, 1.8), pictures=3)
    assert [p.shape for p in late.pictures] == [(48, 64, 3)] * 3
    assert ["rgb"[int(p.mean((0, 1)).argmax())] for p in late.pictures] == ["b", "b", "b"]


def test_pictures_stand_in_the_middle_of_equal_parts(tmp_path, make_video):
    grays = [(10 * i, 10 * i, 10 * i) for i in range(20)]
    make_video(tmp_path / "grays.mp4", colors=grays)
    whole = OpenClip(Clip("grays.mp4", tmp_path / "grays.mp4"), pictures=4)
    seen = [p.mean() / 10 for p in whole.pictures]
    np.testing.assert_allclose(seen, [2, 7, 12, 17], atol=0.4)  # at 0.25, 0.75, 1.25 and 1.75 s
    part = OpenClip(Clip("grays.mp4", tmp_path / "grays.mp4", 1.0, 1.4), pictures=2)
    np.testing.assert_allclose([p.mean() / 10 for p in part.pictures], [11, 13], atol=0.4)


def test_what_files_have(media):
    assert OpenClip(Clip("low.wav", media / "low.wav")).streams == Streams(True, False, 1.5)
    assert OpenClip(Clip("silent.mp4", media / "silent.mp4")).streams == Streams(False, True, 2.0)
    assert OpenClip(Clip("low.wav", media / "low.wav")).pictures == []


def test_a_still_picture_is_one(tmp_path):
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, :, 1] = 200
    (tmp_path / "still.png").write_bytes(base64.b64decode(png(image, 64)))
    clip = OpenClip(Clip("still.png", tmp_path / "still.png", 0.0, 5.0))
    assert clip.streams == Streams(False, True, 0.0)
    (shown,) = clip.pictures
    np.testing.assert_array_equal(shown, image)


def test_content_is_what_counts(media):
    shutil.copy(media / "low.wav", media / "copy.wav")
    low = OpenClip(Clip("low.wav", media / "low.wav"))
    assert OpenClip(Clip("copy.wav", media / "copy.wav")).digest == low.digest
    others = [
        OpenClip(Clip("low.wav", media / "low.wav", 0.5)),
        OpenClip(Clip("low.wav", media / "low.wav", 0.0, 1.0)),
        OpenClip(Clip("low.wav", media / "low.wav"), pictures=2),
        OpenClip(Clip("high.flac", media / "high.flac")),
    ]
    assert len({low.digest, *(clip.digest for clip in others)}) == 5
    soundfile.write(media / "copy.wav", np.zeros(48_000), 48_000)
    assert OpenClip(Clip("copy.wav", media / "copy.wav")).digest != low.digest


def test_sound_is_let_go_of(media):
    clip = OpenClip(Clip("low.wav", media / "low.wav"))
    first = clip.sound
    assert clip.sound is first
    clip.forget()
    assert clip.sound is not first
    np.testing.assert_array_equal(clip.sound, first)


def test_bad_media(media, refusal):
    assert "check the name" in refusal(AudioError, OpenClip, Clip("gone.wav", media / "gone.wav"))
    broken = OpenClip(Clip("broken.wav", media / "broken.wav"))
    with pytest.raises(AudioError):
        _ = broken.seconds
    late = OpenClip(Clip("silent.mp4", media / "silent.mp4", 5.0))
    with pytest.raises(VideoError, match=r"start 5\.0 s is not before the pictures' end at 2\.000 s"):
        _ = late.pictures
