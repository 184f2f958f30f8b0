"""The engines of a run: workers (`peaframe.workers`) that hear units."""

from __future__ import annotations

from peaframe.annotate.work import Facts, Orders, Unit, UnitResult
from peaframe.workers import engine

Engine = engine.Engine[Facts, Orders, Unit, UnitResult]
