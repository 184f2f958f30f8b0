"""A captioner learns from a table of real sounds, hears, goes on after a kill, and captions in `recipes.caption`."""

import csv
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from peaframe.errors import ConfigError, FormatError, OptionError
from peaframe.recipes import caption, train_captioner

TESTS = Path(__file__).parents[1]
DEMO = TESTS.parent / "examples" / "demo.flac"
captions = SimpleNamespace(**runpy.run_path(str(TESTS / "captions" / "conftest.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
SAID = {
    "dog barking": "a dog barks near a fence",
    "woman speaking": "a woman says a few words",
    "telephone ringing": "an old telephone rings in the hall",
    "crow cawing": "a crow caws from a tree",
    "guitar playing": "somebody plucks the strings of a guitar",
}
# where one sound of the demo is heard alone: to learn from, and later ones to measure with
TRAIN = {
    "dog barking": (1.25, 2.44),
    "woman speaking": (3.64, 6.76),
    "telephone ringing": (7.9, 9.1),
    "guitar playing": (11.3, 13.78),
    "crow cawing": (14.45, 14.92),
}
VALID = {
    "dog barking": (15.65, 16.84),
    "telephone ringing": (17.85, 19.62),
    "woman speaking": (20.7, 21.9),
    "crow cawing": (24.4, 24.87),
    "guitar playing": (26.0, 28.48),
}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A small GPT-2 that has read the captions for a while, without any sound."""
    import transformers as t
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = sorted({word for label, text in SAID.items() for word in f"{label} {text}".split()})
    pieces = {word: i for i, word in enumerate(["<pad>", "<unk>", "</s>", *words])}
    plain = Tokenizer(WordLevel(pieces, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = t.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    torch.manual_seed(0)
    config = t.GPT2Config(
        n_positions=64,
        n_embd=64,
        n_layer=2,
        n_head=2,
        vocab_size=len(pieces),
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = t.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    texts = [f"</s> {text} </s>" for pair in SAID.items() for text in pair]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(100):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.8  # of which most is which caption it is, log(10) / 7
    folder = tmp_path_factory.mktemp("language") / "gpt2"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_table(path, spans, shifts):
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["media", "start", "end", "audio_caption", "events_caption"])
        for before, after in shifts:
            for label, (start, end) in spans.items():
                table.writerow([DEMO, start - before, end + after, SAID[label], label])
    return path


@pytest.fixture
def tables(tmp_path):
    shifts = [(0.0, 0.0), (0.3, 0.0), (-0.1, 0.0), (0.1, -0.1)]
    train = write_table(tmp_path / "train.csv", TRAIN, shifts)
    return train, write_table(tmp_path / "valid.csv", VALID, [(0.0, 0.0)])


@pytest.fixture
def arguments(tables, language_model, tmp_path):
    """A command line of the recipe; the output folder by name."""

    def arguments(out, *more, model="peaframe-mini"):
        train, valid = tables
        kinds = ["--kind-columns", "full=audio_caption", "events=events_caption", "--valid", str(valid)]
        sizes = ["--device=cpu", "--batch=10", "--tokens=4", "--heads=2", "--words=12", *kinds, *more]
        places = [str(train), str(tmp_path / out), "--model", str(model)]
        return [*places, "--language-model", str(language_model), *sizes]

    return arguments


@pytest.fixture
def server(monkeypatch):
    """Writes what it is told was heard, by the first captioner."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = captions.Server()
    made.answer = lambda body, count: re.search(r"^- (.*) \(trust: ", captions.text_of(body), re.M)[1]
    yield made
    made.close()


def measured(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["valid"] for line in lines if "valid" in line}


@pytest.mark.slow
def test_from_a_table_to_a_captioner_that_hears_and_captions(arguments, tables, tmp_path, server, capsys):
    learns = ["--learn-language", "--language-rate=0.3"]
    assert train_captioner.main(arguments("run", "--steps=300", "--lr=3e-3", "--every=100", *learns)) == 0
    printed = capsys.readouterr().out
    assert "train.csv: 20 clips, 40 captions, 0 clips left out" in printed
    assert "begins behind step 0 of 300" in printed
    found = measured(tmp_path / "run")
    assert set(found) == {0, 100, 200, 300}
    assert found[0]["loss"] == pytest.approx(found[0]["other_sounds"], abs=0.1)  # it does not hear yet
    assert found[300]["loss"] < 0.1
    assert found[300]["other_sounds"] > 1
    for label in ("dog barking", "telephone ringing", "woman speaking", "crow cawing"):
        assert f"{DEMO}, full: {SAID[label]!r}, in the table {SAID[label]!r}" in printed
        assert f"{DEMO}, events: {label!r}, in the table {label!r}" in printed
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} >= {"best", "last", "embeddings", "resume.safetensors"}
    assert not (run / "failed.csv").exists()
    out = tmp_path / "captions"
    ears = [f"--audio=prefix:{kind}@{run}" for kind in ("full", "events")]
    rest = ["--writer", f"endpoint:tiny@{server.url}", "--scorer", "none", "--table", "captions.jsonl"]
    caption.main([str(tables[1]), "--out", str(out), *ears, *rest, "--device", "cpu"])
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    assert [row["audio_caption"] for row in rows] == [SAID[label] for label in VALID]
    heard = [json.loads(row["provenance"])["heard"] for row in rows]
    assert [[own["by"] for own in both] for both in heard] == [["full", "events"]] * 5
    assert [both[1]["caption"] for both in heard] == list(VALID)
    # what it wrote is a table to learn from again
    again = [str(out / "captions.jsonl"), str(tmp_path / "second"), *arguments("x")[2:]]
    again[again.index("--kind-columns") + 2] = "more=audio_caption"
    again = [part for part in again if not part.startswith("--valid") and part != str(tables[1])]
    assert train_captioner.main([*again, "--steps=2", "--cache", str(run / "embeddings")]) == 0
    assert "captions.jsonl: 5 clips, 10 captions" in capsys.readouterr().out
    assert not (tmp_path / "second" / "embeddings").exists()


@pytest.mark.slow
def test_a_language_model_that_stands_still_and_a_run_that_was_killed(arguments, tmp_path, refusal, capsys):
    options = ["--steps=120", "--lr=3e-3", "--every=20"]
    assert train_captioner.main(arguments("whole", *options)) == 0
    found = measured(tmp_path / "whole")[120]
    assert found["loss"] < 0.7
    assert found["other_sounds"] > found["loss"] + 0.4
    command = [sys.executable, "-m", "peaframe.recipes.train_captioner", *arguments("killed", *options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    log, stop = tmp_path / "killed" / "log.jsonl", time.monotonic() + 240
    while not (log.is_file() and '"step": 50,' in log.read_text()):
        assert run.poll() is None, (tmp_path / "said").read_text()
        assert time.monotonic() < stop
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert max(measured(tmp_path / "killed")) < 120
    capsys.readouterr()
    assert train_captioner.main(arguments("killed", *options)) == 0
    begun = re.search(r"begins behind step (\d+) of 120", capsys.readouterr().out)
    assert 40 <= int(begun[1]) < 120
    assert measured(tmp_path / "killed") == measured(tmp_path / "whole")
    for folder in ("last", "best"):
        files = [tmp_path / name / folder / "prefix.safetensors" for name in ("whole", "killed")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert (tmp_path / "whole" / folder / "language_model.json").is_file()  # named, not copied
    other = arguments("killed", *options, "--seed=1")
    assert "other settings (seed)" in refusal(ConfigError, train_captioner.main, other)


@pytest.mark.slow
def test_a_captioner_on_the_audio_tower_of_a_pe_av(arguments, tables, tmp_path, golden_folder, capsys):
    """Its weights are random: of clips that it did not learn from it could say nothing."""
    command = arguments(
        "run", "--steps=150", "--lr=3e-3", "--every=50", model=golden_folder / "pe_av_original"
    )
    command[command.index("--valid") + 1] = str(tables[0])
    assert train_captioner.main(command) == 0
    found = measured(tmp_path / "run")
    assert found[150]["loss"] < found[0]["loss"] - 0.5
    assert found[150]["other_sounds"] > found[150]["loss"] + 0.4
    told = json.loads((tmp_path / "run/best/encoder.json").read_text())
    assert told["model"] == str(golden_folder / "pe_av_original")
    assert told["identity"].startswith("audio tower ")


@pytest.mark.slow
def test_command_lines_that_make_no_sense(arguments, tables, refusal, tmp_path):
    def told(*more, kind=OptionError):
        return refusal(kind, train_captioner.main, arguments("out", *more))

    assert "'full', expected KIND=COLUMN" in told("--kind-columns", "full")
    assert "each kind once" in told("--kind-columns", "full=a", "full=b")
    assert "'sung_caption', for kind full" in told("--kind-columns", "full=sung_caption", kind=FormatError)
    assert told("--batch=0").startswith("got batches of 0")
    assert "expected 64 in all" in told("--tokens=60")
