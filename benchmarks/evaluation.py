"""How long, and in how much memory, are scores of AudioSet-Strong's size evaluated?

    python benchmarks/evaluation.py                           # 407 labels x 17 000 clips of 250 frames, PSDS1
    python benchmarks/evaluation.py --clips 500 --labels 50 --scenario 2
    python benchmarks/evaluation.py --clips 300 --labels 20 --beside   # the same scores to sed_scores_eval too

Scores are made up: smoothed noise through a sigmoid, raised where a true event is. --beside needs sed_scores_eval
(its git head, or a wheel with pandas under 3) and takes both in one process each, one after the other, and says
how far the two results are apart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from peaframe.eval import PSDS1, PSDS2, psds
from peaframe.eval.store import ScoreStore
from peaframe.events import Event, merge_events
from peaframe.scores import Scores

FRAMES, SEED = 250, 7


def truth_of(args: argparse.Namespace) -> dict[str, list[Event]]:
    """About eight events a clip, of labels as unequally common as those of AudioSet."""
    random = np.random.default_rng(SEED)
    common = 1 / np.arange(1, args.labels + 1)
    truth = {}
    for clip in range(args.clips):
        events = []
        for label in random.choice(args.labels, size=random.poisson(8), p=common / common.sum()).tolist():
            onset = round(float(random.uniform(0, 9)), 3)
            events.append(
                Event(
                    onset,
                    round(min(onset + float(random.exponential(2)) + 0.1, 10.0), 3),
                    f"label {label:03}",
                )
            )
        truth[f"clip {clip:05}"] = merge_events(events)
    return truth


def scores_of(args: argparse.Namespace, truth: dict[str, list[Event]]) -> Iterator[tuple[str, Scores]]:
    """Scores of each clip, made when they are asked for."""
    labels = tuple(f"label {label:03}" for label in range(args.labels))
    kernel = np.hanning(9)[1:-1] / np.linalg.norm(np.hanning(9))
    for clip, (name, events) in enumerate(truth.items()):
        random = np.random.default_rng((SEED, clip))
        logits = random.standard_normal((FRAMES + 6, args.labels), dtype=np.float32)
        smooth = sum(k * logits[i : i + FRAMES] for i, k in enumerate(kernel.astype(np.float32))) * 1.5 - 6
        for event in events:
            smooth[int(event.onset * 25) : int(event.offset * 25), int(event.label[-3:])] += 5
        yield name, Scores(1 / (1 + np.exp(-smooth)), labels)


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Keep the scores in a store, then score them."""
    truth = truth_of(args)
    began = time.perf_counter()
    store = ScoreStore(scores_of(args, truth))
    made = time.perf_counter()
    result = psds(store, truth, PSDS2 if args.scenario == 2 else PSDS1)
    done = time.perf_counter()
    return {
        "value": result.value,
        "macro": result.macro,
        "labels": len(result.per_label),
        "made_s": made - began,
        "scored_s": done - made,
    }


def theirs(args: argparse.Namespace) -> dict[str, Any]:
    """The same by sed_scores_eval."""
    from sed_scores_eval import intersection_based
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    truth = truth_of(args)
    begun = time.perf_counter()
    edges = np.arange(FRAMES + 1) / 25
    tables, labels = {}, set()
    for name, item in scores_of(args, truth):
        tables[name] = create_score_dataframe(item.values.astype(np.float64), edges, list(item.labels))
    made = time.perf_counter()
    labels = {event.label for events in truth.values() for event in events}
    absent = [label for label in next(iter(tables.values())).columns[2:] if label not in labels]
    tables = {name: table.drop(columns=absent) for name, table in tables.items()}
    events = {name: [(e.onset, e.offset, e.label) for e in own] for name, own in truth.items()}
    chosen = PSDS2 if args.scenario == 2 else PSDS1
    result = intersection_based.psds(
        scores=tables,
        ground_truth=events,
        audio_durations=dict.fromkeys(tables, 10.0),
        dtc_threshold=chosen.dtc,
        gtc_threshold=chosen.gtc,
        cttc_threshold=chosen.cttc,
        alpha_ct=chosen.alpha_ct,
        alpha_st=chosen.alpha_st,
        unit_of_time="hour",
        max_efpr=chosen.max_efpr,
    )
    done = time.perf_counter()
    return {"value": float(result[0]), "labels": len(labels), "made_s": made - begun, "scored_s": done - made}


def measured(args: argparse.Namespace, who: str) -> dict[str, Any]:
    """Run one of them in a process of its own, on one core."""
    command = [sys.executable, __file__, "--clips", str(args.clips), "--labels", str(args.labels)]
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--scenario", str(args.scenario), "--only", who],
        env=one,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=17_000)
    parser.add_argument("--labels", type=int, default=407)
    parser.add_argument("--scenario", type=int, choices=(1, 2), default=1)
    parser.add_argument("--beside", action="store_true", help="sed_scores_eval on the same scores")
    parser.add_argument("--only", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        found = ours(args) if args.only == "ours" else theirs(args)
        found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        print(json.dumps(found))
        return
    print(
        f"{args.labels} labels x {args.clips} clips of {FRAMES} frames, PSDS{args.scenario}, "
        f"one core each, numpy {np.__version__}"
    )
    results = {who: measured(args, who) for who in (("ours", "theirs") if args.beside else ("ours",))}
    for who, found in results.items():
        name = "peaframe" if who == "ours" else "sed_scores_eval"
        print(
            f"{name}: {found['value']:.9f} over {found['labels']} labels, scored in {found['scored_s']:.1f} s "
            f"({found['made_s']:.1f} s to make and keep the scores), peak memory {found['peak_gib']:.2f} GiB"
        )
    if args.beside:
        one, other = results["ours"], results["theirs"]
        print(
            f"ratio: {other['scored_s'] / one['scored_s']:.1f} times the time, "
            f"{other['peak_gib'] / one['peak_gib']:.1f} times the memory; "
            f"results {abs(one['value'] - other['value']):.1e} apart"
        )


if __name__ == "__main__":
    main()
