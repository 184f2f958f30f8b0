"""`peaframe embed`, and `peaframe detect` on what it kept."""

import pytest


@pytest.mark.slow
def test_embed_then_detect_without_the_recording(run, street, tmp_path):
    kept = tmp_path / "street.npz"
    ran = run("embed", street, "-o", kept)
    assert ran.code == 0
    assert ran.out == ""
    assert "113 embeddings of 256" in ran.err
    options = ["--threshold", "0", "--format", "csv"]
    direct = run("detect", street, "noise", *options)
    street.unlink()
    later = run("detect", kept, "noise", *options)
    assert later.code == 0
    assert [line.split(",")[1:4] for line in later.out.splitlines()] == [
        line.split(",")[1:4] for line in direct.out.splitlines()
    ]
    for query in ("rain", "a dog"):
        assert run("detect", kept, query).code == 0


@pytest.mark.slow
def test_bad_input_is_one_line(run, street, tmp_path):
    kept = tmp_path / "street.npz"
    assert run("embed", street, "-o", kept).code == 0
    for words, told in (
        (["embed", street], "-o"),
        (["embed", street, "-o", tmp_path / "street.wav"], ".npz"),
        (["embed", tmp_path / "missing.wav", "-o", kept], "missing.wav"),
        (["embed", kept, "-o", kept], "the recording too"),
        (["detect", tmp_path / "missing.npz", "rain"], "missing.npz"),
        (["detect", kept, "rain", "--plot", tmp_path / "a.png"], "--plot"),
        (["detect", kept, "rain", "--start", "99"], "99"),
    ):
        ran = run(*words)
        assert ran.code == 2
        (line,) = ran.err.splitlines()
        assert told in line
