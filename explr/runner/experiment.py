"""Runs one training, for the command line, for a sweep and for Python alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from explr.config.importing import refuse_in_import
from explr.config.nodes import is_own_tree
from explr.config.target import import_training
from explr.core.checkpoint import CHECKPOINTS, Checkpoints
from explr.core.config import ObjectiveConfig
from explr.core.errors import BY_TUNER, TrialPruned, described
from explr.core.objective.constraints import are_satisfied, constraints_of
from explr.core.protocols import (
    TrainFunction,
    TrainingContext,
    TrainingResult,
)
from explr.core.result import measured_values, objective_values, read_result
from explr.core.secrets.logs import guard_logs
from explr.core.secrets.masking import remember
from explr.core.signals import check_stopped, forget_stop
from explr.core.tracker import Tracker
from explr.core.user_code import call_train_function, failing_trial
from explr.results.begun import note_run
from explr.results.single import refuse_changed
from explr.runner.live import watching_training
from explr.runner.prepare import prepare
from explr.runner.record import logged_values, recorded, register_best
from explr.runner.reporting import (
    NotingTracker,
    ReportingTracker,
    apart_from_trial,
    current_reporter,
    helped,
    listening,
)
from explr.runner.result_file import make_folder, write_result
from explr.tracking.data.record import note_data
from explr.tracking.destination import working_directory
from explr.tracking.run import TrackedRun, closing_line, experiment_of
from explr.tracking.sweeps import current
from explr.utils.console import count_as_own, escape_unprintable, in_notebook
from explr.utils.gc import resume_collection
from explr.utils.memory import memory_budget
from explr.utils.scratch import shorten_socket_paths
from explr.utils.seed import take_seed_apart

log = logging.getLogger("explr")


@dataclass(frozen=True)
class FinishedTraining:
    """A training that completed or was pruned.

    Args:
        result: its result; None if it was pruned.
        folder: folder of the run.
        tracked: its record; None with `tracking=off`.
        duration_s: duration in seconds.
        values: value of each objective; empty if it was pruned.
        reason: why it was pruned.
        measured: the value of each metric that has a constraint; empty if it was pruned.
    """

    result: TrainingResult | None
    folder: Path
    tracked: TrackedRun | None
    duration_s: float
    values: tuple[float, ...] = ()
    reason: str = ""
    measured: tuple[float, ...] = ()


def run(
    cfg: DictConfig | Mapping[str, Any],
    train_model: TrainFunction | None = None,
    output_dir: str | Path | None = None,
) -> TrainingResult:
    """Train once, from Python. In a notebook, the cell shows the objective while it trains.

    Args:
        cfg: a config from `explr.compose` or `hydra.compose`.
        train_model: a function to use in place of the one that the config names.
        output_dir: folder of the run; None makes a new one in `outputs`.

    Returns:
        The result; a bare number becomes a `TrainingResult`.

    Raises:
        UsageError: the configuration or the result is wrong.
        TrialPruned: the training pruned itself.
    """
    refuse_in_import("explr.run")
    node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    if not is_own_tree(node) and "train_model" in node:  # a plain mapping does not tell whose it is
        with suppress(Exception):  # reported with all other faults
            import_training(node)
    folder = Path(output_dir or f"outputs/{datetime.now():%Y-%m-%d/%H-%M-%S-%f}").absolute()
    shown = watching_training(node) if in_notebook() else nullcontext()
    with apart_from_trial(), shown:
        finished = run_training(node, folder, train_model=train_model)
    if finished.tracked is not None:
        print(closing_line(finished.tracked))
    if finished.result is None:
        raise TrialPruned(finished.reason)
    return finished.result


def run_training(
    cfg: DictConfig,
    folder: Path,
    *,
    train_model: TrainFunction | None = None,
    number: int = 0,
    is_trial: bool = False,
    resumes: bool = False,
    first_files: tuple[Path, ...] = (),
    last_files: tuple[Path, ...] = (),
    overrides: Iterable[str] | None = None,
    sweep: Path | None = None,
) -> FinishedTraining:
    """Train once: check the config, set seeds, record, train, check and write the result.

    Args:
        cfg: the composed config.
        folder: folder of the run.
        train_model: a function to use in place of the one that the config names.
        number: number of the trial in its sweep.
        is_trial: if it is told to stop, it is unfinished, also if it catches that and returns.
        resumes: it goes on with the training that the folder holds; a trial of a sweep always does.
        first_files: files to record as they are when the run starts.
        last_files: files to record as they are when the run ends.
        overrides: what the config was composed of; None if that is not known.
        sweep: folder of the sweep that has hashed the data of its trials; None if none has.

    Raises:
        UsageError: the configuration or the result is wrong.
        Exception: `train_model` raised it.
        Terminated: the trial was told to stop.
    """
    guard_logs()
    escape_unprintable()
    shorten_socket_paths()
    training = prepare(cfg, train_model)
    config = training.config
    if resumes:
        refuse_changed(folder, training.params)
        if config.experiment_name is None and (before := experiment_of(folder)) is not None:
            training = replace(training, experiment=before)
    if not is_trial and (inference := config.objective.inference()):
        log.info(inference)
    count_as_own(training.train_model)
    remember(config.hyperparameters)
    make_folder(folder)
    if not is_trial:
        note_run(folder)
    paths, resumed = config.data.listed, "this training" if resumes else ""
    data = note_data(paths, folder, working_directory(), sweep=sweep, resumes=resumed)
    seed = take_seed_apart() if config.seed is None else config.seed
    train: TrainFunction = training.train_model
    ranks = None
    if (processes := config.framework.processes) > 1:  # this one leads them and does not train
        from explr.runner.ranks.leader import Ranks

        train = ranks = Ranks(train, training.framework.name, processes, is_trial)
    else:
        training.framework.configure(
            seed=seed,
            deterministic=config.framework.deterministic,
            threads=config.framework.threads,
            device=training.device,
            memory_limit_gb=memory_budget(config.gpu.memory_limit_gb, training.device).gb,
        )
    checkpoints = Checkpoints(
        folder / CHECKPOINTS,
        training.framework.serializer,
        keep=config.framework.keep_checkpoints,
        max_gb=config.framework.max_checkpoints_gb,
        run=f"the run in {folder}",
    )
    begin = time.monotonic()
    record = recorded(training, folder, first_files, last_files, overrides, resumes, data)
    with closing(checkpoints), record as (tracker, tracked, hyperparameters):
        reporter = current_reporter()
        noted = NotingTracker(tracker, map(str, config.objective.constraints or ()))
        recorder = cast("Tracker", noted) if config.objective.constraints else tracker
        context = TrainingContext(
            hyperparameters=hyperparameters,
            tracker=ReportingTracker(recorder, reporter, config.objective.primary),
            recorder=recorder,
            reporter=reporter,
            trial_id=tracked.journal.uid if tracked else folder.name,
            trial_number=number,
            experiment_name=training.experiment,
            device=training.device,
            checkpoint_dir=str(folder / CHECKPOINTS),
            seed=seed,
            output_dir=folder,
            config=replace(
                config, hyperparameters=hyperparameters, experiment_name=training.experiment
            ),
            checkpoints=checkpoints,
        )

        def logged(name: str) -> list[float]:
            if name in noted.last:
                return [noted.last[name]]
            return logged_values(folder, name) if tracked else []

        def finish(state: str, result: TrainingResult | None, reason: str = "") -> FinishedTraining:
            took_s = time.monotonic() - begin
            values = tuple(objective_values(result, config.objective).values()) if result else ()
            params = training.params
            write_result(folder, state, context, params, took_s, result, reason, measured, data)
            tracker.set_tag("explr.state", state)  # an earlier attempt may have ended otherwise
            return FinishedTraining(
                result, folder, tracked, took_s, values, reason, tuple(measured.values())
            )

        resume_collection()
        reported: list[float] = []
        measured: dict[str, float] = {}
        try:
            with _as_trial() if is_trial else nullcontext():
                with (
                    helped(tracked.journal.path if tracked else None, config.objective.primary),
                    listening(lambda step, value: reported.append(value)),
                ):
                    returned = call_train_function(train, context)
                    if ranks is not None:
                        returned = ranks.value()
                if returned is None and tracked and not reported:
                    reported = logged_values(folder, config.objective.primary)
                result = read_result(returned, config.objective, reported)
                measured = measured_values(result, config.objective, logged)
                if _has_all_epochs(result, hyperparameters):
                    forget_stop()
            known = tracker.metric_names | (ranks.metric_names if ranks else frozenset())
            fresh = {n: v for n, v in result.metrics.items() if n not in known}
            tracker.log_metrics(
                {**fresh, **_objective_metrics(result, config.objective)}, result.epochs_completed
            )
        except TrialPruned as pruned:
            return finish("PRUNED", None, _who_pruned(str(pruned), reporter.should_prune()))
        except Exception as error:
            finish("FAIL", None, described(error))
            raise
        bounds = constraints_of(config.objective.constraints)
        is_feasible = are_satisfied(bounds, tuple(measured.values()))
        if tracked is not None and current() is None and is_feasible:  # a sweep has its best one's
            register_best(tracked, result)
        return finish("COMPLETE", result)


@contextmanager
def _as_trial() -> Iterator[None]:
    """Raise `Terminated` at the end of the block, whatever its end, if this process was stopped."""
    try:
        with failing_trial():
            yield
    finally:
        check_stopped()


def _has_all_epochs(result: TrainingResult, hyperparameters: dict[str, Any]) -> bool:
    """Whether a training says that it has trained as many epochs as it was to."""
    epochs = dict.get(hyperparameters, "epochs")  # the training has not read it here
    return isinstance(epochs, int) and result.epochs_completed >= epochs > 0


def _who_pruned(text: str, asked: bool) -> str:
    """Why a training was pruned: whether the tuner or the training decided it, and its text."""
    if text.startswith(BY_TUNER):
        return text
    who = BY_TUNER if asked else "by the training itself"
    return f"{who}: {text}" if text else who


def _objective_metrics(result: TrainingResult, objective: ObjectiveConfig) -> dict[str, float]:
    """The metrics that runs are compared by: `objective`, and one for each of several."""
    values = objective_values(result, objective)
    each = {f"objective/{name}": value for name, value in values.items()} if len(values) > 1 else {}
    return {"objective": result.primary_metric, **each}
