"""What an item of a manifest says of each label: frame by frame, and of the item as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from peaframe.data.manifest_item import Item, refuse_doubles
from peaframe.events import Event, activity

__all__ = ["targets", "weak_targets"]

_HEARD, _UNSAID, _ABSENT = 1, 0, -1


def targets(item: Item, labels: Sequence[str], frames: int) -> NDArray[np.int8]:
    """What is known of each label in each frame, by the table in `peaframe.data.manifest`.

    A frame belongs to an event or span if its centre does.

    Args:
        item: The item; labels of it that are not asked for do not count.
        labels: The columns' labels, each once.
        frames: How many rows, from the item's start on; those behind its end are unknown.

    Returns:
        int8 of shape (frames, labels): 1 heard, -1 not heard, 0 unknown.

    Raises:
        OptionError: `labels` names one twice.
    """
    refuse_doubles(labels, "labels")
    asked = set(labels)
    heard = {event.label for event in item.events}
    absent = [label in heard or _is_absent(item, label) for label in labels]
    grid = np.where(np.array(absent, dtype=np.bool_), _ABSENT, _UNSAID).astype(np.int8)
    out = np.repeat(grid[None], frames, axis=0)
    out[activity([event for event in item.events if event.label in asked], labels, frames)] = _HEARD
    for span in item.unknown:
        if span.label is None:
            out[activity([Event(span.onset, span.offset, "any")], ["any"], frames)[:, 0]] = _UNSAID
        elif span.label in asked:
            out[activity([Event(span.onset, span.offset, span.label)], labels, frames)] = _UNSAID
    if item.frames is not None:
        out[item.frames :] = _UNSAID
    return out


def weak_targets(item: Item, labels: Sequence[str]) -> NDArray[np.int8]:
    """What is known of each label in the item as a whole.

    Returns:
        int8 of shape (labels,): 1 heard somewhere (weak, or in an event), -1 surely not, 0 unknown, as where an unknown
        span could hold a label that is not heard elsewhere and not said to be absent by name.

    Raises:
        OptionError: `labels` names one twice.
    """
    refuse_doubles(labels, "labels")
    heard = {event.label for event in item.events} | set(item.weak)
    hidden = {span.label for span in item.unknown}
    out = np.full(len(labels), _UNSAID, dtype=np.int8)
    for column, label in enumerate(labels):
        if label in heard:
            out[column] = _HEARD
        elif label in item.negatives or (item.exhaustive and not hidden & {None, label}):
            out[column] = _ABSENT
    return out


def _is_absent(item: Item, label: str) -> bool:
    return label in item.negatives or (item.exhaustive and label not in item.weak)
