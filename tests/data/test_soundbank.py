import numpy as np
import pytest
import soundfile

from peaframe.data.soundbank import Bank, Clip, read_manifest
from peaframe.errors import ManifestError

HEADER = "path,label,captions,parent,role,source,license,origin_id,duration_s,split"
ROW = "a.wav,dog,woof|bark,animal,event,somebody:a,CC0,a,1.0,train"


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest of these lines; gives its folder."""

    def manifest(*lines):
        (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return manifest


def test_a_row_becomes_a_clip(manifest):
    folder = manifest(HEADER, ROW)
    expected = Clip(folder / "a.wav", "dog", ("woof", "bark"), "event", "somebody:a", "CC0", "train")
    assert read_manifest(folder) == [expected]


def test_clips_come_in_the_manifests_order(bank_folder):
    clips = read_manifest(bank_folder)
    assert [clip.path.name for clip in clips] == [
        "beep_1.wav",
        "beep_2.wav",
        "beep_3.wav",
        "buzz_1.wav",
        "buzz_2.wav",
        "rain_1.ogg",
        "rain_2.ogg",
    ]
    assert all(clip.path.is_file() for clip in clips)


def test_sources_are_left_out_by_their_beginning(bank_folder):
    names = [clip.path.name for clip in read_manifest(bank_folder, ["other", "made:1"])]
    assert names == ["beep_2.wav", "beep_3.wav", "buzz_1.wav", "rain_1.ogg", "rain_2.ogg"]


@pytest.mark.parametrize("captions", ["", "|"])
def test_captions_may_be_missing(manifest, captions):
    assert read_manifest(manifest(HEADER, ROW.replace("woof|bark", captions)))[0].captions == ()


def test_quoted_commas_and_other_orders_of_columns_are_fine(manifest):
    folder = manifest("split,role,label,path,captions,license,source", 'valid,event,dog,a.wav,,CC0,"x, y"')
    (clip,) = read_manifest(folder)
    assert (clip.source, clip.split, clip.label) == ("x, y", "valid", "dog")


def test_a_folder_without_a_manifest_is_refused(tmp_path, refusal):
    message = refusal(ManifestError, read_manifest, tmp_path)
    assert f"{tmp_path / 'manifest.csv'}: not found" in message


def test_missing_columns_are_named(manifest, refusal):
    folder = manifest("path,label,captions,role,source", "a.wav,dog,,event,x")
    message = refusal(ManifestError, read_manifest, folder)
    assert "columns ['license', 'split'] are missing" in message
    assert "missing" in refusal(ManifestError, read_manifest, manifest(""))


@pytest.mark.parametrize(
    ("old", "new"), [("event", "foreground"), ("train", "test"), (",train", ""), ("event", "Event")]
)
def test_unknown_roles_and_splits_are_refused_with_their_line(manifest, refusal, old, new):
    folder = manifest(HEADER, ROW, ROW.replace(old, new))
    message = refusal(ManifestError, read_manifest, folder)
    assert message.startswith(f"{folder / 'manifest.csv'}:3: got role ")
    assert "expected event or background, train or valid" in message


def test_waveforms_are_mono_at_the_banks_rate(tmp_path):
    n = np.arange(24_000)
    left, right = (0.4 * np.sin(2 * np.pi * hertz * n / 48_000) for hertz in (500, 800))
    soundfile.write(tmp_path / "a.wav", np.column_stack((left, right)), 48_000, "FLOAT")
    clip = Clip(tmp_path / "a.wav", "tones", (), "event", "", "", "train")
    bank = Bank([clip, clip], 16_000)
    assert (len(bank), bank.rate, bank.clips) == (2, 16_000, [clip, clip])
    x = bank.waveform(1)
    assert (x.dtype, x.shape) == (np.float32, (8_000,))
    np.testing.assert_allclose(x[50:-50], ((left + right) / 2)[::3][50:-50], atol=1e-3)
    np.testing.assert_array_equal(x, bank.waveform(0))


def test_loud_samples_do_not_wrap(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.tile([1.5, -1.5], 200), 16_000, "FLOAT")
    clip = Clip(tmp_path / "a.wav", "loud", (), "event", "", "", "train")
    x = Bank([clip], 16_000).waveform(0)
    assert x[::2].min() > 0.99
    assert x[1::2].max() < -0.99


def test_every_clip_of_a_bank_has_its_length(bank_folder):
    bank = Bank(read_manifest(bank_folder), 16_000)
    lengths = [len(bank.waveform(i)) for i in range(len(bank))]
    np.testing.assert_allclose(lengths, [9_600, 24_000, 8_000, 12_800, 11_200, 32_000, 16_000], atol=1)


def test_the_cache_gives_the_same_without_the_files(bank_folder, tmp_path):
    clips = read_manifest(bank_folder)
    plain, first = Bank(clips, 16_000), Bank(clips, 16_000, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    again = Bank(clips, 16_000, tmp_path / "cache")
    for i in range(len(clips)):
        np.testing.assert_array_equal(first.waveform(i), plain.waveform(i))
        np.testing.assert_array_equal(again.waveform(i), plain.waveform(i))


def test_the_cache_keeps_rates_and_selections_apart(bank_folder, tmp_path):
    clips = read_manifest(bank_folder)
    Bank(clips, 16_000, tmp_path)
    assert len(Bank(clips, 8_000, tmp_path).waveform(0)) == 4_800
    assert len(Bank(clips[1:], 16_000, tmp_path).waveform(0)) == pytest.approx(24_000, abs=1)


def test_a_changed_file_is_decoded_anew(tmp_path):
    clip = Clip(tmp_path / "a.wav", "dog", (), "event", "", "", "train")
    lengths = []
    for seconds in (1, 2):
        soundfile.write(clip.path, np.zeros(seconds * 16_000), 16_000)
        lengths.append(len(Bank([clip], 16_000, tmp_path / "cache").waveform(0)))
    assert lengths == [16_000, 32_000]


def test_a_missing_sound_is_named(manifest, refusal):
    clips = read_manifest(manifest(HEADER, ROW))
    assert "a.wav" in refusal(ManifestError, Bank, clips, 16_000)


def test_an_empty_bank_is_refused(refusal):
    assert "no clips" in refusal(ManifestError, Bank, [], 16_000)
