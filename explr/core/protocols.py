"""The interface of a training function: its context, its result, its signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from explr.core.checkpoint import Checkpoints
from explr.core.config import ExplrConfig
from explr.core.errors import CheckpointError
from explr.core.reporter import BY_NAME, NullReporter, Reporter, given_step, whole_step
from explr.core.tracker import Tracker


@dataclass
class TrainingContext:
    """The argument of `train_model`: values, paths, and what records and reports.

    Args:
        hyperparameters: values of the hyperparameters by name, a dict. The defaults of explr's
            examples are recorded in MLflow when they are read.
        tracker: records metrics, parameters, tags and artifacts.
        trial_id: identifies this training among all of them.
        trial_number: number of the trial in its sweep, 0 outside one.
        experiment_name: the experiment that the run belongs to.
        device: device to train on, in PyTorch's spelling: `cpu`, `cuda`, `cuda:1`.
        checkpoint_dir: folder of the checkpoints.
        seed: the seed in force; None if none was set.
        output_dir: folder of this run.
        config: the whole configuration.
        checkpoints: saves and restores training state in `checkpoint_dir`.
        reporter: passes reports to the tuner.
        recorder: records the metrics of `report` without reporting them again; None uses
            `tracker`.
    """

    hyperparameters: dict[str, Any]
    tracker: Tracker
    trial_id: str
    trial_number: int = 0
    experiment_name: str = "default"
    device: str = "cuda"
    checkpoint_dir: str = "./checkpoints"
    seed: int | None = None
    output_dir: Path = Path()
    config: ExplrConfig | None = None
    checkpoints: Checkpoints | None = None
    reporter: Reporter = field(default_factory=NullReporter)
    recorder: Tracker | None = None

    def report(self, step: int = BY_NAME, /, **metrics: Any) -> None:
        """Log metrics of a step; if the objective is among them, it is reported to the tuner.

        Any thread of the training may report, and any process that it starts and gives `ctx` to.

        Args:
            step: epoch or batch, counted by the training: a whole number from 0 on, of any type
                (3, 3.0, a NumPy number, a tensor). A tuner takes the first value of a step.
                `step=` works too; after a step without its name, `step` is a metric like others.
            metrics: values by metric name; see `Tracker.log_metric`. An objective that is not
                one number, or whose step is negative, is not reported, with a warning.

        Raises:
            TypeError: no step is given.
            TrialPruned: `should_prune` was true after the previous report, but was ignored.
        """
        at = given_step(metrics) if step is BY_NAME else step
        (self.recorder or self.tracker).log_metrics(metrics, at)
        objective = self.config.objective.primary if self.config else None
        if objective in metrics:
            self.reporter.report(at, metrics[objective])
        else:
            self.reporter.missed(at, metrics)

    @property
    def should_prune(self) -> bool:
        """Whether the tuner prunes this trial; raise `TrialPruned` then."""
        return self.reporter.should_prune()

    def save_checkpoint(self, state: Any, step: int) -> Path:
        """Save training state; a kill at any moment leaves a usable checkpoint.

        The latest ones are kept, as many as `framework.keep_checkpoints` says.

        Args:
            state: training state: a mapping of tensors, state dicts and plain values for PyTorch,
                a compiled Keras model for TensorFlow, otherwise anything that pickles.
            step: step of the state, a whole number from 0 on.

        Returns:
            The file.

        Raises:
            CheckpointError: the state could not be read back (says which part, and what to give
                instead), the file cannot be written, another run saves in the same folder, or this
                context saves no checkpoints.
            TypeError: `step` is not a whole number.
            ValueError: `step` is negative.
        """
        return self._checkpoints().save(state, whole_step(step, least=0))

    def load_checkpoint(self) -> tuple[int, Any] | None:
        """Read the latest valid checkpoint.

        Returns:
            Its step and state, with tensors on the CPU; None if there is none.

        Raises:
            CheckpointError: a class or function that the state needs is not there, or this context
                saves no checkpoints.
        """
        return self._checkpoints().load()

    def _checkpoints(self) -> Checkpoints:
        if self.checkpoints is None:
            raise CheckpointError("this TrainingContext was built without `checkpoints`")
        return self.checkpoints


@dataclass
class TrainingResult:
    """The result of a training.

    Args:
        primary_metric: value of the objective.
        primary_metric_name: its name, the same as `objective.metric`, or the first of several.
        minimize: whether smaller is better, the same as `objective.direction`.
        metrics: further metrics to record, further objectives included.
        best_model_path: path of the best model.
        epochs_completed: number of completed epochs.
    """

    primary_metric: float
    primary_metric_name: str = "val_loss"
    minimize: bool = True
    metrics: dict[str, float] = field(default_factory=dict)
    best_model_path: str | None = None
    epochs_completed: int = 0


class TrainFunction(Protocol):
    """A training function: takes a context, returns a result or the value of the objective.

    The value may be in a dict, under the objective's name. If it returns None, a reported value
    counts: see `objective.reported`.
    """

    def __call__(
        self, ctx: TrainingContext, /
    ) -> TrainingResult | float | Mapping[str, Any] | None:
        """Train."""
        ...
