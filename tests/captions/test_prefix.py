"""A decoder on frozen embeddings learns captions of real sounds, and is a part of the engine then."""

import math

import pytest
import torch

from peaframe.captions.answers import Answers
from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.endpoint import Endpoint, EndpointOptions
from peaframe.captions.engine import Engine
from peaframe.captions.local_models import load_language_model
from peaframe.captions.parts import Parts
from peaframe.captions.prefix import (
    AUDIO_KINDS,
    AudioVideoRows,
    FrameRows,
    PrefixConfig,
    PrefixDecoder,
    load_prefix,
    padded_rows,
)
from peaframe.captions.prefix_training import Example, PrefixCaptioner, PrefixTraining, train_prefix
from peaframe.errors import CheckpointError, OptionError
from peaframe.models.load import load_audio_video_model

CAPTIONS = {
    ("low.wav", "events"): "a bell rings near",
    ("low.wav", "full"): "a bell rings in a metal room",
    ("high.flac", "events"): "a bird sings loudly",
    ("high.flac", "full"): "a bird sings in the forest with wind",
}
QUICK = PrefixTraining(steps=200, batch=4, lr=5e-3, language=True)


@pytest.fixture
def decoder(models):
    def decoder(width, kinds=("events", "full")):
        torch.manual_seed(0)
        config = PrefixConfig(width, tokens=4, heads=2, longest=12, kinds=kinds)
        return PrefixDecoder(config, *load_language_model(models / "learner"))

    return decoder


@pytest.fixture(params=["frames", "audio tower"])
def encoder(request, detector, golden_folder):
    if request.param == "frames":
        return FrameRows(detector)
    return AudioVideoRows(load_audio_video_model(golden_folder / "pe_av_original"))


def examples(encoder, media):
    opened = {name: OpenClip(Clip(name, media / name)) for name, _ in CAPTIONS}
    rows = {name: encoder.rows(clip.sound) for name, clip in opened.items()}
    return [Example(rows[name], kind, caption) for (name, kind), caption in CAPTIONS.items()], opened


@pytest.mark.slow
def test_it_learns_what_clips_sound_like_and_writes_it_in_the_engine(
    encoder, decoder, media, tmp_path, server
):
    taught, opened = examples(encoder, media)
    assert {example.rows.shape for example in taught} == {(38, encoder.width)}
    learner = decoder(encoder.width)
    losses = train_prefix(learner, taught, QUICK)
    assert losses[0] > 2
    assert sum(losses[-10:]) / 10 < 0.1
    learner.save(tmp_path / "decoder")
    kept = load_prefix(tmp_path / "decoder")
    captioners = tuple(PrefixCaptioner(kept, encoder, kind) for kind in ("events", "full"))
    for captioner in captioners:
        said = captioner.caption(list(opened.values()))
        assert said == [CAPTIONS[name, captioner.name] for name in opened]
    assert captioners[0].identity == PrefixCaptioner(learner, encoder, "events").identity
    assert captioners[0].identity != captioners[1].identity
    server.answer = lambda body, count: "A bell rings, or is it a bird?"
    writer = Endpoint(EndpointOptions(server.url, "tiny"))
    engine = Engine(Parts(captioners, writer), Answers(tmp_path / "answers.sqlite"))
    (made,), failed = engine.run([opened["low.wav"].clip])
    assert failed == []
    assert [(heard.by, heard.caption) for heard in made.heard] == [
        ("events", "a bell rings near"),
        ("full", "a bell rings in a metal room"),
    ]
    assert "- a bell rings near (trust: unknown)" in server.prompts()[0]


def test_the_language_model_stands_still_unless_it_is_set_free(decoder):
    taught = [
        Example(torch.randn(5, 8), "events", "a dog"),
        Example(torch.randn(3, 8), "full", "the rain falls"),
    ]
    for free in (False, True):
        learner = decoder(8)
        before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
        train_prefix(learner, taught, PrefixTraining(steps=2, batch=2, language=free))
        changed = {
            name for name, tensor in learner.state_dict().items() if not torch.equal(tensor, before[name])
        }
        assert any(name.startswith("language.") for name in changed) == free
        assert {"queries", "enter.weight"} <= changed


def test_the_loss_is_the_mean_over_words_and_ends(decoder):
    learner = decoder(8).eval()
    rows, kinds = [torch.randn(5, 8), torch.randn(3, 8)], torch.tensor([0, 1])
    captions = ["a dog", "the rain falls softly near"]
    batch, mask = padded_rows(rows)
    together = float(learner(batch, mask, kinds, captions).detach())
    total = count = 0
    for own, kind, caption in zip(rows, (0, 1), captions, strict=True):
        ids = [*learner.tokenizer(caption, add_special_tokens=False)["input_ids"], 3]
        x = learner.prefix(own[None], torch.ones(1, len(own), dtype=torch.bool), torch.tensor([kind]))
        for word in ids:
            logits = learner.language(inputs_embeds=x).logits[0, -1].double()
            total -= float((logits[word] - logits.logsumexp(0)).detach())
            count += 1
            x = torch.cat((x, learner.language.get_input_embeddings()(torch.tensor([[word]]))), 1)
    assert count == 9
    assert together == pytest.approx(total / count, rel=1e-4)


def test_padding_and_order_change_nothing(decoder):
    learner = decoder(8).eval()
    rows = [torch.randn(9, 8), torch.randn(4, 8)]
    assert learner.write(rows, "full") == learner.write(rows[:1], "full") + learner.write(rows[1:], "full")
    again = [decoder(8) for _ in range(2)]
    taught = [Example(own, "events", "a dog barks") for own in rows]
    losses = [train_prefix(learner, taught, PrefixTraining(steps=3, batch=1)) for learner in again]
    assert losses[0] == losses[1]
    assert all(math.isfinite(loss) for loss in losses[0])


def test_what_makes_no_sense(decoder, refusal, tmp_path, detector):
    learner = decoder(8)
    bad = [Example(torch.zeros(3, 7), "events", "a dog")]
    assert "(frames, 8)" in refusal(OptionError, train_prefix, learner, bad, PrefixTraining())
    assert "no examples" in refusal(OptionError, train_prefix, learner, [], PrefixTraining())
    assert "'loud'" in refusal(OptionError, learner.write, [torch.zeros(3, 8)], "loud")
    assert "expected 8 and" in refusal(OptionError, PrefixCaptioner, learner, FrameRows(detector), "full")
    assert "1 or more" in refusal(OptionError, PrefixTraining, steps=0)
    assert "over 0" in refusal(OptionError, PrefixTraining, lr=0.0)
    assert "sizes" in refusal(OptionError, PrefixConfig, 0)
    assert "no captioning decoder" in refusal(CheckpointError, load_prefix, tmp_path)
    assert PrefixConfig(8).kinds == AUDIO_KINDS
