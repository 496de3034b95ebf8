"""What a training function is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from explr.core.checkpoint import Checkpoints
from explr.core.config import ExplrConfig
from explr.core.errors import CheckpointError
from explr.core.reporter import NullReporter, Reporter
from explr.core.tracker import Tracker


@dataclass
class TrainingContext:
    """Everything that `train_model` may want to know or use.

    Args:
        hyperparameters: the values to train with, by name.
        tracker: records metrics, parameters, tags and artifacts.
        trial_id: identifies this training among all of them.
        trial_number: number of the trial in its sweep, 0 outside one.
        experiment_name: the experiment that the run belongs to.
        device: device to train on, in PyTorch's spelling: `cpu`, `cuda`, `cuda:1`.
        checkpoint_dir: where checkpoints go.
        seed: the seed that was set, or None.
        output_dir: folder of this run.
        config: the whole configuration.
        checkpoints: saves and restores training state in `checkpoint_dir`.
        reporter: carries reports to the tuner.
        recorder: records what `report` is given, without reporting it; None takes `tracker`.
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

    def report(self, step: int, **metrics: float) -> None:
        """Log metrics of a step; the objective's metric among them is what pruning looks at.

        Args:
            step: epoch or batch, counted by the training.
            metrics: values by metric name.

        Raises:
            TypeError: a value cannot be read as a number.
            TrialPruned: `should_prune` was true after the report before, and was not heeded.
        """
        (self.recorder or self.tracker).log_metrics(metrics, step=step)
        objective = self.config.objective.primary if self.config else None
        if objective in metrics:
            self.reporter.report(step, float(metrics[objective]))

    @property
    def should_prune(self) -> bool:
        """Whether the tuner wants this trial to end; raise `TrialPruned` then."""
        return self.reporter.should_prune()

    def save_checkpoint(self, state: Any, step: int) -> Path:
        """Save training state so that a kill at any instant leaves a usable checkpoint.

        Args:
            state: what the framework saves: a mapping of tensors and plain values for PyTorch,
                a Keras model for TensorFlow.
            step: step that the state belongs to.

        Returns:
            The file that was written.

        Raises:
            CheckpointError: the file cannot be written, or this context saves no checkpoints.
            ValueError: `step` is negative.
        """
        return self._checkpoints().save(state, step)

    def load_checkpoint(self) -> tuple[int, Any] | None:
        """Read the latest checkpoint that is whole.

        Returns:
            Its step and state, or None where there is none.

        Raises:
            CheckpointError: this context saves no checkpoints.
        """
        return self._checkpoints().load()

    def _checkpoints(self) -> Checkpoints:
        if self.checkpoints is None:
            raise CheckpointError("this TrainingContext was built without `checkpoints`")
        return self.checkpoints


@dataclass
class TrainingResult:
    """What a training achieved.

    Args:
        primary_metric: value of the objective.
        primary_metric_name: its name, the same as `objective.metric`, or the first of several.
        minimize: whether smaller is better, the same as `objective.direction`.
        metrics: further metrics, recorded with the run; further objectives are among them.
        best_model_path: where the best model was saved.
        epochs_completed: number of epochs that were trained.
    """

    primary_metric: float
    primary_metric_name: str = "val_loss"
    minimize: bool = True
    metrics: dict[str, float] = field(default_factory=dict)
    best_model_path: str | None = None
    epochs_completed: int = 0


class TrainFunction(Protocol):
    """A training: takes a context, returns a result or the bare value of the objective."""

    def __call__(self, ctx: TrainingContext, /) -> TrainingResult | float:
        """Train."""
        ...
