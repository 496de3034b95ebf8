"""One training: the only way to run one, whoever asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.core.checkpoint import Checkpoints
from explr.core.config import ROOT_KEYS, MLflowConfig, ObjectiveConfig, TrackingConfig
from explr.core.errors import BY_TUNER, TrialPruned, UsageError
from explr.core.protocols import (
    Tracker,
    TrainFunction,
    TrainingContext,
    TrainingResult,
)
from explr.core.result import objective_values, read_result
from explr.core.secrets import remember
from explr.runner.call import call_train_function, running_context
from explr.runner.checks import Prepared, prepare
from explr.runner.files import RESULT_FILE, make_folder, write_result
from explr.runner.reporting import ReportingTracker, current_reporter, foreign_reporter
from explr.tracking.null import NullTracker
from explr.tracking.provenance import provenance_of
from explr.tracking.session import Destination, TrackedRun, closing_line, open_run
from explr.tracking.sweeps import current
from explr.tracking.values import number
from explr.utils.console import count_as_own
from explr.utils.machine import peak_memory
from explr.utils.memory import memory_budget
from explr.utils.redacted_logs import guard_logs
from explr.utils.references import by_reference

log = logging.getLogger("explr")


@dataclass(frozen=True)
class Outcome:
    """A training that came to its end.

    Args:
        result: what it achieved; None if it was pruned.
        folder: folder of the run.
        tracked: its record; None with `tracking=off`.
        duration_s: how long `train_model` took.
        values: value of each objective, if it was not pruned.
        reason: why it was.
    """

    result: TrainingResult | None
    folder: Path
    tracked: TrackedRun | None
    duration_s: float
    values: tuple[float, ...] = ()
    reason: str = ""


def run(
    cfg: DictConfig | Mapping[str, Any],
    train_model: TrainFunction | None = None,
    output_dir: str | Path | None = None,
) -> TrainingResult:
    """Train once, from Python.

    Args:
        cfg: what `explr.compose` or `hydra.compose` returned.
        train_model: a function to use in place of the one that the config names.
        output_dir: folder of the run; None makes a new one below `outputs`.

    Returns:
        The result, a bare number turned into a `TrainingResult`.

    Raises:
        UsageError: the configuration or the result is at fault.
        TrialPruned: the training pruned itself.
    """
    node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    folder = Path(output_dir or f"outputs/{datetime.now():%Y-%m-%d/%H-%M-%S-%f}").absolute()
    outcome = run_training(node, folder, train_model=train_model)
    if outcome.tracked is not None:
        print(closing_line(outcome.tracked))
    if outcome.result is None:
        raise TrialPruned(outcome.reason)
    return outcome.result


def report(step: int, **metrics: float) -> None:
    """Report metrics of a step, in any Hydra app: pruning in one line.

    Within a training of explr's the metrics are logged too, and the objective's is what pruning
    looks at; in another app, whose objective nobody names, it is the first.

    Args:
        step: epoch or batch, counted by the training.
        metrics: values by metric name.

    Raises:
        TrialPruned: the tuner ends this trial.
        TypeError: a value cannot be read as a number.
        UsageError: no metric was given.
    """
    if not metrics:
        raise UsageError("explr.report needs a metric, as in explr.report(step, loss=loss)")
    context = running_context()
    if context is not None:
        context.report(step, **metrics)
        reporter = context.reporter
    else:
        reporter = foreign_reporter()
        name, value = next(iter(metrics.items()))
        reporter.report(step, number(name, value, step))
    if reporter.should_prune():
        raise TrialPruned(f"{BY_TUNER}, at step {step}")


def run_training(
    cfg: DictConfig,
    folder: Path,
    *,
    train_model: TrainFunction | None = None,
    number: int = 0,
    first_files: tuple[Path, ...] = (),
    last_files: tuple[Path, ...] = (),
) -> Outcome:
    """Train once: check, seed, record, train, check the result, write it down.

    Args:
        cfg: the composed config.
        folder: folder of the run.
        train_model: a function to use in place of the one that the config names.
        number: number of the trial in its sweep.
        first_files: files recorded with the run as they are at its start.
        last_files: files recorded with the run as they are at its end.

    Raises:
        UsageError: the configuration or the result is at fault.
        Exception: whatever `train_model` raised.
    """
    guard_logs()
    prepared = prepare(cfg, train_model)
    config = prepared.config
    count_as_own(prepared.train_model)
    params = by_reference(cfg, config.hyperparameters)
    remember(config.hyperparameters)
    make_folder(folder)
    prepared.framework.configure(
        seed=config.seed,
        deterministic=config.framework.deterministic,
        threads=config.framework.threads,
        device=prepared.device,
        memory_limit_gb=memory_budget(config.gpu.memory_limit_gb).gb,
    )
    begin = time.monotonic()
    with _recorded(prepared, params, cfg, folder, first_files, last_files) as (tracker, tracked):
        reporter = current_reporter()
        context = TrainingContext(
            hyperparameters=config.hyperparameters,
            tracker=ReportingTracker(tracker, reporter, config.objective.primary),
            recorder=tracker,
            reporter=reporter,
            trial_id=tracked.journal.uid if tracked else folder.name,
            trial_number=number,
            experiment_name=config.experiment_name,
            device=prepared.device,
            checkpoint_dir=str(folder / "checkpoints"),
            seed=config.seed,
            output_dir=folder,
            config=config,
            checkpoints=Checkpoints(folder / "checkpoints", prepared.framework.serializer),
        )

        def finish(state: str, result: TrainingResult | None, reason: str = "") -> Outcome:
            values = tuple(objective_values(result, config.objective).values()) if result else ()
            outcome = Outcome(result, folder, tracked, time.monotonic() - begin, values, reason)
            write_result(folder, state, context, params, outcome.duration_s, result, reason)
            return outcome

        try:
            returned = call_train_function(prepared.train_model, context)
            result = read_result(returned, config.objective)
            fresh = {n: v for n, v in result.metrics.items() if n not in tracker.metric_names}
            tracker.log_metrics(
                {**fresh, **_objective_metrics(result, config.objective)}, result.epochs_completed
            )
        except TrialPruned as pruned:
            tracker.set_tag("explr.state", "PRUNED")
            return finish("PRUNED", None, _who_pruned(str(pruned), reporter.should_prune()))
        except Exception as error:
            finish("FAIL", None, f"{type(error).__name__}: {error}")
            raise
        if tracked is not None and current() is None:
            _register(tracked, config.tracking, result)
        return finish("COMPLETE", result)


def _who_pruned(text: str, asked: bool) -> str:
    """Whether the tuner asked a training to end, or it ended itself, and what it says."""
    if text.startswith(BY_TUNER):
        return text
    who = BY_TUNER if asked else "by the training itself"
    return f"{who}: {text}" if text else who


def _objective_metrics(result: TrainingResult, objective: ObjectiveConfig) -> dict[str, float]:
    """What the run is compared by: `objective`, and with several of them one more for each."""
    values = objective_values(result, objective)
    each = {f"objective/{name}": value for name, value in values.items()} if len(values) > 1 else {}
    return {"objective": result.primary_metric, **each}


def _register(tracked: TrackedRun, tracking: TrackingConfig, result: TrainingResult) -> None:
    """Have the best model registered, if that is wanted; of a sweep's models only one is."""
    name = tracking.register if isinstance(tracking, MLflowConfig) else None
    if name is None:
        return
    if result.best_model_path is None or not Path(result.best_model_path).exists():
        where = result.best_model_path or "best_model_path"
        log.warning("nothing is registered as %s: there is no model at %s", name, where)
        return
    about = f"{result.primary_metric_name} {result.primary_metric:.6g}"
    tracked.register(name, Path(result.best_model_path), about)


@contextmanager
def _recorded(
    prepared: Prepared,
    params: Mapping[str, Any],
    cfg: DictConfig,
    folder: Path,
    first_files: tuple[Path, ...],
    last_files: tuple[Path, ...],
) -> Iterator[tuple[Tracker, TrackedRun | None]]:
    """A tracker for the training, and the record that is closed with the training's true end."""
    tracking = prepared.config.tracking
    if not isinstance(tracking, MLflowConfig):
        yield NullTracker(), None
        return
    destination = Destination(
        tracking.uri,
        tracking.autostart,
        tracking.port,
        tracking.drain_timeout_s,
        look_s=tracking.system_metrics_interval_s if tracking.system_metrics else 0.0,
    )
    sweep = current()
    run = open_run(
        folder,
        destination.beside(sweep),
        experiment=prepared.config.experiment_name,
        name=folder.name,
        params=_params(prepared, params, cfg),
        tags={**provenance_of(sweep), "explr.kind": "trial" if sweep else "run"},
        parent=sweep.journal if sweep else None,
        first_files=first_files,
        last_files=(*last_files, folder / RESULT_FILE),
        goes_on=sweep is not None and sweep.keeps_folders,
    )
    try:
        yield run.tracker, run
        run.tracker.log_metrics(peak_memory())
    except Exception:
        run.close("FAILED")
        raise
    except BaseException:
        run.close("KILLED")
        raise
    run.close("FINISHED")


def _params(prepared: Prepared, params: Mapping[str, Any], cfg: DictConfig) -> dict[str, Any]:
    """Hyperparameters as they are used, and the rest as it was written."""
    rest = OmegaConf.to_container(
        OmegaConf.masked_copy(cfg, [key for key in ROOT_KEYS - {"hydra"} if key in cfg]),
        enum_to_str=True,
    )
    assert isinstance(rest, dict)
    return {
        **params,
        **{str(key): value for key, value in rest.items()},
        "train_model": prepared.train_model_name,
        "device": prepared.device,
    }
