"""Miniatures of the corpora in the layouts their authors give them, with the oddities seen in them. Made, never kept.

Loaded with runpy by the tests that need it: pytest does not put tests on the path.
"""

import json
from pathlib import Path

import numpy as np
import soundfile

from peaframe.eval.benchmarks import find

DASH = "-0Kp-_9xY_U"  # a YouTube id that begins with a dash and holds an underscore
OTHER = "Yab0cd1ef2g"  # one that begins with a Y


def sound(path: Path, seconds: float = 10.0, rate: int = 8000) -> Path:
    """A short tone as a file; the suffix says which kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32), rate)
    return path


def text(path: Path, *lines: str, end: str = "\n", bom: bool = False) -> Path:
    """A table; every line ends with `end`, cells are parted by tabs where the lines have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(line + end for line in lines)
    path.write_bytes((("\ufeff" if bom else "") + content).encode("utf-8"))
    return path


def tabs(*rows: str) -> list[str]:
    """Rows written with ` | ` between their cells, as tab-separated lines."""
    return ["\t".join(cell.strip() for cell in row.split("|")) for row in rows]


DCASE = "filename | onset | offset | event_label"


def desed(data: Path, root: str = "dataset", audio: str = "audio/validation/validation") -> Path:
    """DESED validation: five clips, one of them missing, one without events, Windows line ends and a BOM."""
    base = data / root
    rows = tabs(
        DCASE,
        "Y00pbt6aJV8Y_350.000_360.000.wav | 0.000 | 4.500 | Vacuum_cleaner",
        f"Y{DASH}_30.000_40.000.wav | 9.200 | 10.400 | Dog",
        f"Y{DASH}_30.000_40.000.wav | 1.000 | 2.000 | Cat",
        f"Y{DASH}_30.000_40.000.wav | 1.000 | 2.000 | Cat",
        "Ygone0000000_0.000_10.000.wav | 1.000 | 2.000 | Speech",
        "Ygone0000000_0.000_10.000.wav | 1.000 | 2.000 | Speech",
        "Yquiet, one_5.000_15.000.wav |  |  | ",
        "Yzero0000000_1.000_11.000.wav | 3.000 | 3.000 | Frying",
        "Yzero0000000_1.000_11.000.wav | 10.000 | 10.200 | Frying",
        "Yzero0000000_1.000_11.000.wav | 0.500 | 1.000 | Dishes",
        "Yzero0000000_1.000_11.000.wav | 0.800 | 1.500 | Dishes",
    )
    text(base / "metadata/validation/validation.tsv", *rows, end="\r\n", bom=True)
    durations = tabs(
        "filename | duration",
        "Y00pbt6aJV8Y_350.000_360.000.wav | 9.75",
        f"Y{DASH}_30.000_40.000.wav | 10.0",
    )
    text(base / "metadata/validation/validation_durations.tsv", *durations)
    for name in ("Y00pbt6aJV8Y_350.000_360.000", f"Y{DASH}_30.000_40.000", "Yquiet, one_5.000_15.000"):
        sound(base / audio / f"{name}.wav")
    sound(base / audio / "Yzero0000000_1.000_11.000.flac")
    sound(base / audio / "Ynobody00000_0.000_10.000.wav", 1.0)
    sound(base / audio / ".ipynb_checkpoints/Y00pbt6aJV8Y_350.000_360.000.wav", 1.0)
    text(base / audio / "Ygone0000000_0.000_10.000.wav", end="")
    return data


def public(data: Path) -> Path:
    """DESED public evaluation: two clips."""
    rows = tabs(
        DCASE, "1Ro0FgMWTUE_120_130.wav | 0.0 | 2.081 | Speech", "b_20_30.wav | 1 | 2 | Alarm_bell_ringing"
    )
    text(data / "metadata/eval/public.tsv", *rows)
    for name in ("1Ro0FgMWTUE_120_130", "b_20_30"):
        sound(data / f"audio/eval/public/{name}.wav", 9.5)
    return data


AUDIOSET = "segment_id | start_time_seconds | end_time_seconds | label"
NAMES = (
    "/m/01v1d8 | Clink, chink",
    "/m/0912c9 | Vehicle horn, car horn, honking, toot",
    "/m/05zppz | Male speech, man speaking",
    "/m/018vs | Bass (instrument role)",
)


def audioset(data: Path, *, train: bool = True, audio: bool = True) -> Path:
    """AudioSet-Strong: six segments; two are missing, one of them as its file is a whole video."""
    rows = tabs(
        AUDIOSET,
        f"{DASH}_30000 | 0.000 | 4.000 | /m/05zppz",
        f"{DASH}_30000 | 3.500 | 6.000 | /m/05zppz",
        f"{DASH}_30000 | 9.000 | 10.021 | /m/0912c9",
        f"{OTHER}_0 | 2.000 | 3.000 | /m/01v1d8",
        "abcdefghij1_10000 | 10.000 | 10.010 | /m/01v1d8",
        "abcdefghij1_10000 | 1.000 | 2.000 | /m/018vs",
        "abcdefghij2_500 | 1.000 | 2.000 | /m/01v1d8",
        "whole_video_12000 | 1.000 | 2.000 | /m/01v1d8",
        "lostlostlos_40000 | 1.000 | 2.000 | /m/01v1d8",
    )
    text(data / "audioset_eval_strong.tsv", *rows)
    text(data / "mid_to_display_name.tsv", *tabs(*NAMES))
    framed = f"{DASH}_30000 | 0.0 | 0.96 | /m/05zppz | PRESENT"
    text(data / "audioset_eval_strong_framed_posneg.tsv", *tabs(f"{AUDIOSET} | present", framed))
    if train:
        labels = ("/m/01v1d8", "/m/0912c9", "/m/05zppz", "/m/0elsewhere")
        rows = tabs(AUDIOSET, *(f"tttttttttt{i}_0 | 0 | 1 | {label}" for i, label in enumerate(labels)))
        text(data / "audioset_train_strong.tsv", *rows)
    if audio:
        sound(data / f"audio/Y{DASH}.wav")
        sound(data / f"audio/eval/{OTHER}_0.flac", 9.0)
        sound(data / "audio/abcdefghij1_10.000_20.000.ogg")
        sound(data / "audio/Yabcdefghij2_500_10500.mp3")
        sound(data / "audio/whole_video.wav", 25.0)
        sound(data / "audio/somebodyels_7000.wav", 1.0)
    return data


def urbansed(data: Path, *, nested: bool = True) -> Path:
    """UrbanSED's test set: a txt, a JAMS and an empty txt; a fourth soundscape is missing."""
    root = data / "URBAN-SED_v2.0.0" if nested else data
    name = "soundscape_test_bimodal"
    rows = tabs("0.5 | 2.5 | siren", "2.0 | 4.0 | siren", "8.0 | 10.3 | dog_bark")
    text(root / f"annotations/test/{name}0.txt", *rows)
    text(root / f"annotations/test/{name}2.txt")
    text(root / f"annotations/test/{name}3.txt", *tabs("0 | 1 | siren"))
    foreground = {"time": 1.25, "duration": 2.0, "value": {"label": "gun_shot", "role": "foreground"}}
    background = {"time": 0.0, "duration": 10.0, "value": {"label": "noise", "role": "background"}}
    part = {"namespace": "scaper", "data": [background, foreground]}
    text(root / f"annotations/test/{name}1.jams", json.dumps({"annotations": [part], "file_metadata": {}}))
    text(root / f"annotations/test/{name}0.jams", json.dumps({"annotations": []}))
    for number in (0, 1, 2):
        sound(root / f"audio/test/{name}{number}.wav")
    return data


def maestro(data: Path) -> Path:
    """MAESTRO Real as unpacked: two recordings in two places, soft labels each second."""
    cafe = tabs(
        "0 | 1 | people talking | 0.9",
        "1 | 2 | people talking | 0.51",
        "2 | 3 | people talking | 0.5",
        "3 | 4 | people_talking | 1.02",
        "0 | 1 | coffee machine | 0.8",
        "1 | 2 | cutlery and dishes | 0.2",
        "12 | 13 | cutlery and dishes | 0.7",
    )
    street = tabs("0.0 | 1.0 | birds singing | 0.7", "1.0 | 2.0 | wind_blowing | 0.0")
    annotation = data / "development_annotation"
    text(annotation / "soft_labels_cafe_restaurant/cafe_restaurant_00.txt", *cafe)
    text(annotation / "soft_labels_residential_area/residential_area_03.txt", *street)
    sound(data / "development_audio/cafe_restaurant/cafe_restaurant_00.wav", 12.5)
    sound(data / "development_audio/residential_area/residential_area_03.wav", 11.0)
    return data


def folder(data: Path) -> Path:
    """Somebody's own recordings: in audio/ and below it, one named by its path, one only in durations."""
    rows = tabs(DCASE, "a, b.wav | 0.5 | 1.0 | dog_barking", "deep/c.wav | 0 | 9 | rain", "e | 0 | 1 | rain")
    text(data / "truth of mine.tsv", *rows)
    text(data / "other.tsv", *tabs("name | value", "x | 1"))
    text(data / "durations.tsv", *tabs("filename | duration", "a, b.wav | 2.0", "silent.wav | 3.0"))
    sound(data / "audio/a, b.wav", 2.0)
    sound(data / "audio/deep/c.flac", 4.0)
    sound(data / "audio/deep/e.wav", 1.5)
    sound(data / "audio/silent.wav", 3.0)
    sound(data / "old/c.wav", 1.0)
    return data


def load(name, data):
    """A benchmark's recordings, after checks that hold for all of them."""
    found = find(name).load(data)
    ids = list(found.audio)
    assert ids == sorted(ids) == list(found.durations) == list(found.truth)
    assert not set(ids) & set(found.missing)
    assert all(path.is_file() for path in found.audio.values())
    for recording, events in found.truth.items():
        assert events == sorted(events)
        assert all(event.offset <= found.durations[recording] for event in events)
    return found
