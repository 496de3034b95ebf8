"""`ctx.tracker` of a tracked run: writes what a training records to the run's journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.reporter import whole_step
from explr.core.secrets.masking import redacted, redacted_text
from explr.tracking.artifacts import Copies, content_of
from explr.tracking.journal.journal import Journal, now_ms
from explr.tracking.journal.steps import RecordedSteps
from explr.tracking.logged.datasets import dataset_of, tags_of
from explr.tracking.logged.media import (
    check_place,
    dictionary_text,
    image_of,
    preview,
    save_figure,
    stepped_name,
)
from explr.tracking.logged.models import FOLDER, check_names, save_model
from explr.tracking.logged.tables import TAG, TableList, table_name, table_text, tag_of
from explr.tracking.mlflow.names import MAX_PARAM, MAX_TAG, legal_name
from explr.tracking.values import WarnOnce, parameters, read_metrics, text_of, texts_of

if TYPE_CHECKING:
    from explr.core.tracker import Tracker


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
        recorded: RecordedSteps | None = None,
    ) -> None:
        self._recorded = recorded
        self._journal = journal
        self._folder = folder
        self._copies = Copies(folder)
        self._open_mlflow_run = open_mlflow_run
        self._tables = TableList(journal.path)
        self._latest: dict[str, tuple[int, int | None, float]] = {}
        self._warn = WarnOnce()
        self.params_end = 0
        """Bytes of the journal after its last parameters."""

    @property
    def metric_names(self) -> AbstractSet[str]:
        """See `Tracker.metric_names`."""
        return self._latest.keys()

    def log_metric(self, key: str, value: Any, step: int | None = None) -> None:
        """See `Tracker.log_metric`."""
        self.log_metrics({key: value}, step)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """See `Tracker.log_metrics`."""
        values, at = read_metrics(metrics, step, self._warn)
        if self._recorded and at is not None:
            values = {n: v for n, v in values.items() if (n, at) not in self._recorded}
        if not values:
            return
        time = now_ms()
        self._journal.write_metrics(time, at, values)
        for name, value in values.items():
            if name not in self._latest:
                self._tell_name("metric", name)
            self._latest[name] = time, at, value
            if not isfinite(value):
                self._warn(f"finite {name}", "metric %s is %s", name, value)

    def log_param(self, key: str, value: Any) -> None:
        """See `Tracker.log_param`."""
        self.log_params({key: value})

    def log_params(self, params: Any) -> None:
        """See `Tracker.log_params`."""
        values = parameters(params)
        self._journal.append("params", p=values)
        self.params_end = self._journal.path.stat().st_size
        for name, value in values.items():
            self._tell_name("parameter", name)
            if len(value) > MAX_PARAM:
                self.log_text(value, f"params/{legal_name(name)}.txt")

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """See `Tracker.set_tags`."""
        for key, value in texts_of(tags, "the tags of set_tags").items():
            self.set_tag(key, value)

    def set_tag(self, key: str, value: Any) -> None:
        """See `Tracker.set_tag`."""
        name = str(key)
        text = text_of(value, name)
        self._journal.append("tags", g={name: text})
        self._tell_name("tag", name)
        if len(text) > MAX_TAG:
            self.log_text(text, f"tags/{legal_name(name)}.txt")

    def log_artifact(self, local_path: str | Path, artifact_path: str | Path | None = None) -> None:
        """See `Tracker.log_artifact`."""
        folder = None if artifact_path is None else str(artifact_path)
        self._log_copy(self._copies.take(local_path, folder))

    def log_artifacts(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """See `Tracker.log_artifacts`."""
        for path in content_of(local_dir):
            self.log_artifact(path, artifact_path)

    def log_figure(self, figure: Any, artifact_file: str | Path) -> None:
        """See `Tracker.log_figure`."""
        name = str(artifact_file)
        self._log_copy(self._copies.write(name, lambda path: save_figure(figure, path)))

    def log_text(self, text: str, artifact_file: str | Path) -> None:
        """See `Tracker.log_text`."""
        data = redacted_text(text).encode("utf-8", "backslashreplace")
        self._log_copy(self._copies.write(str(artifact_file), lambda path: path.write_bytes(data)))

    def log_dict(self, dictionary: Mapping[str, Any], artifact_file: str | Path) -> None:
        """See `Tracker.log_dict`."""
        content = dictionary_text(redacted(dictionary), str(artifact_file))
        self.log_text(content, artifact_file)

    def log_table(self, data: Any, artifact_file: str | Path) -> None:
        """See `Tracker.log_table`."""
        with self._copies.alone():  # another process may append to the same table
            self._log_table(data, table_name(artifact_file))

    def _log_table(self, data: Any, artifact_file: str) -> None:
        copy = self._copies.place(artifact_file)
        name = (Path(self._copies.folder_of(copy)) / copy.name).as_posix()  # as MLflow has it
        known = self._tables.names()
        before = copy.read_text(encoding="utf-8") if name in known and copy.exists() else None
        text = table_text(data, before)
        if name in known:
            self.log_text(text, name)
            return
        known.append(name)
        self._tables.write(known)  # first: a table that is not listed is begun anew
        self.log_text(text, name)
        tag, listed = tag_of(known)
        self.set_tag(TAG, tag)
        if listed < len(known):
            self._warn(
                TAG,
                "MLflow's page of tables shows only the newest %d, since its tag takes no more; "
                "all are among the artifacts",
                listed,
            )

    def log_image(
        self,
        image: Any,
        artifact_file: str | Path | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """See `Tracker.log_image`."""
        check_place(artifact_file, key)
        picture = image_of(image, self._warn)
        if artifact_file is not None:
            self._keep_image(picture, str(artifact_file))
            return
        assert key is not None
        name = stepped_name(str(key), 0 if step is None else whole_step(step), now_ms())
        self._keep_image(picture, f"{name}.png")
        self._keep_image(preview(picture), f"{name}+compressed.webp")
        self.set_tag("mlflow.loggedImages", True)

    def log_input(
        self, dataset: Any, context: str | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """See `Tracker.log_input`."""
        fields = dataset_of(dataset, self._warn)
        self._journal.append("input", d=fields, g=tags_of(context, tags))

    def log_model(
        self,
        model: Any,
        name: str,
        signature: Any = None,
        input_example: Any = None,
        registered_model_name: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        model_type: str | None = None,
        step: int = 0,
        **kwargs: Any,
    ) -> None:
        """See `Tracker.log_model`."""
        from explr.tracking.shipping.sink import LoggedModel

        check_names(name, registered_model_name)
        at = whole_step(step)
        shown = LoggedModel(
            name=name,
            step=at,
            model_type=None if model_type is None else str(model_type),
            params=texts_of(params, "the params of log_model"),
            tags=texts_of(tags, "the tags of log_model"),
            metrics={
                metric: (time, value)
                for metric, (time, logged, value) in list(self._latest.items())  # in other threads
                if (logged or 0) == at
            },
            registered_as=None if registered_model_name is None else str(registered_model_name),
        )
        options = {"signature": signature, "input_example": input_example, **kwargs}
        path = save_model(model, name, self._folder, options)
        self._journal.append("model", f=f"{FOLDER}/{path.name}", logged=asdict(shown))

    def mlflow_run(self) -> AbstractContextManager[Any]:
        """See `Tracker.mlflow_run`."""
        return self._open_mlflow_run()

    def _tell_name(self, kind: str, name: str) -> None:
        if (legal := legal_name(name)) != name:
            self._warn(
                "names",
                "MLflow has no %s named %r: there it is called %s, and other names that MLflow "
                "does not accept are changed in the same way",
                kind, name, legal,
            )  # fmt: skip

    def _keep_image(self, picture: Any, name: str) -> None:
        self._log_copy(self._copies.write(name, picture.save))

    def _log_copy(self, copy: Path) -> None:
        self._journal.append(
            "artifact", f=self._copies.within_run(copy), d=self._copies.folder_of(copy)
        )


if TYPE_CHECKING:

    def _conforms(tracker: ExplrTracker) -> Tracker:
        return tracker
