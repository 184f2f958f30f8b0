"""Retrieval: the metrics against plain re-computation, the corpora's own layouts, and whole runs."""

import json
import runpy
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.eval import retrieval
from peaframe.eval.benchmarks import CLIP_BENCHMARKS
from peaframe.eval.clip_ears import load_ears
from peaframe.eval.clip_run import run_clips
from peaframe.eval.clip_tables import directions, frame_scores, text_table
from peaframe.eval.retrieval import dual_softmax, intervals, retrieve, retrieve_both, retrieve_scores

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clips.py")))
lines = clips.lines


@pytest.fixture(scope="module", autouse=True)
def one_core():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pe_av(tokenizer_content, tmp_path_factory):
    return clips.tiny_pe_av(tmp_path_factory.mktemp("pe_av"), tokenizer_content)


def by_hand(scores, own):
    """Ranks and precisions by sorting each row, what does not belong first among equals."""
    ranks, precisions = [], []
    for row, mine in zip(scores, own, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c in mine))
        places = [place for place, c in enumerate(order, 1) if c in mine]
        ranks.append(places[0])
        hits = [number / place for number, place in enumerate(places, 1) if place <= 10]
        precisions.append(sum(hits) / min(len(mine), 10))
    return ranks, precisions


def five_each(count):
    """Five captions a clip: (5 * count, 2)."""
    return np.stack((np.arange(5 * count), np.arange(5 * count) // 5), axis=1)


# metrics


@pytest.mark.parametrize("scale", [None, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_sorting_by_hand_gives(seed, scale, monkeypatch):
    monkeypatch.setattr(retrieval, "_BLOCK_NUMBERS", 100)
    random = np.random.default_rng(seed)
    clip, text = random.standard_normal((23, 6)), random.standard_normal((115, 6))
    text[7], text[60] = text[3], text[3]  # captions that others have too
    pairs = five_each(23)
    cosines = text @ clip.T / np.linalg.norm(text, axis=1)[:, None] / np.linalg.norm(clip, axis=1)
    there, back = retrieve_both(text, clip, pairs, scale=scale)
    for found, table, own in (
        (there, cosines, [{i // 5} for i in range(115)]),
        (back, cosines.T, [set(range(5 * i, 5 * i + 5)) for i in range(23)]),
    ):
        if scale is not None:  # the formula as it is written down
            s = table * scale
            table = s * (np.exp(s) / np.exp(s).sum(axis=0))
        ranks, precisions = by_hand(np.round(table, 13), own)
        assert found.ranks.tolist() == ranks
        np.testing.assert_allclose(found.precisions, precisions, atol=1e-12)
        assert found.recall == {k: np.mean(np.array(ranks) <= k) for k in (1, 5, 10)}
        assert found.median_rank == np.median(ranks)
        assert found.map10 == pytest.approx(np.mean(precisions))
    assert (there.queries, there.candidates, back.queries, back.candidates) == (115, 23, 23, 115)


def test_a_small_case_worked_out():
    scores = [[0.9, 0.5, 0.1], [0.8, 0.7, 0.6], [0.3, 0.2, 0.1]]
    found = retrieve_scores(scores, [[0, 0], [1, 1], [2, 2]])
    assert found.ranks.tolist() == [1, 2, 3]
    assert found.recall == {1: 1 / 3, 5: 1.0, 10: 1.0}
    assert found.median_rank == 2.0
    assert found.map10 == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_dual_softmax_lowers_what_is_near_to_all():
    scores = np.array([[0.8, 0.7], [0.9, 0.6]])  # candidate 0 is near to both; 1 is the first query's
    pairs = [[0, 1], [1, 0]]
    assert retrieve_scores(scores, pairs).recall[1] == 0.5
    assert retrieve_scores(scores, pairs, scale=10.0).recall[1] == 1.0
    found = dual_softmax(scores)
    assert found[0, 0] == pytest.approx(8 / (1 + np.e))
    assert found[0, 1] == pytest.approx(7 / (1 + 1 / np.e))


def test_scores_that_are_all_equal_earn_nothing():
    same = np.ones((12, 12))
    for scale in (None, 10.0):
        found = retrieve_scores(same, np.stack([np.arange(12)] * 2, axis=1), scale=scale)
        assert found.recall == {1: 0.0, 5: 0.0, 10: 0.0}
        assert (found.median_rank, found.map10) == (12.0, 0.0)
    embeddings = np.tile(np.random.default_rng(0).standard_normal(300), (500, 1))
    found = retrieve(embeddings, embeddings, np.stack([np.arange(500)] * 2, axis=1))
    assert set(found.ranks.tolist()) == {500}  # the last digit of a product breaks no tie


def test_a_query_of_many_needs_one_and_is_precise_with_all():
    scores = [[0.9, 0.8, 0.7, 0.6]]
    found = retrieve_scores(scores, [[0, 1], [0, 3]])
    assert found.ranks.tolist() == [2]
    assert found.map10 == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_large_tables_take_blocks():
    random = np.random.default_rng(0)
    table = random.standard_normal((6000, 8)).astype(np.float32)
    same = np.stack([np.arange(6000)] * 2, axis=1)
    tracemalloc.start()
    found = retrieve(table, table + 0.01, same, scale=10.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6 < 6000 * 6000 * 8  # of all scores at once
    assert found.recall[10] > 0.9


def test_intervals_draw_the_captions_of_a_clip_together():
    random = np.random.default_rng(1)
    scores = random.standard_normal((200, 40)) + 2 * np.repeat(np.eye(40), 5, axis=0)
    pairs = five_each(40)
    found = retrieve_scores(scores, pairs)
    assert found.groups.tolist() == (np.arange(200) // 5).tolist()
    bounds = intervals(found, 300)
    assert set(bounds) == {"r1", "r5", "r10", "map10", "median_rank"}
    for key, value in (("r1", found.recall[1]), ("map10", found.map10), ("median_rank", found.median_rank)):
        assert bounds[key].value == value
        assert bounds[key].low <= value <= bounds[key].high
    hits = (found.ranks <= 1).reshape(40, 5).mean(axis=1)
    expected = 2 * 1.96 * hits.std() / np.sqrt(40)
    assert bounds["r1"].high - bounds["r1"].low == pytest.approx(expected, rel=0.2)
    assert intervals(found, 120)["r5"] == intervals(found, 120)["r5"]


def test_the_median_of_a_draw_is_numpys():
    ranks = np.array([1, 9, 4, 2, 30, 7])
    found = retrieval.Retrieval(6, 40, {1: 0, 5: 0, 10: 0}, 5.5, 0.0, ranks, np.zeros(6), np.arange(6))
    weights = retrieval.resample(6, 20, 0)
    medians = [np.median(np.repeat(ranks, own)) for own in weights]
    expected = retrieval.interval(5.5, medians)
    assert intervals(found, 20)["median_rank"] == expected


def test_what_cannot_be_measured_is_refused(refusal):
    one = np.ones((3, 4))
    assert "4 and 5 channels" in refusal(OptionError, retrieve, one, np.ones((3, 5)), [[0, 0]])
    assert "query 1 has no candidate" in refusal(OptionError, retrieve, one, one, [[0, 0], [2, 2]])
    assert "beyond 3 queries" in refusal(OptionError, retrieve, one, one, [[0, 0], [1, 3], [2, 1]])
    assert "whole numbers" in refusal(OptionError, retrieve, one, one, [[0.5, 0.5]])
    assert "finite" in refusal(OptionError, retrieve, one * np.nan, one, [[0, 0]])
    assert "finite" in refusal(OptionError, retrieve_scores, [[np.inf]], [[0, 0]])


# tables


def test_texts_become_a_table_once_or_each_time():
    assert text_table([("a", "b"), ("a",)], same_text=False)[0] == ["a", "b", "a"]
    rows, pairs = text_table([("a", "b"), ("a",)], same_text=True)
    assert rows == ["a", "b"]
    assert pairs.tolist() == [[0, 0], [1, 0], [0, 1]]


def test_directions_leave_out_clips_that_lack_what_they_need(pe_av):
    random = np.random.default_rng(0)
    whole = {"audio": 32, "visual": 32, "audio_visual": 32, "audio_token": 64, "visual_token": 64}
    heard = [{k: random.standard_normal((1, n)).astype("f4") for k, n in whole.items()} for _ in range(3)]
    heard[1] = {k: heard[1][k] for k in ("visual", "visual_token")}
    ears = load_ears(str(pe_av), "cpu")
    texts = ears.texts(["rain", "a dog", "a siren", "buzz"])
    pairs = np.array([[0, 0], [1, 0], [2, 1], [3, 2]])
    found = {one.name: one for one in directions(heard, texts, pairs, ears)}
    assert list(found) == [
        *("text_to_audio", "audio_to_text", "text_to_video", "video_to_text", "text_to_av", "av_to_text"),
        *("audio_to_video", "video_to_audio", "video_text_to_audio", "audio_text_to_video"),
    ]
    assert found["text_to_audio"].pairs.tolist() == [[0, 0], [1, 0], [2, 1]]
    np.testing.assert_array_equal(found["text_to_audio"].queries, texts["audio_text"][[0, 1, 3]])
    np.testing.assert_array_equal(found["audio_to_text"].queries[1], heard[2]["audio"][0])
    assert found["text_to_video"].pairs.tolist() == pairs.tolist()
    assert found["audio_to_video"].pairs.tolist() == [[0, 0], [1, 1]]
    for name, kind in (("video_text_to_audio", "visual"), ("audio_text_to_video", "audio")):
        tokens = np.concatenate([heard[i][f"{kind}_token"] for i in (0, 0, 2)])
        expected = ears.joined(kind, tokens, texts["text_token"][[0, 1, 3]])
        np.testing.assert_array_equal(found[name].queries, expected)
        assert found[name].pairs.tolist() == [[0, 0], [1, 0], [2, 1]]
    assert "video_text_to_audio" not in {one.name for one in directions(heard, texts, pairs, None)}


def test_frames_stand_for_a_clip_by_their_mean_or_their_best():
    frames = [np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]]), np.array([[3.0, 4.0]])]
    texts = np.array([[1.0, 0.0], [0.0, 5.0]])
    np.testing.assert_allclose(frame_scores(frames, texts, "max"), [[1, 1], [0.6, 0.8]], atol=1e-6)
    mean = [[1 / 5**0.5, 2 / 5**0.5], [0.6, 0.8]]
    np.testing.assert_allclose(frame_scores(frames, texts, "mean"), mean, atol=1e-6)


# corpora


def load(name, data):
    return CLIP_BENCHMARKS[name].load(data)


def test_audiocaps_finds_files_by_the_names_they_go_by(tmp_path):
    rows = ["audiocap_id,youtube_id,start_time,caption"]
    ids = {
        "-a_b0000001": "-a_b0000001_30.wav",
        "Ybcdefghijk": "YYbcdefghijk.flac",
        "c2345678901": "c2345678901_7000_17000.mp4",
    }
    for number, (video, start) in enumerate([*zip(ids, (30, 40, 7), strict=True), ("gone0000000", 5)]):
        rows += [f'{number}{i},{video},{start},"A dog, and rain {number}{i}"' for i in range(5)]
    lines(tmp_path / "dataset/test.csv", *rows)
    for number, name in enumerate(ids.values()):
        path = tmp_path / "audio" / name
        if name.endswith("mp4"):
            clips.video(path, 50)
        else:
            clips.cut(path, number, number + 0.5)
    lines(tmp_path / "audio/empty.wav").write_bytes(b"")
    found = load("audiocaps", tmp_path)
    assert found.ids == ["-a_b0000001_30", "Ybcdefghijk_40", "c2345678901_7"]
    assert [found.sound[clip].name for clip in found.ids] == list(ids.values())
    assert [path.name for path in found.pictures.values()] == ["c2345678901_7000_17000.mp4"]
    assert found.texts["Ybcdefghijk_40"] == tuple(f"A dog, and rain 1{i}" for i in range(5))
    assert found.missing == ("gone0000000_5",)
    assert found.notes == ("media files passed over because they are empty: 1",)


def test_clotho_takes_the_evaluation_file_of_two_with_one_name(tmp_path):
    lines(
        tmp_path / "clotho_captions_evaluation.csv",
        "file_name,caption_1,caption_2,caption_3,caption_4,caption_5",
        "Rain [1].wav,r1,r2,r3,r4,r5",
        "Bus.wav,b1,b2,b3,b4,r5",
    )
    for folder in ("development", "evaluation", "validation"):
        clips.cut(tmp_path / folder / "Rain [1].wav", 0, 0.5)
    clips.cut(tmp_path / "evaluation/Bus.wav", 1, 1.5)
    found = load("clotho", tmp_path)
    assert found.sound["Rain [1]"].parent.name == "evaluation"
    assert found.texts["Bus"] == ("b1", "b2", "b3", "b4", "r5")
    assert found.notes == ("captions that further clips have word for word (ties, which count against): 1",)


def test_vctk_takes_the_first_microphone_and_shared_transcripts_once(tmp_path):
    for speaker in ("p225", "p226"):
        lines(tmp_path / f"txt/{speaker}/{speaker}_001.txt", "Please call Stella.")
        clips.cut(tmp_path / f"wav48_silence_trimmed/{speaker}/{speaker}_001_mic2.flac", 4, 4.5)
        clips.cut(tmp_path / f"wav48_silence_trimmed/{speaker}/{speaker}_001_mic1.flac", 4, 4.5)
    found = load("vctk", tmp_path)
    assert [path.name for path in found.sound.values()] == ["p225_001_mic1.flac", "p226_001_mic1.flac"]
    assert found.texts == {"p225_001": ("Please call Stella.",), "p226_001": ("Please call Stella.",)}
    assert CLIP_BENCHMARKS["vctk"].same_text


def test_the_video_corpora_in_their_layouts(tmp_path):
    valor, msrvtt, net, didemo = (tmp_path / name for name in ("valor", "msrvtt", "net", "didemo"))
    rows = [{"video_id": "x_1.000_11.000", "desc": "A man sings."}]
    lines(valor / "desc_test.json", json.dumps(rows))
    clips.video(valor / "videos/x_1.000_11.000.mp4", 9)
    lines(
        msrvtt / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", 'ret0,msr9770,video9770,"a, b"'
    )
    clips.video(msrvtt / "video9770.mp4", 9)
    lines(
        net / "val_1.json",
        json.dumps({"v_a": {"duration": 1, "timestamps": [], "sentences": [" One.", "Two. "]}}),
    )
    clips.video(net / "v_a.mkv", 9)
    rows = [{"video": "7@N0_1.avi", "description": text, "times": []} for text in ("first", "second")]
    lines(didemo / "data/test_data.json", json.dumps(rows))
    clips.video(didemo / "videos/7@N0_1.avi.mp4", 9)
    for name, data, expected in (
        ("valor", valor, {"x_1.000_11.000": ("A man sings.",)}),
        ("msrvtt", msrvtt, {"video9770": ("a, b",)}),
        ("activitynet", net, {"v_a": ("One. Two.",)}),
        ("didemo", didemo, {"7@N0_1": ("first second",)}),
    ):
        found = load(name, data)
        assert found.texts == expected
        assert found.pictures == found.sound
        assert (list(found.pictures), found.missing) == (list(expected), ())


def test_malformed_metadata_is_refused_with_its_place(tmp_path, refusal):
    assert "expected the folder of AudioCaps" in refusal(FormatError, load, "audiocaps", tmp_path)
    table = lines(tmp_path / "test.csv", "youtube_id,start_time,caption", "a,1,x", "b,soon,x")
    assert f"{table}:3: got the start 'soon'" in refusal(FormatError, load, "audiocaps", tmp_path)
    lines(table, "youtube_id,start_time,caption", "a,1, ")
    assert "test.csv:2: got the clip 'a_1' and the text ''" in refusal(
        FormatError, load, "audiocaps", tmp_path
    )
    lines(table, "youtube_id,start_time,caption", "a,1,x,y")
    assert "test.csv:2: got 4 cells" in refusal(FormatError, load, "audiocaps", tmp_path)
    lines(table, "youtube_id,caption", "a,x")
    assert "lacks start_time" in refusal(FormatError, load, "audiocaps", tmp_path)
    lines(table, "youtube_id,start_time,caption", "a,1,x")
    assert "none of the 1 clips" in refusal(FormatError, load, "audiocaps", tmp_path)
    lines(tmp_path / "desc_test.json", '[{"video_id": "a"}]')
    assert "item 0: got" in refusal(FormatError, load, "valor", tmp_path)
    lines(tmp_path / "desc_test.json", "{}")
    assert "got a dict, expected a list" in refusal(FormatError, load, "valor", tmp_path)


# runs


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
