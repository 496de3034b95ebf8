"""The tracker that records nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from explr.core.errors import TrackingError
from explr.tracking.artifacts import content_of, existing
from explr.tracking.logged.datasets import dataset_of, tags_of
from explr.tracking.logged.media import check_place, image_of
from explr.tracking.logged.models import check_names, flavor_of
from explr.tracking.logged.tables import table_name, table_text
from explr.tracking.values import WarnOnce, parameters, read_metrics

if TYPE_CHECKING:
    from explr.core.tracker import Tracker


class NullTracker:
    """Records nothing, but checks its arguments: what `tracking=off` gives to a training."""

    metric_names: AbstractSet[str] = frozenset()

    def __init__(self) -> None:
        self._warn = WarnOnce()

    def _nothing(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    set_tag = set_tags = log_figure = log_text = log_dict = _nothing

    def log_metric(self, key: str, value: Any, step: Any = None) -> None:
        """Warn if the value cannot be read."""
        self.log_metrics({key: value}, step)

    def log_metrics(self, metrics: Mapping[str, Any], step: Any = None) -> None:
        """Warn of values that cannot be read."""
        read_metrics(metrics, step, self._warn)

    def log_param(self, key: str, value: Any) -> None:
        """Check that it is a parameter."""
        parameters({key: value})

    def log_params(self, params: Any) -> None:
        """Check that they are parameters."""
        parameters(params)

    def log_artifact(self, local_path: str | Path, artifact_path: str | Path | None = None) -> None:
        """Check that `local_path` exists."""
        existing(local_path)

    def log_artifacts(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """Check that `local_dir` is a folder."""
        content_of(local_dir)

    def log_table(self, data: Any, artifact_file: str | Path) -> None:
        """Check that it is a table."""
        table_name(artifact_file)
        table_text(data, None)

    def log_image(
        self,
        image: Any,
        artifact_file: str | Path | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """Check that it is an image."""
        check_place(artifact_file, key)
        image_of(image, self._warn)

    def log_input(
        self, dataset: Any, context: str | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """Check that it is a data set."""
        dataset_of(dataset, self._warn)
        tags_of(context, tags)

    def log_model(self, model: Any, name: str, *_: Any, **kwargs: Any) -> None:
        """Check that it is a model, without saving it."""
        check_names(name, kwargs.get("registered_model_name"))
        flavor_of(model)

    def mlflow_run(self) -> NoReturn:
        """Raise a `TrackingError`, since there is no run."""
        raise TrackingError("ctx.tracker.mlflow_run() needs a tracked run: set tracking=mlflow")


if TYPE_CHECKING:

    def _conforms(nothing: NullTracker) -> Tracker:
        return nothing
