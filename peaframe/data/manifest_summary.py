"""What is in a manifest, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from peaframe.data.manifest_item import Item

__all__ = ["Summary", "summary"]


@dataclass(frozen=True)
class Summary:
    """What is in a manifest; as text it is a few lines.

    Attributes:
        items: How many items.
        hours: Their length together, as far as it is said.
        unmeasured: How many do not say it.
        events: How many events.
        labels: Label -> (events, hours of them, overlaps counted twice; items that have it as weak, as negative).
        splits: Split -> items.
        licences: Licence -> items; blank where none is said.
    """

    items: int = 0
    hours: float = 0.0
    unmeasured: int = 0
    events: int = 0
    labels: dict[str, tuple[int, float, int, int]] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    licences: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        whole = f", and {self.unmeasured} items of a length not said" if self.unmeasured else ""
        splits = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        lines = [
            f"{self.items} items ({splits}), {self.hours:.2f} h{whole}",
            f"{self.events} events, {len(self.labels)} labels",
        ]
        for label, (events, hours, weak, negative) in self.labels.items():
            lines.append(
                f"  {label}: {events} events, {3600 * hours:.1f} s; weak in {weak}, absent from {negative}"
            )
        return "\n".join(lines)


def summary(items: Iterable[Item]) -> Summary:
    """Count items, hours, events, labels, splits and licences; labels with most events come first."""
    seconds, unmeasured = 0.0, 0
    splits: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    labels: dict[str, list[float]] = {}
    for item in items:
        seconds += item.duration or 0.0
        unmeasured += item.duration is None
        splits[item.split] += 1
        licences[item.licence] += 1
        for event in item.events:
            row = labels.setdefault(event.label, [0, 0, 0, 0])
            row[0] += 1
            row[1] += (event.offset - event.onset) / 3600
        for place, names in ((2, item.weak), (3, item.negatives)):
            for name in names:
                labels.setdefault(name, [0, 0, 0, 0])[place] += 1
    order = sorted(labels, key=lambda label: (-labels[label][0], -labels[label][2], label))
    rows = {label: labels[label] for label in order}
    return Summary(
        items=sum(splits.values()),
        hours=seconds / 3600,
        unmeasured=unmeasured,
        events=int(sum(row[0] for row in rows.values())),
        labels={label: (int(e), hours, int(w), int(n)) for label, (e, hours, w, n) in rows.items()},
        splits=dict(sorted(splits.items())),
        licences=dict(sorted(licences.items())),
    )
