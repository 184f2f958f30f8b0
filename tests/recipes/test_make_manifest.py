"""Each kind of source from end to end: small real audio in the authors' layouts, to a manifest that loads."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from peaframe import formats
from peaframe.data import manifest
from peaframe.errors import FormatError, OptionError
from peaframe.eval.benchmarks import maestro, prompts
from peaframe.events import Event
from peaframe.recipes import make_manifest
from peaframe.recipes.manifest_sources import SOURCES

CORPORA = Path(__file__).parent.parent / "eval" / "corpora.py"
corpora = SimpleNamespace(**runpy.run_path(str(CORPORA)))
DASH, tabs, text, sound = corpora.DASH, corpora.tabs, corpora.text, corpora.sound


@pytest.fixture
def make(tmp_path, capsys):
    """Run the recipe on `data` below tmp_path; gives items by the stem of their audio, and the lines it printed."""

    def make(kind, *options, source="data"):
        out = tmp_path / "out.jsonl"
        make_manifest.main([str(tmp_path / source), "--kind", kind, "--out", str(out), *options])
        items = {item.audio.stem: item for item in manifest.load(out)}
        assert all(item.audio.is_file() for item in items.values())
        return items, capsys.readouterr().out.splitlines()

    return make


def test_desed_validation(tmp_path, make):
    corpora.desed(tmp_path / "data")
    items, said = make("desed", "--part", "validation", "--split", "valid")
    clip = items[f"Y{DASH}_30.000_40.000"]
    assert clip.events == (Event(1, 2, "Cat"), Event(9.2, 10, "Dog"))
    assert clip.negatives == tuple(label for label in prompts.DESED if label not in ("Cat", "Dog"))
    assert (clip.duration, clip.split, clip.source, clip.exhaustive) == (10.0, "valid", "desed", False)
    assert clip.licence.startswith("audio: of its YouTube uploaders")
    # the table of durations says 9.75 s, the file 10 s
    assert items["Y00pbt6aJV8Y_350.000_360.000"].duration == 10.0
    quiet = items["Yquiet, one_5.000_15.000"]
    assert (quiet.events, quiet.negatives) == ((), tuple(prompts.DESED))
    # of one label at one time, each as it came
    assert items["Yzero0000000_1.000_11.000"].events == (Event(0.5, 1, "Dishes"), Event(0.8, 1.5, "Dishes"))
    assert "  missing: 1 (Ygone0000000_0.000_10.000)" in said
    assert "  rows dropped that say the same as another one: 1" in said
    assert any(line.endswith("out.jsonl: 4 items (valid 4), 0.01 h") for line in said)
    assert "  Dishes: 2 events, 1.2 s; weak in 0, absent from 3" in said


def test_desed_training(tmp_path, make):
    base = tmp_path / "data/dataset"
    rows = tabs(
        corpora.DCASE, "Ya_0_10.wav | 1 | 12 | Dog", "Ya_0_10.wav | 1 | 13 | Dog", "Yb_0_10.wav |  |  | "
    )
    text(base / "metadata/train/audioset_strong.tsv", *rows)
    text(
        base / "metadata/train/synthetic21_train/soundscapes.tsv",
        *tabs(corpora.DCASE, "0.wav | 0 | 1 | Speech"),
    )
    text(
        base / "metadata/train/weak.tsv",
        *tabs("filename | event_labels", "Yc_0_10.wav | Speech,Dishes", "Yd_0_10.wav | Cat"),
    )
    for name in ("a", "b"):
        sound(base / f"audio/train/strong_label_real_16k/Y{name}_0_10.wav", 2.5)
    sound(base / "audio/train/synthetic21_train/soundscapes/0.wav")
    sound(base / "audio/train/weak/Yc_0_10.wav")
    items, said = make("desed")
    assert {name: item.events for name, item in items.items()} == {
        "Ya_0_10": (Event(1, 2.5, "Dog"),),
        "Yb_0_10": (),
    }
    assert "  true events cut that reach beyond their clip's end: 2" in said
    assert make("desed", "--part", "synthetic")[0]["0"].events == (Event(0, 1, "Speech"),)
    items, said = make("desed-weak", "--licence", "ask us")
    assert list(items) == ["Yc_0_10"]
    assert (items["Yc_0_10"].weak, items["Yc_0_10"].events) == (("Speech", "Dishes"), ())
    assert set(items["Yc_0_10"].negatives) == set(prompts.DESED) - {"Speech", "Dishes"}
    assert items["Yc_0_10"].licence == "ask us"
    assert "  missing: 1 (Yd_0_10)" in said
    text(base / "metadata/train/weak.tsv", *tabs("filename | event_labels", "Yc_0_10.wav | Speech,Bird"))
    with pytest.raises(FormatError, match=r"weak\.tsv:2: got the label 'Bird', expected one of Alarm_bell"):
        make("desed-weak")
    with pytest.raises(
        FormatError, match=r"got no metadata/validation/synthetic21_validation/soundscapes\.tsv"
    ):
        make("desed", "--part", "synthetic-validation")


def test_audioset_strong(tmp_path, make):
    corpora.audioset(tmp_path / "data")
    items, said = make("audioset-strong", "--part", "eval", "--exhaustive")
    found = items[f"Y{DASH}"]
    horn, man = "Vehicle horn, car horn, honking, toot", "Male speech, man speaking"
    assert found.events == (Event(0, 4, man), Event(3.5, 6, man), Event(9, 10, horn))
    assert (found.exhaustive, found.negatives) == (True, ())
    assert items[f"{corpora.OTHER}_0"].events == (Event(2, 3, "Clink, chink"),)
    # every label that has a name counts, also the one no training clip has
    assert items["abcdefghij1_10.000_20.000"].events == (Event(1, 2, "Bass (instrument role)"),)
    assert any(line.startswith("  missing: 2 (lostlostlos_40000, whole_video_12000)") for line in said)
    rows = tabs(corpora.AUDIOSET, "zz_z_1000 | 0 | 1 | /m/018vs", "zz_z_1000 | 0 | 1 | /m/0elsewhere")
    text(tmp_path / "data/audioset_train_strong.tsv", *rows)
    sound(tmp_path / "data/audio/train/zz_z_1000.wav")
    items, said = make("audioset-strong")
    assert list(items) == ["zz_z_1000"]
    assert items["zz_z_1000"].events == (Event(0, 1, "Bass (instrument role)"),)
    assert "  events left out whose label has no display name: 1, of 1 labels" in said
    (tmp_path / "data/mid_to_display_name.tsv").unlink()
    with pytest.raises(FormatError, match=r"got no mid_to_display_name\.tsv in it"):
        make("audioset-strong")


def test_urbansed(tmp_path, make):
    corpora.urbansed(tmp_path / "data")
    items, said = make("urbansed", "--part", "test")
    name = "soundscape_test_bimodal"
    assert {key: item.events for key, item in items.items()} == {
        f"{name}0": (Event(0.5, 2.5, "siren"), Event(2, 4, "siren"), Event(8, 10, "dog_bark")),
        f"{name}1": (Event(1.25, 3.25, "gun_shot"),),
        f"{name}2": (),
    }
    assert items[f"{name}2"].negatives == tuple(prompts.URBANSED)
    assert items[f"{name}1"].licence == "CC BY 4.0"
    assert f"  missing: 1 ({name}3)" in said
    with pytest.raises(FormatError, match="got no annotations/train in it"):
        make("urbansed")


def test_maestro(tmp_path, make):
    corpora.maestro(tmp_path / "data")
    items, _ = make("maestro")
    cafe = items["cafe_restaurant_00"]
    assert cafe.duration == 12.5
    assert cafe.events == (
        Event(0, 2, "people talking"),
        Event(3, 4, "people talking"),
        Event(12, 12.5, "cutlery and dishes"),
    )
    assert set(cafe.negatives) == set(maestro.SCORED) - {"people talking", "cutlery and dishes"}
    assert items["residential_area_03"].events == (Event(0, 1, "birds_singing"),)


def test_dcase(tmp_path, make):
    corpora.folder(tmp_path / "data")
    items, said = make("dcase")
    assert {name: (item.events, item.negatives) for name, item in items.items()} == {
        "a, b": ((Event(0.5, 1, "dog_barking"),), ()),
        "c": ((Event(0, 4, "rain"),), ()),
        "e": ((Event(0, 1, "rain"),), ()),
        "silent": ((), ()),
    }
    assert any(line.startswith("  audio files left out that the metadata does not name: 1") for line in said)


def test_audacity(tmp_path, make):
    data = tmp_path / "data"
    for name in ("street.wav", "deep/yard.flac", "nobody.wav"):
        sound(data / name, 3.0)
    formats.save(data / "street.txt", {"street.wav": [Event(0.5, 1, "dog"), Event(2, 5, "dog")]})
    text(data / "labels/yard.txt")
    text(data / "gone.txt", *tabs("0 | 1 | x"))
    formats.save(data / "deep/yard.selections.txt", {"yard": []})
    items, said = make("audacity")
    assert {name: item.events for name, item in items.items()} == {
        "street": (Event(0.5, 1, "dog"), Event(2, 3, "dog")),
        "yard": (),
    }
    assert "  missing: 1 (gone)" in said
    assert "  true events cut that reach beyond their clip's end: 1" in said
    items, _ = make("audacity", source="data/street.txt")
    assert list(items) == ["street"]
    text(data / "readme.txt", "hello")
    with pytest.raises(FormatError, match=r"readme\.txt:1: got 1 cells, expected start, end, label"):
        make("audacity")


def test_raven(tmp_path, make):
    data = tmp_path / "data"
    for name in ("day 1.wav", "sub/day 2.wav", "night.flac", "quiet.wav"):
        sound(data / name, 4.0)
    events = {"day 1.wav": [Event(1, 2, "wren")], "gone.wav": [], "sub/day 2.wav": [Event(0.5, 1.5, "crow")]}
    lengths = {"durations": dict.fromkeys(events, 4.0)}
    formats.save(data / "both.selections.txt", events, meta=lengths)
    head = "Selection | View | Begin Time (s) | End Time (s) | Begin Path | Begin File | Species"
    # Raven names the file of the machine it ran on; a second table of the same recording adds to the first
    rows = tabs(head, r"1 | Spectrogram 1 | 3 | 4 | D:\field\day 1.wav | day 1.wav | owl")
    text(data / "tables/day 1.Table.2.selections.txt", *rows)
    text(data / "night.Table.1.selections.txt", *tabs(head))
    text(data / "quiet.selections.txt", *tabs("Begin Time (s) | End Time (s) | Annotation"))
    items, _ = make("raven", "--exhaustive")
    assert {name: item.events for name, item in items.items()} == {
        "day 1": (Event(1, 2, "wren"), Event(3, 4, "owl")),
        "day 2": (Event(0.5, 1.5, "crow"),),
        "night": (),
        "quiet": (),
    }
    assert all(item.exhaustive for item in items.values())


def test_jams(tmp_path, make):
    data = tmp_path / "data"
    for name in ("a.wav", "b.wav", "c.wav"):
        sound(data / name, 2.0)

    def part(namespace, *rows):
        keys = ("time", "duration", "value", "confidence")
        return {"namespace": namespace, "data": [dict(zip(keys, row, strict=True)) for row in rows]}

    scene = part(
        "scaper",
        (0, 2, {"label": "park", "role": "background"}, 1),
        (0.5, 9, {"label": "dog", "role": "foreground"}, 1),
    )
    tags = part("tag_open", (0, 0, "dog", 1), (0, 2, "rain", 1), (0, 2, "rain", 0.5))
    text(data / "a.jams", json.dumps({"annotations": [scene, tags]}))
    formats.save(data / "other name.jams", {"b.wav": [Event(0.1, 0.2, "cat", 0.75)]})
    formats.save(data / "c.jams", {"c.wav": []})
    items, _ = make("jams")
    assert {name: (item.events, item.weak) for name, item in items.items()} == {
        "a": ((Event(0.5, 2, "dog"),), ("rain",)),
        "b": ((Event(0.1, 0.2, "cat"),), ()),
        "c": ((), ()),
    }
    text(data / "c.jams", "{")
    with pytest.raises(FormatError, match=r"c\.jams:2: not JSON"):
        make("jams")


def test_folders(tmp_path, make):
    data = tmp_path / "data"
    for name in ("dog barking/1.wav", "dog barking/more/2.ogg", "rain/3.flac", "loose.wav"):
        sound(data / name, 1.5)
    text(data / "rain/broken.wav", "no sound")
    (data / "empty").mkdir()
    items, said = make("folders", "--split", "few", "--licence", "mine")
    assert {name: (item.weak, item.duration) for name, item in items.items()} == {
        "1": (("dog barking",), 1.5),
        "2": (("dog barking",), 1.5),
        "3": (("rain",), 1.5),
    }
    assert {(item.split, item.licence, item.source) for item in items.values()} == {
        ("few", "mine", "folders")
    }
    assert said[:3] == [
        "  audio files left out that are in no label's folder: 1",
        "  files left out that cannot be read: 1",
        "  missing: 1 (rain/broken.wav)",
    ]
    items, _ = make("folders", "--whole")
    assert (items["3"].events, items["3"].weak) == ((Event(0, 1.5, "rain"),), ())
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[-1])
    assert row["audio"] == "data/rain/3.flac"  # so that the folder can be moved as a whole


def test_what_is_refused(tmp_path, make):
    (tmp_path / "data").mkdir()
    for kind in SOURCES:
        with pytest.raises(FormatError, match="got no"):
            make(kind)
    for kind in ("maestro", "jams", "folders"):
        with pytest.raises(OptionError, match="got the part 'x', expected none: this kind has no parts"):
            make(kind, "--part", "x")
    with pytest.raises(OptionError, match="got the part 'x', expected one of train, validate, test"):
        make("urbansed", "--part", "x")
    with pytest.raises(OptionError, match="got the split ' ', expected a name"):
        make("folders", "--split", " ")
    text(tmp_path / "a.tsv")
    for name in ("a.tsv", "missing"):
        with pytest.raises(OptionError, match="expected a folder for --kind dcase"):
            make("dcase", source=name)
    text(tmp_path / "data/x.jams", '{"annotations": []}')
    with pytest.raises(FormatError, match="none of the 1 recordings in the metadata is there"):
        make("jams")
    assert not (tmp_path / "out.jsonl").exists()


def test_as_a_command(tmp_path):
    sound(tmp_path / "data/rain/a.wav", 1.0)
    command = [
        sys.executable,
        "-m",
        "peaframe.recipes.make_manifest",
        "--kind",
        "folders",
        "--out",
        "m.jsonl",
    ]
    done = subprocess.run([*command, "data"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "m.jsonl: 1 items (train 1), 0.00 h",
        "0 events, 1 labels",
        "  rain: 0 events, 0.0 s; weak in 1, absent from 0",
    ]
    done = subprocess.run([*command, "gone"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "peaframe: error: got the source gone, expected a folder for --kind folders\n"
