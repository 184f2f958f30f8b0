"""Measure peaframe-mini on a sound bank's valid split: real clips alone, and 300 seeded soundscapes mixed from them.

    python -m peaframe.recipes.evaluate_mini --data SOUNDBANK [--model FOLDER] [--out metrics.json]

Prints a table; with --out writes everything, per label, as JSON. Paraphrases are the `held_out` phrases of the prompts
file, which training never saw. Mixtures use no augmentation but gain.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import peaframe
from peaframe import eval as metrics
from peaframe.clock import SAMPLE_RATE, seconds_of_samples
from peaframe.data.augment import AugmentConfig
from peaframe.data.mix import MixConfig, Mixer, label_tracks
from peaframe.data.prompts import Prompts, read_prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.errors import PeaframeError
from peaframe.events import Event, events_from_scores
from peaframe.infer.detector import Detector
from peaframe.models.load import write_text
from peaframe.recipes.mini import PROMPTS
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
    detector: Detector, recordings: Mapping[str, np.ndarray], truth: dict[str, list[Event]], prompts: Prompts
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


def clip_results(heard: Heard, truth: Sequence[str], labels: list[str], scored: list[str], same: Any) -> dict[str, Any]:
    """Metrics of single clips, by wording: top-1, top-5 (mean probability over the clip), frame AUROC."""
    table: dict[str, Any] = {}
    groups = {label: {label} for label in labels}
    for group in same:
        for label in group:
            groups.get(label, set()).update(group)
    for name, scores in heard.scores.items():
        means = np.stack([scores[key].values.mean(axis=0) for key in scores])
        best = [labels[i] for i in means.argmax(axis=1)]
        area = metrics.frame_auroc(scores, heard.truth, labels=scored)
        table[name] = {
            "top1": metrics.top_k_accuracy(means, truth, labels, 1),
            "top5": metrics.top_k_accuracy(means, truth, labels, 5),
            "top1_or_same": float(np.mean([b in groups[t] for b, t in zip(best, truth, strict=True)])),
            "frame_auroc": area.macro,
            "frame_auroc_per_label": area.per_label,
        }
    hits = Counter(t for b, t in zip(best, truth, strict=True) if b == t)
    table["label"]["recall_per_label"] = {t: [hits[t], n] for t, n in sorted(Counter(truth).items())}
    return table


def scene_results(heard: Heard, detector: Detector, scored: list[str]) -> dict[str, Any]:
    """Metrics of soundscapes, by wording: frame AUROC, PSDS1, event-based F1 at the model's own event options."""
    table: dict[str, Any] = {}
    for name, scores in heard.scores.items():
        area = metrics.frame_auroc(scores, heard.truth, labels=scored)
        every = metrics.psds(scores, heard.truth, metrics.PSDS1)
        found = {key: events_from_scores(own, detector.model.event_options) for key, own in scores.items()}
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


def evaluate(detector: Detector, data: Path, prompts_path: Path, cache: Path | None) -> dict[str, Any]:
    """All metrics of the model card, as nested plain values."""
    clips = read_manifest(data)
    prompts = read_prompts(prompts_path, clips)
    labels = prompts.labels
    bank = Bank([clip for clip in clips if clip.split == "valid"], SAMPLE_RATE, cache)
    names = [clip.path.name for clip in bank.clips]
    truth = [clip.label for clip in bank.clips]
    counts = Counter(truth)
    scored = sorted(label for label, n in counts.items() if n >= ENOUGH_CLIPS)

    waveforms = {name: bank.waveform(i) for i, name in enumerate(names)}
    spans = {}
    for name, label in zip(names, truth, strict=True):
        hop = SAMPLE_RATE // 25
        padded = np.pad(waveforms[name], (0, -len(waveforms[name]) % hop))
        end = seconds_of_samples(len(waveforms[name]))
        events = label_tracks([padded], [label], hop, MIX).events()
        spans[name] = [Event(e.onset, min(e.offset, end), e.label) for e in events]
    alone = listen(detector, waveforms, spans, prompts)

    mixer = Mixer(bank, MIX, SEED)
    scenes = {f"scene_{i:03}": mixer.scene(i, SCENE_SECONDS) for i in range(SCENES)}
    mixed = listen(
        detector,
        {key: scene.waveform for key, scene in scenes.items()},
        {key: scene.events() for key, scene in scenes.items()},
        prompts,
    )
    return {
        "model": detector.model.name,
        "clips": len(names),
        "labels": len(labels),
        "labels_scored": len(scored),
        "scenes": SCENES,
        "scene_seed": SEED,
        "event_options": peaframe.infer.detector._plain(detector.model.event_options),
        "alone": clip_results(alone, truth, labels, scored, prompts.same),
        "soundscapes": scene_results(mixed, detector, scored),
        "false_alarms": false_alarms(alone, bank, detector, prompts),
    }


def false_alarms(heard: Heard, bank: Bank, detector: Detector, prompts: Prompts) -> dict[str, Any]:
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
                found = events_from_scores(own, detector.model.event_options)
                alarms[key] = [
                    e for e in found if e.label != clip.label and not overlap[index[clip.label], index[e.label]]
                ]
        result = metrics.false_alarms_per_hour(alarms, durations)
        table[name] = {
            "per_hour": result.per_hour,
            "per_hour_and_query": result.per_hour / len(index),
            "hours": result.hours,
            "per_label": result.per_label,
        }
    return table


def table(results: Mapping[str, Any]) -> str:
    """The headline numbers as a Markdown table."""
    lines = [
        "| queries | clips top-1 | top-1 or same | top-5 | frame AUROC, clips | frame AUROC, soundscapes "
        "| PSDS1 | PSDS1_A | event F1 macro | micro | false alarms/h/query |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, alone in results["alone"].items():
        mixed, alarms = results["soundscapes"][name], results["false_alarms"][name]
        values = [alone[key] for key in ("top1", "top1_or_same", "top5", "frame_auroc")]
        values += [mixed[key] for key in ("frame_auroc", "psds1", "psds1_a", "event_f1_macro", "event_f1_micro")]
        row = " | ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {name} | {row} | {alarms['per_hour_and_query']:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--model", default="peaframe-mini", help="name or checkpoint folder")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="paraphrases of the labels")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="where decoded audio is kept")
    parser.add_argument("--out", type=Path, help="write all results as JSON")
    args = parser.parse_args(arguments)
    results = evaluate(peaframe.load(args.model), args.data, args.prompts, args.cache)
    print(table(results))
    if args.out is not None:
        write_text(args.out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except PeaframeError as error:
        sys.exit(f"peaframe: error: {error}")
