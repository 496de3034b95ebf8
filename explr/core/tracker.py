"""What records a training: the interface that `ctx.tracker` has."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Records what a training does. No method waits for a network."""

    @property
    def metric_names(self) -> AbstractSet[str]:
        """Names of the metrics that were recorded so far."""
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
        """Attach a tag to the run; a later value replaces an earlier one."""
        ...

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Keep a copy of a file or folder with the run.

        Raises:
            FileNotFoundError: there is nothing at `path`.
        """
        ...

    def log_figure(self, figure: Any, name: str) -> None:
        """Keep a Matplotlib figure as an image; the ending of `name` chooses the format."""
        ...

    def log_text(self, text: str, name: str) -> None:
        """Keep a text as a file."""
        ...

    def log_dict(self, dictionary: Mapping[str, Any], artifact_file: str) -> None:
        """Keep a mapping as YAML if the name ends so, else as JSON."""
        ...

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Keep a table as a `.json` file; a second one of that name is added at its end.

        Raises:
            TypeError, ValueError: it is no table, or the name has another ending.
        """
        ...

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """Keep an image as a file, or as what `key` looked like at `step`.

        Raises:
            TypeError, ValueError: it is no image, or not one of `artifact_file` and `key` is given.
        """
        ...

    def mlflow_run(self) -> AbstractContextManager[Any]:
        """Wait until the run exists in MLflow, and make it the active one within the block.

        MLflow's own fluent calls and its autologging then land in this run.

        Raises:
            TrackingError: the run is not tracked, or MLflow did not create it in time.
        """
        ...
