"""What media of clips hold: the pictures on the screen in a part, and whether there are any."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition

from peaframe import video

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_files.py")))


def greys(path, start, end, frames=None):
    wanted = [clips.picture(i) for i in range(30)]
    return [
        next(i for i, own in enumerate(wanted) if (own == image.transpose(1, 2, 0)).all())
        for block in video.blocks(path, frames, start, end)
        for image in block
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, 0.3, [0, 1, 2]),
        (0.5, 0.8, [5, 6, 7]),
        (0.55, 0.75, [5, 6, 7]),
        (1.52, 1.56, [15]),
        (1.7, None, [17, 18, 19]),
    ],
)
def test_pictures_on_the_screen_in_a_part(table, start, end, expected):
    assert greys(table.parent / "pan.mkv", start, end) == expected
    assert greys(table.parent / "pan.mkv", start, end, 1) == expected[:1]


def test_what_a_file_of_media_holds(table, refusal):
    about = {
        name: video.probe(table.parent / name) for name in ("yard.flac", "pan.mp4", "silent.mkv", "photo.jpg")
    }
    assert [(own.sound, own.pictures, own.still) for own in about.values()] == [
        (True, False, False),
        (True, True, False),
        (False, True, False),
        (False, True, True),
    ]
    assert [round(own.duration, 2) for own in about.values()] == [4.0, 1.5, 1.2, 0.0]
    path = table.parent / "pan.mkv"
    assert "no picture is on the screen from 5.0 s on" in refusal(
        video.VideoError, lambda: list(video.blocks(path, None, 5.0))
    )
    assert "expected 0 <= start < end" in refusal(
        video.VideoError, lambda: list(video.blocks(path, None, 2.0, 1.0))
    )


def test_the_cover_of_a_record_is_no_video(tmp_path, refusal):
    with av.open(str(tmp_path / "a.mp3"), "w") as container:
        heard = container.add_stream("mp3", rate=48_000)
        seen = container.add_stream("mjpeg", rate=1)
        seen.width, seen.height, seen.pix_fmt = 48, 32, "yuvj420p"
        seen.disposition = Disposition.attached_pic.value
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(seen.encode(av.VideoFrame.from_ndarray(clips.picture(1), format="rgb24")))
        container.mux(seen.encode())
        container.mux(heard.encode(frame))
        container.mux(heard.encode())
    about = video.probe(tmp_path / "a.mp3")
    assert (about.sound, about.pictures) == (True, False)
    assert "has no pictures" in refusal(video.VideoError, lambda: list(video.blocks(tmp_path / "a.mp3")))
