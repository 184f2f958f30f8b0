"""Every configuration that comes with peaframe: it builds, says what it needs, and trains a tiny model."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from peaframe import clock, formats
from peaframe.cli.main import main, parser
from peaframe.data import manifest
from peaframe.data.manifest_item import Item
from peaframe.data.teacher_scores import write_teacher
from peaframe.data.vocabulary_file import read_vocabulary
from peaframe.errors import FormatError
from peaframe.eval.benchmarks import prompts
from peaframe.events import Event
from peaframe.infer.detector import Detector
from peaframe.models.load import load_model, save_model
from peaframe.recipes import config_files, make_manifest, prepare_teacher
from peaframe.recipes.finetune import finetune, read_settings
from peaframe.recipes.finetune_valid import METRICS
from peaframe.recipes.manifest_sources import SOURCES, Wanted
from peaframe.train.optim import part_of
from peaframe.train.settings import QUERIES

RATE = 48_000
NAMES = sorted(set(config_files.known_configs()) - {"mini"})
TRAINED = [name for name in NAMES if name != "few-shot"]
MINIS = ("ablation", "mini-cpu")
LABELS = ("Beep", "Buzz")
SECONDS = 2.0


def header(name):
    """The comments that a configuration begins with."""
    lines = (config_files.CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return [line[1:] for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")]]


def commands(name, beginning):
    return [line.strip() for line in header(name) if line.strip().startswith(beginning)]


def tone(path, spans, hertz, seconds=SECONDS, seed=0):
    """Faint noise with a loud tone in some spans."""
    samples = 0.003 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    for onset, offset in spans:
        at = np.arange(round(onset * RATE), round(offset * RATE))
        samples[at] += 0.5 * np.sin(2 * np.pi * hertz * at / RATE)
    soundfile.write(path, samples, RATE)


@pytest.fixture
def material(tmp_path):
    """Four recordings, one with a weak label, with words, an ontology and a teacher of their labels."""
    items, scores = [], []
    for i in range(4):
        label, span = LABELS[i % 2], (0.2 + 0.2 * i, 0.9 + 0.2 * i)
        path = tmp_path / f"take_{i}.wav"
        tone(path, [span], 300 + 700 * (i % 2), seed=i)
        weak = i == 2
        events = () if weak else (Event(*span, label),)
        split = "valid" if i == 3 else "train"
        items.append(Item(path, duration=SECONDS, events=events, weak=(label,) if weak else (), split=split))
        frames = clock.frame_count(round(SECONDS * RATE))
        scores.append((path.stem, np.random.default_rng(i).normal(0, 3, (frames, 3)).astype(np.float16)))
    manifest.save(tmp_path / "all.jsonl", items)
    words = {"Beep": {"phrases": ["beep", "the sound of a beep"]}, "Buzz": {"hard_negatives": ["rain"]}}
    (tmp_path / "words.json").write_text(json.dumps({"labels": words, "distractors": ["a dog"]}))
    classes = [{"id": "/m/1", "name": "Noise", "child_ids": ["/m/2"]}]
    classes.append({"id": "/m/2", "name": "Buzz", "child_ids": []})
    (tmp_path / "ontology.json").write_text(json.dumps(classes))
    write_teacher(tmp_path / "teacher", ("Beep", "Buzz", "Rain"), scores, source="made up", model="none")
    return tmp_path


@pytest.fixture
def student(material, golden_folder, tiny_model, tokenizer_content):
    """Gives the folder of a tiny model: peaframe-mini, or PE-A-Frame with its codec."""

    def student(mini):
        folder = material / "student"
        if mini:
            save_model(tiny_model, folder, tokenizer_content)
            return folder
        shutil.copytree(golden_folder / "pe_a_frame_original", folder)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_content))
        return folder

    return student


def overrides(config, material, model):
    """What makes a run of two steps on the made-up recordings out of any configuration."""
    data = read_settings(config).data
    out = [
        f"model={model}",
        f"data.manifests=[{material / 'all.jsonl'}]",
        f"data.cache={material / 'latents'}",
        "data.batch_size=2",
        "data.workers=0",
        "schedule.steps=2",
        "schedule.warm_up=1",
        "evaluate_every=2",
        "save_every=2",
        "device=cpu",
    ]
    files = {"words": "words.json", "ontology": "ontology.json", "teacher": "teacher"}
    return out + [f"data.{key}={material / file}" for key, file in files.items() if getattr(data, key)]


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_all(name):
    text = "\n".join(header(name))
    assert f"peaframe train {name}" in text
    for key in ("Data:", "Hardware:", "Time:", "Result:"):
        (value,) = re.findall(rf"^ {key} +(\S.*)", text, re.MULTILINE)
        assert len(value) > 2


@pytest.mark.parametrize("name", NAMES)
def test_it_builds(name):
    settings = read_settings(config_files.find_config(name))
    assert settings.model in ("peaframe-mini", "pe-a-frame-small", "pe-a-frame-base", "runs/start")
    for path in (*settings.data.manifests, settings.data.cache):
        assert not path.is_absolute()
    if settings.precision == "float32" and QUERIES not in settings.learn:
        assert settings.model == "peaframe-mini"
    written = [word for command in commands(name, "python") for word in shlex.split(command)]
    if written and name != "distill-pretrainedsed":  # which shares the manifest of another
        text = "\n".join(header(name))
        for path in (*settings.data.manifests, settings.data.words, settings.data.ontology):
            assert path is None or str(path) in text


@pytest.mark.parametrize("name", NAMES)
def test_its_commands_are_real(name):
    for command in commands(name, "peaframe ") + [
        line.partition("Command:")[2].strip() for line in header(name) if "Command:  peaframe" in line
    ]:
        parser().parse_args(shlex.split(command)[1:])
    for command in commands(name, "python -m peaframe.recipes.make_manifest"):
        args = make_manifest._arguments(shlex.split(command)[3:])
        # the part is known, and the source is not there
        with pytest.raises(FormatError, match=r"got no|is not a folder|cannot be read"):
            SOURCES[args.kind](args.source, Wanted(args.part, args.split, args.exhaustive))
    for command in commands(name, "python -m peaframe.recipes.prepare_teacher"):
        with pytest.raises(FormatError, match="AUDIOSET: cannot be read"):
            prepare_teacher.main(shlex.split(command)[3:])


def shell(command, folder):
    python = command.replace("python -c", f"{shlex.quote(sys.executable)} -c", 1)
    done = subprocess.run(python, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "table"), [("desed", prompts.DESED), ("urbansed", prompts.URBANSED)])
def test_its_words_are_the_queries_of_the_benchmark(name, table, tmp_path):
    (command,) = commands(name, "python -c")
    (tmp_path / "data").mkdir()
    shell(command, tmp_path)
    found = read_vocabulary(tuple(table), tmp_path / read_settings(config_files.find_config(name)).data.words)
    assert found.phrases == table
    assert len(found.labels) == 10


def test_the_words_and_the_split_of_audioset(tmp_path):
    config = config_files.find_config("audioset-strong")
    data = read_settings(config).data
    (tmp_path / "data").mkdir()
    (tmp_path / "AUDIOSET").mkdir()
    names = {"/m/1": "Vehicle horn, car horn, honking", "/m/2": "Fire engine, fire truck (siren)"}
    (tmp_path / "AUDIOSET/mid_to_display_name.tsv").write_text(
        "".join(f"{key}\t{name}\n" for key, name in names.items())
    )
    (command,) = commands("audioset-strong", "python -c")
    shell(command, tmp_path)
    found = read_vocabulary(tuple(names.values()), tmp_path / data.words)
    assert found.phrases[names["/m/1"]] == ("vehicle horn", "car horn", "honking")
    assert found.phrases[names["/m/2"]] == ("fire engine siren", "fire truck siren")
    items = [Item(tmp_path / f"data/{i}.wav", duration=10.0) for i in range(120)]
    manifest.save(tmp_path / "data/audioset_all.jsonl", items)
    (command,) = commands("audioset-strong", "awk")
    shell(command, tmp_path)
    got = manifest.load(tmp_path / data.manifests[0])
    assert [i for i, item in enumerate(got) if item.split == "valid"] == [49, 99]
    assert [item.audio for item in got] == [item.audio for item in items]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_two_steps_on_a_tiny_model(name, material, student):
    config, model = config_files.find_config(name), student(name in MINIS)
    settings = read_settings(config, overrides(config, material, model))
    before = load_model(model).state_dict()
    assert finetune(settings, material / "run") is True

    log = [json.loads(line) for line in (material / "run/log.jsonl").read_text().splitlines()]
    (step,) = [entry for entry in log if "loss" in entry]
    (first, measured) = [entry["valid"] for entry in log if "valid" in entry]
    assert step["step"] == 2
    assert step["skipped"] == 0
    assert ("distillation" in step) == (settings.data.teacher is not None)
    assert set(measured) == set(METRICS)
    assert all(np.isfinite(value) for value in measured.values())

    learned = load_model(material / "run/last")
    after = learned.state_dict()
    assert after.keys() == before.keys()
    better = measured[settings.best] >= first[settings.best]
    assert (
        load_model(material / "run/best").fingerprint()
        == (learned if better else load_model(model)).fingerprint()
    )
    moved = {part_of(key) for key in before if not torch.equal(before[key], after[key])}
    assert moved == expected(settings, before)
    scores = Detector(learned, "cpu").score(material / "take_0.wav", ["beep", "something else"])
    assert scores.values.shape == (50, 2)
    assert np.isfinite(scores.values).all()
    assert np.ptp(scores.values) > 0


def expected(settings, weights):
    """The parts of a model that learn, as far as it has them."""
    chosen = {*settings.learn, *(["audio"] if settings.lora else [])}
    return chosen & {part_of(key) for key in weights}


def test_lora_leaves_the_words_where_they_were(material, student):
    config, folder = config_files.find_config("pe-a-frame"), student(mini=False)
    settings = read_settings(config, overrides(config, material, folder))
    assert settings.lora.rank == 8
    finetune(settings, material / "run")
    before, after = load_model(folder), load_model(material / "run/last")
    words = ["beep", "a dog barking", "rain"]
    with torch.no_grad():
        assert torch.equal(before.encode_text(words), after.encode_text(words))
    changed = {
        key for key, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[key])
    }
    layers = {key for key in changed if not key.startswith("logit_")}
    assert len(layers) == 2 * 7  # of two layers: four projections of attention, three of SwiGLU
    assert all(re.search(r"\.tower\.layers\.\d\..*_proj\.weight$", key) for key in layers)


def test_few_examples_become_queries_that_detect_takes(tmp_path, monkeypatch, capsys):
    """From label tracks to detections, by the commands of the header."""
    name = "the bell of 狗"  # words that say nothing about a tone
    monkeypatch.chdir(tmp_path)
    Path("my_examples").mkdir()
    for i, onsets in enumerate([(0.5, 2.0), (1.0, 3.0)]):
        tone(f"my_examples/{i}.wav", [(on, on + 0.5) for on in onsets], 1000, 4.0, seed=i)
        marks = [Event(on, on + 0.5, name) for on in onsets]
        formats.save(f"my_examples/{i}.txt", {f"{i}.wav": marks}, "audacity")
    tone("street.wav", [(0.2, 0.7), (2.6, 3.1)], 1000, 4.0, seed=2)
    Path("data").mkdir()
    (making,) = commands("few-shot", "python -m peaframe.recipes.make_manifest")
    make_manifest.main(shlex.split(making)[3:])
    capsys.readouterr()
    assert main(["detect", "street.wav", name, "--json", "--device", "cpu"]) == 0
    assert list(formats.loads(capsys.readouterr().out, "json").values()) in ([], [[]])

    assert main(["train", "few-shot", "device=cpu"]) == 0
    capsys.readouterr()
    (detecting,) = commands("few-shot", "peaframe detect")
    assert main([*shlex.split(detecting)[1:], "--json", "--device", "cpu"]) == 0
    (found,) = formats.loads(capsys.readouterr().out, "json").values()
    assert [event.label for event in found] == [name, name]
    np.testing.assert_allclose([event.onset for event in found], [0.2, 2.6], atol=0.3)
    np.testing.assert_allclose([event.offset for event in found], [0.7, 3.1], atol=0.3)
