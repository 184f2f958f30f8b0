"""Recordings in pieces give the latents of one pass, by context and by carried state, whatever the pieces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peaframe.codec.dac_vae import Codec, CodecConfig
from peaframe.codec.encode import ChunkStream, LatentStream, encode
from peaframe.codec.stream import CodecStream, StreamEncoder, toom_cook

SMALL = CodecConfig(width=4, hidden=16, latent=8)
HOP = 1920


def codec_of(config=SMALL, dtype=torch.float64):
    torch.manual_seed(0)
    return Codec(config).eval().to(dtype)


CODEC = codec_of()
READY = StreamEncoder(CODEC, torch.float64)


def noise(samples, dtype=torch.float64):
    return torch.randn(samples, dtype=dtype, generator=torch.Generator().manual_seed(samples))


def pieces_of(kind):
    return CodecStream(READY) if kind == "state" else ChunkStream(CODEC, 0.2)


def joined(stream, parts):
    return torch.cat([*(stream.push(part) for part in parts), stream.finish()])


@torch.no_grad()
def whole(samples, codec=CODEC):
    return codec(samples[None])[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["state", "chunks"])
@pytest.mark.parametrize("frames", [1, 5, 24, 25, 26, 57, 130])
def test_one_pass_and_pieces_agree(kind, frames):
    samples = noise(frames * HOP)
    found = encode(LatentStream(pieces_of(kind), CODEC), samples)
    torch.testing.assert_close(found, whole(samples), atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.sampled_from(["state", "chunks"]))
@pytest.mark.slow
def test_any_pieces_give_the_same(frames, kind):
    samples = noise(max(1, sum(frames)) * HOP)
    parts = samples.split([n * HOP for n in frames]) if sum(frames) else [samples]
    found = joined(pieces_of(kind), parts)
    torch.testing.assert_close(found, whole(samples), atol=1e-12, rtol=0)


@pytest.mark.parametrize("strides", [(3, 4), (2, 5, 3), (7,)])
def test_other_strides_agree_too(strides):
    codec = codec_of(CodecConfig(4, strides, 16, 8))
    samples = noise(codec.config.hop * 41)
    found = joined(CodecStream(StreamEncoder(codec, torch.float64)), samples.split(codec.config.hop * 10))
    torch.testing.assert_close(found, whole(samples, codec), atol=1e-12, rtol=0)


def test_less_context_would_not_do():
    codec = codec_of()
    codec.context = 5
    samples = noise(100 * HOP)
    assert (joined(ChunkStream(codec, 0.4), [samples]) - whole(samples)).abs().max() > 1e-9


@pytest.mark.parametrize("portion", [1, 700, 1919, 48_000, 10**6])
def test_portions_of_any_length_are_put_together(portion):
    samples = noise(3 * HOP if portion == 1 else 61 * HOP)
    found = joined(LatentStream(CodecStream(READY), CODEC), samples.split(portion))
    torch.testing.assert_close(found, whole(samples), atol=1e-12, rtol=0)


@pytest.mark.parametrize("samples", [HOP + 1, 3 * HOP - 1, 30 * HOP + 77, HOP - 1])
def test_an_end_inside_a_frame_is_reflected(samples):
    clip = noise(samples)
    missing = -samples % HOP
    reflected = torch.from_numpy(np.pad(clip.numpy(), (0, missing), mode="reflect"))
    found = encode(LatentStream(CodecStream(READY), CODEC), clip)
    torch.testing.assert_close(found, whole(reflected), atol=1e-12, rtol=0)


def test_an_end_too_short_to_be_reflected_is_followed_by_silence():
    clip = noise(500)
    found = encode(LatentStream(CodecStream(READY), CODEC), clip)
    torch.testing.assert_close(found, whole(torch.cat((clip, torch.zeros(HOP - 500)))), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [(torch.float32, 1e-9, 2e-5), (torch.float16, 1e-4, 2e-2), (torch.bfloat16, 1e-3, 1e-1)],
)
def test_rounding_stays_within_what_the_page_says(dtype, least, most):
    codec = codec_of(CodecConfig(width=8, hidden=32, latent=16))
    samples = noise(60 * HOP)
    truth = whole(samples, codec)
    codec.float()
    found = joined(CodecStream(StreamEncoder(codec, dtype)), [samples.float()])
    assert found.dtype == torch.float32
    assert least < ((found - truth).abs().max() / truth.std()).item() < most


def test_chunks_in_half_precision_are_near():
    codec = codec_of(CodecConfig(width=8, hidden=32, latent=16), torch.float32)
    samples = noise(60 * HOP, torch.float32)
    exact, half = (
        joined(ChunkStream(codec, 0.4, products), [samples]) for products in (torch.float32, torch.bfloat16)
    )
    assert half.dtype == torch.float32
    assert 1e-3 < ((half - exact).abs().max() / exact.std()).item() < 0.2


@pytest.mark.parametrize(("outputs", "taps"), [(4, 7), (2, 3), (1, 7), (3, 5)])
def test_toom_cook_is_a_correlation(outputs, taps):
    a, g, b = toom_cook(outputs, taps)
    signal, filter = noise(outputs + taps - 1), noise(taps)
    expected = [float(signal[i : i + taps] @ filter) for i in range(outputs)]
    assert (a @ ((g @ filter) * (b @ signal))).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_stream_keeps_little(monkeypatch):
    stream = CodecStream(READY)
    stream.push(noise(100 * HOP))
    held = sum(kept.numel() for kept in stream._kept)
    stream.push(noise(100 * HOP))
    assert sum(kept.numel() for kept in stream._kept) == held < 40 * HOP
