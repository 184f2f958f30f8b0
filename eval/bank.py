"""How well a detector hears a sound bank's valid split: real clips alone, and soundscapes mixed from them.

Every metric is taken with the labels as queries, and again with each set of held-out paraphrases. Mixtures change
nothing but gain, place, repeats and splits of the clips; `SEED` fixes them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from peaframe import eval as metrics
from peaframe.clock import HOP_SAMPLES, SAMPLE_RATE, seconds_of_samples
from peaframe.data.augment import AugmentConfig
from peaframe.data.mix import MixConfig, Mixer, label_tracks
from peaframe.data.prompts import Prompts, read_prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.events import Event, EventOptions, events_from_scores
from peaframe.infer.detector import Detector
from peaframe.scores import Scores

SCENES, SCENE_SECONDS, SEED = 300, 10.0, 20_251_217
ENOUGH_CLIPS = 3
STILL = AugmentConfig(cut=0.0, speed=0.0, filter=0.0, band_limit=0.0, room=0.0)
MIX = MixConfig(single=0.0, no_background=0.0, augment=STILL)


@dataclass(frozen=True)
class Heard:
    """Scores of recordings for several wordings, and what is true.

    Attributes:
        scores: wording ("label", "paraphrase 1" ...) -> recording -> scores, columns named by label.
        truth: recording -> true events.
    """

    scores: Mapping[str, dict[str, Scores]]
    truth: dict[str, list[Event]]


def wordings(prompts: Prompts) -> dict[str, list[str]]:
    """The labels themselves, then each set of held-out paraphrases, in the order of `prompts.labels`."""
    labels = prompts.labels
    sets = {"label": labels}
    for i in range(min(len(prompts.held_out[label]) for label in labels)):
        sets[f"paraphrase {i + 1}"] = [prompts.held_out[label][i] for label in labels]
    return sets


def listen(
    detector: Detector,
    recordings: Mapping[str, NDArray[np.float32]],
    truth: dict[str, list[Event]],
    prompts: Prompts,
) -> Heard:
    """Score every recording with every wording."""
    sets = wordings(prompts)
    queries = list(dict.fromkeys(query for queries in sets.values() for query in queries))
    column = {query: i for i, query in enumerate(queries)}
    out: dict[str, dict[str, Scores]] = {name: {} for name in sets}
    for key, waveform in tqdm(recordings.items(), desc="listen", unit="recording", disable=None):
        scores = detector.score(waveform, queries)
        for name, words in sets.items():
            values = scores.values[:, [column[word] for word in words]]
            out[name][key] = Scores(values, tuple(prompts.labels), 0.0, scores.duration)
    return Heard(out, truth)


def clip_results(heard: Heard, truth: Sequence[str], prompts: Prompts, scored: list[str]) -> dict[str, Any]:
    """Metrics of single clips, by wording: top-1, top-5 (mean probability over the clip), frame AUROC."""
    table: dict[str, Any] = {}
    labels, overlap = prompts.labels, prompts.overlap()
    column = {label: i for i, label in enumerate(labels)}
    for name, scores in heard.scores.items():
        means = np.stack([scores[key].values.mean(axis=0) for key in scores])
        best = [labels[i] for i in means.argmax(axis=1)]
        area = metrics.frame_auroc(scores, heard.truth, labels=scored)
        table[name] = {
            "top1": metrics.top_k_accuracy(means, truth, labels, 1),
            "top5": metrics.top_k_accuracy(means, truth, labels, min(5, len(labels))),
            "top1_or_same": float(
                np.mean([b == t or overlap[column[b], column[t]] for b, t in zip(best, truth, strict=True)])
            ),
            "frame_auroc": area.macro,
            "frame_auroc_per_label": area.per_label,
        }
        hits = Counter(t for b, t in zip(best, truth, strict=True) if b == t)
        table[name]["hits_per_label"] = {t: [hits[t], n] for t, n in sorted(Counter(truth).items())}
    return table


def scene_results(heard: Heard, options: EventOptions, scored: list[str]) -> dict[str, Any]:
    """Metrics of soundscapes, by wording: frame AUROC, PSDS1, event-based F1 at the model's own event options."""
    table: dict[str, Any] = {}
    for name, scores in heard.scores.items():
        area = metrics.frame_auroc(scores, heard.truth, labels=scored)
        every = metrics.psds(scores, heard.truth, metrics.PSDS1)
        found = {key: events_from_scores(own, options) for key, own in scores.items()}
        collar = metrics.event_based(found, heard.truth)
        segment = metrics.segment_based(found, heard.truth)
        table[name] = {
            "frame_auroc": area.macro,
            "frame_auroc_per_label": area.per_label,
            "psds1": every.value,
            "psds1_a": every.macro,
            "event_f1_macro": collar.macro["f_measure"],
            "event_f1_micro": collar.micro["f_measure"],
            "segment_f1_micro": segment.micro["f_measure"],
        }
    return table


@dataclass(frozen=True)
class Measured:
    """Everything heard on a valid split.

    Attributes:
        bank: the valid clips at 48 kHz.
        prompts: the words.
        alone: the clips alone, keyed by file name.
        mixed: the soundscapes.
    """

    bank: Bank
    prompts: Prompts
    alone: Heard
    mixed: Heard


def measure(
    detector: Detector, data: Path, prompts_path: Path, cache: Path | None, scenes: int = SCENES
) -> Measured:
    """Let a detector hear the valid clips and `scenes` soundscapes of them."""
    clips = read_manifest(data)
    prompts = read_prompts(prompts_path, clips)
    bank = Bank([clip for clip in clips if clip.split == "valid"], SAMPLE_RATE, cache)
    names = [clip.path.name for clip in bank.clips]
    waveforms = {name: bank.waveform(i) for i, name in enumerate(names)}
    spans = {}
    for name, clip in zip(names, bank.clips, strict=True):
        padded = np.pad(waveforms[name], (0, -len(waveforms[name]) % HOP_SAMPLES))
        end = seconds_of_samples(len(waveforms[name]))
        events = label_tracks([padded], [clip.label], HOP_SAMPLES, MIX).events()
        spans[name] = [Event(e.onset, min(e.offset, end), e.label) for e in events]
    alone = listen(detector, waveforms, spans, prompts)

    mixer = Mixer(bank, MIX, SEED)
    mixtures = {f"scene_{i:03}": mixer.scene(i, SCENE_SECONDS) for i in range(scenes)}
    mixed = listen(
        detector,
        {key: scene.waveform for key, scene in mixtures.items()},
        {key: scene.events() for key, scene in mixtures.items()},
        prompts,
    )
    return Measured(bank, prompts, alone, mixed)


def report(measured: Measured, options: EventOptions) -> dict[str, Any]:
    """All metrics, as nested plain values; `options` turn scores into events."""
    truth = [clip.label for clip in measured.bank.clips]
    counts = Counter(truth)
    scored = sorted(label for label, n in counts.items() if n >= ENOUGH_CLIPS) or sorted(counts)
    prompts = measured.prompts
    return {
        "clips": len(truth),
        "labels": len(prompts.labels),
        "labels_scored": len(scored),
        "scenes": len(measured.mixed.truth),
        "scene_seed": SEED,
        "event_options": dataclasses.asdict(options),
        "alone": clip_results(measured.alone, truth, prompts, scored),
        "soundscapes": scene_results(measured.mixed, options, scored),
        "false_alarms": false_alarms(measured.alone, measured.bank, options, prompts),
    }


def tune(mixed: Heard) -> EventOptions:
    """The event options with the best macro event-based F1 on soundscapes, labels as queries."""
    scores = mixed.scores["label"]
    best, best_f1 = EventOptions(), -1.0
    grid = itertools.product((0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5), (0.0, 0.2, 0.36), (0.0, 0.2))
    for threshold, median, gap in tqdm(list(grid), desc="tune", disable=None):
        options = EventOptions(threshold=threshold, median=median, merge_gap=gap, min_duration=0.08)
        found = {key: events_from_scores(own, options) for key, own in scores.items()}
        f1 = metrics.event_based(found, mixed.truth).macro["f_measure"]
        if f1 > best_f1:
            best, best_f1 = options, f1
    return best


def false_alarms(heard: Heard, bank: Bank, options: EventOptions, prompts: Prompts) -> dict[str, Any]:
    """Events per hour on backgrounds, by wording, over all labels that are neither the background's nor the same."""
    overlap, index = prompts.overlap(), {label: i for i, label in enumerate(prompts.labels)}
    table: dict[str, Any] = {}
    for name, scores in heard.scores.items():
        alarms: dict[str, list[Event]] = {}
        durations = {}
        for clip in bank.clips:
            if clip.role == "background":
                key = clip.path.name
                own = scores[key]
                durations[key] = float(own.duration or 0)
                found = events_from_scores(own, options)
                alarms[key] = [
                    e
                    for e in found
                    if e.label != clip.label and not overlap[index[clip.label], index[e.label]]
                ]
        result = metrics.false_alarms_per_hour(alarms, durations)
        table[name] = {
            "per_hour": result.per_hour,
            "per_hour_and_query": result.per_hour / len(index),
            "hours": result.hours,
            "per_label": result.per_label,
        }
    return table
