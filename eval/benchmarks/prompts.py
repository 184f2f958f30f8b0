"""Labels as query texts. Frozen: another wording is another benchmark.

A label that names several sounds, or one in several ways, becomes several queries. Queries are short phrases in
lower case, as PE-A-Frame was trained with. No table was fitted to any score.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from peaframe.errors import OptionError

__all__ = ["DESED", "MAESTRO", "URBANSED", "as_words", "from_display_name", "from_table"]

DESED: dict[str, tuple[str, ...]] = {
    "Alarm_bell_ringing": ("alarm ringing", "bell ringing", "telephone ringing"),
    "Blender": ("blender", "food processor"),
    "Cat": ("cat", "cat meowing"),
    "Dishes": ("dishes", "dishes clattering"),
    "Dog": ("dog", "dog barking"),
    "Electric_shaver_toothbrush": ("electric shaver", "electric toothbrush"),
    "Frying": ("frying", "food sizzling"),
    "Running_water": ("running water", "water tap"),
    "Speech": ("speech", "person speaking"),
    "Vacuum_cleaner": ("vacuum cleaner",),
}
"""DESED's ten labels. Alarm_bell_ringing holds alarms, bells and ringing telephones (AudioSet's three labels)."""

URBANSED: dict[str, tuple[str, ...]] = {
    "air_conditioner": ("air conditioner", "air conditioning hum"),
    "car_horn": ("car horn", "car honking"),
    "children_playing": ("children playing", "children shouting"),
    "dog_bark": ("dog bark", "dog barking"),
    "drilling": ("drilling", "power drill"),
    "engine_idling": ("engine idling", "idling engine"),
    "gun_shot": ("gunshot", "gunfire"),
    "jackhammer": ("jackhammer",),
    "siren": ("siren", "emergency vehicle siren"),
    "street_music": ("street music", "music"),
}
"""UrbanSED's ten labels, those of UrbanSound8K."""

MAESTRO: dict[str, tuple[str, ...]] = {
    "announcement": ("public address announcement",),
    "birds_singing": ("birds singing",),
    "brakes_squeaking": ("brakes squeaking",),
    "car": ("car", "car passing by"),
    "cash register beeping": ("cash register beeping",),
    "children voices": ("children's voices", "child speaking"),
    "coffee machine": ("coffee machine",),
    "cutlery and dishes": ("cutlery", "dishes"),
    "door opens/closes": ("door opening", "door closing"),
    "footsteps": ("footsteps",),
    "furniture dragging": ("furniture being dragged",),
    "large_vehicle": ("large vehicle", "truck", "bus"),
    "metro approaching": ("subway train approaching",),
    "metro leaving": ("subway train leaving",),
    "people talking": ("people talking",),
    "shopping cart": ("shopping cart",),
    "wind_blowing": ("wind blowing",),
}
"""MAESTRO Real's 17 labels, written as its files write them, some with underscores."""

_PLACES = {
    "Inside, small room": ("inside a small room",),
    "Inside, large room or hall": ("inside a large room", "inside a hall"),
    "Inside, public space": ("inside a public space",),
    "Outside, rural or natural": ("outside in nature",),
    "Outside, urban or manmade": ("outside in a city",),
}
"""Display names in which the comma does not part two names of one sound."""


def from_table(table: Mapping[str, tuple[str, ...]], label: str) -> tuple[str, ...]:
    """A label's queries.

    Raises:
        OptionError: The table does not have this label.
    """
    if label not in table:
        raise OptionError(f"got the label {label!r}, expected one of {', '.join(table)}")
    return table[label]


def from_display_name(name: str) -> tuple[str, ...]:
    """The queries of an AudioSet display name: its parts between commas.

    "Vehicle horn, car horn, honking" gives three. What stands in parentheses explains the name and is left
    out ("Bass (instrument role)" gives "bass"), except for a siren, which is what is heard: "Fire engine, fire
    truck (siren)" gives "fire engine siren" and "fire truck siren".
    """
    if name in _PLACES:
        return _PLACES[name]
    bare = re.sub(r"\s*\([^()]*\)", "", name)
    parts = [" ".join(part.split()).lower() for part in bare.split(", ")]
    siren = " siren" if "(siren)" in name.lower() else ""
    queries = dict.fromkeys(f"{part}{siren}" for part in parts if part)
    return tuple(queries) or (name.lower(),)


def as_words(label: str) -> tuple[str, ...]:
    """The label itself, with spaces for underscores."""
    return (" ".join(label.replace("_", " ").split()) or label,)
