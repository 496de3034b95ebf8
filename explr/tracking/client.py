"""`ctx.tracker`: what a training records goes to its journal, and to nothing slower."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import TrackingError
from explr.tracking.journal import Journal, now_ms
from explr.tracking.params import flatten

if TYPE_CHECKING:
    from explr.core.protocols import Tracker


class ExplrTracker:
    """Records a run in its journal.

    Args:
        journal: where events are written.
        folder: folder of the run; logged files are copied below it.
        open_mlflow_run: makes the run active in MLflow's fluent API; see `mlflow_run`.
    """

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        open_mlflow_run: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._open_mlflow_run = open_mlflow_run

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one value of a metric, in microseconds.

        Args:
            name: name of the metric.
            value: anything that `float` takes; NaN and infinities are kept as they are.
            step: epoch or batch, counted by the training; None stands for 0, as in MLflow.

        Raises:
            TypeError: `value` cannot be read as a number.
        """
        self._journal.write(
            {"k": "metrics", "t": now_ms(), "s": step, "m": {name: _number(name, value)}}
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record values of several metrics at one step.

        Args:
            metrics: values by name.
            step: epoch or batch, counted by the training; None stands for 0.

        Raises:
            TypeError: a value cannot be read as a number.
        """
        values = {name: _number(name, value) for name, value in metrics.items()}
        self._journal.write({"k": "metrics", "t": now_ms(), "s": step, "m": values})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings become dotted names."""
        self._journal.append("params", p={k: str(v) for k, v in flatten(params).items()})

    def set_tag(self, name: str, value: Any) -> None:
        """Attach a tag to the run; a later value replaces an earlier one."""
        self._journal.append("tags", g={name: str(value)})

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Keep a copy of a file or folder with the run; the original may be deleted afterwards.

        Args:
            path: a file or folder.
            artifact_path: folder among the run's artifacts.

        Raises:
            FileNotFoundError: there is nothing at `path`.
        """
        source = Path(path)
        if not source.exists():
            raise FileNotFoundError(f"log_artifact: there is nothing at {source.absolute()}")
        copy = self._place(f"{artifact_path}/{source.name}" if artifact_path else source.name)
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        elif source.resolve() != copy.resolve():
            shutil.copyfile(source, copy)
        self._log_file(copy)

    def log_figure(self, figure: Any, name: str) -> None:
        """Keep a Matplotlib figure as an image.

        Args:
            figure: a figure, or anything with `savefig`.
            name: file name among the run's artifacts; its ending chooses the format.
        """
        copy = self._place(name)
        figure.savefig(copy)
        self._log_file(copy)

    def log_text(self, text: str, name: str) -> None:
        """Keep a text as a file.

        Args:
            text: the whole content.
            name: file name among the run's artifacts.
        """
        copy = self._place(name)
        copy.write_text(text, encoding="utf-8")
        self._log_file(copy)

    def mlflow_run(self) -> AbstractContextManager[Any]:
        """Wait until the run exists in MLflow, and make it the active one within the block.

        MLflow's own fluent calls and its autologging then land in this run.

        Raises:
            TrackingError: MLflow did not create the run in time.
        """
        return self._open_mlflow_run()

    def _place(self, name: str) -> Path:
        root = (self._folder / "artifacts").resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or path == root:
            raise ValueError(f"an artifact needs a name below the run's own folder, got {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _log_file(self, path: Path) -> None:
        inner = path.relative_to((self._folder / "artifacts").resolve()).parent.as_posix()
        self._journal.append("artifact", f=str(path), d="" if inner == "." else inner)


class NullTracker:
    """Records nothing: what `tracking=off` gives to a training."""

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Check the value and forget it."""
        _number(name, value)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Check the values and forget them."""
        for name, value in metrics.items():
            _number(name, value)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Do nothing."""

    def set_tag(self, name: str, value: Any) -> None:
        """Do nothing."""

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Do nothing."""

    def log_figure(self, figure: Any, name: str) -> None:
        """Do nothing."""

    def log_text(self, text: str, name: str) -> None:
        """Do nothing."""

    @contextmanager
    def mlflow_run(self) -> Iterator[Any]:
        """Refuse, since there is no run.

        Raises:
            TrackingError: always.
        """
        raise TrackingError("ctx.tracker.mlflow_run() needs a tracked run: set tracking=mlflow")
        yield


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"metric {name} must be a number, got {type(value).__name__} {value!r:.80}"
        ) from None


if TYPE_CHECKING:

    def _conforms(tracker: ExplrTracker, nothing: NullTracker) -> tuple[Tracker, Tracker]:
        return tracker, nothing
