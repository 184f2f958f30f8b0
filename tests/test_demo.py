"""`make demo`: its script runs, and every kind of event in the demo recording is detected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from peaframe import Event, audio, formats

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What demo.py printed, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def truth() -> list[Event]:
    return formats.load(EXAMPLES / "demo.tsv")["demo.flac"]


def test_the_demo_recording_and_its_truth_belong_together() -> None:
    info = audio.probe(EXAMPLES / "demo.flac")
    assert (info.duration, info.sample_rate, info.channels) == (30.0, 48_000, 1)
    assert (EXAMPLES / "demo.flac").stat().st_size < 1_000_000
    assert len(truth()) == 12
    assert max(event.offset for event in truth()) <= 30.0


@pytest.mark.slow
def test_the_demo_prints_every_true_event_and_the_sum(ran: tuple[str, Path]) -> None:
    printed = ran[0]
    for event in truth():
        row = next(
            line
            for line in printed.splitlines()
            if line.startswith(f"{event.label} ") and f" {event.onset:.2f} " in line
        )
        assert f" {event.offset:.2f} " in row
    assert " of 12 events detected, " in printed


@pytest.mark.slow
@pytest.mark.parametrize("label", sorted({event.label for event in truth()}))
def test_the_demo_finds_every_kind_of_event(ran: tuple[str, Path], label: str) -> None:
    found = [event for events in formats.load(ran[1] / "demo_out" / "demo.csv").values() for event in events]
    true = [event for event in truth() if event.label == label]
    hits = [e for e in found for t in true if e.label == label and e.onset < t.offset and t.onset < e.offset]
    assert hits, f"{label}: true {true}, detected {[e for e in found if e.label == label]}"


@pytest.mark.slow
def test_the_demo_draws_the_plot(ran: tuple[str, Path]) -> None:
    picture = (ran[1] / "demo_out" / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(picture[16:20], "big") == 1200  # pixels across, as the PNG header says
