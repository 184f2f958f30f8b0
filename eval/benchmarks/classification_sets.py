"""Corpora of clips with a label each: VGGSound, ESC-50, UrbanSound8K, GTZAN, NSynth, Kinetics-400, UCF101, HMDB51.

Media may lie anywhere below the folder. The tables, as they circulate (what more than one public loader reads is marked
*, the rest is from memory and could not be verified):

- vggsound: `vggsound.csv` without a header: YouTube id*, start in s*, label*, split*; 15 446 clips of the split `test`.
  Files are `<id>_<start>`, the start in six digits* or as it stands, or `<id>_<start>_<end>` in ms*.
- esc50: `meta/esc50.csv` with filename, fold, target, category; 2000 clips in 5 folds.
- urbansound8k: `metadata/UrbanSound8K.csv` with slice_file_name, fold, class; 8732 clips in 10 folds.
- gtzan: no table, files `<genre>.<number>.wav`; 1000 pieces, of which `jazz.00054` cannot be read in some copies.
- nsynth: `examples.json` of the test set, note -> instrument_family_str*; 4096 notes of 4 s.
- kinetics400: `val.csv` with label*, youtube_id*, time_start*, time_end*; what it names, for videos vanish. Files are
  `<id>_<start>_<end>` in six digits*.
- ucf101: `testlist01.txt` to `03`, lines `<class>/<video>.avi`*; 11 213 videos in three splits.
- hmdb51: `<class>_test_split<1-3>.txt`, lines of a video and 0, 1 or 2, where 2 is the test part*; 1530 videos a split.

Labels that are scored are those of the table. With folds the headline is the mean of theirs. How PE-AV words labels is
not published; the templates in `templates.json` are ours.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from peaframe.errors import FormatError
from peaframe.eval.benchmarks.clip_rows import read_csv, read_lines, read_object, table_in, whole
from peaframe.eval.benchmarks.clip_sets import ClipBenchmark, Clips, Finding, gather, templates

__all__ = ["CLASSIFICATION"]

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
VGGSOUND_CLIPS, ESC50_CLIPS, URBANSOUND_CLIPS, GTZAN_CLIPS, NSYNTH_CLIPS = 15_446, 2000, 8732, 1000, 4096
UCF101_CLIPS = 3783 + 3734 + 3696
SPLITS = (1, 2, 3)


def load_vggsound(data: Path) -> Clips:
    """Find VGGSound's test clips.

    Raises:
        FormatError: The table is missing or malformed, or none of its clips is there.
    """
    named = Finding()
    table = table_in(data, "VGGSound", "vggsound.csv", "data/vggsound.csv", "metadata/vggsound.csv")
    for where, row in read_csv(table, ("id", "start", "label", "split"), header=False):
        if row["split"] != "test":
            continue
        start = whole(row["start"], where)
        ms = f"{row['id']}_{start * 1000}_{(start + 10) * 1000}"
        names = (f"{row['id']}_{start:06d}", f"{row['id']}_{start}", ms, row["id"])
        named.add(f"{row['id']}_{start}" if row["id"] else "", row["label"], where, names)
    return gather(data, named, ("audio", "video"), VGGSOUND_CLIPS)


def load_esc50(data: Path) -> Clips:
    """Find ESC-50's clips; errors as `load_vggsound`."""
    named = Finding()
    table = table_in(data, "ESC-50", "meta/esc50.csv", "esc50.csv", "ESC-50-master/meta/esc50.csv")
    for where, row in read_csv(table, ("filename", "fold", "category")):
        clip = os.path.splitext(row["filename"])[0]
        named.add(clip, row["category"], where, fold=f"fold {row['fold']}")
    return gather(data, named, ("audio",), ESC50_CLIPS)


def load_urbansound8k(data: Path) -> Clips:
    """Find UrbanSound8K's clips; errors as `load_vggsound`."""
    named = Finding()
    name = "metadata/UrbanSound8K.csv"
    table = table_in(data, "UrbanSound8K", name, "UrbanSound8K.csv", f"UrbanSound8K/{name}")
    for where, row in read_csv(table, ("slice_file_name", "fold", "class")):
        clip = os.path.splitext(row["slice_file_name"])[0]
        named.add(clip, row["class"], where, fold=f"fold {whole(row['fold'], where):02d}")
    return gather(data, named, ("audio",), URBANSOUND_CLIPS)


def load_gtzan(data: Path) -> Clips:
    """Find GTZAN's pieces: the files there are, and up to a hundred of each genre; errors as `load_vggsound`."""
    if not data.is_dir():
        raise FormatError(f"{data}: is not a folder; give the one that holds GTZAN")
    named = Finding()
    for genre in GENRES:
        for number in range(GTZAN_CLIPS // len(GENRES)):
            clip = f"{genre}.{number:05d}"
            named.add(clip, genre, clip)
    return gather(data, named, ("audio",), GTZAN_CLIPS)


def load_nsynth(data: Path) -> Clips:
    """Find the notes of NSynth's test set; errors as `load_vggsound`."""
    named = Finding()
    table = table_in(data, "NSynth's test set", "examples.json", "nsynth-test/examples.json")
    for where, note, family in read_object(table, "notes", "instrument_family_str", str, "one"):
        named.add(note, family, where)
    return gather(data, named, ("audio",), NSYNTH_CLIPS)


def load_kinetics400(data: Path) -> Clips:
    """Find Kinetics-400's validation clips; errors as `load_vggsound`."""
    named = Finding()
    table = table_in(
        data, "Kinetics-400", "val.csv", "annotations/val.csv", "kinetics400/validate.csv", "validate.csv"
    )
    for where, row in read_csv(table, ("label", "youtube_id", "time_start", "time_end")):
        video = row["youtube_id"]
        start, end = whole(row["time_start"], where), whole(row["time_end"], where)
        stems = (f"{video}_{start:06d}_{end:06d}", f"{video}_{start}_{end}", f"{video}_{start:06d}", video)
        named.add(f"{video}_{start}" if video else "", row["label"], where, stems)
    return gather(data, named, ("audio", "video"), None)


def load_ucf101(data: Path) -> Clips:
    """Find the test videos of UCF101's three splits; errors as `load_vggsound`."""
    named = Finding()
    folders = ("", "ucfTrainTestlist/", "splits_classification/", "annotations/")
    for split in SPLITS:
        table = table_in(data, "UCF101", *(f"{folder}testlist{split:02d}.txt" for folder in folders))
        for where, line in read_lines(table):
            label, _, video = line.partition("/")
            named.add(os.path.splitext(video)[0], label, where, fold=f"split {split}")
    return gather(data, _once(named), ("video",), UCF101_CLIPS)


def load_hmdb51(data: Path) -> Clips:
    """Find the test videos of HMDB51's three splits; errors as `load_vggsound`."""
    named = Finding()
    name = "testTrainMulti_7030_splits"
    folder = next(
        (one for one in (data / name, data / "splits", data / "splits" / name, data) if _split(one)), None
    )
    if folder is None:
        raise FormatError(
            f"{data}: got no {name}/<class>_test_split1.txt in it; expected the folder of HMDB51"
        )
    for table in sorted(folder.glob("*_test_split[123].txt")):
        label, split = table.stem[: -len("_test_split1")], table.stem[-1]
        for where, line in read_lines(table):
            video, _, part = line.rpartition(" ")
            if part not in ("0", "1", "2"):
                raise FormatError(f"{where}: got {line!r}, expected a video and 0, 1 or 2")
            if part == "2":
                named.add(os.path.splitext(video.strip())[0], label, where, fold=f"split {split}")
    return gather(data, _once(named), ("video",), None)


def _split(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob("*_test_split1.txt"), None) is not None


def _once(named: Finding) -> Finding:
    """Clips that several splits name, with their label once."""
    named.texts = {clip: list(dict.fromkeys(own)) for clip, own in named.texts.items()}
    return named


def _spaced(label: str) -> str:
    return label.replace("_", " ")


def _split_words(label: str) -> str:
    """`ApplyEyeMakeup` -> `apply eye makeup`; capitals that stand together, as in `YoYo` or `TaiChi`, part too."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", label)).lower()


def _genre(label: str) -> str:
    return "hip hop" if label == "hiphop" else label


def _family(label: str) -> str:
    return {"synth_lead": "lead synthesizer", "vocal": "singing voice", "reed": "reed instrument"}.get(
        label,
        {"brass": "brass instrument", "string": "string instrument", "mallet": "mallet instrument"}.get(
            label, label
        ),
    )


_benchmark = partial(ClipBenchmark, media=("audio",), headline="audio_top1", labels=_spaced)
CLASSIFICATION = (
    _benchmark(
        name="vggsound",
        description="VGGSound, test: 309 sounds and pictures, one label each of 15 446 clips",
        source="https://www.robots.ox.ac.uk/~vgg/data/vggsound/",
        licence="media: of their YouTube uploaders; labels: CC BY 4.0",
        recordings=VGGSOUND_CLIPS,
        load=load_vggsound,
        media=("audio", "video"),
        templates=templates("vggsound"),
    ),
    _benchmark(
        name="esc50",
        description="ESC-50: 50 everyday sounds, 2000 clips of 5 s in 5 folds",
        source="https://github.com/karolpiczak/ESC-50",
        licence="CC BY-NC 3.0",
        recordings=ESC50_CLIPS,
        load=load_esc50,
        templates=templates("esc50"),
    ),
    _benchmark(
        name="urbansound8k",
        description="UrbanSound8K: 10 city sounds, 8732 clips of up to 4 s in 10 folds",
        source="https://urbansounddataset.weebly.com/urbansound8k.html",
        licence="CC BY-NC 3.0",
        recordings=URBANSOUND_CLIPS,
        load=load_urbansound8k,
        templates=templates("urbansound8k"),
    ),
    _benchmark(
        name="gtzan",
        description="GTZAN: 10 genres of music, 1000 pieces of 30 s",
        source="http://marsyas.info/downloads/datasets.html",
        licence="not stated; for research",
        recordings=GTZAN_CLIPS,
        load=load_gtzan,
        labels=_genre,
        templates=templates("gtzan"),
    ),
    _benchmark(
        name="nsynth",
        description="NSynth, test: the instrument family of 4096 notes",
        source="https://magenta.tensorflow.org/datasets/nsynth",
        licence="CC BY 4.0",
        recordings=NSYNTH_CLIPS,
        load=load_nsynth,
        labels=_family,
        templates=templates("nsynth"),
    ),
    _benchmark(
        name="kinetics400",
        description="Kinetics-400, validation: 400 actions in clips of 10 s",
        source="https://github.com/cvdfoundation/kinetics-dataset",
        licence="media: of their YouTube uploaders; labels: CC BY 4.0",
        recordings=None,
        load=load_kinetics400,
        media=("audio", "video"),
        headline="video_top1",
        templates=templates("kinetics400"),
    ),
    _benchmark(
        name="ucf101",
        description="UCF101: 101 actions, the test videos of three splits",
        source="https://www.crcv.ucf.edu/data/UCF101.php",
        licence="not stated; for research",
        recordings=UCF101_CLIPS,
        load=load_ucf101,
        media=("video",),
        headline="video_top1",
        labels=_split_words,
        templates=templates("ucf101"),
    ),
    _benchmark(
        name="hmdb51",
        description="HMDB51: 51 actions, the test videos of three splits",
        source="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        licence="CC BY 4.0",
        recordings=None,
        load=load_hmdb51,
        media=("video",),
        headline="video_top1",
        templates=templates("hmdb51"),
    ),
)
