"""Loaders of soundscapes, long recordings and plain folders, on miniatures: what is found, mended, said, refused."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe.errors import FormatError
from peaframe.eval.benchmarks import find
from peaframe.events import Event

corpora = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "corpora.py")))
DASH, tabs, text, sound = corpora.DASH, corpora.tabs, corpora.text, corpora.sound
load = corpora.load


# --- UrbanSED


@pytest.mark.parametrize("nested", [True, False])
def test_urbansed(tmp_path, nested):
    found = load("urbansed", corpora.urbansed(tmp_path, nested=nested))
    name = "soundscape_test_bimodal"
    assert found.truth == {
        f"{name}0": [Event(0.5, 4, "siren"), Event(8, 10, "dog_bark")],
        f"{name}1": [Event(1.25, 3.25, "gun_shot")],
        f"{name}2": [],
    }
    assert set(found.durations.values()) == {10.0}
    assert found.missing == (f"{name}3",)
    assert found.notes == (
        "recordings in the metadata: 4; the whole benchmark has 2000",
        "true events cut that reach beyond their clip's end: 1",
        "true events merged into another of their label that they overlap or touch: 1",
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{ no", ":1: not JSON"),
        ("{}", ": got no Scaper annotation (KeyError('annotations')); expected time"),
        ('{"annotations": [{"data": [{"time": 0, "duration": 1, "value": "siren"}]}]}', "got no Scaper"),
        (
            '{"annotations": [{"data": [{"time": NaN, "duration": 1, '
            '"value": {"label": "siren", "role": "foreground"}}]}]}',
            ": observation 1: got onset 'nan', expected seconds, 0 or more",
        ),
        (
            '{"annotations": [{"data": [{"time": 0, "duration": 1, '
            '"value": {"label": "wolf", "role": "foreground"}}]}]}',
            ": observation 1: got the label 'wolf', expected one of air_conditioner, ",
        ),
    ],
)
def test_a_bad_jams_is_refused(tmp_path, refusal, content, complaint):
    data = corpora.urbansed(tmp_path, nested=False)
    path = text(data / "annotations/test/soundscape_test_bimodal1.jams", content)
    message = refusal(FormatError, find("urbansed").load, data)
    assert message.startswith(f"{path}{complaint[:1]}" if complaint[0] == ":" else str(path))
    assert complaint in message


def test_a_bad_txt_of_urbansed_is_refused(tmp_path, refusal):
    data = corpora.urbansed(tmp_path, nested=False)
    path = text(data / "annotations/test/soundscape_test_bimodal0.txt", "0\t1\tsiren", "1 2 siren")
    assert refusal(FormatError, find("urbansed").load, data) == (
        f"{path}:2: this line has spaces where others have tabs; put tabs between its cells"
    )


# --- MAESTRO


def maestro_truth():
    return {
        "cafe_restaurant_00": [
            Event(0, 2, "people talking"),
            Event(3, 4, "people talking"),
            Event(12, 12.5, "cutlery and dishes"),
        ],
        "residential_area_03": [Event(0, 1, "birds_singing")],
    }


def test_maestro_as_its_authors_give_it(tmp_path):
    found = load("maestro", corpora.maestro(tmp_path))
    assert found.truth == maestro_truth()
    assert found.durations == {"cafe_restaurant_00": 12.5, "residential_area_03": 11.0}
    assert found.notes == (
        "true segments left out whose label DCASE does not evaluate: 1, of 1 labels",
        "recordings in the metadata: 2; the whole benchmark has 49",
        "true events cut that reach beyond their clip's end: 1",
        "true segments joined with the one of their label before them: 1",
    )


def maestro_table(data, name, *rows):
    """The same recordings, annotated in a table with a header."""
    for path in sorted((data / "development_annotation").rglob("*.txt")):
        path.unlink()
    for folder in (*(data / "development_annotation").iterdir(), data / "development_annotation"):
        folder.rmdir()
    return text(data / name, *tabs(*rows))


def test_maestro_in_a_table(tmp_path):
    data = corpora.maestro(tmp_path)
    maestro_table(
        data,
        "metadata/maestro_real.tsv",
        "filename | onset | offset | event_label | confidence",
        "cafe_restaurant_00.wav | 0 | 1 | people talking | 0.9",
        "cafe_restaurant_00.wav | 1 | 2 | people talking | 0.51",
        "cafe_restaurant_00.wav | 3 | 4 | people talking | 1.02",
        "cafe_restaurant_00.wav | 5 | 6 | people talking | 0.5",
        "cafe_restaurant_00.wav | 12 | 13 | cutlery and dishes | 0.7",
        "residential_area_03.wav | 0 | 1 | birds_singing | 0.7",
        "metro_station_11.wav | 0 | 1 | metro leaving | 0.7",
    )
    text(
        data / "metadata/maestro_real_durations.tsv",
        *tabs("filename | duration", "cafe_restaurant_00 | 12.5"),
    )
    found = load("maestro", data)
    assert found.truth == maestro_truth()
    assert found.missing == ("metro_station_11",)


def test_maestros_hard_labels_all_count(tmp_path):
    data = corpora.maestro(tmp_path)
    maestro_table(data, "gt_dev.csv", corpora.DCASE, "cafe_restaurant_00.wav | 4.0 | 5.0 | people talking")
    assert load("maestro", data).truth == {"cafe_restaurant_00": [Event(4, 5, "people talking")]}


def test_pieces_of_maestro_are_refused(tmp_path, refusal):
    data = corpora.maestro(tmp_path)
    table = maestro_table(
        data,
        "metadata/maestro_real_validation.tsv",
        "filename | onset | offset | event_label | confidence",
        "cafe_restaurant_00-000000-001000.wav | 0 | 1 | people talking | 0.9",
    )
    message = refusal(FormatError, find("maestro").load, data)
    assert message.startswith(f"{table}:2: got 'cafe_restaurant_00-000000-001000.wav', a piece of")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("0 | 1 | wolf | 0.9", "got the label 'wolf', expected one of announcement, birds_singing"),
        ("0 | 1 | wolf | 0.1", "got the label 'wolf'"),
        ("0 | 1 | car | nan", "got the soft label 'nan', expected a number from 0"),
        ("0 | 1 | car", "got 3 cells with tabs between them, expected 4: start end label confidence"),
        ("1 | 0 | car | 0.2", "got an event that ends at 0 s, before its onset at 1 s"),
    ],
)
def test_bad_rows_of_maestro_are_refused(tmp_path, refusal, row, complaint):
    data = corpora.maestro(tmp_path)
    path = data / "development_annotation/soft_labels_cafe_restaurant/cafe_restaurant_00.txt"
    text(path, *tabs(row))
    message = refusal(FormatError, find("maestro").load, data)
    assert message.startswith(f"{path}:1: ")
    assert complaint in message


# --- folder and ASFX-SED


@pytest.mark.parametrize("name", ["folder", "asfx-sed"])
def test_a_folder_of_ones_own(tmp_path, name):
    found = load(name, corpora.folder(tmp_path))
    assert found.truth == {
        "a, b": [Event(0.5, 1, "dog_barking")],
        "deep/c": [Event(0, 4, "rain")],
        "e": [Event(0, 1, "rain")],
        "silent": [],
    }
    assert found.durations == {"a, b": 2.0, "deep/c": 4.0, "e": 1.5, "silent": 3.0}
    assert found.audio["deep/c"] == tmp_path / "audio/deep/c.flac"
    assert found.missing == ()
    assert found.notes == (
        "audio files left out that the metadata does not name: 1",
        "true events cut that reach beyond their clip's end: 1",
    )


def test_audio_may_lie_beside_the_table(tmp_path):
    text(tmp_path / "ground_truth.tsv", *tabs(corpora.DCASE, "x/a.wav | 0 | 1 | dog", "b.wav | 0 | 1 | dog"))
    text(tmp_path / "second.tsv", *tabs(corpora.DCASE, "c.wav | 0 | 1 | dog"))
    a, b = sound(tmp_path / "x/a.wav", 1.0), sound(tmp_path / "b.wav", 1.0)
    assert load("folder", tmp_path).audio == {"b": b, "x/a": a}


def test_a_bare_name_in_two_places_is_not_guessed(tmp_path):
    text(tmp_path / "ground_truth.tsv", *tabs(corpora.DCASE, "a.wav | 0 | 1 | dog", "b.wav | 0 | 1 | dog"))
    for place in ("x", "y"):
        sound(tmp_path / f"audio/{place}/a.wav", 1.0)
    b = sound(tmp_path / "audio/b.wav", 1.0)
    sound(tmp_path / "audio/aside/b.wav", 1.0)
    found = load("folder", tmp_path)
    assert (found.audio, found.missing) == ({"b": b}, ("a",))
    assert found.notes == ("audio files left out that the metadata does not name: 3",)


def test_which_table_is_meant_must_be_clear(tmp_path, refusal):
    for name in ("one.tsv", "two.tsv"):
        text(tmp_path / name, *tabs(corpora.DCASE, "a.wav | 0 | 1 | dog"))
    assert refusal(FormatError, find("folder").load, tmp_path) == (
        f"{tmp_path}: got one.tsv, two.tsv, expected ground_truth.tsv with the columns "
        "filename onset offset event_label"
    )
