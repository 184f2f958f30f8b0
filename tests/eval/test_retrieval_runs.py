"""Whole runs of retrieval: what is measured is what the model's own forward pass gives, and a run goes on."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe.errors import OptionError
from peaframe.eval.benchmarks import CLIP_BENCHMARKS
from peaframe.eval.clip_ears import load_ears
from peaframe.eval.clip_run import run_clips
from peaframe.eval.retrieval import retrieve

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clips.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
lines = clips.lines


@pytest.fixture
def spoken_of(tmp_path):
    """Clotho's layout with the demo's sounds."""
    data = tmp_path / "clotho"
    header = ",".join(("file_name", *(f"caption_{i}" for i in range(1, 6))))
    rows = []
    for label, span in clips.SPANS.items():
        name = f"{label.split()[0]}.wav"
        clips.cut(data / "evaluation" / name, *span)
        rows.append(
            ",".join((name, label, f"a {label}", f"the sound of {label}", f"{label} nearby", label.upper()))
        )
    lines(data / "clotho_captions_evaluation.csv", header, *rows)
    return data


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_built_in_model_finds_the_demos_sounds(spoken_of, tmp_path, pool, refusal):
    ears = load_ears("peaframe-mini", "cpu")
    options = {"pool": pool, "resamples": 40}
    benchmark = CLIP_BENCHMARKS["clotho"]
    message = refusal(OptionError, run_clips, benchmark, spoken_of, ears, tmp_path / "out", **options)
    assert "1040 of 1045 recordings of clotho are missing" in message
    document = run_clips(benchmark, spoken_of, ears, tmp_path / "out", allow_missing=True, **options)
    assert next(iter(document["metrics"])) == "text_to_audio_r1"
    assert document["metrics"]["text_to_audio_r1"]["value"] >= 0.8
    assert document["metrics"]["audio_to_text_r1"]["value"] == 1.0
    assert document["metrics"]["text_to_audio_r5"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert document["sizes"] == {"text_to_audio": [25, 5], "audio_to_text": [5, 25]}
    assert (document["complete"], document["unnamed"]) == (False, 1040)
    assert document["settings"]["frames of a clip"] == pool
    kept = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))
    assert kept["metrics"] == document["metrics"]
    assert "PARTIAL: 1040 clips missing" in (tmp_path / "out/report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_goes_on_and_is_of_one_model(spoken_of, tmp_path, pe_av, refusal):
    benchmark, out = CLIP_BENCHMARKS["clotho"], tmp_path / "out"
    ears = load_ears(str(pe_av), "cpu")
    options = {"allow_missing": True, "resamples": 0}
    whole = run_clips(benchmark, spoken_of, ears, tmp_path / "whole", **options)
    late = [spoken_of / "evaluation" / name for name in ("guitar.wav", "woman.wav")]
    for path in late:
        path.rename(path.with_suffix(".kept"))
    run_clips(benchmark, spoken_of, ears, out, **options)
    before = (out / "embeddings/rows.f16").read_bytes()
    for path in late:
        path.with_suffix(".kept").rename(path)
    again = run_clips(benchmark, spoken_of, ears, out, **options)
    rows = (out / "embeddings/rows.f16").read_bytes()
    assert rows.startswith(before)
    assert len(rows) == len(before) * 5 // 3
    assert again["metrics"] == whole["metrics"]
    other = load_ears("peaframe-mini", "cpu")
    message = refusal(OptionError, run_clips, benchmark, spoken_of, other, out, **options)
    assert "differs in model, fingerprint" in message
    assert run_clips(benchmark, spoken_of, other, out, overwrite=True, **options)["model"] == "peaframe-mini"


def test_pe_av_measures_every_direction_as_its_own_forward_does(tmp_path, pe_av):
    import torch

    from peaframe import audio
    from peaframe.models.load import load_audio_video_model

    data = tmp_path / "msrvtt"
    captions = ("a dog barking", "rain in the distance", "a siren nearby", "the buzz")
    rows = [f"ret{i},msr{i},video{i},{caption}" for i, caption in enumerate(captions)]
    lines(data / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", *rows)
    for i in range(4):
        clips.video(data / f"video{i}.mp4", 20 + 60 * i, sound=i != 3)
    ears = load_ears(str(pe_av), "cpu")
    out = tmp_path / "out"
    document = run_clips(CLIP_BENCHMARKS["msrvtt"], data, ears, out, allow_missing=True, resamples=0)
    assert document["notes"] == ["clips without audio that can be read, left out where it is needed: 1"]
    assert document["sizes"]["text_to_video"] == [4, 4]
    assert document["sizes"]["video_text_to_audio"] == document["sizes"]["audio_to_video"] == [3, 3]
    assert next(iter(document["metrics"])) == "text_to_video_r1"
    assert len(document["metrics"]) == 10 * 5 * 2

    model = load_audio_video_model(pe_av)
    made = {}
    for i, caption in enumerate(captions[:3]):
        path = data / f"video{i}.mp4"
        ids, mask = model.tokenizer([caption])
        with torch.no_grad():
            embedded = model.encode_av(
                torch.from_numpy(audio.read(path))[None],
                frame_features=model.video_features(path)[None],
                input_ids=ids,
                attention_mask=mask,
            )
        for name, values in embedded.items():
            made.setdefault(name.removesuffix("_embeds"), []).append(values[0].numpy())
    same = np.stack([np.arange(3)] * 2, axis=1)
    for name, query, candidate in (
        ("text_to_audio", "audio_text", "audio"),
        ("av_to_text", "audio_visual", "audio_visual_text"),
        ("video_to_audio", "visual", "audio"),
        ("video_text_to_audio", "visual_plus_text", "audio"),
        ("audio_text_to_video", "audio_plus_text", "visual"),
    ):
        found = retrieve(np.stack(made[query]), np.stack(made[candidate]), same)
        for key, value in (
            ("r1", found.recall[1]),
            ("median_rank", found.median_rank),
            ("map10", found.map10),
        ):
            assert document["metrics"][f"{name}_{key}"]["value"] == pytest.approx(value), (name, key)
    arrays, seconds = ears.clip(data / "video0.mp4", data / "video0.mp4")
    assert seconds == pytest.approx(1.0, abs=0.1)
    for kind in ("audio", "visual", "audio_visual"):
        np.testing.assert_allclose(arrays[kind][0], made[kind][0], atol=1e-5)
    joined = ears.joined("visual", arrays["visual_token"], ears.texts(captions[:1])["text_token"])
    np.testing.assert_allclose(joined[0], made["visual_plus_text"][0], atol=1e-5)


def test_a_model_that_hears_only_says_so(tmp_path):
    data = tmp_path / "msrvtt"
    lines(
        data / "MSRVTT_JSFUSION_test.csv",
        "key,vid_key,video_id,sentence",
        "r,m,video0,a tone",
        "r,m,video1,a beep",
    )
    for i in range(2):
        clips.video(data / f"video{i}.mp4", 100 * i)
    ears = load_ears("peaframe-mini", "cpu")
    document = run_clips(
        CLIP_BENCHMARKS["msrvtt"], data, ears, tmp_path / "out", allow_missing=True, resamples=0
    )
    assert document["notes"] == ["the model hears only; what needs pictures was not measured"]
    assert {key.removesuffix("_dual").rpartition("_")[0] for key in document["metrics"] if "r1" in key} == {
        "text_to_audio",
        "audio_to_text",
    }
