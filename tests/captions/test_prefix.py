"""A decoder on frozen embeddings: what its loss is, what it writes, what it and its files refuse."""

import json
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch

from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.local_models import load_language_model
from peaframe.captions.named import Manner, captioner
from peaframe.captions.prefix import AUDIO_KINDS, PrefixConfig, PrefixDecoder, load_prefix
from peaframe.captions.prefix_captioner import PrefixCaptioner, load_captioner, write_encoder
from peaframe.captions.prefix_examples import padded_rows
from peaframe.captions.prefix_rows import FrameRows, KeptRows, load_rows, read_rows
from peaframe.errors import CheckpointError, FormatError, ModelError, OptionError
from peaframe.infer.embeddings import Embeddings


@pytest.fixture
def decoder(models):
    def decoder(width, kinds=("events", "full")):
        torch.manual_seed(0)
        config = PrefixConfig(width, tokens=4, heads=2, longest=12, kinds=kinds)
        return PrefixDecoder(config, *load_language_model(models / "learner"))

    return decoder


def test_the_loss_is_the_mean_over_words_and_ends(decoder):
    learner = decoder(8).eval()
    rows, kinds = [torch.randn(5, 8), torch.randn(3, 8)], torch.tensor([0, 1])
    captions = ["a dog", "the rain falls softly near"]
    batch, mask = padded_rows(rows)
    together = float(learner(batch, mask, kinds, captions).detach())
    sums, counts = learner.losses(batch, mask, kinds, captions)
    assert counts.tolist() == [3, 6]
    totals = []
    for own, kind, caption in zip(rows, (0, 1), captions, strict=True):
        ids = [*learner.tokenizer(caption, add_special_tokens=False)["input_ids"], 3]
        x = learner.prefix(own[None], torch.ones(1, len(own), dtype=torch.bool), torch.tensor([kind]))
        total = 0.0
        for word in ids:
            logits = learner.language(inputs_embeds=x).logits[0, -1].double()
            total -= float((logits[word] - logits.logsumexp(0)).detach())
            x = torch.cat((x, learner.language.get_input_embeddings()(torch.tensor([[word]]))), 1)
        totals.append(total)
    assert sums.tolist() == pytest.approx(totals, rel=1e-4)
    assert together == pytest.approx(sum(totals) / 9, rel=1e-4)


def test_long_captions_are_cut_where_writing_stops(decoder):
    learner = decoder(8).eval()
    batch, mask = padded_rows([torch.randn(5, 8)])
    _, counts = learner.losses(batch, mask, torch.tensor([0]), ["a dog " * 20])
    assert counts.tolist() == [12]


def test_padding_changes_nothing(decoder):
    learner = decoder(8).eval()
    rows = [torch.randn(9, 8), torch.randn(4, 8)]
    assert learner.write(rows, "full") == learner.write(rows[:1], "full") + learner.write(rows[1:], "full")


def test_what_is_heard_is_kept_and_heard_once(media, detector, tmp_path, monkeypatch, golden_folder):
    encoder = FrameRows(detector)
    kept = KeptRows(tmp_path / "kept", encoder)
    part = OpenClip(Clip("high.flac", media / "high.flac", 0.25, 1.25))
    path = kept.keep(part)
    about = Embeddings.load(path)
    assert (about.start, about.duration, about.source) == (0.25, 1.0, "high.flac")
    assert (about.model, about.fingerprint) == ("peaframe-mini", encoder.identity)
    assert torch.equal(read_rows(path), encoder.rows(part.sound))
    assert read_rows(path).shape == (25, encoder.width)
    stamp = path.stat().st_mtime_ns
    shutil.copy(media / "high.flac", media / "copy.flac")  # the same content is the same clip
    same = OpenClip(Clip("copy.flac", media / "copy.flac", 0.25, 1.25))
    assert kept.keep(same) == path
    assert path.stat().st_mtime_ns == stamp
    assert "sound" not in vars(same)  # was not decoded
    assert kept.path(OpenClip(Clip("high.flac", media / "high.flac", 0.5, 1.25))) != path
    tower = load_rows(golden_folder / "pe_av_original", "cpu")
    assert KeptRows(tmp_path / "kept", tower).path(part) != path
    path.write_bytes(b"no archive")
    with pytest.raises(FormatError, match="not an embeddings file"):
        read_rows(path)


def test_rows_of_a_pe_av_are_those_of_its_tower_in_half_precision(golden_folder, make_tone):
    encoder = load_rows(golden_folder / "pe_av_original", "cpu")
    rows = encoder.rows(make_tone(440))
    assert rows.shape == (38, encoder.width)
    assert torch.equal(rows, rows.half().float())
    assert float(rows.std()) > 0.1
    again = load_rows(golden_folder / "pe_av_original", "cpu")
    assert again.identity == encoder.identity
    assert encoder.identity.startswith("audio tower ")
    assert load_rows(golden_folder / "pe_a_frame_original", "cpu").identity.startswith("frames ")


@pytest.mark.slow
def test_a_folder_by_name_is_the_same_captioner(decoder, detector, models, media, tmp_path, refusal):
    encoder = FrameRows(detector)
    learner = decoder(encoder.width).eval()
    folder = tmp_path / "run" / "last"
    learner.save(folder, str(models / "learner"))
    write_encoder(folder, encoder)
    assert not (folder / "language_model").exists()
    made = captioner(f"prefix:full@{tmp_path / 'run'}", Manner("cpu"))
    here = PrefixCaptioner(learner, encoder, "full")
    assert (made.name, made.identity) == ("full", here.identity)
    clips = [OpenClip(Clip(name, media / name)) for name in ("low.wav", "high.flac")]
    assert made.caption(clips) == here.caption(clips)
    events = captioner(f"prefix:{tmp_path / 'run'}", Manner("cpu"))
    assert events.name == "events"
    assert events.identity != made.identity
    with torch.no_grad():
        learner.queries.add_(1)
    learner.save(tmp_path / "run" / "best")  # with the language model in it
    write_encoder(tmp_path / "run" / "best", encoder)
    assert captioner(f"prefix:full@{tmp_path / 'run'}", Manner("cpu")).identity != made.identity
    assert (tmp_path / "run/best/language_model/model.safetensors").is_file()
    assert "'loud'" in refusal(OptionError, captioner, f"prefix:loud@{folder}", Manner("cpu"))
    assert "prefix:KIND@FOLDER" in refusal(OptionError, captioner, "prefix:", Manner("cpu"))
    assert "got captioner" in refusal(OptionError, captioner, f"prefix:{folder}", Manner("cpu"), True)


def test_other_models_than_those_of_the_training_are_refused(decoder, detector, models, tmp_path, refusal):
    encoder = FrameRows(detector)
    folder = tmp_path / "last"
    decoder(encoder.width).save(folder, str(models / "learner"))
    write_encoder(folder, encoder)
    told = json.loads((folder / "encoder.json").read_text())
    assert told["model"] == "peaframe-mini"
    (folder / "encoder.json").write_text(json.dumps({**told, "identity": "frames 0123"}))
    assert "expected 'frames 0123'" in refusal(CheckpointError, load_captioner, folder, "full", "cpu")
    (folder / "encoder.json").write_text(json.dumps({**told, "model": "nowhere"}))
    assert "unknown model 'nowhere'" in refusal(ModelError, load_captioner, folder, "full", "cpu")
    (folder / "encoder.json").unlink()
    assert "does not name a model" in refusal(CheckpointError, load_captioner, folder, "full", "cpu")
    path = folder / "language_model.json"
    language = json.loads(path.read_text())
    path.write_text(json.dumps({**language, "source": str(models / "pen")}))
    assert "which has fingerprint" in refusal(CheckpointError, load_prefix, folder)
    path.unlink()
    assert "does not name a language model" in refusal(CheckpointError, load_prefix, folder)
    assert "no captioning decoder" in refusal(CheckpointError, load_captioner, tmp_path / "gone")


def test_what_makes_no_sense(decoder, refusal, tmp_path, detector, models, media):
    learner = decoder(8)
    assert "'loud'" in refusal(OptionError, learner.write, [torch.zeros(3, 8)], "loud")
    assert "expected 8 and" in refusal(OptionError, PrefixCaptioner, learner, FrameRows(detector), "full")
    assert "sizes" in refusal(OptionError, PrefixConfig, 0)
    assert "no captioning decoder" in refusal(CheckpointError, load_prefix, tmp_path)
    assert PrefixConfig(8).kinds == AUDIO_KINDS
    language = load_language_model(models / "learner")
    assert "divides the width 32" in refusal(OptionError, PrefixDecoder, PrefixConfig(8, heads=3), *language)
    told = refusal(OptionError, PrefixDecoder, PrefixConfig(8, tokens=16, longest=64), *language)
    assert told.startswith("got 16 tokens before a caption of up to 64, expected 64 in all")
    language[1].eos_token = None
    assert "no token for the end" in refusal(OptionError, PrefixDecoder, PrefixConfig(8), *language)
    soundfile.write(media / "silence.wav", np.zeros(4800, np.float32), 48_000)

    class Loud:
        name, width, identity = "loud", 2, "loud"

        def rows(self, sound):
            return torch.full((3, 2), 1e6)

    kept = KeptRows(tmp_path / "kept", Loud())
    clip = OpenClip(Clip("silence.wav", media / "silence.wav"))
    assert "finite float16" in refusal(OptionError, kept.keep, clip)
    assert math.isclose(clip.seconds, 0.1)
