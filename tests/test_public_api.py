"""What `import peaframe` promises."""

import pytest

import peaframe

NAMES = [
    "BoxOptions",
    "Calibration",
    "Detection",
    "Detector",
    "Event",
    "EventOptions",
    "PeaframeError",
    "Scores",
    "__version__",
    "events_from_scores",
    "load",
    "load_model",
]


def test_the_public_names_are_these():
    assert sorted(peaframe.__all__) == NAMES
    assert len(NAMES) < 20


def test_every_public_name_is_there_and_listed():
    public = {name: getattr(peaframe, name) for name in NAMES}
    assert set(NAMES) <= set(dir(peaframe))
    assert public["load"].__module__ == "peaframe.infer.detector"
    assert public["Event"](1, 2, "siren") == peaframe.Event(1.0, 2.0, "siren", None)
    assert issubclass(public["PeaframeError"], Exception)


def test_all_errors_share_one_root():
    from peaframe import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) > 5
    assert all(issubclass(kind, peaframe.PeaframeError) for kind in kinds)


def test_unknown_names_are_refused_by_name():
    with pytest.raises(AttributeError, match="nonsense"):
        peaframe.nonsense  # noqa: B018
