"""Counts how the trials of a grid end that runs in this process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from explr.config.hydra_private import OPTUNA_SWEEPER_LOG
from explr.config.messages import keep_in_log_file, report_fault
from explr.core.errors import ExplrError, UsageError
from explr.tracking.sweeps import judged_by


@dataclass
class Trials:
    """The trials that ended, in order.

    Args:
        folders: folder of each trial.
        elsewhere: folder of each trial that ran in another process, which nobody counts here.
        complete: number of trials that completed.
        pruned: number of trials that pruned themselves.
        failures: number and error of each failed trial.
    """

    folders: list[Path] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)
    complete: int = 0
    pruned: int = 0
    failures: list[tuple[int, Exception]] = field(default_factory=list)
    _pid: int = field(default_factory=os.getpid)

    def fail(self, number: int, error: Exception) -> None:
        """Record and print the failure of a trial; a repeated error is printed in full only once.

        Args:
            number: number of the trial.
            error: the exception that it raised.
        """
        same = [n for n, e in self.failures if type(e) is type(error) and str(e) == str(error)]
        self.failures.append((number, error))
        sys.stdout.flush()
        if same or isinstance(error, ExplrError):
            text = str(error) if isinstance(error, ExplrError) else f"{_name(error)}: {error}"
            note = f" (like trial {same[0]})" if same else ""
            keep_in_log_file(error)
            print(f"Trial {number} failed: {text}{note}", file=sys.stderr)
        else:
            print(f"Trial {number} failed:", file=sys.stderr)
            report_fault(error)

    @property
    def fruitless(self) -> bool:
        """Whether trials ended, but none completed."""
        return self.complete == 0 and bool(self.folders)

    def exit_code(self) -> int:
        """The exit code of the sweep; one failed trial makes it fail."""
        if not self.failures:
            return 0
        wrong_usage = all(isinstance(error, UsageError) for _, error in self.failures)
        return UsageError.exit_code if wrong_usage else 1

    def __str__(self) -> str:
        counts = {"complete": self.complete, "pruned": self.pruned, "failed": len(self.failures)}
        return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


_here: Trials | None = None


@contextmanager
def gathering() -> Iterator[Trials]:
    """Count how the trials end that run in this process within the block."""
    global _here
    before, _here = _here, Trials()
    # Hydra's sweeper warns there of each trial without a value, which has been told already.
    log = logging.getLogger(OPTUNA_SWEEPER_LOG)
    log.addFilter(_no_warning)
    here = _here
    try:
        with judged_by(lambda: 0 < len(here.folders) == len(here.failures)):
            yield here
    finally:
        _here = before
        log.removeFilter(_no_warning)


def gathered() -> Trials | None:
    """The tally of this process; None in a worker process, and in an app that is not explr's."""
    return _here if _here is not None and _here._pid == os.getpid() else None


def _no_warning(record: logging.LogRecord) -> bool:
    return record.levelno != logging.WARNING


def _name(error: Exception) -> str:
    return type(error).__name__
