"""The model in pre-training: what it embeds, what it leaves out, what learns, and what is saved of it."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from peaframe.errors import OptionError
from peaframe.losses.pairs import SIDES, STAGE_1
from peaframe.models.load import load_audio_video_model, load_model, save_frame_model, save_pe
from peaframe.models.pretraining import av_config, new_model
from peaframe.recipes import finetune as recipe
from peaframe.train.pretrain_batch import PretrainBatch, Tokens
from peaframe.train.pretrain_model import PretrainModel, PretrainOptions

SCRIPT = Path(__file__).parent / "pretraining.py"
tiny = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
runs = SimpleNamespace(**runpy.run_path(str(SCRIPT.parent / "finetuning.py")))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def batch():
    return tiny.make_batch()


def lacking(counts):
    return [not count for count in counts]


def cut(batch, clip):
    """One clip without any padding; what it lacks has no frame or word at all."""
    sound, pictures = int(batch.audio_frames[clip]), int(batch.video_frames[clip])
    rows = slice(clip, clip + 1)
    texts = {}
    for kind, text in batch.captions.items():
        words = max(1, int(text.mask[clip].sum()))
        texts[kind] = Tokens(text.ids[rows, :words], text.mask[rows, :words])
    return PretrainBatch(
        batch.latents[rows, :sound],
        batch.audio_frames[rows],
        batch.video[rows, :pictures],
        batch.video_frames[rows],
        texts,
    )


@torch.no_grad()
def test_every_clip_alone_is_what_it_is_in_the_batch(batch):
    student = tiny.make_student()
    together = student(batch)
    assert set(together.embeddings) == {side for sides in SIDES.values() for side in sides}
    for clip in range(len(batch)):
        alone = student(cut(batch, clip))
        for side, embedding in alone.embeddings.items():
            assert torch.equal(alone.present[side][0], together.present[side][clip])
            torch.testing.assert_close(embedding[0], together.embeddings[side][clip], atol=1e-10, rtol=0)
            assert bool(embedding.any()) == bool(alone.present[side])


@torch.no_grad()
def test_what_is_missing_is_absent_and_counts_for_nothing(batch):
    found = tiny.make_student()(batch)
    no_sound, no_pictures = lacking(tiny.AUDIO_FRAMES), lacking(tiny.VIDEO_FRAMES)
    no_words = {kind: lacking(counts) for kind, counts in tiny.WORDS.items()}

    def either(*lists):
        return [any(flags) for flags in zip(*lists, strict=True)]

    expected = {
        "audio": no_sound,
        "visual": no_pictures,
        "audio_visual": either(no_sound, no_pictures),
        "audio_text": no_words["audio"],
        "visual_text": no_words["visual"],
        "audio_visual_text": no_words["audio_visual"],
        "audio_plus_text": either(no_sound, no_words["visual"]),
        "visual_plus_text": either(no_pictures, no_words["audio"]),
    }
    for side, missing in expected.items():
        assert found.present[side].tolist() == [not flag for flag in missing]
        assert found.embeddings[side].any(dim=1).tolist() == [not flag for flag in missing]


@torch.no_grad()
def test_embeddings_are_those_of_the_model_in_use(batch):
    """The same towers, heads and clip tokens as `encode_av` goes through, put together by hand."""
    student = tiny.make_student()
    found, m = student(batch).embeddings, student.model
    clip = 0
    own = cut(batch, clip)
    frames, sound = m.audio(own.latents)
    pictures, seen = m.video(own.video, None)
    _, both = m.fusion(frames, None, pictures, None)
    words = {kind: m.text(text.ids, text.mask) for kind, text in own.captions.items()}
    expected = {
        "audio": sound,
        "visual": seen,
        "audio_visual": both,
        **{f"{kind}_text": state for kind, state in words.items()},
        "audio_plus_text": torch.cat((sound, words["visual"]), dim=-1),
        "visual_plus_text": torch.cat((seen, words["audio"]), dim=-1),
    }
    for side, token in expected.items():
        torch.testing.assert_close(found[side][clip], m.heads[side](token)[0], atol=1e-10, rtol=0)


@torch.no_grad()
def test_a_model_on_16_pictures_takes_so_many(batch):
    pictures = torch.nn.functional.normalize(torch.randn(6, 40, tiny.SEEN, dtype=torch.float64), dim=-1)
    batch = replace(batch, video=pictures, video_frames=torch.tensor([40, 3, 0, 16, 17, 1]))
    student = PretrainModel(new_model(av_config("tiny", 16), seed=1)).double()
    found = student(batch)
    assert found.present["visual"].tolist() == [True, True, False, True, True, True]
    for clip, total in ((0, 40), (1, 3), (3, 16)):
        chosen = [int(i * (total - 1) / 15) for i in range(16)]
        _, token = student.model.video(pictures[clip : clip + 1, chosen], None)
        expected = student.model.heads["visual"](token)[0]
        torch.testing.assert_close(found.embeddings["visual"][clip], expected, atol=1e-10, rtol=0)
    of_all = PretrainModel(new_model(av_config("tiny"), seed=1)).double()(batch).embeddings["visual"]
    torch.testing.assert_close(of_all[3], found.embeddings["visual"][3], atol=1e-10, rtol=0)
    assert (of_all[0] - found.embeddings["visual"][0]).abs().max() > 1e-3


def test_only_what_the_pairs_need_learns():
    student = tiny.make_student(tiny.OPTIONS, pairs=STAGE_1, best_rq=None)
    learns = {name for name, p in student.named_parameters() if p.requires_grad}
    still = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert all(".codec." in name or "_plus_text." in name for name in still)
    assert any(name.startswith("model.text.layers") for name in learns)
    lone = tiny.make_student(replace(tiny.OPTIONS, pairs=("V-VC",)), best_rq=None)
    parts = {name.split(".")[1] for name, p in lone.named_parameters() if p.requires_grad and "model" in name}
    assert parts == {"video", "text", "heads"}


def test_recomputed_layers_keep_less():
    def kept(recompute):
        student, batch, sizes = tiny.make_student(recompute=recompute), tiny.make_batch(), []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            student(batch)
        return sum(sizes)

    assert kept(True) < 0.5 * kept(False)


@torch.no_grad()
@pytest.mark.parametrize("layout", ["original", "transformers"])
@pytest.mark.parametrize("frames", [None, 16])
def test_it_is_saved_as_a_published_checkpoint_and_loaded_again(tmp_path, layout, frames):
    student = PretrainModel(new_model(av_config("tiny", frames), seed=5))
    save_pe(student.model, tmp_path / "av", layout)
    again = load_audio_video_model(tmp_path / "av")
    assert again.config == student.model.config
    assert again.config.video.frames == frames
    state = student.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    seen = torch.nn.functional.normalize(torch.randn(2, 3, tiny.SEEN), dim=-1)
    sound, ids = torch.randn(2, 4000), torch.randint(0, 500, (2, 4))
    given = {"frame_features": seen, "input_ids": ids}
    for name, embedding in student.model.eval().encode_av(sound, **given).items():
        torch.testing.assert_close(again.encode_av(sound, **given)[name], embedding, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_frame_model_comes_of_it_for_fine_tuning(tmp_path, batch, tokenizer_file):
    student = tiny.make_student().float()
    model = student.frame_model()
    values = student.scales.values()
    assert model.logit_scale.item() == pytest.approx(values["A-AC/scale"])
    assert model.logit_bias.item() == pytest.approx(values["A-AC/bias"])
    latents = batch.latents[:1].float()
    frames, _ = student.model.audio(latents)
    torch.testing.assert_close(model.encode_features(latents), student.model.heads["audio"](frames))
    text = batch.captions["audio"]
    embeddings = student(replace(batch, latents=batch.latents.float(), video=batch.video.float())).embeddings
    torch.testing.assert_close(model.encode_tokens(text.ids[:1], text.mask[:1]), embeddings["audio_text"][:1])
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "tokenizer.json").write_text(tokenizer_file.read_text())
    save_frame_model(model, tmp_path / "frames", tmp_path / "from")
    again = load_model(tmp_path / "frames")
    torch.testing.assert_close(again.encode_features(latents), model.encode_features(latents))
    assert again.tokenizer(["a dog"])[1].sum() > 0
    assert again.event_options.threshold == 0.3
    student.model.heads["audio"].proj.weight.zero_()  # trained on: the frame model stays as it was
    assert model.encode_features(latents).abs().max() > 0


@pytest.mark.slow
def test_fine_tuning_starts_from_it(tmp_path, tokenizer_file):
    model = tiny.make_student().float().frame_model()
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "tokenizer.json").write_text(tokenizer_file.read_text())
    save_frame_model(model, tmp_path / "start", tmp_path / "from")
    sounds = runs.make_items(tmp_path, count=4)
    given = runs.values(
        tmp_path / "start", sounds, tmp_path / "cache", schedule={"steps": 2}, learn=["audio", "heads"]
    )
    config = runs.write_config(tmp_path / "config.yaml", given)
    assert recipe.finetune(recipe.read_settings(config), tmp_path / "run")
    tuned = load_model(tmp_path / "run" / "last")
    before, after = model.state_dict(), tuned.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in moved} == {"audio", "audio_head", "text_head"}
    assert not any(".codec." in name for name in moved)


def test_options_that_make_no_sense_are_refused(refusal):
    assert "got a pair 'A-X'" in refusal(OptionError, PretrainOptions, ("A-X",))
    assert "got best_rq_weight -1" in refusal(OptionError, PretrainOptions, best_rq_weight=-1)
    assert "got text_with_video 'sound'" in refusal(OptionError, PretrainOptions, text_with_video="sound")
