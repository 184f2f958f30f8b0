import pytest

from peaframe.errors import OptionError
from peaframe.eval import FalseAlarms, false_alarms_per_hour
from peaframe.events import Event

DOG, CAT = Event(0.0, 1.0, "dog"), Event(2.0, 3.0, "cat")


def test_counts_only_what_is_detected_where_nothing_happens() -> None:
    found = {"wind": [DOG, DOG, CAT], "yard": [DOG, CAT]}
    durations = {"wind": 900.0, "rain": 900.0, "yard": 1e6}

    assert false_alarms_per_hour(found, durations, {"yard": [DOG], "rain": []}) == FalseAlarms(
        events=3, hours=0.5, per_hour=6.0, per_label={"cat": 2.0, "dog": 4.0}, recordings=2
    )


def test_without_truth_every_recording_is_event_free() -> None:
    result = false_alarms_per_hour({"a": [DOG], "b": []}, {"a": 1800.0, "b": 1800.0, "c": 3600.0})

    assert (result.per_hour, result.recordings) == (0.5, 3)
    assert false_alarms_per_hour({}, {"a": 3600.0}).per_hour == 0.0


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(OptionError, match="no duration for 'b'"):
        false_alarms_per_hour({"a": [], "b": [DOG]}, {"a": 1.0})
    with pytest.raises(OptionError, match="0 event-free recordings"):
        false_alarms_per_hour({}, {"a": 1.0}, {"a": [DOG]})
    with pytest.raises(OptionError, match="longer than nothing"):
        false_alarms_per_hour({}, {"a": 0.0})
