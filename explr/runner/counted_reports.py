"""How often each job of a sweep has reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from explr.tuning.channel import Report


@dataclass(frozen=True)
class CountedReports:
    """Takes reports, as a `Report` does, and counts them before it passes them on.

    Args:
        report: what they are passed on to.
    """

    report: Report
    counts: Counter[int] = field(default_factory=Counter, init=False)
    """The number of reports by the key of the job."""

    def __call__(self, key: int, step: int, value: float) -> bool:
        """Count a report and pass it on."""
        self.counts[key] += 1
        return self.report(key, step, value)
