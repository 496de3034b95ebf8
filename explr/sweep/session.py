"""Opens what a running sweep needs under every tuner: its lock, study, folder and record."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from explr.config.messages import check_text
from explr.config.nodes import is_own_tree
from explr.config.target import source_of, target_in
from explr.core.config import DataConfig, SweeperConfig
from explr.core.errors import ExplrError, TargetError, UsageError
from explr.core.folders import run_folder
from explr.core.objective.constraints import constraints_of
from explr.core.signals import terminable, uninterrupted
from explr.results.command import SweepCommand, sweep_command
from explr.results.report.write import draw_charts_later, write_report
from explr.results.retrain import retrain_command
from explr.results.sweep import objective_names
from explr.results.tune_result import TuneResult
from explr.sweep.folder import SweepFolder, removed_if_refused
from explr.sweep.logs import steady_logging
from explr.sweep.record import (
    await_run_ids,
    note_failure,
    note_results,
    open_record,
    refuse_shared_store,
    sole_study,
)
from explr.sweep.space import SweepSpace
from explr.tracking.data.record import note_data
from explr.tracking.destination import working_directory
from explr.tuning.account import after_first
from explr.tuning.lock import sole_controller
from explr.tuning.storage.database import storage_in_use
from explr.tuning.study import Study
from explr.tuning.trial import Outcome
from explr.tuning.trial_account import Limits
from explr.utils.gc import resume_collection

log = logging.getLogger("explr.sweep")


@dataclass
class SweepSettings(SweeperConfig):
    """How a sweep searches: the settings of its sweeper, and what follows from them."""

    @property
    def limits(self) -> Limits:
        """When the sweep ends; a number of trials that is not set is no limit."""
        given = {each.name: getattr(self, each.name) for each in fields(Limits)}
        n_trials = math.inf if self.n_trials is None else self.n_trials
        constraints = constraints_of(self.constraints)
        return Limits(**given | {"n_trials": n_trials, "constraints": constraints})


@contextmanager
def open_sweep(
    settings: SweepSettings,
    config: DictConfig,
    context: HydraContext,
    space: SweepSpace,
    arguments: list[str],
    equip: Callable[[Study], None],
) -> Iterator[SweepSession]:
    """Lock the folder of a sweep and open its study.

    Args:
        settings: how it searches.
        config: composed config of the sweep.
        context: Hydra's context.
        space: its ranges.
        arguments: the overrides of the command line.
        equip: gives the study its sampler and its pruner.

    Raises:
        UsageError: another controller runs this sweep, or its folder cannot be used.
        ConfigError: it was started with other ranges or directions.
        ExplrError: its storage has failed.
    """
    refuse_shared_store(settings.storage, config)
    path = Path(config.hydra.sweep.dir).absolute()
    check_text(str(path), *arguments)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(steady_logging(path))
        stack.enter_context(terminable(ctrl_c=True))
        stack.enter_context(sole_controller(path))
        stack.enter_context(storage_in_use(settings.storage))
        with removed_if_refused(path, made):
            study = Study(path, study_name(settings, path), settings.directions, settings.storage)
            if settings.storage is not None:  # a sweep in another folder may use the same study
                stack.enter_context(sole_study(settings.storage, study.name))
            study.check_space(space.every)
            equip(study)
            study.enqueue(settings.enqueue, space.allowing)
            refuse_code_left_behind(sweep_command(path), config)
            folder = SweepFolder(path, study, settings.limits.replicates, space.value)
            folder.remember_command(arguments)
            folder.remember_config(config)
        yield SweepSession(config, context, space, study, folder)


def refuse_code_left_behind(command: SweepCommand | None, config: DictConfig) -> None:
    """Check that a sweep whose project was moved or copied does not train the code of before.

    Args:
        command: the command that started it.
        config: composed config of the sweep.

    Raises:
        UsageError: the training function would be imported from where the project was.
    """
    if command is None or command.moved_from is None or not is_own_tree(config):
        return
    target, source = target_in(config), None
    with suppress(TargetError):  # the trials report it
        source = source_of(target)
    before = command.moved_from
    if source and source.is_relative_to(before) and "site-packages" not in source.parts:
        raise UsageError(
            f"train_model={target} is found in {source}, but this sweep has moved from {before} to "
            f"{command.cwd}: have it found there, for example by `pip install -e {command.cwd}`"
        )


@dataclass
class SweepSession:
    """A sweep whose folder and study this process has open.

    Args:
        config: composed config of the sweep.
        context: Hydra's context.
        space: its ranges.
        study: its study.
        folder: its folder.
    """

    config: DictConfig
    context: HydraContext
    space: SweepSpace
    study: Study
    folder: SweepFolder
    _results: dict[str, Any] = field(default_factory=dict, init=False)
    _reported: bool = field(default=False, init=False)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the sweep while the block runs, and write its results when it ends in any way.

        Raises:
            TrackingError: it cannot be recorded.
            UsageError: its data cannot be read.
        """
        record = open_record(self.context, self.config)
        if record is None and is_own_tree(self.config):
            paths = DataConfig(OmegaConf.select(self.config, "data.paths")).listed
            note_data(paths, self.folder.path, working_directory(), resumes="this sweep")
        resume_collection()
        interrupted = False
        try:
            yield
        except Exception as error:
            note_failure(record, error)
            await_run_ids(record, self.folder.job_folders())
            raise
        except KeyboardInterrupt:
            interrupted = True
            raise
        else:
            await_run_ids(record, self.folder.job_folders())
        finally:
            with uninterrupted():
                if interrupted:  # said when a second Ctrl-C can no longer lose anything
                    log.warning("interrupted; to resume: %s", self.folder.resumption)
                self._results = self.folder.write_results()
            note_results(record, self._results)
            self._report()

    @property
    def metrics(self) -> list[str]:
        """Name of each objective."""
        return objective_names(self.config, len(self.study.directions))

    def conclude(self, first_failure: Outcome | None) -> TuneResult:
        """Print the result of a finished sweep.

        Args:
            first_failure: how the first trial that failed did so.

        Raises:
            SweepError: every trial failed.
        """
        results = self._results
        best = results["best"]
        again = ""
        if best:
            run = run_folder(Path(best["dir"]))
            again = retrain_command(self.folder.path, run, best["params"])
        self.folder.tell(results, self.metrics, again, self._reported)
        if first_failure is not None and self.folder.fruitless:
            raise after_first(first_failure, "every trial failed")
        return TuneResult(self.folder.path, results["trials"], best, results.get("front", []))

    def _report(self) -> None:
        """Write the report; a failure here does not affect the results.

        Its charts take seconds, and the command does not wait for them.
        """
        try:
            write_report(self.folder.path, study=self.study.held, charts=False)
            draw_charts_later(self.folder.path)
        except ExplrError as error:
            log.error("there is no report: %s", error)
        except Exception:
            log.exception("the report of %s is not written", self.folder.shown)
        else:
            self._reported = True


def study_name(settings: SweepSettings, path: Path) -> str:
    """Name of the study in a sweep's folder."""
    command = sweep_command(path)
    return (command and command.study) or settings.study_name or path.name
