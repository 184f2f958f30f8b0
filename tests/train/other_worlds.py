"""Trains on any number of processes, for tests of runs that go on elsewhere.

`python other_worlds.py RECIPE STEPS CONFIG OUT [key=value ...]` takes a run up and stops behind so many steps; with 0,
it writes what it took up and leaves. `torchrun` may start it.
"""

import importlib
import runpy
import sys
from pathlib import Path

from peaframe.train.run import Run

runs = runpy.run_path(str(Path(__file__).parent / "finetuning.py"))


def main(name, steps, config, out, *changes):
    recipe = importlib.import_module(f"peaframe.recipes.{name}")
    if int(steps):
        recipe.stop_signals = runs["stopping"](int(steps))
    else:
        Run.run = lambda run, stop: run.save()
    train = recipe.pretrain if name == "pretrain" else recipe.finetune
    train(recipe.read_settings(Path(config), changes), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
