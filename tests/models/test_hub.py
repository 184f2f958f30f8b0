"""Fetching from a hub: a small server on this machine speaks its protocol, real processes ask it."""

import dataclasses
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
import torch

from peaframe.models.checkpoint_files import is_whole
from peaframe.models.image import ImageConfig, ImageEncoder
from peaframe.models.load import load_audio_video_model, save_pe

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository, `someone/pe-tiny`, whose files lie in `folder`; notes what it was asked."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        server = self.server
        server.asked.append((self.command, self.path, dict(self.headers)))
        path = self.path.split("?")[0]
        names = sorted(p.name for p in server.folder.iterdir())
        if path.startswith("/api/models/someone/pe-tiny/revision/main"):
            siblings = [{"rfilename": name} for name in names]
            info = {"_id": "1", "id": "someone/pe-tiny", "modelId": "someone/pe-tiny", "sha": COMMIT}
            self.send(json.dumps({**info, "private": False, "siblings": siblings, "tags": []}).encode(), {})
        elif path.startswith("/api/models/someone/pe-tiny/tree/"):
            tree = []
            for name in names:
                data = (server.folder / name).read_bytes()
                entry = {"type": "file", "path": name, "size": len(data), "oid": self.oid(name, data)}
                if name.endswith(".safetensors"):
                    entry["lfs"] = {"oid": self.oid(name, data), "size": len(data), "pointerSize": 100}
                tree.append(entry)
            self.send(json.dumps(tree).encode(), {})
        elif path.startswith("/someone/pe-tiny/resolve/") and path.split("/")[-1] in names:
            data = (server.folder / path.split("/")[-1]).read_bytes()
            tag = self.oid(path, data)
            sent = data[:-1] + b"x" if server.damage and path.endswith(".safetensors") else data
            self.send(sent, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, with_body)
        else:
            self.send(b"{}", {"X-Error-Code": "RepoNotFound"}, with_body, 404)

    @staticmethod
    def oid(name, data):
        return (hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1)(data).hexdigest()

    def send(self, data, headers, with_body=True, status=200):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@pytest.fixture
def hub(golden_folder, tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden_folder / "pe_a_frame_original" / name).read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked, server.damage = folder, [], False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def peaframe(hub, tmp_path):
    """Run `peaframe ...` in a process of its own that knows this hub and an empty cache."""

    def run(*words, **more):
        address = f"http://127.0.0.1:{hub.server_port}"
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), **more}
        environment["HF_TOKEN"] = "hf_secret"
        command = [sys.executable, "-m", "peaframe.cli.main", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)

    return run


@pytest.mark.slow
def test_a_named_model_is_fetched_once_and_found_offline_then(hub, peaframe, tmp_path):
    first = peaframe("models", "download", "someone/pe-tiny")
    assert first.returncode == 0, first.stderr
    folder = first.stdout.split(": ")[1].strip()
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]  # nothing pickled
    assert not [headers for _, _, headers in hub.asked if "hf_secret" in str(headers)]
    asked = len(hub.asked)
    out = tmp_path / "converted"
    again = peaframe("models", "convert", "someone/pe-tiny", str(out), HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "config.json").read_text())["model_type"] == "pe_audio"
    assert len(hub.asked) == asked


@pytest.mark.slow
def test_a_damaged_file_is_refused(hub, peaframe):
    hub.damage = True
    ran = peaframe("models", "download", "someone/pe-tiny")
    assert ran.returncode == 2
    told = ran.stderr.splitlines()[-1]
    assert told.startswith("peaframe: error: ")
    assert "model.safetensors: damaged (SHA-256 " in told


def put_in_cache(hub_id, source, cache, without=()):
    """What a download of a folder leaves in the hub's cache, one that was interrupted `without` some files."""
    home = cache / "hub" / f"models--{hub_id.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    ignored = shutil.ignore_patterns(*without)
    shutil.copytree(source, snapshot, ignore=ignored)
    return snapshot


@pytest.mark.slow
def test_what_says_how_many_frames_is_fetched_too(hub, peaframe):
    (hub.folder / "video_preprocessor_config.json").write_text('{"num_frames": 16}')
    ran = peaframe("models", "download", "someone/pe-tiny")
    assert ran.returncode == 0, ran.stderr
    folder = ran.stdout.split(": ")[1].strip()
    names = ["config.json", "model.safetensors", "video_preprocessor_config.json"]
    assert sorted(os.listdir(folder)) == names


@pytest.mark.slow
def test_an_interrupted_download_is_not_there(peaframe, golden_folder, tmp_path):
    name, cache = "facebook/pe-a-frame-small", tmp_path / "cache"
    snapshot = put_in_cache(name, golden_folder / "pe_a_frame_original", cache, ["*.safetensors"])
    ran = peaframe("models")
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()}
    assert "GB  Apache-2.0  no " in rows["pe-a-frame-small"]
    for more in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        ran = peaframe("models", "convert", "pe-a-frame-small", "out", **more)
        assert ran.returncode == 2
        (line,) = [told for told in ran.stderr.splitlines() if told.startswith("peaframe: error: ")]
        assert "pe-a-frame-small is not on this machine, and cannot fetch" in line
        assert line.endswith("where there is a network, run: peaframe models download pe-a-frame-small")
        assert ("HF_HUB_OFFLINE=1 forbids it; unset it" in line) == ("HF_HUB_OFFLINE" in more)
    shutil.copy(golden_folder / "pe_a_frame_original" / "model.safetensors", snapshot)
    rows = {line.split()[0]: line for line in peaframe("models").stdout.splitlines()}
    assert "GB  Apache-2.0  yes " in rows["pe-a-frame-small"]


@pytest.mark.parametrize(
    ("index", "shards", "whole"),
    [
        ({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}, 2, True),
        ({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}, 1, False),
        ({"weight_map": {}}, 2, False),
        ({"weight_map": {"a": 3}}, 2, False),
        ([], 2, False),
    ],
)
def test_a_folder_is_whole_with_all_its_shards(tmp_path, index, shards, whole):
    for i in range(shards):
        (tmp_path / f"model-{i + 1}.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not is_whole(tmp_path)
    (tmp_path / "config.json").touch()
    assert is_whole(tmp_path) == whole


@pytest.mark.slow
def test_a_public_name_of_16_frames_keeps_its_promise(peaframe, golden_folder, tmp_path):
    save_pe(load_audio_video_model(golden_folder / "pe_av_original"), tmp_path / "saved", "transformers")
    for name in ("pe-av-small", "pe-av-small-16-frame"):
        put_in_cache(f"facebook/{name}", tmp_path / "saved", tmp_path / "cache")
        ran = peaframe("models", "convert", name, name, "--to", "original", HF_HUB_OFFLINE="1")
        assert ran.returncode == 0, ran.stderr
        visual = json.loads((tmp_path / name / "config.json").read_text())["audio_visual_model"][
            "visual_model"
        ]
        assert visual["fixed_len_video"] == name.endswith("-16-frame")


@pytest.mark.slow
def test_a_conversion_that_fails_says_so_in_one_line_and_leaves_nothing(peaframe, golden_folder, tmp_path):
    biased = load_audio_video_model(golden_folder / "pe_av_original")
    sizes = ImageConfig(size=42, patch=14, width=32, layers=2, heads=2, pool_heads=4)
    biased.image = ImageEncoder(sizes, 24)
    torch.nn.init.ones_(biased.image.head.bias)
    biased.config = dataclasses.replace(
        biased.config, video=dataclasses.replace(biased.config.video, image=sizes)
    )
    save_pe(biased, tmp_path / "biased", "transformers")
    golden = str(golden_folder / "pe_a_frame_original")
    (tmp_path / "file").touch()
    for words, told in (
        ((golden, "/proc/x"), "/proc/x: cannot be made ("),
        ((golden, "file/x"), "file/x: cannot be made (Not a directory); give another folder"),
        ((golden, "x" * 300), "File name too long"),
        (("biased", "out", "--to", "original"), "a bias, which the original layout cannot hold"),
    ):
        ran = peaframe("models", "convert", *words)
        assert ran.returncode == 2
        (line,) = ran.stderr.splitlines()
        assert told in line
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "served") == ["biased", "file"]


@pytest.mark.slow
def test_a_conversion_to_the_same_layout_is_called_a_copy(peaframe, golden_folder, tmp_path):
    golden = str(golden_folder / "pe_a_frame_original")
    ran = peaframe("models", "convert", golden, "out", "--to", "original")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"out: a copy of {golden}, which is in the layout of original already\n"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["nth_text_layer"] == 3


@pytest.mark.slow
def test_what_fine_tuning_left_beside_a_model_goes_with_it(peaframe, golden_folder, tmp_path):
    shutil.copytree(golden_folder / "pe_a_frame_original", tmp_path / "tuned")
    (tmp_path / "tuned" / "events.json").write_text('{"threshold": 0.25}')
    (tmp_path / "tuned" / "text_prior.safetensors").write_bytes(b"any")
    ran = peaframe("models", "convert", "tuned", "out")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "events.json").read_text() == '{"threshold": 0.25}'
    assert (tmp_path / "out" / "text_prior.safetensors").read_bytes() == b"any"


@pytest.mark.parametrize("name", ["pe-a-frame-smal", ".", "nothing"])
def test_only_names_and_hub_ids_are_downloaded(peaframe, name):
    ran = peaframe("models", "download", name)
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert f"unknown model {name!r}; " in line
    assert line.endswith("pe-av-large-16-frame, or a hub id such as owner/name")
    assert ("did you mean 'pe-a-frame-small'? " in line) == name.startswith("pe-")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, {}])
def test_what_cannot_be_fetched_is_said_in_one_line(peaframe, more):
    for name in ("someone/else", "pe-a-frame-base"):
        ran = peaframe("models", "convert", name, "out", **more)
        assert ran.returncode == 2
        (line,) = ran.stderr.splitlines()
        assert line.startswith(f"peaframe: error: {name} is ")
        assert "cannot fetch" in line


def test_the_list_for_machines_has_every_field(peaframe):
    models = {model["name"]: model for model in json.loads(peaframe("models", "--json").stdout)}
    assert models["pe-a-frame-base"]["hub_id"] == "facebook/pe-a-frame-base"
    assert models["pe-a-frame-base"]["parameters"] == 560
    assert models["pe-av-large"]["frames"] is False
    assert models["peaframe-mini"]["hub_id"] is None


@pytest.mark.slow
def test_only_published_checkpoints_are_converted(peaframe, golden_folder, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").touch()
    golden = str(golden_folder / "pe_a_frame_original")
    for words, told in (
        (("peaframe-mini", "out"), "no published PE checkpoint"),
        ((golden, str(full)), "expected a new or empty folder"),
        ((golden, str(full / "notes.txt")), "expected a new or empty folder"),
        ((golden, "out", "--to", "onnx"), "onnx"),
        (("peaframe-maxi", "out"), "did you mean 'peaframe-mini'"),
    ):
        ran = peaframe("models", "convert", *words)
        assert ran.returncode == 2
        (line,) = ran.stderr.splitlines()
        assert told in line
    assert not (tmp_path / "out").exists()


def test_the_list_never_asks_the_hub(hub, peaframe):
    ran = peaframe("models")
    assert ran.returncode == 0
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()}
    assert set(rows) > {"peaframe-mini", "pe-a-frame-small", "pe-a-frame-large", "pe-av-base-16-frame"}
    assert "1.8 GB" in rows["pe-a-frame-small"]
    assert hub.asked == []
