"""Real models of transformers, tiny and random, loaded from folders."""

import shutil
import sys

import pytest
import soxr

from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.local_models import LocalPictures, LocalSound, LocalWriter
from peaframe.captions.parts import Failure
from peaframe.errors import MissingExtraError, ModelError, OptionError


def opened(media, *names):
    return [OpenClip(Clip(name, media / name)) for name in names]


def greedy(step, tokens, made=()):
    """The likeliest words, one at a time, without `generate`."""
    made = list(made)
    for _ in range(tokens):
        made.append(int(step(made)[-1].argmax()))
        if made[-1] == 3:
            break
    return made


def test_sound_is_resampled_and_captioned_with_the_likeliest_words(models, media):
    import torch
    import transformers

    folder = models / "two"
    clips = opened(media, "low.wav", "high.flac")
    captions = LocalSound(folder, "cpu", tokens=10).caption(clips)
    model = transformers.SpeechEncoderDecoderModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    features = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    for clip, caption in zip(clips, captions, strict=True):
        inputs = features(
            soxr.resample(clip.sound, 48_000, 16_000), sampling_rate=16_000, return_tensors="pt"
        )
        with torch.no_grad():
            made = greedy(
                lambda m, i=inputs: model(**i, decoder_input_ids=torch.tensor([m])).logits[0], 10, [2]
            )
        assert caption == tokenizer.decode(made, skip_special_tokens=True)
    assert captions[0] != captions[1]


def test_pictures_are_captioned_one_by_one(models, media, make_video):
    make_video(media / "red.mp4", colors=((255, 0, 0),))
    make_video(media / "blue.mp4", colors=((0, 0, 255),))
    eyes = LocalPictures(models / "eyes", "cpu", tokens=8)
    red, blue, both = eyes.caption(opened(media, "red.mp4", "blue.mp4", "silent.mp4"))
    assert red != blue
    assert both == f"{red}; then {blue}"


def test_prompts_in_one_batch_are_answered_as_alone(models):
    prompts = ["write a caption of rain", "the dog", "red red blue bird and the wind in the forest"]
    for name in ("pen", "chat"):
        together = LocalWriter(models / name, "cpu", tokens=10, batch=3).write(prompts)
        alone = LocalWriter(models / name, "cpu", tokens=10, batch=1).write(prompts)
        assert together == alone
        assert len(set(together)) == 3


def test_a_chat_template_is_used(models):
    import torch
    import transformers

    folder = models / "chat"
    model = transformers.LlamaForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("<s> the dog </s> caption", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        made = greedy(lambda m: model(torch.tensor([m])).logits[0], 6, ids)
    expected = tokenizer.decode(made[len(ids) :], skip_special_tokens=True)
    assert LocalWriter(folder, "cpu", tokens=6).write(["the dog"]) == [expected]


def test_a_prompt_without_room_for_an_answer_fails_alone(models):
    answers = LocalWriter(models / "pen", "cpu", tokens=5).write(["dog " * 1020, "the dog"])
    assert isinstance(answers[0], Failure)
    assert "1020 tokens" in answers[0].reason
    assert answers[1] == LocalWriter(models / "pen", "cpu", tokens=5).write(["the dog"])[0]


def test_identities_tell_weights_and_settings_apart(models):
    one, two = (LocalSound(models / name, "cpu").identity for name in ("one", "two"))
    assert len({one, two, LocalSound(models / "one", "cpu", tokens=5).identity}) == 3
    assert LocalSound(models / "one", "cpu").identity == one


@pytest.mark.slow
def test_what_is_no_checkpoint_is_refused(models, tmp_path, refusal, monkeypatch):
    assert "with safetensors" in refusal(ModelError, LocalWriter, models / "eyes", "cpu")
    shutil.copytree(models / "pen", tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").rename(tmp_path / "pickled/pytorch_model.bin")
    assert "with safetensors" in refusal(ModelError, LocalWriter, tmp_path / "pickled", "cpu")
    assert "1 or more" in refusal(OptionError, LocalWriter, models / "pen", "cpu", 0)
    assert "'abacus'" in refusal(OptionError, LocalWriter, models / "pen", "abacus")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "peaframe[captions]" in refusal(MissingExtraError, LocalWriter, models / "pen", "cpu")


def test_vllm_is_asked_for(refusal, monkeypatch):
    from peaframe.captions.vllm_writer import VllmWriter

    monkeypatch.setitem(sys.modules, "vllm", None)
    assert "peaframe[vllm]" in refusal(MissingExtraError, VllmWriter, "somebody/model")


@pytest.mark.parametrize("text", ["", "local:", "elsewhere:x", "endpoint:model"])
def test_parts_by_name_say_what_was_expected(text, refusal):
    from peaframe.captions.named import Manner, captioner, writer

    assert "MODEL@" in refusal(OptionError, writer, text, Manner())
    assert "MODEL@" in refusal(OptionError, captioner, text, Manner())
