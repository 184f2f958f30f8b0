"""Each loader on a miniature of its corpus: what is found, missing, mended and said, and what is refused."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks import BENCHMARKS, find, prompts
from peaframe.eval.benchmarks.audio_files import recording_id
from peaframe.eval.benchmarks.audioset import display_names
from peaframe.events import Event

corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "corpora.py")))
DASH, tabs, text, sound = corpora.DASH, corpora.tabs, corpora.text, corpora.sound
load = corpora.load


# --- all of them


def test_there_are_seven_and_they_know_their_names():
    assert list(BENCHMARKS) == [
        "desed-validation",
        "desed-public",
        "audioset-strong",
        "urbansed",
        "maestro",
        "asfx-sed",
        "folder",
    ]
    assert all(find(name).name == name for name in BENCHMARKS)


def test_sizes_headlines_and_filters_are_frozen():
    table = {
        b.name: (b.recordings, b.metrics[0], None if b.events is None else round(b.events.median, 3))
        for b in BENCHMARKS.values()
    }
    assert table == {
        "desed-validation": (1168, "psds1", 0.448),
        "desed-public": (692, "psds1", 0.448),
        "audioset-strong": (16_996, "psds1_a", 0.36),
        "urbansed": (2000, "psds1", 0.36),
        "maestro": (49, "segment_mpauc", 0.448),
        "asfx-sed": (None, "frame_auroc", 0.0),
        "folder": (None, "psds1", None),  # the model's own event options
    }
    assert {b.events.threshold for b in BENCHMARKS.values() if b.events is not None} == {0.5}


def test_an_unknown_name_is_answered_with_all_of_them(refusal):
    message = refusal(OptionError, find, "desed")
    assert message == (
        "got the benchmark 'desed', expected one of desed-validation, desed-public, audioset-strong, urbansed, "
        "maestro, asfx-sed, folder"
    )


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_folder_that_is_not_there_is_refused(name, tmp_path, refusal):
    message = refusal(FormatError, find(name).load, tmp_path / "nowhere")
    assert message == f"{tmp_path / 'nowhere'}: is not a folder; give the one that holds the corpus"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_empty_folder_is_told_what_is_expected(name, tmp_path, refusal):
    message = refusal(FormatError, find(name).load, tmp_path)
    assert message.startswith(f"{tmp_path}: got no")


@pytest.mark.parametrize("name", ["desed-validation", "desed-public", "urbansed", "maestro"])
def test_every_scored_label_of_a_closed_set_has_queries(name):
    benchmark = find(name)
    assert len(benchmark.labels) == (11 if name == "maestro" else 10)
    for label in benchmark.labels:
        queries = benchmark.prompts(label)
        assert queries
        assert all(query == query.strip().lower() for query in queries)
        assert len(set(queries)) == len(queries)


def test_a_label_outside_a_closed_set_has_no_queries(refusal):
    assert "got the label 'Wolf', expected one of Alarm" in refusal(
        OptionError, find("desed-public").prompts, "Wolf"
    )


# --- words


@pytest.mark.parametrize(
    ("name", "queries"),
    [
        ("Vehicle horn, car horn, honking", ("vehicle horn", "car horn", "honking")),
        ("Male speech, man speaking", ("male speech", "man speaking")),
        ("Rail transport", ("rail transport",)),
        ("Chink, clink", ("chink", "clink")),
        ("Domestic animals, pets", ("domestic animals", "pets")),
        ("Bass (instrument role)", ("bass",)),
        ("Heavy engine (low frequency)", ("heavy engine",)),
        ("Police car (siren)", ("police car siren",)),
        ("Fire engine, fire truck (siren)", ("fire engine siren", "fire truck siren")),
        ("Inside, small room", ("inside a small room",)),
        ("Outside, urban or manmade", ("outside in a city",)),
        ("Speech,speech", ("speech,speech",)),
        ("(only)", ("(only)",)),
    ],
)
def test_display_names_become_phrases(name, queries):
    assert find("audioset-strong").prompts(name) == queries


def test_labels_of_a_folder_are_their_own_queries():
    assert find("folder").prompts("dog_barking  far") == ("dog barking far",)
    assert find("asfx-sed").prompts("A dog, barking") == ("A dog, barking",)
    assert find("folder").prompts("_") == ("_",)


def test_the_wording_of_desed_is_frozen():
    assert prompts.DESED["Alarm_bell_ringing"] == ("alarm ringing", "bell ringing", "telephone ringing")
    assert len(prompts.MAESTRO) == 17


# --- DESED


@pytest.mark.parametrize("audio", ["audio/validation/validation", "audio/validation"])
@pytest.mark.parametrize("root", ["dataset", "", "real"])
def test_desed_in_the_forms_it_circulates_in(tmp_path, root, audio):
    found = load("desed-validation", corpora.desed(tmp_path, root, audio))
    assert found.truth == {
        f"Y{DASH}_30.000_40.000": [Event(1, 2, "Cat"), Event(9.2, 10, "Dog")],
        "Y00pbt6aJV8Y_350.000_360.000": [Event(0, 4.5, "Vacuum_cleaner")],
        "Yquiet, one_5.000_15.000": [],
        "Yzero0000000_1.000_11.000": [Event(0.5, 1, "Dishes"), Event(0.8, 1.5, "Dishes")],
    }
    assert list(found.durations.values()) == [10.0, 9.75, 10.0, 10.0]
    assert found.audio["Yzero0000000_1.000_11.000"].name == "Yzero0000000_1.000_11.000.flac"
    assert found.missing == ("Ygone0000000_0.000_10.000",)
    assert found.notes == (
        "recordings in the metadata: 5; the whole benchmark has 1168",
        "audio files passed over because they are empty: 1",
        "audio files left out that the metadata does not name: 1",
        "rows dropped that say the same as another one: 1",
        "true events dropped that last no time: 1",
        "true events dropped that begin at or after their clip's end: 1",
        "true events cut that reach beyond their clip's end: 1",
    )
    assert found.framed is None


def test_desed_public(tmp_path):
    found = load("desed-public", corpora.public(tmp_path))
    assert found.truth == {
        "1Ro0FgMWTUE_120_130": [Event(0, 2.081, "Speech")],
        "b_20_30": [Event(1, 2, "Alarm_bell_ringing")],
    }
    assert found.durations == {"1Ro0FgMWTUE_120_130": 9.5, "b_20_30": 9.5}
    assert found.missing == ()
    assert found.notes == ("recordings in the metadata: 2; the whole benchmark has 692",)


def test_a_clip_that_only_durations_name_is_a_clip(tmp_path):
    data = corpora.public(tmp_path)
    rows = tabs("filename | duration", "b_20_30.wav | 10", "c_1_2.wav | 8", "d_1_2.wav | 8")
    text(data / "metadata/eval/public_durations.tsv", *rows)
    sound(data / "audio/eval/public/c_1_2.wav", 8)
    found = load("desed-public", data)
    assert found.durations == {"1Ro0FgMWTUE_120_130": 9.5, "b_20_30": 10.0, "c_1_2": 8.0}
    assert found.truth["c_1_2"] == []
    assert found.missing == ("d_1_2",)


def test_a_recording_in_two_forms_is_taken_once(tmp_path):
    data = corpora.public(tmp_path)
    sound(data / "audio/eval/public/b_20_30.flac", 3)
    found = load("desed-public", data)
    assert found.audio["b_20_30"].suffix == ".wav"
    assert "audio files left out that are further copies of a recording: 1" in found.notes


def test_a_file_that_is_no_sound_counts_as_missing(tmp_path):
    data = corpora.public(tmp_path)
    text(data / "audio/eval/public/b_20_30.wav", "<html>404</html>")
    found = load("desed-public", data)
    assert found.missing == ("b_20_30",)
    assert "files that cannot be read and count as missing: 1 (b_20_30)" in found.notes


def test_no_clip_at_all_is_refused(tmp_path, refusal):
    data = corpora.public(tmp_path)
    for path in (data / "audio/eval/public").iterdir():
        path.unlink()
    message = refusal(FormatError, find("desed-public").load, data)
    assert message == (f"{data / 'audio/eval/public'}: none of the 2 recordings in the metadata is there")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("b_20_30.wav | nan | 2 | Dog", "got onset 'nan', expected seconds, 0 or more"),
        ("b_20_30.wav | 1 | inf | Dog", "got offset 'inf', expected seconds, 0 or more"),
        ("b_20_30.wav | -1 | 2 | Dog", "got onset '-1', expected seconds, 0 or more"),
        ("b_20_30.wav | 1,5 | 2 | Dog", "got onset '1,5', expected seconds, 0 or more"),
        ("b_20_30.wav | 2 | 1 | Dog", "got an event that ends at 1 s, before its onset at 2 s"),
        ("b_20_30.wav | 1 | 2 | Wolf", "got the label 'Wolf', expected one of Alarm_bell_ringing, Blender"),
        ("b_20_30.wav | 1 | 2 | ", "got a blank label, expected what is heard"),
        (" | 1 | 2 | Dog", "the file name is blank; name the recording"),
        ("b_20_30.wav |  | 2 | Dog", "got onset '', expected seconds, 0 or more"),
        ("b_20_30.wav,1,2,Dog", "this line has commas where others have tabs; put tabs between its cells"),
        ("b_20_30.wav;1;2;Dog", "this line has semicolons where others have tabs"),
        ("b_20_30.wav 1 2 Dog", "this line has spaces where others have tabs"),
        ("b_20_30.wav | 1 | 2", "got 3 cells with tabs between them, expected 4: filename onset offset"),
        ("b_20_30.flac | 1 | 2 | Dog", "got 'b_20_30.flac' beside 'b_20_30.wav'; expected one file"),
        ('"b_20_30.wav" x | 1 | 2 | Dog', "not a table ("),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(tmp_path, refusal, row, complaint):
    data = corpora.public(tmp_path)
    table = data / "metadata/eval/public.tsv"
    text(table, *tabs(corpora.DCASE, "b_20_30.wav | 0 | 1 | Dog", row))
    message = refusal(FormatError, find("desed-public").load, data)
    assert message.startswith(f"{table}:3: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("filename,onset,offset,event_label", "has no column filename, onset, offset, event_label, expected"),
        ("filename | onset | offset | label", "has no column event_label, expected filename onset offset"),
        ("filename | onset | offset | event_label | onset", "has a column twice"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, refusal, header, complaint):
    data = corpora.public(tmp_path)
    text(data / "metadata/eval/public.tsv", *tabs(header, "b_20_30.wav | 0 | 1 | Dog"))
    message = refusal(FormatError, find("desed-public").load, data)
    assert message.startswith(f"{data / 'metadata/eval/public.tsv'}:1: header ")
    assert complaint in message


def test_an_empty_table_and_one_in_another_coding_are_refused(tmp_path, refusal):
    data = corpora.public(tmp_path)
    table = text(data / "metadata/eval/public.tsv")
    assert refusal(FormatError, find("desed-public").load, data).startswith(f"{table}:1: got an empty file")
    table.write_bytes(b"filename\tonset\toffset\tevent_label\n\xff\xfe\t0\t1\tDog\n")
    assert f"{table}: is not UTF-8" in refusal(FormatError, find("desed-public").load, data)


@pytest.mark.parametrize("value", ["0", "nan", "-3", "long"])
def test_a_bad_duration_is_refused(tmp_path, refusal, value):
    data = corpora.public(tmp_path)
    table = text(
        data / "metadata/eval/public_durations.tsv", *tabs("filename | duration", f"b_20_30.wav | {value}")
    )
    message = refusal(FormatError, find("desed-public").load, data)
    assert message.startswith(f"{table}:2: got duration '{value}', expected ")


def test_only_audio_suffixes_are_taken_off():
    assert recording_id("Y00pbt6aJV8Y_350.000_360.000.wav") == "Y00pbt6aJV8Y_350.000_360.000"
    assert recording_id("Y00pbt6aJV8Y_350.000_360.000") == "Y00pbt6aJV8Y_350.000_360.000"
    assert recording_id("a.MP3") == "a"


# --- AudioSet-Strong


def test_audioset_strong(tmp_path):
    found = load("audioset-strong", corpora.audioset(tmp_path))
    assert found.truth == {
        f"{DASH}_30000": [
            Event(0, 6, "Male speech, man speaking"),
            Event(9, 10, "Vehicle horn, car horn, honking, toot"),
        ],
        f"{corpora.OTHER}_0": [Event(2, 3, "Clink, chink")],
        "abcdefghij1_10000": [],
        "abcdefghij2_500": [Event(1, 2, "Clink, chink")],
    }
    assert found.missing == ("lostlostlos_40000", "whole_video_12000")
    assert found.durations[f"{corpora.OTHER}_0"] == 9.0
    assert found.framed == tmp_path / "audioset_eval_strong_framed_posneg.tsv"
    assert found.notes == (
        "true events left out whose label has no training clip: 1, of 1 labels",
        "recordings in the metadata: 6; the whole benchmark has 16996",
        "audio files left out that the metadata does not name: 1",
        "files that last over 11 s, so are not cut to what was annotated, and count as missing: "
        "1 (whole_video_12000)",
        "true events dropped that begin at or after their clip's end: 1",
        "true events cut that reach beyond their clip's end: 1",
        "true events merged into another of their label that they overlap or touch: 1",
    )


def test_without_the_training_table_all_labels_are_scored_and_that_is_said(tmp_path):
    found = load("audioset-strong", corpora.audioset(tmp_path, train=False))
    assert found.truth["abcdefghij1_10000"] == [Event(1, 2, "Bass (instrument role)")]
    assert found.notes[0] == (
        "audioset_train_strong.tsv is not there, so all 4 labels of the evaluation table are scored; "
        "published numbers are of 407"
    )


@pytest.mark.parametrize(
    "stem",
    [
        f"{DASH}_30000",
        f"Y{DASH}_30000",
        f"Y{DASH}_30.000_40.000",
        f"{DASH}_30_40",
        f"{DASH}_30000_40000",
        f"Y{DASH}",
        DASH,
    ],
)
def test_names_of_audioset_files_that_are_understood(tmp_path, stem):
    data = corpora.audioset(tmp_path, audio=False)
    path = sound(data / f"eval_segments/{stem}.flac")
    assert load("audioset-strong", data).audio == {f"{DASH}_30000": path}


@pytest.mark.parametrize("stem", [f"{DASH}_31000", f"{DASH}_30", f"x{DASH}_30000", f"{DASH}_a_b"])
def test_names_of_other_files_are_not(tmp_path, stem, refusal):
    data = corpora.audioset(tmp_path, audio=False)
    sound(data / f"audio/{stem}.wav", 1.0)
    message = refusal(FormatError, find("audioset-strong").load, data)
    assert message == f"{data / 'audio'}: none of the 6 recordings in the metadata is there"


def test_a_bare_video_name_needs_a_single_segment(tmp_path, refusal):
    data = corpora.audioset(tmp_path, audio=False)
    with (data / "audioset_eval_strong.tsv").open("a") as file:
        file.write(f"{DASH}_90000\t0\t1\t/m/05zppz\n")
    sound(data / f"audio/Y{DASH}.wav", 1.0)
    assert "none of the 7 recordings" in refusal(FormatError, find("audioset-strong").load, data)


def test_durations_of_audioset_may_come_from_a_table(tmp_path):
    data = corpora.audioset(tmp_path)
    rows = tabs("filename | duration", f"Y{DASH}_30.000_40.000.wav | 9.5")
    text(data / "metadata/audioset_eval_strong_durations.tsv", *rows)
    found = load("audioset-strong", data)
    assert found.durations[f"{DASH}_30000"] == 9.5
    assert found.truth[f"{DASH}_30000"][1] == Event(9, 9.5, "Vehicle horn, car horn, honking, toot")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("nounderscore | 0 | 1 | /m/05zppz", "got the segment 'nounderscore', expected <YouTube id>_<start"),
        ("abc_1.5 | 0 | 1 | /m/05zppz", "got the segment 'abc_1.5'"),
        ("abc_5 | 0 | 1 | /m/unknown", "got the label '/m/unknown', which mid_to_display_name.tsv does not"),
        ("abc_5 | 3 | 1 | /m/05zppz", "got an event that ends at 1 s, before its onset at 3 s"),
    ],
)
def test_bad_rows_of_audioset_are_refused(tmp_path, refusal, row, complaint):
    data = corpora.audioset(tmp_path, audio=False)
    table = text(data / "audioset_eval_strong.tsv", *tabs(corpora.AUDIOSET, row))
    message = refusal(FormatError, find("audioset-strong").load, data)
    assert message.startswith(f"{table}:2: ")
    assert complaint in message


def test_display_names_are_one_for_each_id(tmp_path, refusal):
    table = text(tmp_path / "names.tsv", *tabs("/m/1 | Dog", "/t/2 | Clink, chink"))
    assert display_names(table) == {"/m/1": "Dog", "/t/2": "Clink, chink"}
    text(table, *tabs("/m/1 | Dog", "/m/2 | Dog"))
    assert refusal(FormatError, display_names, table) == (
        f"{table}:2: got the name 'Dog' twice, expected one for each id"
    )
    text(table, *tabs("Dog | /m/1"))
    assert f"{table}:1: got 'Dog' and '/m/1', expected /m/... and a name" in refusal(
        FormatError, display_names, table
    )
