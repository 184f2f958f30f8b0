"""What several rooms' tests share: refusals, a small tokenizer, a small model, a small sound bank."""

import csv
import json
import multiprocessing
import os
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

WORDS = (
    "a",
    "the",
    "sound",
    "of",
    "in",
    "distance",
    "nearby",
    "beep",
    "buzz",
    "rain",
    "dog",
    "barking",
    "siren",
)


@pytest.fixture(scope="session")
def refusal():
    """Call something that must be refused; gives the message, which must be one line."""

    def refusal(kind, call, *arguments, **options):
        with pytest.raises(kind) as caught:
            call(*arguments, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refusal


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one core: on models this small, and where others are busy, several only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def elsewhere():
    """Call something in another process, to which it travels with what it is given; gives what came back."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:

        def elsewhere(call, *arguments):
            return pool.apply(call, arguments)

        yield elsewhere


@pytest.fixture(scope="session")
def as_ranks():
    """Run `SCRIPT RANK RANKS FOLDER ...` as processes that share a batch; gives what each left in FOLDER/RANK.pt."""
    import torch

    def as_ranks(script, ranks, folder, *words):
        started = [
            subprocess.Popen(
                [sys.executable, *map(str, (script, rank, ranks, folder, *words))],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]
        try:
            errors = [process.communicate(timeout=120)[1] for process in started]
        finally:
            for process in started:
                process.kill()
        assert [process.returncode for process in started] == [0] * ranks, "\n".join(errors)
        return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]

    return as_ranks


@pytest.fixture
def golden_folder():
    """What reference implementations computed; see its README."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def tokenizer_content():
    """A WordPiece tokenizer of single letters and a few words, as `tokenizer.json` holds it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, *string.digits, ","]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase] + [w for w in WORDS if len(w) > 1]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return json.loads(tokenizer.to_str())


@pytest.fixture(scope="session")
def tokenizer_file(tokenizer_content, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_content), encoding="utf-8")
    return path


@pytest.fixture
def tiny_model(tokenizer_content, tokenizer_file):
    """peaframe-mini with a small tower and text side; random weights in every layer, in evaluation mode."""
    import torch

    from peaframe.models.frame import MiniConfig, MiniFrameModel
    from peaframe.models.frontend import FrontEndConfig
    from peaframe.models.text import QueryTokenizer, TextConfig
    from peaframe.models.tower import TowerConfig

    config = MiniConfig(
        embedding_dim=16,
        front=FrontEndConfig(width=32),
        tower=TowerConfig(width=32, layers=2, heads=2, mlp_width=48),
        text=TextConfig(len(tokenizer_content["model"]["vocab"]), 48, 2, 3, 40, max_tokens=16),
    )
    torch.manual_seed(0)
    model = MiniFrameModel(config, QueryTokenizer(tokenizer_file, config.text.max_tokens))
    with torch.no_grad():
        model.text.positions.weight.mul_(0.1)  # sentences differ by their words
        model.text.words.weight[2:4].mul_(0.1)
        torch.nn.init.normal_(model.front.merge.weight, std=0.02)
        for layer in (*model.front.depthwise, *model.front.pointwise):
            torch.nn.init.kaiming_normal_(layer.weight)
    return model.eval()


COLUMNS = (
    "path",
    "label",
    "captions",
    "parent",
    "role",
    "source",
    "license",
    "origin_id",
    "duration_s",
    "split",
)


def tone(hertz, seconds, rate, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture(scope="session")
def bank_folder(tmp_path_factory):
    """A sound bank of seven clips: beeps and buzzes as WAV, rain as Ogg, with a manifest."""
    folder = tmp_path_factory.mktemp("bank")
    random = np.random.default_rng(0)
    clips = [
        ("beep_1.wav", "beep", "event", "made:1", "train", tone(1000, 0.6, 48_000), 48_000),
        ("beep_2.wav", "beep", "event", "made:2", "train", tone(1100, 1.5, 22_050), 22_050),
        ("beep_3.wav", "beep", "event", "made:3", "valid", tone(900, 0.5, 48_000), 48_000),
        ("buzz_1.wav", "buzz", "event", "made:4", "train", tone(300, 0.8, 16_000), 16_000),
        ("buzz_2.wav", "buzz", "event", "other:5", "train", tone(250, 0.7, 44_100), 44_100),
        ("rain_1.ogg", "rain", "background", "made:6", "train", random.normal(0, 0.1, 96_000), 48_000),
        ("rain_2.ogg", "rain", "background", "made:7", "valid", random.normal(0, 0.1, 48_000), 48_000),
    ]
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, label, role, source, split, waveform, rate in clips:
            soundfile.write(folder / name, waveform, rate)
            row = (name, label, f"a {label}|{label} nearby", "made", role, source, "CC0", name, 1, split)
            writer.writerow(row)
    return folder
