"""`peaframe convert`: files of events into other files; what is left out is said, what is there is kept."""

import json

import numpy as np
import pytest
import soundfile

from peaframe import formats
from peaframe.cli.convert import EXAMPLES
from peaframe.events import Event

STREET = [Event(0.5, 1.25, "dog barking", 0.9), Event(1, 2, "dog barking", 0.8)]
EVENTS = {"x/street.wav": STREET, "yard.flac": [Event(3, 4, "a siren")], "quiet.wav": []}
ROWS = """\
filename,onset,offset,event_label,score
x/street.wav,0.500,1.250,dog barking,0.9000
x/street.wav,1.000,2.000,dog barking,0.8000
yard.flac,3.000,4.000,a siren,
quiet.wav,,,,
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a table in it, and nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "found.csv").write_text(ROWS)
    return tmp_path


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def done(ran, said, left_out=""):
    assert (ran.code, ran.out, ran.err) == (0, said + "\n", left_out and left_out + "\n")


def refused(ran, *parts):
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    assert [part for part in parts if part not in line] == []


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_there_and_back_nothing_is_lost(run, here, suffix):
    done(run("convert", "found.csv", f"a.{suffix}"), f"a.{suffix}: 3 recordings, 3 events (csv to {suffix})")
    assert formats.load(f"a.{suffix}") == EVENTS
    done(run("convert", f"a.{suffix}", "b.csv"), f"b.csv: 3 recordings, 3 events ({suffix} to csv)")
    assert (here / "b.csv").read_text() == ROWS


def test_what_is_left_out_is_said(run, here):
    ran = run("convert", "found.csv", "found.tsv")
    done(ran, "found.tsv: 3 recordings, 3 events (csv to tsv)", "tsv leaves out 2 scores")
    formats.save("made.json", {"a.wav": [Event(0, 1, "x", 0.5)], "b.wav": []}, meta={"model": "mini"})
    ran = run("convert", "made.json", "made.csv")
    done(ran, "made.csv: 2 recordings, 1 event (json to csv)", "csv leaves out how the events were made")
    done(run("convert", "made.json", "made.jsonl"), "made.jsonl: 2 recordings, 1 event (json to jsonl)")
    assert formats.meta_of((here / "made.jsonl").read_bytes(), "jsonl") == {"model": "mini"}
    formats.save("one.csv", {"only.wav": [Event(0, 1, "x", 0.5)]})
    ran = run("convert", "one.csv", "labels.txt")
    said = "labels.txt: 1 recording, 1 event (csv to audacity)"
    done(ran, said, "audacity leaves out 1 score, 1 name of recordings")


def test_a_folder_of_files_and_back(run, here):
    ran = run("convert", "found.csv", "labels", "--to", "audacity")
    left_out = "audacity leaves out 2 scores, 3 names of recordings"
    done(ran, "labels: 3 files, 3 recordings, 3 events (csv to audacity)", left_out)
    assert files(here / "labels") == ["quiet.txt", "x/street.txt", "yard.txt"]
    assert (here / "labels/x/street.txt").read_text() == (
        "0.500000\t1.250000\tdog barking\n1.000000\t2.000000\tdog barking\n"
    )
    (here / "labels/.hidden.txt").write_text("no labels")
    (here / "labels/notes.md").write_text("no labels")
    done(run("convert", "labels", "all.tsv"), "all.tsv: 3 recordings, 3 events (audacity to tsv)")
    assert formats.load("all.tsv") == {
        "quiet": [],
        "yard": [Event(3, 4, "a siren")],
        "street": [Event(0.5, 1.25, "dog barking"), Event(1, 2, "dog barking")],
    }


@pytest.mark.parametrize("out", ["there", "new/"])
def test_a_folder_takes_a_file_for_each_recording_in_any_format(run, here, out):
    (here / "there").mkdir()
    done(
        run("convert", "found.csv", out, "--to", "json"),
        f"{out}: 3 files, 3 recordings, 3 events (csv to json)",
    )
    assert formats.load(here / out / "x/street.json") == {"x/street.wav": STREET}
    done(run("convert", out, "all.csv"), "all.csv: 3 recordings, 3 events (json to csv)")
    assert formats.load("all.csv") == EVENTS


def test_files_of_one_stem_keep_their_suffix(run, here):
    formats.save("two.tsv", {"a.wav": [Event(0, 1, "x")], "a.flac": [], "/deep/b.wav": [], "../c.wav": []})
    run("convert", "two.tsv", "out", "--to", "audacity")
    assert files(here / "out") == ["a.flac.txt", "a.wav.txt", "b.txt", "c.txt"]
    formats.save("two.tsv", {"/x/a.wav": [], "/y/a.wav": []})
    refused(run("convert", "two.tsv", "o2", "--to", "audacity"), "'/x/a.wav' and '/y/a.wav'", "rename one")
    for name in ("..", "/"):
        formats.save("two.tsv", {name: []})
        refused(run("convert", "two.tsv", "o2", "--to", "jams"), f"{name!r} cannot be the name of a file")
    assert not (here / "o2").exists()


def test_how_events_were_made_is_kept_where_all_files_say_the_same(run, here):
    for name, model in (("a", "mini"), ("b", "mini"), ("c", "base")):
        formats.save(f"{name}.json", {name: []}, meta={"model": model, "durations": {name: 2.5}})
        (here / f"{model}s").mkdir(exist_ok=True)
        (here / f"{name}.json").rename(here / f"{model}s/{name}.json")
    run("convert", "minis", "all.jsonl")
    meta = {"model": "mini", "durations": {"a": 2.5, "b": 2.5}}
    assert formats.meta_of((here / "all.jsonl").read_bytes(), "jsonl") == meta
    run("convert", "all.jsonl", "single/", "--to", "json")
    assert json.loads((here / "single/b.json").read_text())["meta"]["durations"] == {"b": 2.5}
    (here / "minis").rename(here / "bases/minis")
    run("convert", "bases", "mixed.jsonl")
    lengths = {"durations": {"a": 2.5, "b": 2.5, "c": 2.5}}
    assert formats.meta_of((here / "mixed.jsonl").read_bytes(), "jsonl") == lengths


def test_lengths_come_from_the_recordings(run, here):
    refused(
        run("convert", "found.csv", "all.selections.txt"), "length of 'x/street.wav'", "3 of 3", "--audio DIR"
    )
    refused(
        run("convert", "found.csv", "all.selections.txt", "--audio", "sound"), "--audio sound: no such folder"
    )
    for name, seconds in (("x/street.wav", 2.5), ("deep/yard.flac", 4), ("quiet.ogg", 1)):
        (here / "sound" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(here / "sound" / name, np.zeros(round(8000 * seconds)), 8000)
    ran = run("convert", "found.csv", "all.selections.txt", "--audio", "sound")
    refused(ran, "--audio sound: holds no recording 'quiet.wav'")
    soundfile.write(here / "sound/quiet.wav", np.zeros(800), 8000)
    ran = run("convert", "found.csv", "all.selections.txt", "--audio", "sound")
    said = "all.selections.txt: 3 recordings, 3 events (csv to raven)"
    done(ran, said, "raven leaves out 1 recording without events")
    begins = [line.split("\t")[3] for line in (here / "all.selections.txt").read_text().splitlines()[1:]]
    assert begins == ["0.500000", "1.000000", "5.500000"]
    (here / "labels").mkdir()
    (here / "labels/street.txt").write_text("0\t1\tx\n")
    run("convert", "labels", "street.jams", "--from", "audacity", "--audio", "sound")
    assert json.loads((here / "street.jams").read_text())["file_metadata"]["duration"] == 2.5
    soundfile.write(here / "sound/street.flac", np.zeros(800), 8000)
    ran = run("convert", "labels", "two.jams", "--from", "audacity", "--audio", "sound")
    refused(ran, "holds 2 recordings that may be 'street'")


def test_nothing_is_replaced_unless_asked(run, here):
    (here / "found.tsv").write_text("mine")
    refused(run("convert", "found.csv", "found.tsv"), "found.tsv: is there already", "--overwrite")
    assert (here / "found.tsv").read_text() == "mine"
    assert run("convert", "found.csv", "found.tsv", "--overwrite").code == 0
    assert formats.load("found.tsv").keys() == EVENTS.keys()
    refused(run("convert", "found.csv", "./found.csv", "--overwrite"), "is read and cannot be written")
    (here / "labels").mkdir()
    (here / "labels/yard.txt").write_text("mine")
    refused(run("convert", "found.csv", "labels", "--to", "audacity"), "labels/yard.txt: is there already")
    assert files(here / "labels") == ["yard.txt"]
    assert (here / "found.csv").read_text() == ROWS


def test_what_is_refused_leaves_nothing_behind(run, here):
    formats.save("odd.json", {"a.wav": [Event(0, 1, "x")], "b.wav": [Event(0, 1, "two\nlines")]})
    refused(run("convert", "odd.json", "out", "--to", "audacity"), "audacity cannot hold 'two\\nlines'")
    refused(run("convert", "odd.json", "out.jams"), "out.jams: jams holds one recording, got 2", "OUT/")
    refused(run("convert", "found.csv", "out.xyz"), "no format has the suffix '.xyz'")
    refused(run("convert", "found.csv", "missing/out.tsv"), "missing/out.tsv: cannot be written")
    refused(run("convert", "found.csv", "found.csv/", "--to", "jams"), "found.csv", "cannot be made")
    refused(run("convert", "found.csv", "."), "is a folder; say with --to")
    refused(run("convert", "none.csv", "out.tsv"), "none.csv: no such file or folder")
    refused(run("convert", "found.csv", "out.tsv", "--from", "json"), "found.csv:1: not JSON")
    refused(run("convert", "found.csv", "out.tsv", "--to", "xml"), "argument --to: invalid choice: 'xml'")
    refused(run("convert", ".", "out.tsv"), "holds files of csv, json; choose with --from")
    refused(run("convert", ".", "out.tsv", "--from", "raven"), "holds no files of raven (.selections.txt)")
    assert files(here) == ["found.csv", "odd.json"]


def test_two_files_about_one_recording_are_not_joined(run, here):
    (here / "more").mkdir()
    formats.save("more/again.csv", {"yard.flac": []})
    ran = run("convert", ".", "all.tsv", "--from", "csv")
    refused(ran, "more/again.csv: has the recording 'yard.flac', as found.csv has")


def test_no_events_and_no_recordings_are_fine(run, here):
    (here / "none.csv").write_text(ROWS.splitlines()[0] + "\n")
    done(run("convert", "none.csv", "none.parquet"), "none.parquet: 0 recordings, 0 events (csv to parquet)")
    assert formats.load("none.parquet") == {}
    done(
        run("convert", "none.csv", "no", "--to", "jams"), "no: 0 files, 0 recordings, 0 events (csv to jams)"
    )


def test_help_names_every_format(shell):
    ran = shell("convert", "--help")
    assert (ran.code, ran.err) == (0, "")
    assert EXAMPLES in ran.out
    assert f"formats: {', '.join(formats.names())}\n" in ran.out


@pytest.mark.parametrize("target", formats.names())
@pytest.mark.parametrize("source", formats.names())
def test_any_format_into_any_other(run, here, source, target):
    formats.save("in.x", {"street": [Event(0.5, 1.25, "dog barking")]}, source)
    ran = run("convert", "in.x", "out.x", "--from", source, "--to", target)
    assert ran.code == 0, ran.err
    ((event,),) = formats.load("out.x", target).values()
    assert event == Event(0.5, 1.25, "dog barking", event.score)
