"""How good is it: the field's metrics for sound event detection, exact and quick.

Everything takes plain mappings from a recording's name to its scores or its events. Comparisons with a
threshold are strict (`score > threshold`), sorts are stable, overlapping ground truth of one label is merged,
and labels that cannot be scored are named in the result instead of ending the run.

Importing this needs numpy only; sed_eval is imported when a metric of its is called. (The names are not lazy
ones because `psds` is a module and a function in it: only an import here makes the function win for good.)
"""

from peaframe.eval.alarms import FalseAlarms, false_alarms_per_hour
from peaframe.eval.bootstrap import Difference, Interval, interval, paired, resample
from peaframe.eval.collar import SedEvalResult, collar_counts, event_based, segment_based
from peaframe.eval.collar_scores import best_thresholds, collar_best, events_at
from peaframe.eval.corpus import FrameScores
from peaframe.eval.counts import Counts, FScores
from peaframe.eval.framed import FramedLabel, FramedResult, framed_d_prime, read_framed
from peaframe.eval.grounding import GroundedQuery, GroundingResult, grounding
from peaframe.eval.operating_points import psds_of_points
from peaframe.eval.overlap import intersection_counts
from peaframe.eval.psds import PSDS1, PSDS2, PSDSResult, PSDSSettings, psds
from peaframe.eval.ranking import (
    RankingResult,
    auroc,
    average_precision,
    d_prime,
    frame_auroc,
    frame_average_precision,
    frame_precision_recall,
    partial_auroc,
    precision_recall,
    top_k_accuracy,
)
from peaframe.eval.segments import (
    clip_auroc,
    clip_average_precision,
    segment_auroc,
    segment_average_precision,
    segment_counts,
    segment_f1,
)
from peaframe.eval.store import ScoreStore
from peaframe.eval.suite import evaluate
from peaframe.eval.tables import ScoreTable, read_table, write_table
from peaframe.eval.tuning import TuningGrid, cross_entropy, fit_calibration, tune_events

__all__ = [
    "PSDS1",
    "PSDS2",
    "Counts",
    "Difference",
    "FScores",
    "FalseAlarms",
    "FrameScores",
    "FramedLabel",
    "FramedResult",
    "GroundedQuery",
    "GroundingResult",
    "Interval",
    "PSDSResult",
    "PSDSSettings",
    "RankingResult",
    "ScoreStore",
    "ScoreTable",
    "SedEvalResult",
    "TuningGrid",
    "auroc",
    "average_precision",
    "best_thresholds",
    "clip_auroc",
    "clip_average_precision",
    "collar_best",
    "collar_counts",
    "cross_entropy",
    "d_prime",
    "evaluate",
    "event_based",
    "events_at",
    "false_alarms_per_hour",
    "fit_calibration",
    "frame_auroc",
    "frame_average_precision",
    "frame_precision_recall",
    "framed_d_prime",
    "grounding",
    "intersection_counts",
    "interval",
    "paired",
    "partial_auroc",
    "precision_recall",
    "psds",
    "psds_of_points",
    "read_framed",
    "read_table",
    "resample",
    "segment_auroc",
    "segment_average_precision",
    "segment_based",
    "segment_counts",
    "segment_f1",
    "top_k_accuracy",
    "tune_events",
    "write_table",
]
