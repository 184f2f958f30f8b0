r"""Compare settings of fine-tuning: the same data and steps, several seeds, a table with intervals.

    python -m peaframe.recipes.ablate ablation --out runs/ablation --seeds 3 \\
        --variant "local only: loss.activity.p_local=1" --variant "with a prior: loss.prior_weight=1"

Each variant is a name and its changes to the configuration, apart by spaces; the configuration as it is comes first,
as `base`. A variant and a seed are a run of their own in OUT, and runs that are done are not run again, so the same
command goes on where it stopped, and several may share the work: each takes what no other has begun.

OUT gets `ablation.json` and `ablation.md`: the mean over seeds of every metric, and half the width of its 95 %
interval (Student's t), and the difference from `base` seed by seed, with its own interval.
"""

from __future__ import annotations

import fcntl
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peaframe.errors import OptionError
from peaframe.models.checkpoint import write_text
from peaframe.recipes import program
from peaframe.recipes.finetune import find_config, finetune, read_settings
from peaframe.recipes.finetune_valid import METRICS
from peaframe.train.journal import LOG

BASE = "base"
# Two-sided 95 % points of Student's t, by degrees of freedom.
_STUDENT = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_SHOWN = {
    "frame_auroc": "frame AUROC",
    "psds1": "PSDS1",
    "psds1_a": "PSDS1_A",
    "event_f1_best": "event F1, best threshold",
    "false_alarms_per_hour_best": "false alarms/h/query there",
}


def variants_of(given: Sequence[str]) -> dict[str, list[str]]:
    """Name -> changes, from texts such as `no clips: loss.clip_weight=0`.

    Raises:
        OptionError: one has no name, or two have the same.
    """
    found: dict[str, list[str]] = {BASE: []}
    for text in given:
        name, colon, changes = text.partition(":")
        if not colon or not name.strip() or not changes.split():
            raise OptionError(f"got --variant {text!r}, expected NAME: key=value ...")
        if name.strip() in found:
            raise OptionError(f"got the variant {name.strip()!r} twice, expected another name")
        found[name.strip()] = changes.split()
    return found


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval; infinite for a single value."""
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return mean, math.inf
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    point = _STUDENT[count - 1] if count <= len(_STUDENT) else 1.96
    return mean, point * deviation / math.sqrt(count)


def summary(results: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Means, intervals and differences from `base`, by variant and metric; seeds in one order everywhere."""
    out: dict[str, Any] = {}
    for name, runs in results.items():
        own: dict[str, Any] = {"seeds": len(runs)}
        for metric in METRICS:
            mean, half = mean_and_half([result[metric] for result in runs])
            base = results[BASE]
            pairs = [mine[metric] - theirs[metric] for mine, theirs in zip(runs, base, strict=False)]
            own[metric] = {"mean": mean, "half": half, "gain": list(mean_and_half(pairs)) if pairs else None}
        out[name] = own
    return out


def table(found: Mapping[str, Any]) -> str:
    """The summary as Markdown; a difference from `base` beyond its interval is marked with a star."""
    lines = ["| | " + " | ".join(_SHOWN.values()) + " |", "|---" * (len(_SHOWN) + 1) + "|"]
    for name, own in found.items():
        cells = []
        for metric in _SHOWN:
            value = own[metric]
            gain, half = value["gain"] or (0.0, math.inf)
            star = "*" if name != BASE and abs(gain) > half else ""
            digits = 1 if metric == "false_alarms_per_hour_best" else 3
            cells.append(f"{value['mean']:.{digits}f} ± {value['half']:.{digits}f}{star}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def last_result(folder: Path) -> dict[str, float] | None:
    """The last measurement of a finished run; None if it is not finished."""
    done = folder / "done.json"
    if not done.is_file():
        return None
    values: dict[str, float] = json.loads(done.read_text(encoding="utf-8"))
    return values


def one(config: Path, changes: Sequence[str], folder: Path) -> None:
    """Do one run, unless it is done or another process has begun it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "begun").open("w") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if last_result(folder) is not None:
            return
        if not finetune(read_settings(config, changes), folder):
            sys.exit(130)
        entries = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
        result = next(entry["valid"] for entry in reversed(entries) if "valid" in entry)
        write_text(folder / "done.json", json.dumps(result) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not done yet; write the tables of what is."""
    parser = program.parser(__doc__)
    parser.add_argument("config", help="configuration, as for peaframe train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; default: %(default)s")
    parser.add_argument("--variant", action="append", default=[], metavar="'NAME: key=value ...'")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to all of them")
    args = parser.parse_args(arguments)
    if args.seeds < 1:
        raise OptionError(f"got --seeds {args.seeds}, expected 1 or more")
    config, variants = find_config(args.config), variants_of(args.variant)
    folders = {
        (name, seed): args.out / f"{name.replace(' ', '_').replace('/', '_')}-{seed}"
        for seed in range(args.seeds)
        for name in variants
    }
    for (name, seed), folder in folders.items():
        if last_result(folder) is None:
            print(f"{name}, seed {seed}", file=sys.stderr)
            one(config, [*args.overrides, *variants[name], f"seed={seed}"], folder)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for (name, _), folder in folders.items():
        if (result := last_result(folder)) is not None:
            results[name].append(result)
    complete = {name: runs for name, runs in results.items() if len(runs) == args.seeds}
    if BASE not in complete:
        print("base is not done yet; run the command again when all runs are")
        return
    found = summary(complete)
    write_text(args.out / "ablation.json", json.dumps({"runs": results, "summary": found}, indent=1) + "\n")
    write_text(args.out / "ablation.md", table(found))
    print(table(found), end="")


if __name__ == "__main__":
    program.run(main)
