"""Fetching from a hub: a small server on this machine speaks its protocol, real processes ask it."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

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
