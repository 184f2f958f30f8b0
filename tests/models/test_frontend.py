import numpy as np
import pytest
import soxr
import torch

from peaframe.models.frontend import (
    ConvFrontEnd,
    FrontEndConfig,
    LogMel,
    Standardize,
    to_frame_grid,
    with_surroundings,
)

FRAME = 640  # samples of 16 kHz


@pytest.fixture
def front():
    """A front end with random weights in every layer."""
    torch.manual_seed(0)
    front = ConvFrontEnd(FrontEndConfig(width=32)).eval().requires_grad_(False)
    front.log_mel.mel.copy_(torch.rand(64, 257) / 64)
    for layer in (*front.depthwise, *front.pointwise):
        torch.nn.init.kaiming_normal_(layer.weight)
    return front


def band_limited_noise(samples, highest_hertz):
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(samples))
    spectrum[np.fft.rfftfreq(samples, 1 / 48_000) > highest_hertz] = 0
    return np.fft.irfft(spectrum, samples).astype(np.float32)


def decimate(front, waveform):
    return front.decimate(torch.from_numpy(waveform)[None])[0].numpy()


def test_the_decimator_agrees_with_soxr_below_its_edge(front):
    waveform = band_limited_noise(96_000, 6_500)
    ours, theirs = decimate(front, waveform), soxr.resample(waveform, 48_000, 16_000, quality="VHQ")
    assert ours.shape == theirs.shape == (32_000,)
    np.testing.assert_allclose(ours[100:-100], theirs[100:-100], atol=1e-3 * theirs.std())


@pytest.mark.parametrize(
    ("hertz", "lowest_db", "highest_db"),
    [(100, -0.01, 0.01), (7_000, -0.1, 0.1), (8_200, -120, -75), (20_000, -130, -90)],
)
def test_the_decimator_passes_and_stops(front, hertz, lowest_db, highest_db):
    tone = np.sin(2 * np.pi * hertz * np.arange(48_000) / 48_000).astype(np.float32)
    inner = decimate(front, tone)[200:-200]
    assert lowest_db < 20 * np.log10(np.sqrt(2) * inner.std()) < highest_db


@pytest.mark.parametrize(("samples", "kept"), [(1, 1), (3, 1), (4, 2), (48_000, 16_000)])
def test_the_decimator_keeps_every_third_sample(front, samples, kept):
    assert decimate(front, np.ones(samples, np.float32)).shape == (kept,)


def test_an_impulse_stays_where_it_was(front):
    waveform = np.zeros(3_000, np.float32)
    waveform[1_500] = 1
    assert decimate(front, waveform).argmax() == 500


def test_log_mel_by_hand():
    torch.manual_seed(1)
    log_mel = LogMel()
    log_mel.mel.copy_(torch.rand(64, 257))
    waveform = torch.randn(2, 5 * 160) * 0.1
    got = log_mel(waveform)
    assert got.shape == (2, 5, 64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(257)) / 512)
    for row, result in zip(waveform.double().numpy(), got, strict=True):
        padded = np.pad(row, 120)
        for i in range(5):  # centred on samples 160 i to 160 (i + 1)
            magnitudes = np.abs(padded[160 * i : 160 * i + 400] * window @ basis)
            expected = np.log(log_mel.mel.double().numpy() @ magnitudes + 0.001)
            np.testing.assert_allclose(result[i], expected, atol=1e-4)


def test_silence_is_the_floor(front):
    np.testing.assert_allclose(front.log_mel(torch.zeros(1, 320)), np.log(0.001), atol=1e-6)


def test_to_frame_grid_interpolates_between_centres():
    x = torch.tensor([[[0.0, 5.0], [1.0, 5.0], [3.0, 5.0]]])
    got = to_frame_grid(x, 8, step=8, centre=3)
    # Frame t is centred on spectrum 4 t + 1.5, the entries on spectra 3, 11 and 19.
    expected = np.interp(np.arange(8) * 4 + 1.5, [3, 11, 19], [0, 1, 3])
    np.testing.assert_allclose(got[0, :, 0], expected, atol=1e-6)
    np.testing.assert_allclose(got[0, :, 1], 5)


def test_to_frame_grid_holds_a_single_entry():
    assert to_frame_grid(torch.full((1, 1, 1), 2.0), 3, step=16, centre=31).flatten().tolist() == [2, 2, 2]


def test_a_click_peaks_in_the_frame_that_holds_it(front):
    waveform = torch.randn(1, 60 * FRAME) * 0.01
    before, _ = front(waveform)
    for frame in range(12, 48, 3):
        clicked = waveform.clone()
        clicked[0, frame * FRAME + FRAME // 2] += 0.9
        change = (front(clicked)[0] - before).norm(dim=-1)[0]
        assert change.argmax() == frame


def test_the_deepest_map_is_centred_on_what_it_hears(front):
    """Averages for weights make it linear: over a period of its strides, answers lie round their impulses."""
    for convolution in (front.conv1, *front.depthwise, *front.pointwise):
        convolution.weight.fill_(1 / convolution.weight[0].numel())
        convolution.bias.zero_()
    spectra = np.arange(232, 248)
    mel = torch.zeros(16, 480, 64)
    mel[np.arange(16), spectra] = 1
    answers = front.from_log_mel(mel)[1][:, :, 0].double().numpy()
    distances = np.arange(120) * 4 + 1.5 - spectra[:, None]
    assert (answers * distances).sum() / answers.sum() == pytest.approx(0, abs=1e-3)
    assert answers[:, [0, -1]].max() < 1e-3 * answers.max()


@pytest.mark.parametrize("samples", [1, 2, 159, 639, 640, 641, 1_281, 2_560, 10_001])
def test_any_length_works(front, samples):
    frames = -(-samples // FRAME)
    features, deep = front(torch.randn(2, samples) * 0.1)
    assert features.shape == (2, frames, 32)
    assert deep.shape == (2, frames, 1_024)
    assert features.isfinite().all()


def test_what_lies_behind_the_end_is_silence(front):
    waveform = torch.randn(1, 1_000) * 0.1
    longer = torch.nn.functional.pad(waveform, (0, 280))
    assert torch.equal(front(waveform)[0], front(longer)[0])


def test_surroundings_are_means_and_deviations():
    x = torch.randn(2, 60, 3) + 5
    out = with_surroundings(x, (25, 101)).numpy()
    assert out.shape == (2, 60, 15)
    np.testing.assert_array_equal(out[..., :3], x.numpy())
    for frame in (0, 5, 12, 30, 59):
        second = x[:, max(frame - 12, 0) : frame + 13].numpy()
        np.testing.assert_allclose(out[:, frame, 3:6], second.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(out[:, frame, 6:9], second.std(axis=1), atol=1e-5)
        longer = x[:, max(frame - 50, 0) : frame + 51].numpy()
        np.testing.assert_allclose(out[:, frame, 9:12], longer.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(out[:, frame, 12:], longer.std(axis=1), atol=1e-5)


def test_standardize_gives_mean_0_and_deviation_1_and_cuts_off():
    standardize = Standardize(3)
    x = torch.randn(4_000, 3) * torch.tensor([1.0, 5.0, 0.0]) + torch.tensor([0.0, -3.0, 2.0])
    standardize.fit(x.split(700))
    out = standardize(x)
    assert out.mean(dim=0).tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    assert out.std(dim=0).tolist() == pytest.approx([1, 1, 0], abs=1e-3)
    assert standardize(torch.tensor([1e6, -1e6, 2.0])).tolist() == [10, -10, 0]


def test_dropout_leaves_a_channel_out_of_a_whole_scene():
    front = ConvFrontEnd(FrontEndConfig(width=4, dropout=0.5)).train()
    front.merge = torch.nn.Identity()
    out, _ = front.from_log_mel(torch.randn(2, 400, 64))
    silent = (out == 0).float().mean(dim=1)
    spectra = silent[:, :256]  # a ReLU map may be 0 all the time
    assert set(spectra.flatten().tolist()) == {0.0, 1.0}
    assert not torch.equal(spectra[0], spectra[1])
