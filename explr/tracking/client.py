"""`ctx.tracker` of a tracked run: writes what a training records to the run's journal."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import TrackingError
from explr.core.reporter import whole_step
from explr.core.secrets import redacted
from explr.tracking.artifacts import Copies
from explr.tracking.journal.journal import Journal, now_ms
from explr.tracking.media import (
    check_place,
    check_table_name,
    dictionary_text,
    image_of,
    preview,
    stepped_name,
    table_text,
)
from explr.tracking.mlflow.names import MAX_PARAM, MAX_TAG, legal_name
from explr.tracking.values import flatten, number

if TYPE_CHECKING:
    from explr.core.tracker import Tracker

log = logging.getLogger("explr.tracking")


class ExplrTracker:
    """Records a run in its journal.

    Args:
        journal: where events are written.
        folder: folder of the run, which gets the copies of logged files.
        open_mlflow_run: makes the run active in MLflow's fluent API; see `mlflow_run`.
        recorded: names and steps of metrics that an earlier attempt at the run recorded; they
            stay as they are and are not recorded twice.
    """

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        open_mlflow_run: Callable[[], AbstractContextManager[Any]],
        recorded: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        self._recorded = recorded
        self._journal = journal
        self._copies = Copies(folder)
        self._open_mlflow_run = open_mlflow_run
        self._names: set[str] = set()
        self._tables: list[str] = []
        self._metric_names: set[str] = set()
        self._not_finite: set[str] = set()
        self.params_end = 0
        """Bytes of the journal after its last parameters."""

    @property
    def metric_names(self) -> AbstractSet[str]:
        """See `Tracker.metric_names`."""
        return self._metric_names

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """See `Tracker.log_metric`."""
        self.log_metrics({name: value}, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """See `Tracker.log_metrics`."""
        values = {str(name): number(name, value, step) for name, value in metrics.items()}
        at = None if step is None else whole_step(step)
        if self._recorded and at is not None:
            values = {n: v for n, v in values.items() if (n, at) not in self._recorded}
            if not values:
                return
        self._journal.write({"k": "metrics", "t": now_ms(), "s": at, "m": values})
        for name, value in values.items():
            if name not in self._metric_names:
                self._metric_names.add(name)
                self._tell_name("metric", name)
            if not math.isfinite(value) and name not in self._not_finite:
                self._not_finite.add(name)
                log.warning("metric %s is %s; this warning is shown once", name, value)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Tracker.log_params`."""
        values = {str(name): str(value) for name, value in flatten(redacted(params)).items()}
        self._journal.append("params", p=values)
        self.params_end = self._journal.path.stat().st_size
        for name, value in values.items():
            self._tell_name("parameter", name)
            if len(value) > MAX_PARAM:
                self.log_text(value, f"params/{legal_name(name)}.txt")

    def set_tag(self, name: str, value: Any) -> None:
        """See `Tracker.set_tag`."""
        text = str(redacted(value, str(name)))
        self._journal.append("tags", g={str(name): text})
        self._tell_name("tag", str(name))
        if len(text) > MAX_TAG:
            self.log_text(text, f"tags/{legal_name(str(name))}.txt")

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """See `Tracker.log_artifact`."""
        self._log_copy(self._copies.take(path, artifact_path))

    def log_figure(self, figure: Any, name: str) -> None:
        """See `Tracker.log_figure`."""
        copy = self._copies.place(name)
        figure.savefig(copy)
        self._log_copy(copy)

    def log_text(self, text: str, name: str) -> None:
        """See `Tracker.log_text`."""
        self._log_copy(self._copies.write(text, name))

    def log_dict(self, dictionary: Mapping[str, Any], artifact_file: str) -> None:
        """See `Tracker.log_dict`."""
        self.log_text(dictionary_text(dictionary, artifact_file), artifact_file)

    def log_table(self, data: Any, artifact_file: str) -> None:
        """See `Tracker.log_table`."""
        check_table_name(artifact_file)
        copy = self._copies.place(artifact_file)
        before = copy.read_text(encoding="utf-8") if copy.exists() else None
        self.log_text(table_text(data, before), artifact_file)
        if artifact_file not in self._tables:
            self._tables.append(artifact_file)
            listed = [{"path": path, "type": "table"} for path in self._tables]
            self.set_tag("mlflow.loggedArtifacts", json.dumps(listed))

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """See `Tracker.log_image`."""
        check_place(artifact_file, key)
        picture = image_of(image)
        if artifact_file is not None:
            self._keep_image(picture, artifact_file)
            return
        assert key is not None
        name = stepped_name(key, 0 if step is None else whole_step(step), now_ms())
        self._keep_image(picture, f"{name}.png")
        self._keep_image(preview(picture), f"{name}+compressed.webp")
        self.set_tag("mlflow.loggedImages", True)

    def mlflow_run(self) -> AbstractContextManager[Any]:
        """See `Tracker.mlflow_run`."""
        return self._open_mlflow_run()

    def _tell_name(self, kind: str, name: str) -> None:
        if name in self._names:
            return
        self._names.add(name)
        if (legal := legal_name(name)) != name:
            log.warning("MLflow has no %s named %r: there it is called %s", kind, name, legal)

    def _keep_image(self, picture: Any, name: str) -> None:
        copy = self._copies.place(name)
        try:
            picture.save(copy)
        except OSError as error:
            raise TrackingError(f"cannot write {copy}: {error.strerror or error}") from error
        self._log_copy(copy)

    def _log_copy(self, copy: Path) -> None:
        self._journal.append(
            "artifact", f=self._copies.within_run(copy), d=self._copies.folder_of(copy)
        )


if TYPE_CHECKING:

    def _conforms(tracker: ExplrTracker) -> Tracker:
        return tracker
