"""Pictures of real video files: all of them, or some evenly spread; files that hold none."""

import av
import numpy as np
import pytest
import soundfile

from peaframe import video
from peaframe.errors import VideoError


def write(path, frames, codec="ffv1", size=(32, 16)):
    """Frame i is grey of value 6 i; FFV1 keeps it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for i in range(frames):
            image = np.full((size[1], size[0], 3), 6 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def greys(path, frames=None):
    return [int(image.mean()) // 6 for block in video.blocks(path, frames) for image in block]


def test_all_frames_in_blocks(tmp_path):
    path = write(tmp_path / "a.mkv", 37)
    blocks = list(video.blocks(path))
    assert [block.shape for block in blocks] == [(16, 3, 16, 32), (16, 3, 16, 32), (5, 3, 16, 32)]
    assert blocks[0].dtype == np.uint8
    assert greys(path) == list(range(37))


def test_some_frames_from_the_first_to_the_last(tmp_path):
    path = write(tmp_path / "a.mkv", 37)
    assert greys(path, 16) == [int(i * 36 / 15) for i in range(16)]
    assert greys(path, 1) == [0]
    assert greys(write(tmp_path / "b.mkv", 3), 5) == [0, 0, 1, 1, 2]


def test_pictures_at_moments_are_those_on_the_screen_then(tmp_path):
    path = write(tmp_path / "a.mkv", 37)
    seen = video.pictures_at(path, [0.0, 0.039, 0.05, 0.05, 0.99, 7.0])
    assert [int(image.mean()) // 6 for image in seen] == [0, 0, 1, 1, 24, 36]
    assert [image.shape for image in video.pictures_at(path, [1.0])] == [(16, 32, 3)]


def test_pictures_at_moments_need_pictures(tmp_path, refusal):
    soundfile.write(tmp_path / "sound.wav", np.zeros(800), 8000)
    assert "has no pictures" in refusal(VideoError, video.pictures_at, tmp_path / "sound.wav", [0.0])


@pytest.mark.parametrize(
    ("name", "make", "part"),
    [
        ("missing.mp4", None, "no such file"),
        ("sound.wav", lambda path: soundfile.write(path, np.zeros(800), 8000), "no pictures"),
        ("text.mp4", lambda path: path.write_text("no video at all"), "cannot be read as a video"),
    ],
)
def test_files_without_pictures(tmp_path, refusal, name, make, part):
    path = tmp_path / name
    if make is not None:
        make(path)
    message = refusal(VideoError, list, _lazily(path))
    assert name in message
    assert part in message


def _lazily(path):
    yield from video.blocks(path)


def test_a_number_of_frames_that_makes_no_sense(tmp_path, refusal):
    path = write(tmp_path / "a.mkv", 2)
    assert refusal(VideoError, list, _none(path)) == "got 0 frames, expected 1 or more, or None for all"


def _none(path):
    yield from video.blocks(path, 0)
