"""The tracker that records nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from explr.core.errors import TrackingError
from explr.core.reporter import whole_step
from explr.tracking.artifacts import existing
from explr.tracking.media import check_place, check_table_name, image_of, table_text
from explr.tracking.values import number

if TYPE_CHECKING:
    from explr.core.tracker import Tracker


class NullTracker:
    """Records nothing, but checks its arguments: what `tracking=off` gives to a training."""

    metric_names: AbstractSet[str] = frozenset()

    def _nothing(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    log_params = set_tag = log_figure = log_text = log_dict = _nothing

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Check the value."""
        self.log_metrics({name: value}, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Check the values."""
        whole_step(0 if step is None else step)
        for name, value in metrics.items():
            number(name, value, step)

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Check that `path` exists."""
        existing(path)

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

    def mlflow_run(self) -> NoReturn:
        """Raise a `TrackingError`, since there is no run."""
        raise TrackingError("ctx.tracker.mlflow_run() needs a tracked run: set tracking=mlflow")


if TYPE_CHECKING:

    def _conforms(nothing: NullTracker) -> Tracker:
        return nothing
