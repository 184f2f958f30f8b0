"""Zero-shot classification: the metrics against plain re-computation, the corpora's own layouts, and whole runs."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks import CLIP_BENCHMARKS
from peaframe.eval.benchmarks.clip_sets import templates
from peaframe.eval.classification import class_vectors, classify, intervals, pooled_scores
from peaframe.eval.clip_ears import load_ears
from peaframe.eval.clip_run import run_clips
from peaframe.eval.ranking import average_precision

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clips.py")))
pytestmark = pytest.mark.usefixtures("one_thread")
lines = clips.lines


# metrics


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_counting_by_hand_gives(seed):
    random = np.random.default_rng(seed)
    labels = [f"l{i}" for i in range(8)]
    truth = random.integers(0, 8, 150)
    scores = np.round(random.standard_normal((150, 8)) + 1.5 * np.eye(8)[truth], 1)  # full of ties
    found = classify(scores, truth, labels)
    ranks = [
        1 + sum(row[j] >= row[own] for j in range(8) if j != own)
        for row, own in zip(scores, truth, strict=True)
    ]
    assert found.ranks.tolist() == ranks
    assert found.top1 == np.mean(np.array(ranks) == 1)
    assert found.top5 == np.mean(np.array(ranks) <= 5)
    said = scores.argmax(axis=1)
    for number, row in enumerate(found.per_class):
        mine = truth == number
        assert (row.label, row.clips) == (labels[number], mine.sum())
        assert row.recall == pytest.approx(np.mean(np.array(ranks)[mine] == 1))
        assert row.average_precision == average_precision(scores[:, number], mine)
    assert found.mean_recall == pytest.approx(np.mean([row.recall for row in found.per_class]))
    assert found.mean_ap == pytest.approx(np.mean([row.average_precision for row in found.per_class]))
    expected = np.zeros((8, 8), int)
    for true, one in zip(truth, said, strict=True):
        expected[true, one] += 1
    assert found.confusion.tolist() == expected.tolist()


def test_precision_is_of_what_was_said():
    found = classify([[2, 1, 0], [2, 1, 0], [0, 1, 0]], [0, 1, 1], ["a", "b", "never"])
    assert [row.precision for row in found.per_class[:2]] == [0.5, 1.0]
    assert np.isnan(found.per_class[2].precision)
    assert np.isnan(found.per_class[2].recall)
    assert (found.top1, found.mean_recall) == (2 / 3, 0.75)  # labels without a clip are in no mean


def test_scores_that_are_all_equal_earn_nothing():
    found = classify(np.zeros((4, 10)), [0, 1, 2, 3], list("abcdefghij"))
    assert (found.top1, found.top5, found.mean_recall) == (0.0, 0.0, 0.0)


def test_folds_are_averaged_and_may_share_clips():
    scores = np.eye(2)[[0, 0, 0, 1]]
    folds = {"one": [True, False, False, False], "two": [False, True, True, True]}
    found = classify(scores, [0, 0, 1, 1], ["a", "b"], folds)
    assert found.folds == {"one": 1.0, "two": 2 / 3}
    assert found.top1 == pytest.approx((1 + 2 / 3) / 2)
    shared = classify(scores, [0, 0, 1, 1], ["a", "b"], {"one": [1, 1, 0, 0], "two": [0, 1, 1, 0]})
    assert shared.folds == {"one": 1.0, "two": 0.5}


def test_clips_of_several_labels():
    scores = [[0.9, 0.8, 0.1], [0.2, 0.3, 0.4]]
    found = classify(scores, [[True, True, False], [True, False, True]], ["a", "b", "c"])
    assert found.ranks.tolist() == [1, 1]
    assert found.mean_ap == pytest.approx(np.mean([1.0, 1.0, 1.0]))
    assert found.confusion.sum() == 0
    worse = classify(scores, [[False, False, True], [True, True, False]], ["a", "b", "c"])
    assert worse.ranks.tolist() == [3, 2]
    assert worse.mean_ap == pytest.approx(0.5)


def test_label_vectors_are_unit_means_of_unit_texts():
    texts = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    found = class_vectors(texts, [0, 0, 1], 2)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0, 1]])
    np.testing.assert_allclose(pooled_scores([[0.2, 0.4, 0.9]], [0, 0, 1], 2), [[0.3, 0.9]])
    random = np.random.default_rng(0)
    texts, media = random.standard_normal((6, 4)), random.standard_normal((5, 4))
    owners = [0, 0, 0, 1, 1, 1]
    units = texts / np.linalg.norm(texts, axis=1)[:, None]
    lengths = [np.linalg.norm(units[:3].mean(axis=0)), np.linalg.norm(units[3:].mean(axis=0))]
    pooled = pooled_scores(media @ units.T, owners, 2)
    np.testing.assert_allclose(media @ class_vectors(texts, owners, 2).T, pooled / lengths)


def test_intervals_hold_the_value():
    random = np.random.default_rng(0)
    truth = random.integers(0, 6, 300)
    found = classify(random.standard_normal((300, 6)) + np.eye(6)[truth], truth, list("abcdef"))
    bounds = intervals(found, 400)
    width = 2 * 1.96 * np.sqrt(found.top1 * (1 - found.top1) / 300)
    assert bounds["top1"].value == found.top1
    assert bounds["top1"].high - bounds["top1"].low == pytest.approx(width, rel=0.15)


def test_what_cannot_be_measured_is_refused(refusal):
    assert "expected finite (clips, 2 labels)" in refusal(OptionError, classify, [[1, 2, 3]], [0], ["a", "b"])
    assert "got labels 0 to 2" in refusal(OptionError, classify, [[1, 2], [1, 2]], [0, 2], ["a", "b"])
    assert "clip 1 has no label" in refusal(
        OptionError, classify, [[1, 2], [1, 2]], [[True, False], [False, False]], ["a", "b"]
    )
    assert "fold 'x' holds 0 clips" in refusal(
        OptionError, classify, [[1, 2]], [0], ["a", "b"], {"x": [False]}
    )
    assert "a label of 3" in refusal(OptionError, class_vectors, np.eye(2), [0, 1], 3)


# corpora


def load(name, data):
    return CLIP_BENCHMARKS[name].load(data)


def test_vggsound_is_its_test_split(tmp_path):
    rows = ['-a,30,"people eating, noisily",test', "b_,2,rain,train", "c,7,rain,test", "gone,1,dog,test"]
    lines(tmp_path / "vggsound.csv", *rows)
    clips.video(tmp_path / "video/-a_000030.mp4", 9)
    clips.cut(tmp_path / "audio/-a_000030.wav", 0, 0.5)
    clips.video(tmp_path / "video/c_7000_17000.mp4", 9)
    found = load("vggsound", tmp_path)
    assert found.texts == {"-a_30": ("people eating, noisily",), "c_7": ("rain",)}
    assert [path.suffix for path in found.sound.values()] == [".wav", ".mp4"]
    assert [path.suffix for path in found.pictures.values()] == [".mp4", ".mp4"]
    assert found.missing == ("gone_1",)


def test_folds_of_esc50_and_urbansound8k(tmp_path):
    lines(
        tmp_path / "esc/meta/esc50.csv",
        "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "5-9032-A-0.wav,5,1,crying_baby,False,9032,A",
    )
    lines(
        tmp_path / "us8k/metadata/UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing",
    )
    for name in ("esc/audio/1-100032-A-0", "esc/audio/5-9032-A-0", "us8k/audio/fold5/100032-3-0-0"):
        clips.cut(tmp_path / f"{name}.wav", 0, 0.3)
    clips.cut(tmp_path / "us8k/audio/fold10/100263-2-0-117.wav", 0, 0.3)
    esc, us8k = load("esc50", tmp_path / "esc"), load("urbansound8k", tmp_path / "us8k")
    assert esc.folds == {"fold 1": {"1-100032-A-0"}, "fold 5": {"5-9032-A-0"}}
    assert us8k.folds == {"fold 05": {"100032-3-0-0"}, "fold 10": {"100263-2-0-117"}}
    assert us8k.texts["100263-2-0-117"] == ("children_playing",)
    assert not esc.pictures


def test_gtzan_and_nsynth(tmp_path):
    clips.cut(tmp_path / "gtzan/genres_original/jazz/jazz.00003.wav", 0, 0.3)
    found = load("gtzan", tmp_path / "gtzan")
    assert found.texts == {"jazz.00003": ("jazz",)}
    assert len(found.missing) == 999
    notes = {"bass_synthetic_068-049-025": {"instrument_family_str": "bass", "pitch": 49}}
    lines(tmp_path / "nsynth/nsynth-test/examples.json", json.dumps(notes))
    clips.cut(tmp_path / "nsynth/nsynth-test/audio/bass_synthetic_068-049-025.wav", 0, 0.3)
    assert load("nsynth", tmp_path / "nsynth").texts == {"bass_synthetic_068-049-025": ("bass",)}


def test_kinetics_ucf_and_hmdb(tmp_path):
    lines(
        tmp_path / "k400/annotations/val.csv",
        "label,youtube_id,time_start,time_end,split,is_cc",
        "abseiling,-3B32lodo2M,59,69,val,0",
        '"air drumming",_dbcJuKJQNs,40,50,val,0',
    )
    clips.video(tmp_path / "k400/val/abseiling/-3B32lodo2M_000059_000069.mp4", 9)
    found = load("kinetics400", tmp_path / "k400")
    assert found.texts == {"-3B32lodo2M_59": ("abseiling",)}
    assert found.missing == ("_dbcJuKJQNs_40",)
    video = "v_ApplyEyeMakeup_g01_c01"
    for split in (1, 2, 3):
        row = f"ApplyEyeMakeup/{video}.avi" if split < 3 else "YoYo/v_YoYo_g25_c01.avi"
        lines(tmp_path / f"ucf/ucfTrainTestlist/testlist{split:02d}.txt", row)
    clips.video(tmp_path / f"ucf/UCF-101/ApplyEyeMakeup/{video}.avi", 9)
    found = load("ucf101", tmp_path / "ucf")
    assert found.texts == {video: ("ApplyEyeMakeup",)}
    assert found.folds == {"split 1": {video}, "split 2": {video}}
    assert found.missing == ("v_YoYo_g25_c01",)
    assert not found.sound
    folder = tmp_path / "hmdb/testTrainMulti_7030_splits"
    name = "April_09_brush_hair_u_nm_np1_ba_goo_0"
    lines(folder / "brush_hair_test_split1.txt", f"{name}.avi 2 ", "other.avi 1", "third.avi 0")
    lines(folder / "brush_hair_test_split2.txt", f"{name}.avi 1 ", "other.avi 2")
    clips.video(tmp_path / f"hmdb/videos/brush_hair/{name}.avi", 9)
    found = load("hmdb51", tmp_path / "hmdb")
    assert found.folds == {"split 1": {name}}
    assert found.missing == ("other",)


def test_labels_become_words():
    ucf, hmdb, nsynth, gtzan = (CLIP_BENCHMARKS[n].labels for n in ("ucf101", "hmdb51", "nsynth", "gtzan"))
    assert ucf("ApplyEyeMakeup") == "apply eye makeup"
    assert ucf("YoYo") == "yo yo"
    assert ucf("HandstandPushups") == "handstand pushups"
    assert hmdb("brush_hair") == "brush hair"
    assert nsynth("synth_lead") == "lead synthesizer"
    assert nsynth("guitar") == "guitar"
    assert gtzan("hiphop") == "hip hop"
    for benchmark in CLIP_BENCHMARKS.values():
        assert (benchmark.task == "classification") == bool(benchmark.templates)
        assert all(template.count("{}") == 1 for template in benchmark.templates)
    assert templates("esc50") == CLIP_BENCHMARKS["esc50"].templates


def test_malformed_metadata_is_refused_with_its_place(tmp_path, refusal):
    table = lines(tmp_path / "vggsound.csv", "a,soon,dog,test")
    assert f"{table}:1: got 'soon', expected a number" in refusal(FormatError, load, "vggsound", tmp_path)
    lines(table, "a,1,test")
    assert f"{table}:1: got 3 cells" in refusal(FormatError, load, "vggsound", tmp_path)
    assert "no testTrainMulti_7030_splits" in refusal(FormatError, load, "hmdb51", tmp_path)
    table = lines(tmp_path / "testTrainMulti_7030_splits/a_test_split1.txt", "x.avi 3")
    assert f"{table}:1: got 'x.avi 3'" in refusal(FormatError, load, "hmdb51", tmp_path)
    assert "is not a folder" in refusal(FormatError, load, "gtzan", tmp_path / "none")
    lines(tmp_path / "examples.json", '{"a": {}}')
    assert "a: got no instrument_family_str" in refusal(FormatError, load, "nsynth", tmp_path)


# runs


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_built_in_model_tells_the_demos_sounds(tmp_path, pool):
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number, (label, span) in enumerate(clips.SPANS.items()):
        rows.append(f"{number}.wav,{1 + number % 2},{number},{label.replace(' ', '_')},False,0,A")
        clips.cut(tmp_path / f"data/audio/{number}.wav", *span)
    lines(tmp_path / "data/meta/esc50.csv", *rows)
    ears = load_ears("peaframe-mini", "cpu")
    benchmark, out = CLIP_BENCHMARKS["esc50"], tmp_path / "out"
    document = run_clips(benchmark, tmp_path / "data", ears, out, pool=pool, allow_missing=True, resamples=20)
    assert document["metrics"]["audio_top1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert document["metrics"]["audio_map"]["value"] == 1.0
    assert document["folds"] == {"fold 1": 1.0, "fold 2": 1.0}
    assert document["confusion"]["matrix"] == np.eye(5, dtype=int).tolist()
    assert document["queries"]["dog_barking"][1] == "the sound of dog barking"
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| dog_barking | 1 | 1.000 | 1.000 | 1.000 |" in report
    assert "| fold 2 | 1.000 |" in report


def test_pe_av_is_asked_by_sound_by_pictures_and_by_both(tmp_path, pe_av):
    from peaframe.models.load import load_audio_video_model

    data = tmp_path / "vgg"
    labels = ("dog barking", "siren", "rain")
    lines(data / "vggsound.csv", *(f"clip{i},{i},{label},test" for i, label in enumerate(labels)))
    for i in range(3):
        clips.video(data / f"clip{i}_{i:06d}.mp4", 30 + 80 * i)
    ears = load_ears(str(pe_av), "cpu")
    benchmark = CLIP_BENCHMARKS["vggsound"]
    document = run_clips(benchmark, data, ears, tmp_path / "out", allow_missing=True, resamples=0)
    assert document["of"] == "audio"
    model = load_audio_video_model(pe_av)
    words = [[t.replace("{}", label) for t in benchmark.templates] for label in sorted(labels)]
    for medium, kind in (("audio", "audio"), ("video", "visual"), ("av", "audio_visual")):
        vectors = []
        for own in words:
            rows = model.encode_av(input_ids=(tokens := model.tokenizer(own))[0], attention_mask=tokens[1])
            units = rows[f"{kind}_text_embeds"].detach().numpy()
            mean = (units / np.linalg.norm(units, axis=1, keepdims=True)).mean(axis=0)
            vectors.append(mean / np.linalg.norm(mean))
        media = [data / f"clip{i}_{i:06d}.mp4" for i in range(3)]
        seen = np.concatenate([ears.clip(path, path)[0][kind] for path in media])
        scores = seen / np.linalg.norm(seen, axis=1, keepdims=True) @ np.array(vectors).T
        found = classify(scores, [sorted(labels).index(label) for label in labels], sorted(labels))
        for key, value in (("top1", found.top1), ("mean_recall", found.mean_recall), ("map", found.mean_ap)):
            assert document["metrics"][f"{medium}_{key}"]["value"] == pytest.approx(value)
        if medium == "audio":
            assert document["confusion"]["matrix"] == found.confusion.tolist()
