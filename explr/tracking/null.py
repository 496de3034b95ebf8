"""The tracker that records nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import TrackingError
from explr.tracking.artifacts import existing
from explr.tracking.media import check_place, check_table_name, image_of, table_text
from explr.tracking.values import number, whole_step

if TYPE_CHECKING:
    from explr.core.tracker import Tracker


class NullTracker:
    """Records nothing: what `tracking=off` gives to a training."""

    @property
    def metric_names(self) -> AbstractSet[str]:
        """None."""
        return frozenset()

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Check the value and forget it."""
        self.log_metrics({name: value}, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Check the values and forget them."""
        whole_step(step)
        for name, value in metrics.items():
            number(name, value, step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Do nothing."""

    def set_tag(self, name: str, value: Any) -> None:
        """Do nothing."""

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Check that there is something at `path`."""
        existing(path)

    def log_figure(self, figure: Any, name: str) -> None:
        """Do nothing."""

    def log_text(self, text: str, name: str) -> None:
        """Do nothing."""

    def log_dict(self, dictionary: Mapping[str, Any], artifact_file: str) -> None:
        """Do nothing."""

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Check that it is a table."""
        check_table_name(artifact_file)
        table_text(data, None)

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """Check that it is an image."""
        check_place(artifact_file, key)
        image_of(image)

    @contextmanager
    def mlflow_run(self) -> Iterator[Any]:
        """Refuse, since there is no run.

        Raises:
            TrackingError: always.
        """
        raise TrackingError("ctx.tracker.mlflow_run() needs a tracked run: set tracking=mlflow")
        yield


if TYPE_CHECKING:

    def _conforms(nothing: NullTracker) -> Tracker:
        return nothing
