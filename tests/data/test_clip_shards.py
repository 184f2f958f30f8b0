"""Shards of clips of real media: what they hold, what is left out, and the same bytes however they came about."""

import csv
import hashlib
import io
import json
import runpy
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from peaframe import audio
from peaframe.codec.encode import encode
from peaframe.data.clip_shards import ClipContent, write_clip_shards
from peaframe.data.clips_table import stream
from peaframe.data.shard_files import load_index
from peaframe.data.shards import ShardReader
from peaframe.errors import FormatError, ModelError, OptionError
from peaframe.models.load import load_audio_video_model

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_files.py")))
processes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "processes.py")))


def samples(folder):
    """What each sample's files hold, by key."""
    found = {}
    for shard in load_index(folder).shards:
        with tarfile.open(folder / shard.name) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                found.setdefault(int(key), {})[suffix] = tar.extractfile(member).read()
    return found


def rows_of(data):
    return np.load(io.BytesIO(data))


def test_samples_hold_what_the_media_hold(written, table, model_folder):
    found, model = samples(written), load_audio_video_model(model_folder)
    assert list(found) == clips.KEYS
    kinds = {key: {suffix for suffix in files if suffix != "json"} for key, files in found.items()}
    both, heard, seen = {"npy", "video.npy"}, {"npy"}, {"video.npy"}
    assert [kinds[key] for key in clips.KEYS] == [heard, heard, both, both, both, seen, seen, seen] + [
        heard
    ] * 6
    parts = {0: ("yard.flac", 0.0, 1.0), 3: ("pan.mkv", None, None), 4: ("pan.mkv", 0.5, 1.25)}
    for key, (name, start, end) in parts.items():
        waveform = torch.from_numpy(audio.read(table.parent / name, start, end))
        with torch.no_grad():
            latents = encode(model.audio.open_stream(), waveform)
        np.testing.assert_allclose(rows_of(found[key]["npy"]), latents.half().numpy(), atol=1e-3)
    assert rows_of(found[4]["npy"]).shape == (19, clips.LATENT)  # 0.75 s
    for key, places in {3: (0, 6, 12, 19), 4: (5, 7, 9, 12), 7: (2, 4, 6, 9)}.items():
        images = np.stack([clips.picture(i) for i in places]).transpose(0, 3, 1, 2)
        features = model.image.frame_features(torch.from_numpy(np.ascontiguousarray(images)))
        np.testing.assert_allclose(rows_of(found[key]["video.npy"]), features.half().numpy(), atol=1e-3)
    for key in (10, 11):  # a picture stands still
        rows = rows_of(found[key]["video.npy"])
        assert rows.shape == (4, clips.SEEN)
        assert (rows == rows[0]).all()
        np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-3)


def test_samples_say_what_the_table_says(written):
    said = {key: json.loads(files["json"]) for key, files in samples(written).items()}
    assert said[0] | {"digest": "", "crc32": 0} == {
        "key": "000000000",
        "media": "yard.flac",
        "start": 0.0,
        "end": 1.0,
        "captions": {"audio": ["a dog", "a dog barks"]},
        "transcript": "",
        "source": "",
        "metadata": {"licence": "CC0"},
        "seconds": 1.0,
        "still": False,
        "digest": "",
        "crc32": 0,
    }
    assert (said[3]["source"], said[3]["end"], said[3]["seconds"]) == ("made", None, 2.0)
    assert [said[key]["still"] for key in (7, 10, 11)] == [False, True, True]
    assert [said[key]["seconds"] for key in (7, 10, 11)] == [0.8, 0.0, 3.0]
    assert said[6]["transcript"] == "the rain in the distance"


def test_what_is_left_out_is_listed_with_the_reason(written):
    with (written / "failed.csv").open(newline="") as file:
        failed = list(csv.DictReader(file))
    assert [int(row["key"]) for row in failed] == clips.FAILED
    reasons = [row["reason"] for row in failed]
    for reason, part in zip(
        reasons,
        ("no such file", "cannot be read", "cut.flac: ", "is empty", "is not before the recording's end"),
        strict=True,
    ):
        assert part in reason
    assert (written / "duplicates.csv").read_text() == "key,path,same_as\n000000002,same.wav,000000001\n"


def test_the_index_tells_the_model_and_readers_of_items_refuse_it(written, model_folder, refusal):
    index = load_index(written)
    assert (index.kind, index.content, index.samples, index.failed, index.duplicates) == (
        "clips",
        "latents",
        14,
        5,
        1,
    )
    assert len(index.shards) >= 3
    latents, features = index.made["latents"], index.made["video"]
    assert (latents["model"], latents["channels"]) == ("tiny", clips.LATENT)
    assert (features["model"], features["channels"], features["frames"]) == ("tiny", clips.SEEN, 4)
    assert "shards of clips, expected items" in refusal(FormatError, ShardReader, written)


@pytest.mark.slow
def test_several_processes_give_the_same_bytes(written, table, wanted, tmp_path):
    write_clip_shards(stream(table), tmp_path / "out", wanted, shard_bytes=clips.SHARD_BYTES, jobs=2)
    assert clips.content(tmp_path / "out") == clips.content(written)


def test_written_again_nothing_changes_and_others_are_refused(written, table, wanted, tmp_path, refusal):
    before = clips.content(written)
    write_clip_shards(stream(table), written, wanted, shard_bytes=clips.SHARD_BYTES)
    assert clips.content(written) == before
    rows = list(stream(table))
    other = ClipContent(model=str(clips.write_model(tmp_path / "tiny", seed=1)), frames=4)
    message = refusal(OptionError, write_clip_shards, rows, written, other, shard_bytes=clips.SHARD_BYTES)
    assert "holds shards of made" in message
    message = refusal(
        OptionError, write_clip_shards, rows[1:], written, wanted, shard_bytes=clips.SHARD_BYTES
    )
    assert "was made of other items" in message
    assert clips.content(written) == before


def test_sound_itself_and_no_pictures(table, tmp_path):
    plain = ClipContent("audio", None, video=False)
    index = write_clip_shards(stream(table), tmp_path / "out", plain)
    assert index.made == {"latents": None, "video": None}
    found = samples(tmp_path / "out")
    assert sorted(found) == [key for key in clips.KEYS if key not in (7, 10, 11)]
    assert {frozenset(files) for files in found.values()} == {frozenset({"json", "flac"})}
    waveform, rate = soundfile.read(io.BytesIO(found[1]["flac"]))
    assert rate == 48_000
    np.testing.assert_allclose(waveform, audio.read(table.parent / "same.wav"), atol=1e-6)
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        said = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert "holds no sound, and pictures are not wanted" in said["still.png"]


def test_all_pictures_or_some(table, model_folder, tmp_path):
    rows = [row for row in stream(table) if row.media in ("pan.mkv", "still.png")]
    write_clip_shards(rows, tmp_path / "all", ClipContent("audio", str(model_folder), frames="all"))
    found = samples(tmp_path / "all")
    assert [len(rows_of(files["video.npy"])) for files in found.values()] == [20, 8, 1]


def test_a_model_without_what_is_wanted_is_refused(tmp_path, golden_folder, refusal):
    frames = golden_folder / "pe_a_frame_original"
    assert "came without an image encoder" in refusal(
        ModelError, write_clip_shards, [], tmp_path / "a", ClipContent(model=str(frames))
    )
    mini = ClipContent(model="peaframe-mini", video=False)
    assert "has no codec" in refusal(ModelError, write_clip_shards, [], tmp_path / "a", mini)
    assert "give a PE-AV" in refusal(OptionError, ClipContent)
    assert "expected latents or audio" in refusal(OptionError, ClipContent, "video", "x")
    for frames in (0, "some"):
        assert "got frames" in refusal(OptionError, ClipContent, model="x", frames=frames)
    for options in ({"jobs": 0}, {"shard_bytes": 0}, {"prefix": "a.b"}):
        plain = ClipContent("audio", video=False)
        assert "give numbers of 1 or more" in refusal(
            OptionError, write_clip_shards, [], tmp_path / "a", plain, **options
        )
    assert not (tmp_path / "a").exists()


def test_media_at_an_address_are_fetched_and_no_secret_is_kept(table, wanted, tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=str(table.parent))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        names = ("pan.mkv?token=secret", "gone.wav?token=secret", "broken.mp4?token=secret")
        lines = [{"media": f"{host}/{name}"} for name in names]
        rows = list(stream(clips.write_table(tmp_path / "t.jsonl", lines)))
        write_clip_shards(rows, tmp_path / "out", wanted)
        server.shutdown()
    (files,) = samples(tmp_path / "out").values()
    assert json.loads(files["json"])["media"] == f"{host}/pan.mkv"
    kept = samples(tmp_path / "out")
    assert rows_of(kept[0]["video.npy"]).shape == (4, clips.SEEN)
    failed = (tmp_path / "out" / "failed.csv").read_text()
    assert f"{host}/gone.wav: cannot be fetched (HTTPError HTTP Error 404: File not found)" in failed
    assert f"{host}/broken.mp4: cannot be read" in failed
    for path in (tmp_path / "out").iterdir():
        assert b"secret" not in path.read_bytes()


WRITER = """
import sys
from peaframe.data.clip_shards import ClipContent, write_clip_shards
from peaframe.data.clips_table import stream
if __name__ == "__main__":
    wanted = ClipContent(model=sys.argv[1], frames=4)
    write_clip_shards(stream(sys.argv[2]), sys.argv[3], wanted, shard_bytes=5_000, jobs=int(sys.argv[4]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(table, wanted, model_folder, tmp_path, jobs):
    write_clip_shards(stream(table), tmp_path / "whole", wanted, shard_bytes=5_000)
    total = len(load_index(tmp_path / "whole").shards)
    assert total > 4
    (tmp_path / "writer.py").write_text(WRITER)
    command = [sys.executable, tmp_path / "writer.py", model_folder, table, tmp_path / "out", jobs]
    command = [str(word) for word in command]
    for least in (1, 3):
        number = processes.kill_writer(command, tmp_path / "out", tmp_path / "whole", least, total)
        assert processes.left_of(number, 60) == []  # its workers end with it
    subprocess.run(command, check=True, timeout=120)
    assert clips.content(tmp_path / "out") == clips.content(tmp_path / "whole")


@pytest.mark.slow
def test_a_process_that_dies_takes_only_its_clip_along(written, table, wanted, tmp_path, deadly):
    write_clip_shards(stream(table), tmp_path / "out", wanted, shard_bytes=clips.SHARD_BYTES, jobs=2)
    found = samples(tmp_path / "out")
    assert list(found) == clips.KEYS
    assert found == samples(written)
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        said = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert said["same.wav"] == "3 processes died or failed when they decoded it; repair the file"
    assert len(said) == 6


def test_the_digest_is_of_the_content(written, table):
    said = json.loads(samples(written)[1]["json"])
    pcm = np.rint(audio.read(table.parent / "same.wav") * 32768).astype(np.int16)
    assert said["digest"] == hashlib.sha256(b"sound" + pcm.tobytes()).hexdigest()[:32]
