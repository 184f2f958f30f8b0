"""What cannot work ends with one line, exit code 2, and nothing written."""

import runpy
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

evaluating = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "evaluating.py")))
RATE, one_line = evaluating.RATE, evaluating.one_line


def listing(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


def noise(samples):
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def missing(path):
    pass


def folder(path):
    path.mkdir()


def empty(path):
    path.touch()


def text(path):
    path.write_text("This is no sound. " * 100)


def header_only(path):
    path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")


def truncated_flac(path):
    soundfile.write(path, noise(5 * RATE), RATE, format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero_samples(path):
    soundfile.write(path, noise(0), RATE)


def not_a_number(path):
    samples = noise(RATE)
    samples[777] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def infinite(path):
    samples = noise(RATE)
    samples[777] = np.inf
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def video_without_sound(path):
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.time_base = Fraction(1, 10)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


RECORDINGS = [
    ("a.wav", missing),
    ("a.wav", folder),
    ("a.wav", empty),
    ("a.mp3", empty),
    ("a.wav", text),
    ("a.mp3", text),
    ("a.wav", header_only),
    ("a.flac", truncated_flac),
    ("a.wav", zero_samples),
    ("a.flac", zero_samples),
    ("a.wav", not_a_number),
    ("a.wav", infinite),
    ("a.mkv", video_without_sound),
]


@pytest.mark.parametrize(("name", "make"), RECORDINGS, ids=lambda item: getattr(item, "__name__", item))
def test_recordings_that_cannot_be_heard(run, tmp_path, name, make):
    make(tmp_path / name)
    before = listing(tmp_path)
    outputs = ("--output", tmp_path / "o.csv", "--scores", tmp_path / "o.npz", "--plot", tmp_path / "o.png")
    one_line(run("detect", tmp_path / name, "dog barking", *outputs), name)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--threshold", "high"], ["--threshold", "'high'"]),
        (["--threshold", "1.5"], ["threshold", "1.5"]),
        (["--threshold", "-0.1"], ["threshold", "-0.1"]),
        (["--threshold", "nan"], ["threshold", "nan"]),
        (["--threshold", "siren=0.5"], ["'siren'", "'dog barking'"]),
        (["--threshold", "dog barking=loud"], ["--threshold", "loud"]),
        (["--threshold", "dog barking=7"], ["threshold", "7"]),
        (["--threshold", "0.5", "--low", "0.6"], ["low", "0.6"]),
        (["--low", "-1"], ["low", "-1"]),
        (["--median", "-1"], ["median", "-1"]),
        (["--median", "wide"], ["--median", "wide"]),
        (["--median", "1e9"], ["median"]),
        (["--min-duration", "-0.2"], ["min_duration", "-0.2"]),
        (["--min-duration", "inf"], ["min_duration", "inf"]),
        (["--merge-gap", "nan"], ["merge_gap", "nan"]),
        (["--start", "-1"], ["-1"]),
        (["--start", "soon"], ["--start", "soon"]),
        (["--start", "nan"], ["nan"]),
        (["--start", "inf"], ["inf"]),
        (["--start", "99"], ["99"]),
        (["--start", "2", "--end", "2"], ["2"]),
        (["--start", "3", "--end", "1"], ["3", "1"]),
        (["--end", "99"], ["99"]),
        (["--end", "0"], ["0"]),
        (["--format", "xml"], ["--format", "xml", "csv"]),
        (["--device", "toaster"], ["toaster"]),
        (["--device", "cuda:99"], ["cuda:99"]),
        (["--precision", "quick"], ["--precision", "quick", "exact", "fast"]),
        (["--model", "peaframe-maxi"], ["peaframe-maxi", "peaframe-mini"]),
        (["--model", "."], ["config.json"]),
        (["--loud"], ["--loud"]),
        (["--output"], ["--output"]),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(run, street, tmp_path, monkeypatch, options, parts):
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    line = one_line(run("detect", street.name, "dog barking", "--plot", "o.png", *options), *parts)
    assert len(line) < 400
    assert listing(tmp_path) == before


@pytest.mark.parametrize("query", ["", "   ", "\n", "dog " * 10_000, "dog" * 10_000])
def test_queries_that_are_no_query(run, street, tmp_path, query):
    line = one_line(run("detect", street, "siren", query, "--scores", tmp_path / "o.npz"), "query")
    assert len(line) < 400
    assert listing(tmp_path) == [street.name]


def test_queries_must_be_given(run, street):
    one_line(run("detect", street), "QUERY")


@pytest.mark.parametrize("option", ["--output", "--scores", "--plot"])
@pytest.mark.parametrize("place", ["nowhere/o.csv", "file/o.csv", "folder", "/proc/o.csv"])
def test_places_that_cannot_be_written(run, street, tmp_path, option, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = listing(tmp_path)
    path = tmp_path / place if option != "--plot" else (tmp_path / place).with_suffix(".png")
    if place == "folder" and option == "--plot":
        path.mkdir()
        before = listing(tmp_path)
    one_line(run("detect", street, "siren", "--format", "csv", option, path), str(path))
    assert listing(tmp_path) == before


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_found_before_the_model_is_loaded(shell, street):
    import time

    began = time.perf_counter()
    one_line(shell("detect", street, "siren", "--output", "/proc/o.csv"), "/proc/o.csv")
    quick = time.perf_counter() - began
    assert shell("detect", street, "siren").code == 0
    assert quick < (time.perf_counter() - began) / 2


def test_outputs_never_take_the_place_of_the_recording_or_each_other(run, street, tmp_path):
    before = street.read_bytes()
    one_line(run("detect", street, "siren", "--scores", street), "the recording")
    beside = tmp_path / "x" / ".." / street.name
    one_line(run("detect", street, "siren", "--format", "csv", "--output", beside), "the recording")
    both = ("--format", "csv", "--output", tmp_path / "o.png", "--plot", tmp_path / "o.png")
    one_line(run("detect", street, "siren", *both), "--output")
    assert street.read_bytes() == before
    assert listing(tmp_path) == [street.name]


def test_a_suffix_that_says_no_format(run, street, tmp_path):
    one_line(run("detect", street, "siren", "--output", tmp_path / "o.docx"), ".docx", ".csv")
    one_line(run("detect", street, "siren", "--plot", tmp_path / "o.jpg"), "o.jpg", ".png")


def test_what_was_there_before_survives_a_failure(run, street, tmp_path):
    old = tmp_path / "o.csv"
    old.write_text("precious")
    one_line(run("detect", street, "siren", "--output", old, "--threshold", "7"))
    assert old.read_text() == "precious"
    assert listing(tmp_path) == ["o.csv", street.name]


def test_a_checkpoint_that_is_broken(run, street, tmp_path):
    import peaframe

    built_in = peaframe.load().model.name
    assert built_in == "peaframe-mini"
    folder = tmp_path / "broken"
    shutil.copytree(next(p for p in peaframe.__path__) + "/models/mini", folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    one_line(run("detect", street, "siren", "--model", folder), "model.safetensors")
    (folder / "model.safetensors").unlink()
    one_line(run("detect", street, "siren", "--model", folder), "model.safetensors")
    (folder / "config.json").write_text("{}")
    one_line(run("detect", street, "siren", "--model", folder), "config.json")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["COMMAND", "peaframe --help"]),
        (["listen"], ["listen", "detect"]),
        (["detect"], ["recording", "peaframe detect --help"]),
        (["--nonsense"], ["peaframe --help"]),
        (["models", "extra"], ["extra"]),
    ],
)
def test_commands_that_are_none(run, arguments, parts):
    one_line(run(*arguments), *parts)


@pytest.mark.slow
def test_a_full_disk_behind_standard_output(shell, street):
    with open("/dev/full", "w") as full:
        ran = shell("detect", street, "siren", capture_output=False, stdout=full, stderr=-1)
    assert ran.code == 2
    assert "cannot write to standard output" in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err
    assert "Exception" not in ran.err


def test_errors_reach_the_shell(shell, tmp_path):
    one_line(shell("detect", tmp_path / "missing.wav", "siren"), "missing.wav")
    one_line(shell("detect", "--nonsense"))
