"""The recipe of pre-training: its configurations, the stamps it can learn from, and the chain to a detector."""

import json
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peaframe import audio, formats, video
from peaframe.cli.main import main as command
from peaframe.cli.main import parser
from peaframe.data.clip_reader import ClipReader
from peaframe.data.clips_table import stream
from peaframe.errors import ConfigError, FormatError, ModelError, OptionError
from peaframe.losses.pairs import STAGE_1, STAGE_2
from peaframe.models.load import load_audio_video_model, load_model
from peaframe.recipes import config_files, prepare_stamps
from peaframe.recipes import pretrain as recipe
from peaframe.recipes.pretrain_data import retrieval, shares_ahead, start_of
from peaframe.train.pretrain_batch import PretrainBatch, Tokens
from peaframe.train.pretrain_model import PretrainModel

TESTS = Path(__file__).parents[1]
clips = SimpleNamespace(**runpy.run_path(str(TESTS / "data" / "clip_files.py")))
tuning = SimpleNamespace(**runpy.run_path(str(TESTS / "train" / "finetuning.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("pretrain_stage1", "pretrain_stage2", "pretrain_stamps", "pretrain_tiny", "pretrain_tiny_stage2")
RATE = 48_000


def header(name):
    lines = (config_files.CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return [line[1:].strip() for line in lines if line[:1] == "#"]


def settings_of(name, *changes):
    return recipe.read_settings(config_files.find_config(name, pretraining=True), changes)


def test_configurations_are_known_to_the_right_command(refusal):
    assert tuple(config_files.known_configs(pretraining=True)) == NAMES
    assert not set(NAMES) & set(config_files.known_configs())
    told = refusal(ConfigError, config_files.find_config, "pretrain_tiny")
    assert told == "pretrain_tiny: is a configuration for `python -m peaframe.recipes.pretrain`"
    assert "`peaframe train`" in refusal(ConfigError, config_files.find_config, "desed", True)
    assert "one of pretrain_stage1" in refusal(ConfigError, config_files.find_config, "pretrain_x", True)


@pytest.mark.parametrize("name", NAMES)
def test_configurations_build_and_their_commands_are_real(name):
    settings = settings_of(name)
    stage_2 = name.endswith("stage2")
    assert settings.options.pairs == (STAGE_2 if stage_2 else STAGE_1)
    assert (settings.data.clips.transcripts is not None) == stage_2
    assert (settings.model.start is not None) == stage_2
    lines = header(name)
    for line in (line.removeprefix("Command:").strip() for line in lines):
        words = shlex.split(line) if line.startswith(("peaframe ", "python -m", "torchrun")) else []
        if words[:1] == ["peaframe"]:
            parser().parse_args(words[1:])
        elif "peaframe.recipes.pretrain" in words:
            assert words[words.index("peaframe.recipes.pretrain") + 1] in NAMES
    assert all(
        any(line.startswith(key) for line in lines) for key in ("Data:", "Hardware:", "Time:", "Result:")
    )


def test_the_papers_values_are_in_the_configurations():
    one, two = settings_of("pretrain_stage1"), settings_of("pretrain_stage2")
    assert (one.data.batch_size, one.schedule.steps, one.optim.lr) == (3024, 250_000, 1e-4)
    assert two.schedule.steps == 50_000
    assert one.data.clips.crop_seconds == two.data.clips.crop_seconds == 30


def test_stamps_are_things_with_words(stamps):
    found = prepare_stamps.things(stamps)
    assert [(thing.name, thing.words) for thing in found] == [
        ("animals/birds/crow", "a crow"),
        ("animals/dog", "a dog"),
        ("town/bell", "the bell"),
    ]
    assert [thing.sound is not None for thing in found] == [True, True, False]
    assert [thing.spoken and thing.spoken.name for thing in found] == [None, "dog_desc.ogg", None]


def test_stamps_become_films_and_tables(stamps, tmp_path, bank_folder, capsys):
    out = tmp_path / "out"
    prepare_stamps.main(
        [str(stamps), str(out), "--soundbank", str(bank_folder), "--variants", "2", "--parts", "3"]
    )
    assert capsys.readouterr().out.count("clips\n") == 4
    things = [list(stream(out / f"things_{part}.jsonl")) for part in range(2)]
    sounds = {split: list(stream(out / f"sounds_{split}.jsonl")) for split in ("train", "valid")}
    for part, rows in enumerate(things):
        assert {prepare_stamps.part_of(row.metadata["thing"], 3) for row in rows} <= {part}
    assert prepare_stamps.prepare(stamps, tmp_path / "all", None, 1, 1) == {"things_0": 4}
    rows = [row for part in things for row in part]
    assert {row.metadata["thing"] for row in rows} == {"a crow", "a dog", "the bell"}
    assert len(rows) == 3 * 2 + 1
    films = {Path(row.path).stem: row for row in rows if row.source == "stamps"}
    assert sorted(films)[:2] == ["animals_birds_crow_0", "animals_birds_crow_1"]
    crow, dog, bell = (films[f"{name}_0"] for name in ("animals_birds_crow", "animals_dog", "town_bell"))
    assert crow.captions["audio"] == ("a crow, birds, animals", "the sound of a crow, birds, animals")
    assert bell.captions == {"visual": ("the bell, town", "a picture of the bell, town")}
    (spoken,) = (row for row in rows if row.source == "stamps spoken")
    assert (spoken.transcript, Path(spoken.path).name) == ("a dog", "dog_desc.ogg")
    assert (len(sounds["train"]), len(sounds["valid"])) == (5, 2)
    assert sounds["train"][0].captions["audio"] == ("beep", "a beep", "beep nearby")

    long, short = audio.read(crow.path), audio.read(dog.path)
    assert long.shape == short.shape == (3 * RATE,)
    assert np.count_nonzero(np.abs(short) > 0.01) < 0.2 * RATE < RATE < np.count_nonzero(np.abs(long) > 0.01)
    assert not np.array_equal(short, audio.read(films["animals_dog_1"].path))
    pictures = np.concatenate(list(video.blocks(crow.path)))
    assert len(pictures) == len(np.concatenate(list(video.blocks(bell.path)))) == 24
    moved = np.abs(pictures[0].astype(float) - pictures[-1]).mean()
    assert moved > np.abs(pictures[0].astype(float) - pictures[1]).mean() > 0
    before = Path(crow.path).read_bytes()
    prepare_stamps.prepare(stamps, out, bank_folder, 2, 3)
    assert np.array_equal(np.concatenate(list(video.blocks(crow.path))), pictures)
    assert len(Path(crow.path).read_bytes()) == len(before)


def test_the_camera_sees_the_picture_on_its_ground():
    red = np.zeros((60, 144, 4), dtype=np.uint8)
    red[:, :, 0], red[:, :, 3] = 255, 255
    seen = prepare_stamps.view(red, 0.5, 1)
    assert seen.shape == (96, 96, 3)
    assert seen[48, 48].tolist() == [255, 0, 0]
    grounds = {tuple(prepare_stamps.view(red, 0.5, draw)[2, 48]) for draw in range(20)}
    assert grounds == {(grey, grey, grey) for grey in (255, 230, 205, 180)}
    red[:, :, 3] = 0
    assert len(set(prepare_stamps.view(red, 0.1, 0).ravel())) == 1


def test_names_alone_decide_in_which_part_a_thing_is():
    names = [f"thing {i}" for i in range(2000)]
    parts = [prepare_stamps.part_of(name, 5) for name in names]
    assert np.bincount(parts, minlength=5).min() > 340
    assert max(parts) == 4
    assert parts == [prepare_stamps.part_of(name.upper(), 5) for name in names]


def test_no_stamps_and_odd_numbers_are_refused(tmp_path, stamps, refusal):
    assert "no NAME.png" in refusal(FormatError, prepare_stamps.things, tmp_path / "nothing")
    assert "variants 0" in refusal(OptionError, prepare_stamps.prepare, stamps, tmp_path / "o", None, 0)
    (stamps / "town/bell.png").write_text("no picture")
    assert "bell.png: no picture" in refusal(FormatError, prepare_stamps.prepare, stamps, tmp_path / "o")


def test_the_first_model_has_all_that_shards_need(tmp_path, tokenizer_file):
    assert recipe.main(["pretrain_tiny", "--first", str(tmp_path / "first"), "model.codec=null"]) == 0
    model = load_audio_video_model(tmp_path / "first")
    assert model.image.config.size == 48
    assert model.tokenizer(["a"])[0].shape[0] == 1
    assert model.config.text.vocabulary > 512
    sound = 0.2 * torch.sin(torch.arange(RATE) * torch.tensor([[0.02], [0.1], [0.3]]))
    with torch.no_grad():  # it hears sounds, and sees pictures, as different ones
        latents = model.audio.codec(sound)
        red, blue = (torch.full((1, 3, 48, 48), -1.0).index_fill(1, torch.tensor(i), 1.0) for i in (0, 2))
        features = torch.nn.functional.normalize(model.image(torch.cat((red, blue))), dim=1)
    assert 0.3 < latents.std() < 3
    assert latents.mean(dim=1).std(dim=0).mean() > 0.1
    assert features[0] @ features[1] < 0.5
    given = (f"model.codec={tmp_path / 'first'}", f"model.tokenizer={tokenizer_file}", "seed=3")
    start = start_of(settings_of("pretrain_tiny", *given))
    theirs, mine = model.state_dict(), start.model.state_dict()
    assert start.tokenizer == tokenizer_file.read_text(encoding="utf-8")
    for name in theirs:
        if name.startswith(("audio.codec.", "image.")):
            assert torch.equal(theirs[name], mine[name])
    assert not torch.equal(
        theirs["audio.tower.layers.0.mlp.up_proj.weight"], mine["audio.tower.layers.0.mlp.up_proj.weight"]
    )


def test_starts_that_cannot_be_are_refused(tmp_path, refusal):
    settings = settings_of("pretrain_tiny", "model.codec=null", "model.tokenizer=null")
    assert "got no model.tokenizer" in refusal(ConfigError, start_of, settings)
    settings = settings_of("pretrain_tiny", "model.codec=peaframe-mini")
    assert "peaframe-mini has no codec" in refusal(ModelError, start_of, settings)
    (tmp_path / "empty").mkdir()
    settings = settings_of("pretrain_tiny", "model.codec=null", f"model.tokenizer={tmp_path / 'empty'}")
    assert "has no tokenizer" in refusal(ModelError, start_of, settings)


class Fixed(torch.nn.Module):
    """Gives embeddings as they are."""

    def __init__(self, embeddings, present):
        super().__init__()
        self.options = SimpleNamespace(pairs=("A-AC",))
        self.found = SimpleNamespace(embeddings=embeddings, present=present)

    def forward(self, batch):
        return self.found


def test_retrieval_against_counting_by_hand():
    """Four clips, one without sound; two captions are the same."""
    sound = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0], [0.9, 0.5]])
    words = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    present = {
        "audio": torch.tensor([True, True, False, True]),
        "audio_text": torch.ones(4, dtype=torch.bool),
    }
    ids = torch.tensor([[5], [5], [6], [7]])
    empty = torch.zeros(4, 1, 2)
    none = torch.zeros(4, dtype=torch.int64)
    batch = PretrainBatch(empty, none, empty, none, {"audio": Tokens(ids, torch.ones_like(ids))})
    found = retrieval(Fixed({"audio": sound, "audio_text": words}, present), [batch], torch.device("cpu"))
    # the first finds its words; the second those of the last; the last both others'
    assert found["A-AC/r1"] == pytest.approx(1 / 3)
    assert found["A-AC/ahead"] == pytest.approx(1 / 3)
    # both same words find the first sound; the words of the last one find the second sound
    assert found["A-AC/back/r1"] == pytest.approx(2 / 3)
    # ... so of their two right sounds one is ahead of the wrong one, as is the last one's of one of two
    assert found["A-AC/back/ahead"] == pytest.approx(0.5)
    assert found["ahead"] == pytest.approx((found["A-AC/ahead"] + found["A-AC/back/ahead"]) / 2)
    absent = {**present, "audio": torch.zeros(4, dtype=torch.bool)}
    with pytest.raises(OptionError, match="without both sides of any pair"):
        retrieval(Fixed({"audio": sound, "audio_text": words}, absent), [batch], torch.device("cpu"))


def test_chance_is_a_half_however_many_are_right():
    scores = np.array([[0.9, 0.1, 0.5, 0.5], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    right = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 1, 0, 0]], dtype=bool)
    # the first right one is ahead of both others, the second of one and level with one
    assert shares_ahead(scores, right).tolist() == [0.875, 1.0, 0.5]
    random = np.random.default_rng(0)
    many = np.tile(np.arange(40) < 12, (2000, 1))
    assert shares_ahead(random.random(many.shape), many).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
def test_from_a_table_to_a_detector(stamps, tmp_path, monkeypatch, bank_folder, capsys):
    """The commands of the tiny configuration's header, with fewer steps."""
    monkeypatch.chdir(tmp_path)
    prepare_stamps.main(
        [str(stamps), "data", "--soundbank", str(bank_folder), "--variants", "2", "--parts", "3"]
    )
    lines = [line.removeprefix("Command:").strip() for line in header("pretrain_tiny")]
    commands = [shlex.split(line) for line in lines if line.startswith(("peaframe ", "python "))]
    first, train_shards, valid_shards, training, tuning_command, detecting = commands[:6]
    assert recipe.main([*first[3:], "model.codec=null"]) == 0
    for words, split, made in ((train_shards, "train", 0), (valid_shards, "valid", 1)):
        words[words.index(f"{split}.csv")] = f"data/things_{made}.jsonl"
        assert command(words[1:]) == 0
    assert ClipReader("shards/train").made["video"]["channels"] == 128
    few = ("schedule.steps=4", "schedule.warm_up=1", "evaluate_every=2", "data.batch_size=4", "device=cpu")
    assert recipe.main([*training[3:], *few]) == 0
    log = [json.loads(line) for line in Path("runs/pretrain_tiny/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "valid" in line] == [0, 2, 4]
    frames = load_model("runs/pretrain_tiny/frame")
    (tmp_path / "sounds").mkdir()
    sounds = tuning.make_items(tmp_path / "sounds", count=4)
    given = tuning.values("peaframe-mini", sounds, tmp_path / "cache", schedule={"steps": 2}, learn=["audio"])
    tuning.write_config(tmp_path / "mine.yaml", given)
    chosen = next(word for word in tuning_command if word.startswith("model="))
    assert command(["train", "mine.yaml", chosen, "--out", "runs/tuned"]) == 0
    tuned = load_model("runs/tuned/last")
    assert tuned.fingerprint() != frames.fingerprint()
    capsys.readouterr()
    wanted = [*detecting[: detecting.index("--model")], "--model", "runs/tuned/last", "--json"]
    wanted[2] = str(tmp_path / "sounds" / "0.wav")
    assert command([*wanted[1:], "--device", "cpu"]) == 0
    assert list(formats.loads(capsys.readouterr().out, "json")) == [str(tmp_path / "sounds" / "0.wav")]
    two = ("pretrain_tiny_stage2", *few, "data.shuffle_buffer=10")
    assert recipe.main([*two]) == 0
    told = json.loads(Path("runs/pretrain_tiny_stage2/log.jsonl").read_text().splitlines()[-1])
    assert "ahead" in told["valid"]
    again = PretrainModel(load_audio_video_model("runs/pretrain_tiny_stage2/best"))
    assert sum(p.numel() for p in again.parameters()) > 1e6
