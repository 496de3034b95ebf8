"""The interface of `ctx.tracker`, which records a training."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Records metrics, parameters, tags and artifacts. No method waits for a network."""

    @property
    def metric_names(self) -> AbstractSet[str]:
        """Names of the metrics recorded so far."""
        ...

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record one value of a metric.

        Raises:
            TypeError: `value` cannot be read as a number.
        """
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record values of several metrics at one step.

        Raises:
            TypeError: a value cannot be read as a number.
        """
        ...

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings become dotted names."""
        ...

    def set_tag(self, name: str, value: Any) -> None:
        """Set a tag of the run; a later value replaces an earlier one."""
        ...

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Store a copy of a file or folder as an artifact.

        Raises:
            FileNotFoundError: `path` does not exist.
        """
        ...

    def log_figure(self, figure: Any, name: str) -> None:
        """Store a Matplotlib figure as an image; the file ending of `name` sets the format."""
        ...

    def log_text(self, text: str, name: str) -> None:
        """Store a text as a file."""
        ...

    def log_dict(self, dictionary: Mapping[str, Any], artifact_file: str) -> None:
        """Store a mapping as YAML if the file name ends so, otherwise as JSON."""
        ...

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Store a table as a `.json` file; a second table of that name is appended.

        Raises:
            TypeError, ValueError: `data` is not a table, or the name does not end in `.json`.
        """
        ...

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """Store an image as a file, or under `key` and `step`.

        Raises:
            TypeError, ValueError: it is no image, or not exactly one of `artifact_file` and
                `key` is given.
        """
        ...

    def mlflow_run(self) -> AbstractContextManager[Any]:
        """Wait until the run exists in MLflow, and make it the active run within the block.

        MLflow's fluent API and autologging then use this run.

        Raises:
            TrackingError: the run is not tracked, or MLflow did not create it in time.
        """
        ...
