"""Batches of real clips: cut, worded and padded as they should be; what does not fit is refused."""

import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from peaframe import audio
from peaframe.codec.encode import encode
from peaframe.data.clip_batches import (
    ClipBatches,
    ClipOptions,
    chosen_texts,
    clip_frames,
    crop_of_pictures,
)
from peaframe.data.clip_reader import ClipMixture
from peaframe.data.clip_shards import ClipContent, write_clip_shards
from peaframe.data.clips_table import stream
from peaframe.errors import FormatError, ModelError, OptionError
from peaframe.models.load import load_audio_video_model

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_files.py")))
reading = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clip_reading.py")))
reader, keys = reading.reader, reading.keys


@pytest.fixture(scope="module")
def model(model_folder):
    return load_audio_video_model(model_folder)


@pytest.fixture(scope="module")
def sounds(table, model_folder, tmp_path_factory):
    """The clips of `latents` with sound itself."""
    out = tmp_path_factory.mktemp("shards") / "sounds"
    write_clip_shards(stream(table), out, ClipContent("audio", str(model_folder), frames="all"))
    return out


# ---- what is in a batch


def test_a_batch_holds_what_the_clips_hold(latents, words):
    (batch,) = ClipBatches(reader(latents, shuffle=False), words, batch_size=20)
    assert keys([batch]) == clips.KEYS
    inputs, found = batch.inputs, list(reader(latents, shuffle=False))
    assert inputs.latents.shape == (14, 50, clips.LATENT)
    assert inputs.video.shape == (14, 20, clips.SEEN)
    for row, clip in enumerate(found):
        for values, counts, own in (
            (inputs.latents, inputs.audio_frames, clip.sound),
            (inputs.video, inputs.video_frames, clip.video),
        ):
            length = 0 if own is None else len(own)
            assert counts[row] == length
            assert not values[row, length:].any()
            if own is not None:
                np.testing.assert_array_equal(values[row, :length], own.astype(np.float32))
    assert batch.has_audio.tolist() == [clip.sound is not None for clip in found]
    assert batch.has_video.tolist() == [False, False, True, True, True, True, True, True] + [False] * 6
    assert inputs.audio_mask.sum(1).tolist() == inputs.audio_frames.tolist()
    present = inputs.present()
    assert (
        present["audio_text"].tolist() == [True, True, False, False, True, False, False, False] + [True] * 6
    )
    assert (
        present["visual_text"].tolist() == [False, False, True, True, False, True, True, False] + [False] * 6
    )
    assert present["audio_visual_text"].tolist() == [False, False, True] + [False] * 11
    for kind, texts in batch.texts.items():
        for row, text in enumerate(texts):
            wanted = [] if text is None else words([text])[0][0].tolist()
            own = inputs.captions[kind]
            assert own.ids[row].tolist() == wanted + [0] * (own.ids.shape[1] - len(wanted))
            assert own.mask[row].sum() == len(wanted)
    assert batch.texts["visual"][2] == "the rain"


def test_the_model_takes_a_batch(latents, words, model):
    (batch,) = ClipBatches(reader(latents, shuffle=False), words, batch_size=20, model=model)
    inputs = batch.inputs.part(torch.tensor([2, 3]))  # both with sound and pictures
    with torch.no_grad():
        audio_frames, _ = model.audio(inputs.latents, inputs.audio_mask)
        video, _ = model.video(inputs.video, inputs.video_mask)
        _, joint = model.fusion(audio_frames, inputs.audio_mask, video, inputs.video_mask)
        whole, _ = model.audio(inputs.latents[1:, :19])
        text = model.text(inputs.captions["visual"].ids, inputs.captions["visual"].mask)
    torch.testing.assert_close(audio_frames[1:, :19], whole, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(joint).all()
    assert torch.isfinite(text).all()


def test_sound_is_heard_when_it_is_read(sounds, table, words, model):
    (batch,) = ClipBatches(reader(sounds, shuffle=False), words, batch_size=20, model=model)
    for row, (start, end) in {0: (0.0, 1.0), 1: (1.0, 1.5)}.items():
        with torch.no_grad():
            wanted = encode(
                model.audio.open_stream(),
                torch.from_numpy(audio.read(table.parent / "yard.flac", start, end)),
            )
        length = int(batch.inputs.audio_frames[row])
        assert length == len(wanted)
        torch.testing.assert_close(batch.inputs.latents[row, :length], wanted, atol=1e-3, rtol=1e-3)
    with pytest.raises(OptionError, match="no model"):
        ClipBatches(reader(sounds), words, batch_size=2)


def test_crops_take_sound_and_pictures_together(latents, words):
    options = ClipOptions(crop_seconds=0.4)
    whole = {int(clip.key): clip for clip in reader(latents)}
    one = reader(latents)
    starts = {}
    for epoch in range(3):
        for batch in ClipBatches(one, words, batch_size=4, options=options):
            for row, key in enumerate(keys([batch])):
                clip, inputs = whole[key], batch.inputs
                starts.setdefault(key, set()).add(batch.starts[row])
                first, frames = round(batch.starts[row] * 25), clip_frames(clip)
                if clip.sound is not None:
                    assert inputs.audio_frames[row] == min(10, frames)
                    np.testing.assert_array_equal(
                        inputs.latents[row, : inputs.audio_frames[row]],
                        clip.sound[first : first + 10].astype(np.float32),
                    )
                if clip.video is None:
                    continue
                own = inputs.video[row, : inputs.video_frames[row]].numpy()
                if clip.still:
                    np.testing.assert_array_equal(own, clip.video.astype(np.float32))
                    continue
                assert len(own) == pytest.approx(4, abs=1)  # ten a second
                at = next(
                    i for i in range(len(clip.video)) if (clip.video[i].astype(np.float32) == own[0]).all()
                )
                np.testing.assert_array_equal(own, clip.video[at : at + len(own)].astype(np.float32))
                assert at / 10 == pytest.approx(batch.starts[row], abs=0.1)
        assert one.epoch == epoch + 1
    assert len(starts[3]) > 1  # elsewhere in every epoch
    assert starts[10] == {0.0}


def test_which_pictures_stand_in_a_part():
    assert crop_of_pictures(10, 0.0, 1.0) == slice(0, 10)
    assert crop_of_pictures(10, 0.2, 0.5) == slice(2, 5)
    assert crop_of_pictures(4, 0.5, 1.0) == slice(2, 4)
    assert crop_of_pictures(4, 0.4, 0.42) == slice(1, 2)  # none begins there: the nearest
    assert crop_of_pictures(1, 0.9, 1.0) == slice(0, 1)


# ---- words


def test_captions_and_transcripts(latents):
    clip = {int(own.key): own for own in reader(latents)}
    rng = np.random.default_rng

    def texts(key, seed=0, **options):
        return chosen_texts(clip[key], ClipOptions(**options), rng(seed))

    chosen = Counter(texts(0, seed)["audio"] for seed in range(400))
    assert set(chosen) == {"a dog", "a dog barks"}
    assert 150 < chosen["a dog"] < 250
    assert texts(1) == {"audio": "a buzz"}  # stage 1 knows no transcripts
    assert texts(1, transcripts=1.0) == {"audio": "good dog"}
    said = Counter(texts(1, seed, transcripts=0.25)["audio"] for seed in range(400))
    assert 60 < said["good dog"] < 140
    assert said["good dog"] + said["a buzz"] == 400
    both = ClipOptions(
        transcripts=1.0, transcript_kinds=("audio", "visual"), transcript_form="{caption}: {transcript}"
    )
    assert chosen_texts(clip[1], both, rng(0)) == {"audio": "a buzz: good dog", "visual": "good dog"}
    odd = replace(clip[1], captions={"audio": ("{transcript} {caption}",)}, transcript="{caption}")
    assert chosen_texts(odd, both, rng(0))["audio"] == "{transcript} {caption}: {caption}"
    for options in (
        {"transcripts": 2.0},
        {"transcript_kinds": ("smell",)},
        {"transcript_form": "x"},
        {"crop_seconds": 0.0},
    ):
        with pytest.raises(OptionError, match=next(iter(options))):
            ClipOptions(**options)


def test_long_captions_lose_their_end_and_unknown_ones_are_none(table, words, tmp_path):
    long, foreign = " ".join(["the dog barking in the distance"] * 9), "犬 猫"
    rows = [replace(next(stream(table)), captions={"audio": (long,), "visual": (foreign,)})]
    write_clip_shards(rows, tmp_path / "out", ClipContent("audio", video=False))
    clip = next(iter(reader(tmp_path / "out")))
    assert clip.captions == {"audio": (long,), "visual": (foreign,)}
    from peaframe.data.clip_batches import _tokens

    tokens, kept = _tokens([long, None, foreign], words)
    assert tokens.ids.shape == (3, 16)
    whole = words._tokenizer.encode(long).ids
    assert tokens.ids[0].tolist() == [*whole[:15], 3]  # [SEP] ends it
    assert tokens.mask.sum(1).tolist() == [16, 0, 0]
    assert tokens.present.tolist() == [True, False, False]
    assert kept == (long, None, None)


# ---- what does not fit


def test_latents_and_features_of_other_models_are_refused(
    latents, sounds, table, words, model, tmp_path, refusal
):
    folder = clips.write_model(tmp_path / "other", seed=1)
    other = load_audio_video_model(folder)
    message = refusal(ModelError, ClipBatches, reader(latents), words, batch_size=2, model=other)
    assert "got shards whose latents were made by tiny" in message
    message = refusal(ModelError, ClipBatches, reader(sounds), words, batch_size=2, model=other)
    assert "got shards whose video were made by tiny" in message
    rows = list(stream(table))[:2]
    write_clip_shards(rows, tmp_path / "theirs", ClipContent(model=str(folder), frames="all"))
    message = refusal(FormatError, reader, latents, tmp_path / "theirs")
    assert f"{tmp_path / 'theirs'}: latents made otherwise" in message
    write_clip_shards(rows, tmp_path / "few", ClipContent("audio", str(folder), frames=2))
    assert "shards of audio, others are of latents" in refusal(FormatError, reader, latents, tmp_path / "few")
    message = refusal(FormatError, ClipMixture, [reader(sounds), reader(tmp_path / "few")], (1, 1))
    assert "video made otherwise" in message


def test_damage_is_named(latents, words, tmp_path, refusal):
    for path in latents.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "shard-000000.tar"
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"NUMPY") + 200] ^= 1
    path.write_bytes(whole)
    message = refusal(FormatError, lambda: list(ClipBatches(reader(tmp_path), words, batch_size=2)))
    assert (
        message
        == f"{path}: damaged shard (sample 000000000 does not fit its checksums); get a whole copy, or write it again"
    )
