"""Corpora of clips with captions: AudioCaps, Clotho, VALOR, VCTK, MSR-VTT, ActivityNet, DiDeMo.

Media may lie anywhere below the folder; a clip's sound is taken from a file of sound if there is one, else from its
video. The tables, as they circulate (columns and keys that more than one public loader reads are marked *, the others
are from memory and could not be verified):

- audiocaps: `test.csv` with audiocap_id*, youtube_id*, start_time*, caption*; five rows a clip, 975 clips. Files are
  `<youtube_id>_<start>*` or `<youtube_id>`, with or without a `Y` in front, or `_<start>_<end>` in s or ms.
- clotho: `clotho_captions_evaluation.csv` with file_name*, caption_1* to caption_5*; 1045 clips. Of files that have one
  name the one below `evaluation/` is taken.
- valor: `desc_test.json`, a list of video_id*, desc*; 3500 clips called `<video_id>`.
- vctk: `txt/<speaker>/<utterance>.txt`, a transcript each*; files `<utterance>_mic1`* (0.92) or `<utterance>` (0.80).
- msrvtt: `MSRVTT_JSFUSION_test.csv` ("1k-A") with key*, vid_key*, video_id*, sentence*; 1000 clips called `<video_id>`.
- activitynet: `val_1.json`, video id -> sentences, timestamps, duration; 4917 videos called `v_...`, as the table does.
- didemo: `test_data.json`, a list of video*, description*, times*; about 1004 videos, `<video>` with any suffix.

ActivityNet and DiDeMo are paragraph retrieval: all sentences of a video, in the order of the table, are one text, and
the video is taken whole. What subset of VCTK PE-AV was measured on is not published; here it is all that is there, and
the transcripts that many speakers read are one candidate that belongs to all of them (our choice).
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from peaframe.eval.benchmarks.clip_rows import read_csv, read_list, read_object, read_text, table_in, whole
from peaframe.eval.benchmarks.clip_sets import ClipBenchmark, Clips, Finding, gather

__all__ = ["RETRIEVAL"]

BOTH = ("audio", "video")
AUDIOCAPS_CLIPS, CLOTHO_CLIPS, VALOR_CLIPS, MSRVTT_CLIPS, ACTIVITYNET_CLIPS = 975, 1045, 3500, 1000, 4917
CLIP_SECONDS = 10


def load_audiocaps(data: Path) -> Clips:
    """Find AudioCaps' test clips.

    Raises:
        FormatError: The table is missing or malformed, or none of its clips is there.
    """
    table = table_in(
        data, "AudioCaps", "test.csv", "dataset/test.csv", "audiocaps/test.csv", "audiocaps_test.csv"
    )
    named = Finding()
    for where, row in read_csv(table, ("youtube_id", "start_time", "caption")):
        video, begin = row["youtube_id"], whole(row["start_time"], where, "the start ", "seconds")
        end = begin + CLIP_SECONDS
        names = (
            f"{video}_{begin}",
            f"{video}_{begin}_{end}",
            f"{video}_{begin}.000_{end}.000",
            f"{video}_{begin}.000",
            f"{video}_{begin * 1000}_{end * 1000}",
            video,
        )
        stems = [prefix + name for name in names for prefix in ("", "Y")]
        named.add(f"{video}_{begin}" if video else "", row["caption"], where, stems)
    return gather(data, named, BOTH, AUDIOCAPS_CLIPS)


def load_clotho(data: Path) -> Clips:
    """Find Clotho v2's evaluation clips; errors as `load_audiocaps`."""
    name = "clotho_captions_evaluation.csv"
    captions = [f"caption_{i}" for i in range(1, 6)]
    named = Finding()
    for where, row in read_csv(
        table_in(data, "Clotho v2", name, f"metadata/{name}"), ("file_name", *captions)
    ):
        clip = os.path.splitext(row["file_name"])[0]
        for caption in captions:
            named.add(clip, row[caption], where, [clip, clip.strip()])
    return gather(data, named, ("audio",), CLOTHO_CLIPS, wanted="evaluation")


def load_valor(data: Path) -> Clips:
    """Find VALOR-32K's test clips; errors as `load_audiocaps`."""
    name = "desc_test.json"
    folders = ("", "VALOR-32K-annotations/", "valor-32k-annotations/", "annotations/")
    table = table_in(data, "VALOR-32K", *(folder + name for folder in folders))
    named = Finding()
    for where, video, text in read_list(table, ("video_id", "desc")):
        named.add(video, text, where)
    return gather(data, named, BOTH, VALOR_CLIPS)


def load_vctk(data: Path) -> Clips:
    """Find VCTK's utterances and transcripts; errors as `load_audiocaps`."""
    folder = table_in(data, "VCTK", "txt", "VCTK-Corpus-0.92/txt", "VCTK-Corpus/txt")
    named = Finding()
    for path in sorted(folder.glob("*/*.txt")):
        stems = [f"{path.stem}_mic1", path.stem, f"{path.stem}_mic2"]
        named.add(path.stem, read_text(path), str(path), stems)
    return gather(data, named, ("audio",), None)


def load_msrvtt(data: Path) -> Clips:
    """Find MSR-VTT's 1000 clips of the split "1k-A"; errors as `load_audiocaps`."""
    name = "MSRVTT_JSFUSION_test.csv"
    named = Finding()
    table = table_in(data, "MSR-VTT", name, f"msrvtt_data/{name}", f"annotation/{name}")
    for where, row in read_csv(table, ("video_id", "sentence")):
        named.add(row["video_id"], row["sentence"], where)
    return gather(data, named, BOTH, MSRVTT_CLIPS)


def load_activitynet(data: Path) -> Clips:
    """Find ActivityNet's videos of `val_1`, each with its paragraph; errors as `load_audiocaps`."""
    table = table_in(
        data, "ActivityNet Captions", "val_1.json", "captions/val_1.json", "annotations/val_1.json"
    )
    named = Finding()
    for where, video, sentences in read_object(table, "videos", "sentences", list, "a list of them"):
        named.add(video, " ".join(map(str, sentences)), where, [video, video.removeprefix("v_")])
    return gather(data, named, BOTH, ACTIVITYNET_CLIPS)


def load_didemo(data: Path) -> Clips:
    """Find DiDeMo's test videos, each with its paragraph; errors as `load_audiocaps`."""
    table = table_in(data, "DiDeMo", "test_data.json", "data/test_data.json", "annotations/test_data.json")
    named, paragraphs, names = Finding(), dict[str, list[str]](), dict[str, str]()
    for _, video, text in read_list(table, ("video", "description")):
        clip = os.path.splitext(video)[0]
        paragraphs.setdefault(clip, []).append(text)
        names.setdefault(clip, video)
    # public copies keep the whole name and put their own suffix behind it
    for clip, sentences in paragraphs.items():
        named.add(clip, " ".join(sentences), str(table), [clip, names[clip]])
    return gather(data, named, BOTH, None)


_benchmark = partial(ClipBenchmark, media=BOTH, headline="text_to_video_r1")
_YOUTUBE = "media: of their YouTube uploaders"
RETRIEVAL = (
    _benchmark(
        name="audiocaps",
        description="AudioCaps, test: five captions of what is heard in each of 975 clips of 10 s",
        source="https://github.com/cdjkim/audiocaps",
        licence=f"{_YOUTUBE}; captions: MIT",
        recordings=AUDIOCAPS_CLIPS,
        load=load_audiocaps,
        headline="text_to_audio_r1",
    ),
    _benchmark(
        name="clotho",
        description="Clotho v2, evaluation: five captions each of 1045 recordings of 15 to 30 s",
        source="https://zenodo.org/records/4783391",
        licence="audio: of its Freesound uploaders; captions: Tampere University, non-commercial",
        recordings=CLOTHO_CLIPS,
        load=load_clotho,
        media=("audio",),
        headline="text_to_audio_r1",
    ),
    _benchmark(
        name="valor",
        description="VALOR-32K, test: what is heard and seen in 3500 clips of 10 s",
        source="https://casia-iva-group.github.io/projects/VALOR/download.html",
        licence=f"{_YOUTUBE}; captions: as the VALOR page says",
        recordings=VALOR_CLIPS,
        load=load_valor,
    ),
    _benchmark(
        name="vctk",
        description="VCTK: which of the transcripts is spoken",
        source="https://datashare.ed.ac.uk/handle/10283/3443",
        licence="CC BY 4.0",
        recordings=None,
        load=load_vctk,
        media=("audio",),
        headline="audio_to_text_r1",
        same_text=True,
    ),
    _benchmark(
        name="msrvtt",
        description="MSR-VTT, split 1k-A: a caption each of 1000 video clips",
        source="https://www.microsoft.com/en-us/research/publication/msr-vtt/",
        licence=_YOUTUBE,
        recordings=MSRVTT_CLIPS,
        load=load_msrvtt,
    ),
    _benchmark(
        name="activitynet",
        description="ActivityNet Captions, val_1: a paragraph each of 4917 videos",
        source="https://cs.stanford.edu/people/ranjaykrishna/densevid/",
        licence=_YOUTUBE,
        recordings=ACTIVITYNET_CLIPS,
        load=load_activitynet,
    ),
    _benchmark(
        name="didemo",
        description="DiDeMo, test: a paragraph each of about 1000 videos",
        source="https://github.com/LisaAnne/LocalizingMoments",
        licence="videos: of their Flickr uploaders (YFCC100M); descriptions: BSD 2-clause",
        recordings=None,
        load=load_didemo,
    ),
)
