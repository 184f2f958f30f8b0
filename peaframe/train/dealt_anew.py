"""Where the loaders of a run go on that was begun on another number of processes.

Weights, moments, averages and the step are whole in the state of a run, so they fit any number of processes. What is
still to be learnt from is dealt to the processes in another way then:

- Items of an epoch, and scenes, are dealt in batches whose order depends on the seed and the epoch alone. It goes on
  behind the batches that all processes had together; where those are no multiple of the processes, the last few of
  them, fewer than there are processes, come twice.
- Each process reads a stretch of the shards of its own, which is cut otherwise now. So every source of shards begins
  its next epoch, in a new order: no clip comes twice in an epoch, and what was unread of the last one waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def dealt_anew(
    states: Sequence[Mapping[str, Any]], fresh: Mapping[str, Any], processes: int
) -> dict[str, Any]:
    """The state that each loader of a run goes on from; the same for all processes.

    Args:
        states: what the loaders were in when the run was saved, one for each process.
        fresh: the state of a loader of now that has given nothing.
        processes: how many there are now.
    """
    if "drawn" in fresh:  # a mixture: how many clips, and its sources
        drawn = sum(state["drawn"] for state in states)
        sources = [
            dealt_anew([state["readers"][number] for state in states], reader, processes)
            for number, reader in enumerate(fresh["readers"])
        ]
        return {**fresh, "drawn": -(-drawn // processes), "readers": sources}
    if "batch" in fresh:  # items and scenes: all processes are as far
        given = states[0]["batch"] * len(states)
        return {**fresh, "epoch": states[0]["epoch"], "batch": given // processes}
    if "sample" in fresh:  # shards: the first epoch that nobody has begun
        return {
            **fresh,
            "epoch": max(state["epoch"] + (state["sample"] > 0) for state in states),
            "sample": 0,
        }
    return {
        name: dealt_anew([state[name] for state in states], own, processes)
        if isinstance(own, Mapping)
        else own
        for name, own in fresh.items()
    }
