"""How good is it: the field's metrics for sound event detection, exact and quick.

Everything takes plain mappings from a recording's name to its `Scores` or its events. Comparisons with a
threshold are strict (`score > threshold`), sorts are stable, overlapping ground truth of one label is merged,
and labels that cannot be scored are named in the result instead of ending the run.

Importing this needs numpy only; sed_eval is imported when a metric of its is called. (The names are not lazy
ones because `psds` is a module and a function in it: only an import here makes the function win for good.)
"""

from peaframe.eval.alarms import FalseAlarms, false_alarms_per_hour
from peaframe.eval.collar import SedEvalResult, event_based, segment_based
from peaframe.eval.psds import PSDS1, PSDS2, PSDSResult, PSDSSettings, psds
from peaframe.eval.ranking import (
    RankingResult,
    auroc,
    average_precision,
    frame_auroc,
    frame_average_precision,
    top_k_accuracy,
)

__all__ = [
    "PSDS1",
    "PSDS2",
    "FalseAlarms",
    "PSDSResult",
    "PSDSSettings",
    "RankingResult",
    "SedEvalResult",
    "auroc",
    "average_precision",
    "event_based",
    "false_alarms_per_hour",
    "frame_auroc",
    "frame_average_precision",
    "psds",
    "segment_based",
    "top_k_accuracy",
]
