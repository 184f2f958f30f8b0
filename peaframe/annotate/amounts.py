"""Lengths, times and sizes in a few letters, for people."""

from __future__ import annotations


def hours(seconds: float) -> str:
    """A length of sound, for people."""
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def clock(seconds: float) -> str:
    """A time to wait, for people."""
    minutes, rest = divmod(round(seconds), 60)
    days, minutes = divmod(minutes, 1440)
    return (f"{days} d " if days else "") + f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def size(count: float) -> str:
    """A size of memory or disk, for people."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.1f} {units[0]}" if count < 10 and units[0] != "B" else f"{count:.0f} {units[0]}"
