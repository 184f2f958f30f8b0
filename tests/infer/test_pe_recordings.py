"""PE-A-Frame on recordings: the codec hears the whole, only the transformer works in windows."""

import numpy as np
import pytest
import soundfile
import torch

from peaframe.errors import AudioError, OptionError
from peaframe.infer.detector import Detector, load
from peaframe.models.load import load_model
from peaframe.models.precision import product_type

HOP = 1920


class Texts:
    """Stands in for a tokenizer.json, which the golden checkpoint does not have: two numbers for a word."""

    def __call__(self, texts):
        ids = torch.tensor([[1, 2 + sum(map(ord, text)) % 50] for text in texts])
        return ids, torch.ones_like(ids)


@pytest.fixture
def model(golden_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PEAFRAME_CACHE", str(tmp_path / "cache"))
    model = load_model(golden_folder / "pe_a_frame_original")
    model.tokenizer = Texts()
    return model


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * 48_000))).astype(np.float32)


def rows_of(model, samples, portion=48_000):
    stream = model.open_stream()
    parts = [stream.push(torch.from_numpy(samples[i : i + portion])) for i in range(0, len(samples), portion)]
    return torch.cat([*parts, stream.finish()])


@torch.no_grad()
@pytest.mark.parametrize("samples", [7 * HOP, 7 * HOP + 500, 700])
def test_a_short_recording_scores_as_the_clip_does(model, samples):
    clip, queries = noise(samples / 48_000), ["dog barking", "a siren"]
    scores = Detector(model, "cpu").score(clip, queries)
    frames = model.encode_audio(torch.from_numpy(clip)[None])
    expected = model.score(frames, model.encode_text(queries))[0].sigmoid()
    assert scores.values.shape == (-(-samples // HOP), 2)
    np.testing.assert_allclose(scores.values, expected.numpy(), atol=2e-3)


@torch.no_grad()
def test_in_double_the_stream_is_the_clip(model):
    model.double()
    clip = noise(2.01)
    one, _ = model.audio.latents(torch.from_numpy(clip).double()[None], [len(clip)])
    torch.testing.assert_close(rows_of(model, clip), one[0], atol=1e-8, rtol=0)


@torch.no_grad()
def test_windows_are_cut_from_latents_of_the_whole(model):
    """A window's first frames hear what was before the window, so no window edge shows in the latents."""
    model.double()
    clip = noise(4.0)
    rows = rows_of(model, clip)
    later = rows_of(model, clip[2 * 48_000 :])
    torch.testing.assert_close(rows[50 + model.audio.codec.context :], later[6:], atol=1e-8, rtol=0)
    assert (rows[50:56] - later[:6]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["array", "file"])
def test_scores_do_not_depend_on_where_listening_starts(model, tmp_path, kind):
    """Up to the window grid, whose windows begin every 8 s: what begins there hears the same windows."""
    source = noise(19.0)
    if kind == "file":
        soundfile.write(tmp_path / "a.wav", source, 48_000, subtype="FLOAT")
        source = tmp_path / "a.wav"
    detector = Detector(model, "cpu")
    whole = detector.score(source, ["dog barking"])
    later = detector.score(source, ["dog barking"], start=8.0)
    assert later.start == 8.0
    assert len(later.values) == len(whole.values) - 200
    np.testing.assert_allclose(later.values[50:], whole.values[250:], atol=5e-3)
    early = detector.score(source, ["dog barking"], start=0.1, end=0.2)
    assert (early.start, len(early.values)) == (0.1, 3)


def test_a_start_behind_the_end_is_refused_whatever_leads_up_to_it(model, refusal):
    detector = Detector(model, "cpu")
    message = refusal(AudioError, detector.score, noise(1.0), ["dog barking"], start=1.0)
    assert "0 <= start < end" in message


def test_weights_that_change_are_prepared_again(model):
    clip = noise(1.0)
    before = rows_of(model, clip)
    with torch.no_grad():
        model.audio.codec.mean.weight.mul_(2)
        model.audio.codec.mean.bias.mul_(2)
    torch.testing.assert_close(rows_of(model, clip), 2 * before, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("products", "most"), [(torch.float16, 0.05), (torch.bfloat16, 0.3)])
def test_half_products_give_nearly_the_same(model, products, most):
    """The types that fast mode may choose; the tiny codec's random weights magnify rounding a hundredfold."""
    clip = noise(3.0)
    exact = Detector(model, "cpu").score(clip, ["dog barking"]).values
    detector = Detector(model, "cpu")
    detector.model.audio.products = products
    half = detector.score(clip, ["dog barking"]).values
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < most


def test_precision_is_chosen_and_said(model, golden_folder, refusal):
    found = Detector(model, "cpu", "fast").detect(noise(1.0), ["dog barking"])
    assert found.settings["precision"] == "fast"
    assert found.settings["products"] in ("float32", "float16", "bfloat16")
    assert f"torch.{found.settings['products']}" == str(product_type("fast", torch.device("cpu")))
    assert model.audio.products == product_type("fast", torch.device("cpu"))
    assert Detector(model, "cpu").model.audio.products == torch.float32
    message = refusal(OptionError, load, golden_folder / "pe_a_frame_original", "cpu", "quick")
    assert message == "got precision 'quick', expected exact or fast"


def test_fast_takes_what_the_processor_is_quick_at():
    able = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.6 does not tell
    if able.get("amx_fp16") or able.get("avx512_fp16"):
        expected = torch.float16
    else:
        expected = torch.bfloat16 if able.get("amx_bf16") else torch.float32
    assert product_type("fast", torch.device("cpu")) == expected
    assert product_type("exact", torch.device("cpu")) == torch.float32


def test_an_event_across_windows_is_one(model, tmp_path):
    """10 s windows share 2 s: a curve that is above the threshold throughout gives one event of the whole length."""
    file = tmp_path / "long.flac"
    soundfile.write(file, noise(19.0), 48_000)
    with torch.no_grad():
        model.logit_bias.fill_(50.0)
    found = Detector(model, "cpu").detect(file, ["dog barking"])
    assert [(e.onset, e.offset) for e in found.events] == [(0.0, 19.0)]
