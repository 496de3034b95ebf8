"""Forwards the events of a sweep to its log, its folder and the live view."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from explr.config.nodes import SWEEPER_NODE, is_own_tree
from explr.core.reporter import Listeners
from explr.results.live.curves import Curves
from explr.results.live.region import drawn
from explr.results.live.sweep import GpuMemoryTexts, SweepProgress
from explr.sweep.logs import LOGGER, STARTS
from explr.tuning.account import SweepListener
from explr.tuning.confirmation.confirming import CONFIRMS, is_feasible
from explr.tuning.trial import Job, Outcome
from explr.tuning.trial_account import Limits
from explr.utils.console import Verbosity, in_notebook, verbosity

if TYPE_CHECKING:
    from explr.sweep.session import SweepSession


log = logging.getLogger("explr.sweep")


class SweepWatch(SweepListener):
    """Forwards the events of a sweep to the log, the folder and the live view.

    Args:
        sweep: the sweep.
        limits: when the sweep stops.
    """

    def __init__(self, sweep: SweepSession, limits: Limits) -> None:
        config, directions = sweep.config, sweep.study.directions
        pruner = OmegaConf.select(config, f"{SWEEPER_NODE}.pruner")
        self._prunes = len(directions) == 1 and bool(pruner)
        self._objective = f"{sweep.metrics[0]}"
        self._node = "objective" if is_own_tree(config) else SWEEPER_NODE
        self._reporting: set[int] = set()
        on_cpu = is_own_tree(config) and config.gpu.device == "cpu"
        self._folder, self._replicates = sweep.folder, limits.replicates
        self.progress = SweepProgress(
            str(sweep.folder.shown),
            sweep.metrics,
            [direction == "minimize" for direction in directions],
            limits.n_trials,
            limits.replicates,
            gpu=None if on_cpu else GpuMemoryTexts(),
            constraints=limits.constraints,
        )
        self._listeners = Listeners(self.progress.reported, self._log_report)
        self._curves: Curves | None = None
        if in_notebook():
            self._curves = Curves(sweep.metrics[0], self.progress.minimize[0])
            self._listeners.add(self._curves.reported)
        for frozen in sweep.study.frozen():  # of a sweep that is resumed
            if frozen.state.is_finished():
                counts = CONFIRMS not in frozen.user_attrs and is_feasible(frozen)
                values = (frozen.values or ()) if counts else ()
                reports = frozen.intermediate_values
                self.progress.known(
                    frozen.state.name, frozen.number, values, frozen.params, reports
                )
        self.progress.best = [
            best and replace(best, params=_meant(sweep, best.params)) for best in self.progress.best
        ]

    def started(self, job: Job) -> None:
        """A job starts."""
        self._folder.started(job)
        self.progress.started(job)

    def changed(self, job: Job) -> None:
        """A job continues with other parameters."""
        self._folder.changed(job)
        self.progress.changed(job)

    def reported(self, key: int, step: int, value: float) -> None:
        """A job has reported the objective, and the report is answered."""
        self._reporting.add(key)
        self._listeners(key, step, value)

    def missed(self, key: int, names: Sequence[str]) -> None:
        """A job reports other metrics; that of the first one is told."""
        if not self._prunes or self._folder.unpruned or key in self._reporting:
            return
        self._folder.unpruned = (
            f"trial {key // self._replicates} reports {', '.join(names)}, and not the objective "
            f"{self._objective}, so that the pruner cannot stop it: report {self._objective}, or "
            f"set {self._node}.metric={names[0]}"
        )
        log.warning(self._folder.unpruned)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job has ended."""
        self._folder.ended(job, outcome, self.progress.ended(job, outcome))
        if self._curves is not None and outcome.values:
            self._curves.ended(job.trial, outcome.values[0])

    def shown(self) -> AbstractContextManager[object]:
        """Show the sweep within the block, in a terminal or a notebook."""
        if verbosity() is Verbosity.QUIET:
            return nullcontext()
        if self._curves is not None:
            from explr.results.live.notebook import NotebookScreen

            return NotebookScreen(self.progress, (LOGGER,), self._curves)
        return drawn(self.progress, (LOGGER,), {STARTS})

    def _log_report(self, key: int, step: int, value: float) -> None:
        log.debug("trial %d step %d: %.6g", key // self._replicates, step, value)


def _meant(sweep: SweepSession, sampled: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter values that the sampled values of a trial stand for."""
    return {name: sweep.space.value(name, value) for name, value in sampled.items()}
