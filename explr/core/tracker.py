"""The interface of `ctx.tracker`, which records a training."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Records a training. No method but `mlflow_run` waits for a network."""

    @property
    def metric_names(self) -> AbstractSet[str]:
        """Names of the metrics recorded so far."""
        ...

    def log_metric(self, key: str, value: Any, step: int | None = None) -> None:
        """Record one value of a metric; takes microseconds.

        What cannot be recorded is left out, with one warning for each name: a value that is not a
        number, or a step that is not a whole number.

        Args:
            key: name of the metric.
            value: a number of any type, or an array, tensor or list of one element; NaN and
                infinities are kept. Several elements, up to 100, are recorded as metrics of
                their own, `NAME/0`, `NAME/1` and so on.
            step: epoch or batch, counted by the training: a whole number of any type, from 0 on
                for the objective, which is reported; None stands for 0, as in MLflow.

        Raises:
            TrackingError: the disk is full, or the run's folder was deleted.
        """
        ...

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record values of several metrics at one step; see `log_metric`.

        Args:
            metrics: values by name.
            step: epoch or batch, counted by the training; None stands for 0.
        """
        ...

    def log_param(self, key: str, value: Any) -> None:
        """Record one parameter; see `log_params`.

        Args:
            key: name of the parameter.
            value: a value of any type.
        """
        ...

    def log_params(self, params: Any) -> None:
        """Record parameters; nested mappings, and lists of them, become dotted names.

        A value that is too long for MLflow is also kept as a file, `params/NAME.txt`.

        Args:
            params: values of any type by name: a mapping, an `argparse.Namespace`, a dataclass
                instance, a config of OmegaConf or a model of pydantic.

        Raises:
            TypeError: `params` is something else.
        """
        ...

    def set_tag(self, key: str, value: Any) -> None:
        """Attach a tag to the run; a later one replaces an earlier one.

        A value that is too long for MLflow is also kept as a file, `tags/NAME.txt`.

        Args:
            key: name of the tag.
            value: a value of any type.
        """
        ...

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Attach several tags; see `set_tag`.

        Args:
            tags: values by name.
        """
        ...

    def log_artifact(self, local_path: str | Path, artifact_path: str | Path | None = None) -> None:
        """Keep a copy of a file or folder with the run; the original may be deleted afterwards.

        Args:
            local_path: a file or folder.
            artifact_path: folder among the run's artifacts.

        Raises:
            FileNotFoundError: there is nothing at `local_path`.
            ValueError: `artifact_path` lies outside the run's artifacts, or there is a pipe, a
                socket or a device at `local_path`; inside a folder, those are left out with a
                warning.
            TrackingError: it cannot be copied.
        """
        ...

    def log_artifacts(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """Keep copies of all that is in a folder; see `log_artifact`, which keeps its name too.

        Args:
            local_dir: a folder.
            artifact_path: folder among the run's artifacts; None takes the topmost one.

        Raises:
            NotADirectoryError: `local_dir` is no folder.
        """
        ...

    def log_figure(self, figure: Any, artifact_file: str | Path) -> None:
        """Keep a figure as an image, or one of Plotly as a page.

        Args:
            figure: a figure of Matplotlib or anything with `savefig`, or a figure of Plotly.
            artifact_file: file name among the run's artifacts; its ending is the format, `.html`
                for the page.

        Raises:
            TypeError: `figure` is something else.
            ValueError: `artifact_file` lies outside the run's artifacts, or has an unknown ending.
            TrackingError: it cannot be written.
        """
        ...

    def log_text(self, text: str, artifact_file: str | Path) -> None:
        """Keep a text as a file.

        Args:
            text: the whole content.
            artifact_file: file name among the run's artifacts.

        Raises:
            ValueError: `artifact_file` lies outside the run's artifacts.
            TrackingError: it cannot be written.
        """
        ...

    def log_dict(self, dictionary: Mapping[str, Any], artifact_file: str | Path) -> None:
        """Keep a mapping as a file: YAML if its name ends in .yaml or .yml, else JSON.

        Args:
            dictionary: nested mappings and lists of plain values. Arrays and sets become lists,
                other values text; in JSON also NaN and infinities.
            artifact_file: file name among the run's artifacts.

        Raises:
            ValueError: `artifact_file` lies outside the run's artifacts.
            TrackingError: it cannot be written.
        """
        ...

    def log_table(self, data: Any, artifact_file: str | Path) -> None:
        """Keep a table, which MLflow compares between runs; a second call appends rows.

        A later attempt at the run appends to the tables of the earlier one.

        Args:
            data: a DataFrame, or a mapping of equally long columns (lists, arrays, tensors) and
                single values, which stand in each row. Of several columns with one name the
                second is called `NAME.1`. NaN becomes null.
            artifact_file: file name among the run's artifacts, ending in `.json`.

        Raises:
            TypeError: `data` is not a table.
            ValueError: the columns are not equally long, or the name has another ending.
            TrackingError: it cannot be written.
        """
        ...

    def log_image(
        self,
        image: Any,
        artifact_file: str | Path | None = None,
        key: str | None = None,
        step: int | None = None,
    ) -> None:
        """Keep an image as a file, or as the image of `key` at `step`.

        Args:
            image: a Pillow image, or an array or tensor of shape (height, width) or
                (height, width, 1, 3 or 4) with values from 0 to 255, or from 0.0 to 1.0. Other
                values are rescaled, the smallest to black, with a warning.
            artifact_file: file name among the run's artifacts; its ending is the format.
            key: what the image shows; MLflow's page has a slider over the steps of a key.
            step: epoch or batch; None stands for 0.

        Raises:
            TypeError: it is not an image, or not exactly one of `artifact_file` and `key` is given.
            ValueError: an array has another shape, or the name lies outside.
            MissingDependencyError: Pillow is not installed.
            TrackingError: it cannot be written.
        """
        ...

    def log_input(
        self, dataset: Any, context: str | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """Record a data set that the training uses, which MLflow shows with the run.

        Args:
            dataset: one of `mlflow.data`, or a mapping with a `name` and, as far as they are known,
                a `source` (a path or an address), a `digest` (a checksum; None takes one of the
                description), a `schema` (types by column) and a `profile` (such as
                `{"num_rows": 1797}`). The mapping needs no import of MLflow.
            context: what it is used for, such as "training".
            tags: values of any type by name.

        Raises:
            TypeError: `dataset` is neither.
            ValueError: the mapping has another key or no name, or its source is too long.
        """
        ...

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
        """Save a model in MLflow's format, and have it uploaded as a logged model of the run.

        This imports MLflow into the training, and takes the time that MLflow needs to save it; the
        upload happens elsewhere. Metrics that were logged last at the same step are shown with the
        model.

        Args:
            model: a model of PyTorch, Lightning, Keras or scikit-learn, or a pipeline of
                Transformers or a mapping of its parts. It stays as it is, on its device.
            name: its name in MLflow, as in `runs:/RUN_ID/NAME`.
            signature: shapes and types of its inputs and outputs, as by
                `mlflow.models.infer_signature`.
            input_example: an example of its input; of a model of PyTorch an array or tensor of
                shape (batch, …), since MLflow traces the model with it.
            registered_model_name: make it a version of this registered model too.
            params: parameters of its own; it gets those of the run as well.
            tags: its tags.
            model_type: a word for models that are compared.
            step: epoch or batch.
            kwargs: further arguments of the `save_model` of `mlflow.pytorch`, `mlflow.keras` and
                so on, such as `pip_requirements`: without it MLflow loads the model in a second
                process to see what it imports, which takes half a minute.

        Raises:
            TypeError: the model is of no such framework.
            ValueError: MLflow does not accept a name.
            MissingDependencyError: MLflow cannot be imported.
            TrackingError: MLflow cannot save the model, or the disk is full.
        """
        ...

    def mlflow_run(self) -> AbstractContextManager[Any]:
        """Wait until the run exists in MLflow, and make it the active run within the block.

        MLflow's own fluent calls and its autologging then write to this run, and runs that are
        started with `nested=True` are its children. A parameter that has another value already
        becomes a tag, `changed.NAME`. The run does not end with the block.

        Raises:
            TrackingError: the run is not tracked, MLflow cannot create it, or another thread has
                such a block for another store or experiment.
        """
        ...
