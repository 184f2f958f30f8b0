"""When a recording was made, as text in the journal."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo

from peaframe.audio.recorded import Recorded
from peaframe.audio.zones import named_zone


def plain_time(recorded: Recorded | None) -> str | None:
    """What `time_of` reads; None for None."""
    if recorded is None:
        return None
    zone = recorded.start.tzinfo
    return json.dumps(
        {
            "start": recorded.start.isoformat(),
            "timezone": zone.key if isinstance(zone, zoneinfo.ZoneInfo) else None,
            "source": recorded.source,
            "device": recorded.device,
            "expansion": recorded.expansion,
            "notes": list(recorded.notes),
        },
        ensure_ascii=False,
    )


def time_of(text: str | None) -> Recorded | None:
    """A recording's time, as `plain_time` wrote it."""
    if text is None:
        return None
    stored = json.loads(text)
    start = dt.datetime.fromisoformat(stored["start"])
    if stored["timezone"] is not None:
        start = start.astimezone(named_zone(stored["timezone"]))
    return Recorded(
        start,
        stored["source"],
        stored["device"],
        start.tzinfo is not None,
        expansion=stored["expansion"],
        notes=tuple(stored["notes"]),
    )
