"""The interface of a training function: its context, its result, its signature."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Protocol

from explr.core.checkpoint import Checkpoints
from explr.core.config import ExplrConfig
from explr.core.errors import CheckpointError
from explr.core.reporter import BY_NAME, NullReporter, Reporter, given_step, whole_step
from explr.core.tracker import Tracker


class Hyperparameters(dict[str, Any]):
    """Values of hyperparameters by name: a dict whose items are attributes too.

    `hp.lr` is `hp["lr"]`. A name that is also a method of a dict, such as `items`, is an item only.

    Args:
        values: values by name; nested mappings become `Hyperparameters` too.
    """

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__({name: _nested(value) for name, value in dict(values).items()})

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name.startswith("__"):  # Python and libraries ask for what an object might have
            raise AttributeError(name)
        names = [str(each) for each in dict.__iter__(self)]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
        error = AttributeError(f"there is no hyperparameter {name}: {hint}")
        error.name = name  # or Python adds a suggestion of its own
        raise error

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"{name} is a method of a dict: write hp[{name!r}] = …")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"there is no hyperparameter {name}")
        del self[name]

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *map(str, dict.__iter__(self))]

    def copy(self) -> Hyperparameters:
        """A copy, of nested ones too."""
        return Hyperparameters(self)

    def __or__(self, other: Any) -> Any:
        return Hyperparameters({**self, **other}) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return Hyperparameters({**other, **self}) if isinstance(other, Mapping) else NotImplemented

    def __reduce_ex__(self, protocol: Any) -> Any:
        # torch.save writes protocol 2, and torch.load takes no other dict than this one by default.
        return (OrderedDict if protocol <= 2 else Hyperparameters), (dict(self),)


def _nested(value: Any) -> Any:
    return Hyperparameters(value) if isinstance(value, dict) else value


def html_table(rows: Mapping[str, Any]) -> str:
    """Names and values as a table for a notebook, numbers with six significant digits."""
    texts = {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in rows.items()}
    cells = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in texts.items())
    return f"<table>{''.join(cells)}</table>"


@dataclass
class TrainingContext:
    """The argument of `train_model`: values, paths, and what records and reports.

    Args:
        hyperparameters: values of the hyperparameters by name, a dict whose items are attributes
            too: `ctx.hyperparameters.lr`. The defaults of explr's examples are recorded in MLflow
            when they are read.
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
        rank: number of this process among those of the training, from 0. The process with rank 0
            alone records, reports and saves; in the others these calls do nothing.
        world_size: number of processes of the training; see `framework.processes`.
        local_rank: number of this process among those of the training on this machine.
    """

    hyperparameters: Hyperparameters | Any  # any mapping is taken, and becomes one
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
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.hyperparameters, Hyperparameters):
            self.hyperparameters = Hyperparameters(self.hyperparameters)

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
        """Whether the tuner prunes this trial; raise `TrialPruned` then.

        If several processes train, the answer is the same in each of them, provided that all ask
        equally often; they wait for rank 0.
        """
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

    def _repr_html_(self) -> str:
        """The HTML for a notebook."""
        direction = "minimized" if self.minimize else "maximized"
        rows: dict[str, Any] = {
            f"{self.primary_metric_name} ({direction})": self.primary_metric,
            **self.metrics,
            "epochs": self.epochs_completed or None,
            "model": self.best_model_path,
        }
        return html_table({name: value for name, value in rows.items() if value is not None})


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
