"""How long should the transformer's windows be? Detection quality and time of peaframe-mini on long scenes.

    python benchmarks/windows.py --data SOUNDBANK [--scenes 24] [--seconds 120] [--model peaframe-mini]

Mixes long scenes from the sound bank's valid split (seeded), lets the model hear them with windows of several lengths
and overlaps, and prints macro frame AUROC, PSDS1 without penalty (PSDS1_A), event-based F1 and events per true event,
all with the model's own event options, and the time beside that of the default.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from peaframe import eval as metrics
from peaframe.clock import FRAME_RATE, SAMPLE_RATE
from peaframe.data.mix import Mixer
from peaframe.data.prompts import read_prompts
from peaframe.data.soundbank import Bank, read_manifest
from peaframe.eval.bank import MIX, SEED
from peaframe.events import events_from_scores
from peaframe.infer.detector import Detector
from peaframe.models.load import load_model
from peaframe.recipes.mini import PROMPTS

WINDOWS = (
    (10, 2),
    (2.4, 0.4),
    (5, 0),
    (5, 1),
    (10, 0),
    (10, 1),
    (10, 4),
    (20, 2),
    (30, 2),
    (60, 2),
    (120, 0),
)


def main() -> None:
    """Mix, listen, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="sound bank folder")
    parser.add_argument("--cache", type=Path, help="where decoded audio is kept")
    parser.add_argument("--model", default="peaframe-mini")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=120.0)
    args = parser.parse_args()

    clips = read_manifest(args.data)
    labels = read_prompts(PROMPTS, clips).labels
    bank = Bank([clip for clip in clips if clip.split == "valid"], SAMPLE_RATE, args.cache)
    mix = dataclasses.replace(MIX, max_events=round(MIX.max_events * args.seconds / 10))
    mixer = Mixer(bank, mix, SEED)
    scenes = {f"scene_{i:03}": mixer.scene(i, args.seconds) for i in range(args.scenes)}
    truth = {key: scene.events() for key, scene in scenes.items()}
    present = sorted({event.label for events in truth.values() for event in events})
    model = load_model(args.model)
    print(f"{args.model}, {args.scenes} scenes of {args.seconds:g} s, {sum(map(len, truth.values()))} events")
    print("window overlap   AUROC  PSDS1_A  event F1  found/true   time")
    default = None
    for window, overlap in WINDOWS:
        frames = round(window * FRAME_RATE), round(overlap * FRAME_RATE)
        detector = Detector(model, "cpu", window_frames=frames[0], overlap_frames=frames[1])
        began = time.process_time()
        scores = {key: detector.score(scene.waveform, labels) for key, scene in scenes.items()}
        spent = time.process_time() - began
        default = default or spent
        found = {key: events_from_scores(own, model.event_options) for key, own in scores.items()}
        area = metrics.frame_auroc(scores, truth, labels=present)
        every = metrics.psds(scores, truth, metrics.PSDS1)
        collar = metrics.event_based(found, truth)
        ratio = sum(map(len, found.values())) / sum(map(len, truth.values()))
        print(
            f"{window:5g} s {overlap:5g} s  {area.macro:.4f}   {every.macro:.4f}    {collar.macro['f_measure']:.4f}"
            f"      {ratio:6.2f}   {spent / default:4.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
