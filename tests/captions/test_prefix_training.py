"""A run of training a captioning decoder: what learns, in which order, what is measured, and that it goes on."""

import json
import math

import pytest
import torch

from peaframe.captions.local_models import load_language_model
from peaframe.captions.prefix import PrefixConfig, PrefixDecoder
from peaframe.captions.prefix_examples import Example, digest, other_sounds, read_examples
from peaframe.captions.prefix_rows import FrameRows, KeptRows
from peaframe.captions.prefix_training import Batches, PrefixRun, PrefixTraining, measure
from peaframe.errors import ConfigError, FormatError, ManifestError, OptionError
from peaframe.train.optim import Schedule


class Ear:
    name, width, identity = "ear", 8, "ear 1"


CPU = torch.device("cpu")
CAPTIONS = ("a dog barks", "the rain falls softly", "A dog barks", "a bell rings")


@pytest.fixture
def decoder(models):
    def decoder(width=8, dropout=0.0, kinds=("events", "full")):
        torch.manual_seed(0)
        config = PrefixConfig(width, tokens=4, heads=2, longest=12, kinds=kinds)
        language, tokenizer = load_language_model(models / "learner")
        for module in language.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        return PrefixDecoder(config, language, tokenizer)

    return decoder


@pytest.fixture
def examples():
    draw = torch.Generator().manual_seed(1)
    return [
        Example(torch.randn(3 + i, 8, generator=draw), ("events", "full")[i % 2], CAPTIONS[i])
        for i in range(4)
    ]


def quick(steps=6, **more):
    return PrefixTraining(Schedule(steps, 1), **{"batch": 2, "evaluate_every": 3, "save_every": 2, **more})


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "steps_per_second"} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("free", [False, True])
def test_the_language_model_stands_still_unless_it_is_set_free(decoder, examples, tmp_path, models, free):
    learner = decoder()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    settings = quick(language=free, language_rate=1.0)
    run = PrefixRun(learner, Ear(), examples, settings, tmp_path, CPU, source=str(models / "learner"))
    assert run.run()
    after = learner.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {"queries", "enter.weight"} <= changed
    assert any(name.startswith("language.") for name in changed) == free
    assert (tmp_path / "last/language_model").is_dir() == free
    assert (tmp_path / "last/language_model.json").is_file() != free
    assert not (tmp_path / "best").exists()  # nothing to measure with


@pytest.mark.slow
@pytest.mark.parametrize("free", [False, True])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(decoder, examples, tmp_path, models, free):
    settings = quick(language=free, language_rate=1.0)

    def begin(name):
        learner = decoder(dropout=0.1)
        own = [tmp_path / name, CPU, examples[2:]]
        return PrefixRun(learner, Ear(), examples, settings, *own, str(models / "learner"))

    whole = begin("whole")
    assert whole.run()
    stops = iter([False, False, False, True])  # behind step 4
    assert not begin("halves").run(lambda: next(stops))
    second = begin("halves")
    assert second.step == 4
    assert second.run()
    for folder in ("last", "best"):
        one, two = (tmp_path / name / folder / "prefix.safetensors" for name in ("whole", "halves"))
        assert one.read_bytes() == two.read_bytes()
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(tensor, second.student.state_dict()[name])
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "halves")
    valid = [line["valid"] for line in log_of(tmp_path / "whole") if "valid" in line]
    assert len(valid) == 3  # behind steps 0, 3 and 6
    assert all(line["word_probability"] == math.exp(-line["loss"]) for line in valid)


def test_a_folder_of_another_run_is_refused(decoder, examples, tmp_path, refusal):
    assert PrefixRun(decoder(), Ear(), examples, quick(2, data="one"), tmp_path, CPU).run()
    told = refusal(ConfigError, PrefixRun, decoder(), Ear(), examples, quick(2, data="two"), tmp_path, CPU)
    assert "other settings (data)" in told
    again = PrefixRun(decoder(), Ear(), examples, quick(2, data="one", save_every=9), tmp_path, CPU)
    assert again.step == 2


def test_each_time_round_every_example_comes_once(examples):
    batches = Batches(examples, 3, seed=5)
    taken = iter(batches)
    said = [example.caption for _ in range(8) for example in next(taken)]
    rounds = [said[i : i + 4] for i in range(0, 24, 4)]
    assert all(sorted(own) == sorted(CAPTIONS) for own in rounds)
    assert len({tuple(own) for own in rounds}) > 1
    state = batches.state_dict()
    rest = [example.caption for example in next(taken)]
    other = Batches(examples, 3, seed=5)
    other.load_state_dict(state)
    assert [example.caption for example in next(iter(other))] == rest
    few = iter(Batches(examples[:1], 3, seed=5))
    assert [example.caption for example in next(few)] == [CAPTIONS[0]] * 3


def test_the_measure_is_of_tokens_and_of_other_sounds(decoder, examples):
    learner = decoder().eval()
    assert other_sounds(examples) == [
        None,
        3,
        None,
        1,
    ]  # the same words, if not the same letters, are no others
    found = measure(learner, examples, 3)
    with torch.no_grad():
        total = count = 0.0
        for example in examples:
            kind = torch.tensor([("events", "full").index(example.kind)])
            rows = example.rows[None]
            sums, counts = learner.losses(rows, torch.ones(rows.shape[:2]).bool(), kind, [example.caption])
            total, count = total + float(sums), count + float(counts)
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)
    swapped = [
        Example(examples[3].heard, "full", CAPTIONS[1]),
        Example(examples[1].heard, "full", CAPTIONS[3]),
    ]
    assert found["other_sounds"] == pytest.approx(measure(learner, swapped, 2)["loss"], rel=1e-5)
    assert "other_sounds" not in measure(learner, examples[:1], 1)
    assert digest(examples) != digest(examples[::-1])
    assert digest(examples) == digest(list(examples))


def test_clips_of_a_table_are_heard_once_and_what_cannot_be_is_told(media, detector, tmp_path, refusal):
    (media / "said.jsonl").write_text(
        "\n".join(
            json.dumps(row)
            for row in (
                {"media": "low.wav", "audio_caption": ["a bell", " ", "a bell rings"], "heard": '["bell"]'},
                {"media": "high.flac", "start": 0.25, "end": 1.25, "heard": "[a bird"},
                {"media": "silent.mp4", "audio_caption": "nothing"},
                {"media": "broken.wav", "audio_caption": "nothing"},
                {"media": "gone.wav", "audio_caption": "nothing"},
                {"media": "both.mp4", "audio_caption": "too long"},
                {"media": "never.wav", "visual_caption": "a picture"},
            )
        )
    )
    kept = KeptRows(tmp_path / "kept", FrameRows(detector))
    columns = {"full": "audio_caption", "events": "heard"}
    told = []
    table = media / "said.jsonl"
    examples, failed = read_examples(table, columns, kept, 1.9, lambda done, of: told.append((done, of)))
    assert [(e.media, e.kind, e.caption) for e in examples] == [
        ("low.wav", "full", "a bell"),
        ("low.wav", "full", "a bell rings"),
        ("low.wav", "events", "bell"),
        ("high.flac", "events", "[a bird"),
    ]
    assert told == [(i, 6) for i in range(1, 7)]
    assert len({example.heard for example in examples}) == 2
    assert [len(example.rows) for example in examples] == [38, 38, 38, 25]
    assert [one.clip.media for one in failed] == ["silent.mp4", "broken.wav", "gone.wav", "both.mp4"]
    reasons = [one.reason for one in failed]
    assert reasons[0] == "silent.mp4: has no sound"
    assert reasons[3] == "both.mp4: the clip has 2.0 s, expected 1.9 s at most"
    wrong = {"full": "sung_caption"}
    assert "'sung_caption', for kind full" in refusal(FormatError, read_examples, table, wrong, kept)
    (media / "odd.jsonl").write_text('{"media": "low.wav", "heard": 3}')
    told = refusal(ManifestError, read_examples, media / "odd.jsonl", {"events": "heard"}, kept)
    assert "row 1: got heard 3" in told
    (media / "none.csv").write_text("media,audio_caption\ngone.wav,a bell\n")
    told = refusal(FormatError, read_examples, media / "none.csv", {"full": "audio_caption"}, kept)
    assert "no clip with captions can be heard" in told


def test_what_makes_no_sense(decoder, examples, tmp_path, refusal):
    assert "no examples" in refusal(OptionError, PrefixRun, decoder(), Ear(), [], quick(), tmp_path, CPU)
    loud = [Example(torch.zeros(3, 8), "loud", "a dog")]
    assert "kind 'loud'" in refusal(OptionError, PrefixRun, decoder(), Ear(), loud, quick(), tmp_path, CPU)
    narrow = [Example(torch.zeros(3, 7), "full", "a dog")]
    run = PrefixRun(decoder(), Ear(), narrow, quick(), tmp_path, CPU)
    assert "got embeddings of 7 channels" in refusal(OptionError, run.run)
    assert "got batches of 0" in refusal(OptionError, PrefixTraining, batch=0)
    assert "got lr 0.0" in refusal(OptionError, PrefixTraining, lr=0.0)
    assert "got seed -1" in refusal(OptionError, PrefixTraining, seed=-1)
