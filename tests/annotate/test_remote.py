"""Recordings by URL: a real web server on this machine, real archives, nothing beyond."""

import datetime as dt
import email.utils
import http.server
import os
import re
import sys
import threading
import urllib.parse
import zipfile

import fsspec
import numpy as np
import pytest
import soundfile

from peaframe import audio
from peaframe.annotate import remote
from peaframe.annotate.sources import find, fingerprint
from peaframe.errors import AudioError, MissingExtraError, OptionError

MODIFIED_NS = 1_714_076_580_000_000_000


class Handler(http.server.SimpleHTTPRequestHandler):
    """A folder on the web, with ranges; files below special folders fail in special ways."""

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.serve(body=False)

    def do_GET(self):
        self.serve(body=True)

    def serve(self, body):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.asked.append((self.command, self.path))
        way = path.split("/")[1]
        if way in ("500", "403") or (way == "once" and body and self.fails_once()):
            return self.send_error(500 if way == "once" else int(way))
        local = self.translate_path(self.path)
        if not os.path.isfile(local):
            return super().do_GET() if body else super().do_HEAD()
        with open(local, "rb") as file:
            data = file.read()
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (
            (int(part[1]), min(int(part[2]), len(data) - 1))
            if part and way != "plain"
            else (0, len(data) - 1)
        )
        partial = bool(part) and way != "plain"
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        elif way == "plain":
            self.send_header("Accept-Ranges", "none")
        if way != "tagged":
            self.send_header("Last-Modified", email.utils.formatdate(os.stat(local).st_mtime, usegmt=True))
        self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if body:
            send = data[first : last + 1][: 1000 if way == "cut" else None]
            self.server.sent += len(send)
            self.wfile.write(send)
            if way == "cut":
                self.close_connection = True

    def fails_once(self):
        self.server.failures += 1
        return self.server.failures == 1


@pytest.fixture
def web(tmp_path):
    """A folder and a server of it: (folder, its URL, the server)."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(folder)))
    server.asked, server.sent, server.failures, server.tag = [], 0, 0, '"one"'
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}", server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pauses():
    """Waits asked for; nobody waits."""
    return []


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 96_000).astype(np.float32)


def put(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", 48_000, samples[0].size) as file:
        for second in range(0, len(samples), 48_000):  # libsndfile crashes at much Vorbis at once
            file.write(samples[second : second + 48_000])
    os.utime(path, ns=(MODIFIED_NS, MODIFIED_NS))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.org/x.wav", True),
        ("s3://bucket/x.wav", True),
        ("zip://x.wav::/data/a.zip", True),
        ("zip://x.wav::file:///data/a.zip", True),
        ("simplecache::s3://bucket/x", True),
        ("memory://x", True),
        ("file:///data/x.wav", False),
        (r"C:\data\x.wav", False),
        ("C://data/x.wav", False),
        ("c:/data/x.wav", False),
        ("/data/a::b.wav", False),
        ("rec/https://x", False),
        ("12:30.wav", False),
    ],
)
def test_what_a_url_is(text, expected):
    assert remote.is_url(text) is expected


def test_secrets_are_not_shown():
    shown = remote.shown
    assert shown("https://me:word@a.org:8/x.wav?sig=abc#t") == "https://a.org:8/x.wav"
    assert shown("zip://a.wav::https://me:w@a.org/x.zip?sig=abc") == "zip://a.wav::https://a.org/x.zip"
    assert shown("s3://bucket/a#b.wav") == "s3://bucket/a#b.wav"
    assert shown("/data/what?.wav") == "/data/what?.wav"


def test_a_web_folder_is_walked(web, noise, refusal):
    folder, url, _ = web
    for name in ("b.wav", "a/x y.wav", "a/über.flac", "a/deep/z.WAV", ".hidden.wav", "a/._x.wav"):
        put(folder / name, noise[:100])
    (folder / "notes.txt").touch()
    found = find([f"{url}/"])
    assert found.base == url
    assert list(found) == [
        ("a/deep/z.WAV", f"{url}/a/deep/z.WAV"),
        ("a/x y.wav", f"{url}/a/x%20y.wav"),
        ("a/über.flac", f"{url}/a/%C3%BCber.flac"),
        ("b.wav", f"{url}/b.wav"),
    ]
    assert [name for name, _ in find([f"{url}/"], recursive=False)] == ["b.wav"]
    assert [name for name, _ in find([f"{url}/a/**/*.wav"])] == ["deep/z.WAV", "x y.wav"]
    assert find([f"{url}/a/x%20y.wav", f"{url}/b.wav"]).base == url
    message = refusal(OptionError, find, [f"{url}/*.mp3"])
    assert message == f"{url}/*.mp3: no file below {url}/ matches it; give another pattern"
    missing = refusal(OptionError, find, [f"{url}/none/?key=secret"])
    assert missing == f"{url}/none/: there is no such file; check the URL"


def test_names_of_signed_urls_hold_no_secrets(web, noise):
    _, url, _ = web
    found = find([f"{url}/a/x.wav?sig=1", f"{url}/get?id=1", f"{url}/get?id=2"])
    listed = list(found)
    assert found.base == url
    assert [path for _, path in listed if "a/x" in path] == [f"{url}/a/x.wav?sig=1"]
    assert listed[0][0] == "a/x.wav"
    assert all(re.fullmatch(r"get~[0-9a-f]{8}", name) for name, _ in listed[1:])
    assert len({name for name, _ in listed}) == 3
    assert list(find([f"{url}/get?id=1"])) == [("get", f"{url}/get?id=1")]


def test_what_lies_in_no_common_place_is_refused(web, tmp_path, noise, refusal):
    folder, url, _ = web
    put(folder / "a.wav", noise)
    message = refusal(OptionError, find, [str(folder), f"{url}/a.wav?sig=1"])
    assert message.startswith(f"{folder} and {url}/a.wav lie in no common place")
    assert "holds '..'" in refusal(OptionError, find, [f"{url}/../a.wav"])


def test_a_recording_is_fetched_for_as_long_as_it_is_read(web, noise, tmp_path, pauses):
    folder, url, _ = web
    original = put(folder / "20240425_202300 a.wav", noise)
    with remote.opened(f"{url}/20240425_202300%20a.wav?sig=1", tmp_path, pauses.append) as path:
        assert (path.name, path.parent.parent) == ("20240425_202300 a.wav", tmp_path)
        assert path.read_bytes() == original.read_bytes()
        assert path.stat().st_mtime_ns == MODIFIED_NS
    assert not path.parent.exists()
    assert pauses == []
    with remote.opened(str(original)) as path:
        assert path == original
    with remote.opened(original.as_uri()) as path:
        assert path == original


def test_errors_of_the_block_name_the_url(web, refusal):
    folder, url, _ = web
    (folder / "text.wav").write_text("no sound at all")

    def read():
        with remote.opened(f"{url}/text.wav?sig=secret") as path:
            audio.read(path)

    message = refusal(AudioError, read)
    assert message.startswith(f"{url}/text.wav: cannot be read as a recording")
    assert "secret" not in message


@pytest.mark.parametrize(
    ("name", "said", "waits"),
    [
        ("none.wav", ": there is no such file; check the URL", 0),
        ("500/a.wav", ": cannot be read (the server answered 500); check the URL and your rights", 1),
        ("403/a.wav", ": cannot be read (the server answered 403); check the URL and your rights", 0),
        ("cut/a.wav", ": cannot be read (ClientPayloadError: ", 1),
    ],
)
def test_what_cannot_be_fetched_is_said(web, noise, tmp_path, pauses, refusal, name, said, waits):
    folder, url, server = web
    put(folder / "cut" / "a.wav", noise)
    copies = tmp_path / "copies"
    copies.mkdir()

    def read():
        with remote.opened(f"{url}/{name}?sig=secret", copies, pauses.append):
            pytest.fail("nothing was fetched")

    message = refusal(AudioError, read)
    assert message.startswith(f"{url}/{name}{said}")
    assert "secret" not in message
    assert pauses == [remote.PAUSE_SECONDS] * waits
    assert len([asked for asked in server.asked if asked[0] == "GET"]) == 1 + waits
    assert list(copies.iterdir()) == []


def test_a_server_that_stumbles_is_asked_again(web, noise, pauses):
    folder, url, _ = web
    original = put(folder / "once" / "a.wav", noise)
    with remote.opened(f"{url}/once/a.wav", pause=pauses.append) as path:
        assert path.read_bytes() == original.read_bytes()
    assert pauses == [remote.PAUSE_SECONDS]


def test_nobody_listens(refusal, pauses):
    def read():
        with remote.opened("http://127.0.0.1:9/a.wav?sig=secret", pause=pauses.append):
            pytest.fail("nothing was fetched")

    message = refusal(AudioError, read)
    assert message.startswith("http://127.0.0.1:9/a.wav: cannot be read (ClientConnectorError: ")
    assert pauses == [remote.PAUSE_SECONDS]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff", "w64"])
def test_the_header_tells_the_facts(web, noise, suffix):
    """Of a file of a minute, hardly anything is fetched."""
    folder, url, server = web
    original = put(folder / f"a.{suffix}", np.tile(noise, 30)[:, None] * [1, -1])
    info = remote.probe(f"{url}/a.{suffix}?sig=secret")
    expected = audio.probe(original)
    assert (info.duration, info.sample_rate, info.channels) == (60.0, 48_000, 2)
    assert (info.duration, info.codec) == (expected.duration, expected.codec)
    assert str(info.path).replace("http:/", "http://") == f"{url}/a.{suffix}"
    assert server.sent < 400_000 < 700_000 < original.stat().st_size


def test_other_containers_are_fetched_to_be_probed(web, noise):
    folder, url, _ = web
    original = put(folder / "a.mp3", noise)
    assert remote.probe(f"{url}/a.mp3").duration == audio.probe(original).duration
    put(folder / "plain" / "a.wav", noise)  # a server without ranges
    assert remote.probe(f"{url}/plain/a.wav").duration == 2.0
    assert remote.probe(str(original)) == audio.probe(original)


def test_a_cut_recording_is_seen_as_cut(web, noise):
    folder, url, _ = web
    original = put(folder / "a.wav", noise)
    original.write_bytes(original.read_bytes()[:50_000])
    assert remote.probe(f"{url}/a.wav").duration == audio.probe(original).duration == 2.0


def test_a_recording_that_is_gone_cannot_be_probed(web, refusal, pauses, capfd):
    _, url, _ = web
    message = refusal(AudioError, remote.probe, f"{url}/a.wav?sig=secret", pause=pauses.append)
    assert message == f"{url}/a.wav: there is no such file; check the URL"
    assert capfd.readouterr() == ("", "")


def test_fingerprints_by_url(web, noise, refusal):
    folder, url, server = web
    original = put(folder / "a.wav", noise)
    first = fingerprint(f"{url}/a.wav?sig=1")
    assert first == fingerprint(f"{url}/a.wav?sig=2") == fingerprint(str(original))
    assert (first.size, first.mtime_ns) == (original.stat().st_size, MODIFIED_NS)
    assert server.sent == 2 * 4_096
    server.tag = '"two"'
    assert fingerprint(f"{url}/a.wav") == first
    os.utime(original, ns=(MODIFIED_NS, MODIFIED_NS + 10**9))
    assert fingerprint(f"{url}/a.wav").mtime_ns == MODIFIED_NS + 10**9
    put(folder / "tagged" / "a.wav", noise)
    tagged = fingerprint(f"{url}/tagged/a.wav")
    assert tagged.mtime_ns is None
    server.tag = '"three"'
    assert fingerprint(f"{url}/tagged/a.wav").head != tagged.head
    assert "there is no such file" in refusal(AudioError, fingerprint, f"{url}/none.wav?sig=secret")
    assert "is a folder" in refusal(AudioError, fingerprint, f"{url}/")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"Last-Modified": "Thu, 25 Apr 2024 20:23:00 GMT"}, MODIFIED_NS),
        (
            {"LastModified": dt.datetime(2024, 4, 25, 22, 23, tzinfo=dt.timezone(dt.timedelta(hours=2)))},
            MODIFIED_NS,
        ),
        ({"updated": "2024-04-25T20:23:00.250Z"}, MODIFIED_NS + 250_000_000),
        ({"mtime": 1_714_076_580.5}, MODIFIED_NS + 500_000_000),
        ({"date_time": (2024, 4, 25, 20, 23, 0)}, MODIFIED_NS),
        ({"Last-Modified": "yesterday"}, None),
        ({"size": 5}, None),
    ],
)
def test_stores_tell_times_in_many_ways(info, expected):
    assert remote.modified_ns(info) == expected


def test_archives(tmp_path, noise, refusal):
    sound = put(tmp_path / "x.wav", noise)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("b.wav", "in/a.wav", "in/n.txt", "__MACOSX/._b.wav", "../evil.wav"):
            archive.write(sound, name)
    tail = f"::{tmp_path}/a.zip"
    found = find([f"zip://{tail}"])
    assert found.base == f"zip://{tail}"
    assert list(found) == [("b.wav", f"zip://b.wav{tail}"), ("in/a.wav", f"zip://in/a.wav{tail}")]
    assert [name for name, _ in find([f"zip://in{tail}"])] == ["a.wav"]
    assert [name for name, _ in find([f"zip://*.wav{tail}"])] == ["b.wav"]
    path = f"zip://in/a.wav{tail}"
    with remote.opened(path) as copy:
        assert (copy.name, copy.read_bytes()) == ("a.wav", sound.read_bytes())
    assert (remote.probe(path).duration, remote.probe(path).codec) == (2.0, "wav/pcm_16")
    seen = fingerprint(path)
    assert (seen.size, seen.head) == (sound.stat().st_size, fingerprint(str(sound)).head)
    assert "there is no such file" in refusal(AudioError, fingerprint, f"zip://no.wav{tail}")
    assert "there is no such file" in refusal(OptionError, find, [f"zip://::{tmp_path}/no.zip"])
    (tmp_path / "bad.zip").write_text("no archive")
    message = refusal(OptionError, find, [f"zip://::{tmp_path}/bad.zip"])
    assert message.startswith(f"zip://::{tmp_path}/bad.zip: cannot be read (File is not a zip file); ")


def test_buckets(noise, tmp_path):
    """Fsspec's own store in memory lists as those of clouds do."""
    store = fsspec.filesystem("memory")
    data = put(tmp_path / "x.wav", noise).read_bytes()
    for name in ("/bucket/a/x#1.wav", "/bucket/b/50%20.wav", "/bucket/n.txt"):
        store.pipe(name, data)
    try:
        found = find(["memory://bucket"])
        assert found.base == "memory://bucket"
        assert list(found) == [
            ("a/x#1.wav", "memory://bucket/a/x#1.wav"),
            ("b/50%20.wav", "memory://bucket/b/50%20.wav"),
        ]
        assert list(find(["memory://bucket/?/x*"])) == [("a/x#1.wav", "memory://bucket/a/x#1.wav")]
        assert list(find(["memory://bucket/a/x#1.wav"])) == [("x#1.wav", "memory://bucket/a/x#1.wav")]
        with remote.opened("memory://bucket/b/50%20.wav") as copy:
            assert (copy.name, copy.read_bytes()) == ("50%20.wav", data)
        assert fingerprint("memory://bucket/a/x#1.wav").size == len(data)
    finally:
        store.rm("/bucket", recursive=True)


def test_a_scheme_nobody_knows_is_refused(refusal):
    message = refusal(OptionError, find, ["gopher9://a/b"])
    assert message.startswith("gopher9://a/b: cannot be read (Protocol not known: gopher9); check the URL")


def test_fsspec_is_asked_for(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    message = refusal(MissingExtraError, find, ["s3://bucket"])
    assert message == (
        "reading recordings by URL needs fsspec, which is not installed; run: pip install 'peaframe[remote]'"
    )
