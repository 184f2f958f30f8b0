"""Corpora of retrieval in their own layouts, and the tables that are made of what a model heard of them."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from peaframe.errors import FormatError
from peaframe.eval.benchmarks import CLIP_BENCHMARKS
from peaframe.eval.clip_ears import load_ears
from peaframe.eval.clip_tables import directions, frame_scores, text_table

clips = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "clips.py")))
lines = clips.lines


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
