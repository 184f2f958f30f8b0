"""few_shot from end to end: two labels taught to a small random model by all three methods."""

import json

import numpy as np
import pytest
import soundfile
import torch

from peaframe import audio
from peaframe.data import manifest
from peaframe.data.latents import LatentCache, fill
from peaframe.data.manifest_item import Item
from peaframe.data.soundbank import Clip, read_manifest
from peaframe.errors import ManifestError, OptionError
from peaframe.events import Event
from peaframe.models.load import load_model, save_model
from peaframe.queries import QueryFile, QueryVector
from peaframe.recipes import few_shot
from peaframe.recipes.few_shot_clips import alone, choose
from peaframe.recipes.few_shot_exam import Exam
from peaframe.recipes.finetune_material import part

HELD = ("beep", "buzz")


@pytest.fixture
def folders(tiny_model, tokenizer_content, bank_folder, tmp_path):
    """A checkpoint, the held labels and three soundscapes of 12 s, as the recipe takes them."""
    save_model(tiny_model, tmp_path / "model", tokenizer_content)
    (tmp_path / "held.txt").write_text("buzz\nbeep\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    t = np.arange(12 * 48_000) / 48_000
    sounds = {
        "beep": np.sin(2 * np.pi * 1000 * t),
        "buzz": np.sin(2 * np.pi * 280 * t),
        "rain": rng.normal(0, 0.3, len(t)),
    }
    items = []
    for number in range(3):
        x, events = rng.normal(0, 0.001, len(t)), []
        for place, (label, sound) in enumerate(sounds.items()):
            onset = (place + number) % 3 * 4.0
            events.append(Event(onset, onset + 3.0, label))
            here = (t >= onset) & (t < onset + 3)
            x[here] += 0.3 * sound[here]
        path = tmp_path / f"scene_{number}.wav"
        soundfile.write(path, x, 48_000)
        items.append(Item(path, duration=12.0, events=tuple(sorted(events)), exhaustive=True, split="valid"))
    manifest.save(tmp_path / "valid.jsonl", items)
    return tmp_path, bank_folder


def options(folders, *more):
    here, bank = folders
    return [
        *("--data", str(bank), "--model", str(here / "model"), "--held", str(here / "held.txt")),
        *("--valid", str(here / "valid.jsonl"), "--out", str(here / "out"), *more),
    ]


SMALL = ("--clips", "1", "2", "--seeds", "0", "--steps", "2")


@pytest.mark.slow
def test_all_methods_are_run_and_told_and_the_same_command_does_nothing_again(folders, capsys):
    here, _ = folders
    few_shot.main(options(folders, *SMALL))
    printed = capsys.readouterr().out
    results = json.loads((here / "out" / "few_shot.json").read_text(encoding="utf-8"))
    assert results["held"] == list(HELD)
    assert [(t["method"], t["clips"]) for t in results["trials"]] == [
        (method, clips) for clips in (1, 2) for method in few_shot.METHODS
    ]
    before = results["before"]
    assert set(before["labels"]) == {"beep", "buzz", "rain"}
    assert before["held"] == pytest.approx((before["labels"]["beep"] + before["labels"]["buzz"]) / 2)
    assert before["other"] == before["labels"]["rain"]
    for trial in results["trials"]:
        same = trial["other"] == before["other"]
        assert same == (trial["method"] == "query vectors")  # these forget nothing
        assert trial["labels"] != before["labels"]
    text = (here / "out" / "few_shot.md").read_text(encoding="utf-8")
    assert text in printed
    assert len(text.splitlines()) == 3 + 6
    assert (here / "out" / "few_shot.png").read_bytes()[:4] == b"\x89PNG"
    kept = {path.name for path in (here / "out" / "runs" / "lora_2_0").iterdir()}
    assert not kept & {"last", "resume.safetensors"}
    assert "log.jsonl" in kept

    changed = (here / "out" / "few_shot.json").stat().st_mtime_ns
    few_shot.main(options(folders, *SMALL))
    assert (here / "out" / "few_shot.json").stat().st_mtime_ns == changed
    assert capsys.readouterr().out.count("lora") == 0


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(folders):
    here, _ = folders
    few_shot.main(options(folders, *SMALL))
    path = here / "out" / "few_shot.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**whole, "trials": whole["trials"][:3]}), encoding="utf-8")
    few_shot.main(options(folders, *SMALL))
    again = json.loads(path.read_text(encoding="utf-8"))
    for results in (whole, again):
        for trial in results["trials"]:
            del trial["seconds"]
    assert again == whole


@pytest.mark.slow
def test_another_order_in_the_same_folder_is_refused(folders, refusal):
    few_shot.main(options(folders, "--clips", "1", "--seeds", "0", "--steps", "2"))
    message = refusal(OptionError, few_shot.main, options(folders, "--clips", "1", "--steps", "3"))
    assert "holds results of other steps; choose another --out" in message


def test_wrong_orders_are_refused_before_any_work(folders, refusal):
    here, _ = folders
    message = refusal(OptionError, few_shot.main, options(folders, "--clips", "1", "3"))
    assert message == "got 2 training clips of 'beep', expected 3; take fewer"
    assert not (here / "out" / "few_shot.json").exists()
    assert "expected 1 or more" in refusal(OptionError, few_shot.main, options(folders, "--steps", "0"))
    (here / "held.txt").write_text("beep\nbuzz\nrain\n", encoding="utf-8")
    assert "held labels only" in refusal(OptionError, few_shot.main, options(folders))


def test_untuned_vectors_give_the_aurocs_of_their_words_and_a_bias_changes_no_rank(folders):
    here, _ = folders
    model = load_model(here / "model")
    cache = LatentCache(here / "latents")
    exam = Exam(here / "valid.jsonl", HELD, cache)
    fill(cache, [part(item) for item in exam.measure.items], model, progress=False)
    words = exam.words(model)
    vectors = model.encode_text(list(HELD)).detach().numpy()
    for bias in (0.0, 1.5):
        queries = [QueryVector(label, v, bias) for label, v in zip(HELD, vectors, strict=True)]
        found = exam.vectors(model, QueryFile(model.name, model.fingerprint(), tuple(queries)))
        assert found == pytest.approx({label: words[label] for label in HELD}, abs=1e-3)
    turned = [QueryVector(label, -v) for label, v in zip(HELD, vectors, strict=True)]
    found = exam.vectors(model, QueryFile(model.name, model.fingerprint(), tuple(turned)))
    assert found == pytest.approx({label: 1 - words[label] for label in HELD}, abs=1e-3)
    assert torch.is_grad_enabled()


def test_more_clips_hold_all_that_fewer_do_and_only_of_the_train_split(bank_folder):
    clips = read_manifest(bank_folder)
    one, two = (choose(clips, HELD, count, 0) for count in (1, 2))
    assert [clip.label for clip in two] == ["beep", "beep", "buzz", "buzz"]
    assert {clip.split for clip in two} == {"train"}
    assert {clip.path for clip in one} < {clip.path for clip in two}
    drawn = {choose(clips, ("beep",), 1, seed)[0].path.name for seed in range(8)}
    assert drawn == {"beep_1.wav", "beep_2.wav"}


def test_a_clip_alone_is_labelled_where_it_is_heard(bank_folder, tmp_path):
    clip = next(clip for clip in read_manifest(bank_folder) if clip.path.name == "beep_1.wav")
    item = alone(clip, tmp_path)
    x = audio.read(item.audio)
    assert len(x) == 128 * 1920
    assert (item.duration, item.exhaustive, item.licence) == (5.12, True, "CC0")
    (event,) = item.events
    assert event.label == "beep"
    assert 0.6 <= event.offset - event.onset <= 0.68
    energy = np.square(x.reshape(-1, 1920)).mean(axis=1)
    assert event.onset <= energy.argmax() / 25 < event.offset
    assert alone(clip, tmp_path) == item
    assert np.array_equal(audio.read(item.audio), x)


def test_of_a_long_clip_the_loudest_stretch_is_taken_and_a_silent_one_is_refused(tmp_path, refusal):
    t = np.arange(12 * 48_000) / 48_000
    sound = 0.5 * np.sin(2 * np.pi * 500 * t) * ((t >= 7.0) & (t < 9.0))
    soundfile.write(tmp_path / "long.wav", sound, 48_000)
    soundfile.write(tmp_path / "silent.wav", 0 * sound, 48_000)
    item = alone(Clip(tmp_path / "long.wav", "tone", (), "event", "", "", "train"), tmp_path)
    (event,) = item.events
    assert event.offset - event.onset == pytest.approx(2.0, abs=0.041)
    silent = Clip(tmp_path / "silent.wav", "tone", (), "event", "", "", "train")
    assert "is silent" in refusal(ManifestError, alone, silent, tmp_path)


def test_the_table_has_means_and_the_lowest_and_highest_of_the_seeds():
    trials = [
        {"method": "LoRA", "clips": 5, "seed": seed, "held": held, "other": 0.9, "labels": {}}
        for seed, held in enumerate((0.7, 0.8, 0.75))
    ]
    before = {"held": 0.5, "other": 0.95, "labels": {"a": 0.5, "b": 0.95, "c": 0.95}}
    lines = few_shot.table({"held": ["a"], "before": before, "trials": trials}).splitlines()
    assert lines[0] == "| method | clips of each | 1 held labels | 2 other labels |"
    assert lines[2:] == [
        "| before | 0 | 0.500 | 0.950 |",
        "| LoRA | 5 | 0.750 [0.700, 0.800] | 0.900 [0.900, 0.900] |",
    ]
