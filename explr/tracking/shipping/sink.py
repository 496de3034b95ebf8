"""The interface of a place that journals are uploaded to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from explr.core.errors import ExplrError

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended, in MLflow's words."""


class SinkUnavailable(ExplrError):
    """A sink cannot do something now; the same call may succeed later."""


class SinkSlow(SinkUnavailable):
    """A sink did not answer in time; the next call waits longer for it."""


class SinkLocked(SinkUnavailable):
    """Another process has locked a sink, and may do so for minutes."""


class Refused(ExplrError):
    """A sink does not take one file or model, whenever it is tried; others are not affected.

    Args:
        reason: a short text.
        certain: it is about this file or model; else the sink may refuse all of them for now, for
            want of a permission, say.
    """

    def __init__(self, reason: str, certain: bool = True) -> None:
        super().__init__(reason)
        self.certain = certain


@dataclass(frozen=True)
class RunStart:
    """What a sink needs to know to open a run.

    Args:
        uid: explr's own identity of the run; all attempts at a trial share it.
        experiment: name of the experiment.
        name: name of the run.
        started_ms: when it started, in milliseconds since the epoch.
        tags: its tags.
        parent_id: the sink's id of the sweep's run; "" if there is none or it is not known.
        resumed: this is another attempt at the run; a run that had ended runs again.
    """

    uid: str
    experiment: str
    name: str
    started_ms: int
    tags: Mapping[str, str]
    parent_id: str = ""
    resumed: bool = False


@dataclass(frozen=True)
class SinkRun:
    """A run's identity in a sink.

    Args:
        run_id: the sink's id of the run.
        experiment_id: the sink's id of its experiment.
        has_parent: it is attached to the run of its sweep.
        has_ended: it has a final status.
    """

    run_id: str
    experiment_id: str
    has_parent: bool = False
    has_ended: bool = False


@dataclass(frozen=True)
class LoggedModel:
    """What a sink shows of a model that a run has logged.

    Args:
        name: name of the model; a run may log several of one name.
        step: epoch or batch at which it was logged.
        model_type: the user's word for models that are compared.
        params: parameters of its own.
        tags: its tags.
        metrics: time in milliseconds since the epoch and value of the run's metrics at that step.
        registered_as: name of the registered model that gets it as a version; None registers none.
    """

    name: str
    step: int = 0
    model_type: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    registered_as: str | None = None


@dataclass(frozen=True)
class Contents:
    """What a run holds in a sink, or should hold.

    Args:
        rows: number of different rows by metric, under the names that the journal has.
        params: names of parameters.
        artifacts: paths of files among the artifacts.
        refused: number of different rows by metric that the sink has refused for good.
        inputs: names and checksums of data sets, as `dataset_name` gives them.
        models: names of the folders of logged models.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    params: AbstractSet[str] = frozenset()
    artifacts: AbstractSet[str] = frozenset()
    refused: Mapping[str, int] = field(default_factory=dict)
    inputs: AbstractSet[str] = frozenset()
    models: AbstractSet[str] = frozenset()


def dataset_name(name: str, digest: str) -> str:
    """What tells a data set of a run from its others."""
    return f"{name} ({digest})"


class Sink(Protocol):
    """A place that journals are uploaded to.

    Every call may be repeated, also by another process, and adds nothing the second time. All
    methods but `address` and `look` need `connect` first and fail in two ways: `TrackingError`
    means that a retry fails without a change by the user, `SinkUnavailable` that it may succeed
    later. `upload`, `log_model` and `register` may raise `Refused` too.
    """

    @property
    def uri(self) -> str:
        """Address of the sink, as `tracking.uri` has it."""
        ...

    def look(self) -> str:
        """Why the sink cannot be used, as far as some seconds show; it need not be connected.

        This imports none of the sink's libraries. In any case of doubt it says nothing.

        Returns:
            A line of at most 140 characters; "" if nothing speaks against the sink.
        """
        ...

    def connect(self, port: int | None = None, only_uploads: bool = False) -> None:
        """Open the sink; make it if it is a local one and does not exist.

        Args:
            port: start the server of a local sink too, on this port if it is free; None starts
                none. A server that does not start is logged and stops nothing else.
            only_uploads: this process does nothing else with the sink's libraries, so that they
                may be imported in part.
        """
        ...

    def check(self) -> None:
        """Make sure that the sink answers."""
        ...

    def find(self, uid: str, experiment: str | None = None) -> SinkRun | None:
        """The run with explr's identity `uid`; None if it was not opened yet.

        Args:
            uid: identity of the run.
            experiment: look in this experiment only.
        """
        ...

    def open_run(self, start: RunStart) -> SinkRun:
        """Find a run by its identity, or create it, and its experiment if there is none."""
        ...

    def send(self, run_id: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Add metrics, parameters, tags and data sets to a run.

        A row that the sink refuses for good must not hold up the others.

        Args:
            run_id: the sink's id of the run.
            events: events of the kinds `metrics`, `params`, `tags` and `input`, as the journal has
                them.
        """
        ...

    def upload(self, run_id: str, path: Path, folder: str) -> None:
        """Add a file, which keeps its name if the sink takes that, to the artifacts of a run.

        Args:
            run_id: the sink's id of the run.
            path: the file; it exists, and can be read.
            folder: folder among the run's artifacts, "" for the topmost one.

        Raises:
            Refused: the sink does not take this file.
        """
        ...

    def log_model(self, run_id: str, path: Path, model: LoggedModel) -> None:
        """Add a model to a run.

        Args:
            run_id: the sink's id of the run.
            path: folder of the model in MLflow's format; its name is like no other.
            model: what is shown of it.

        Raises:
            Refused: the sink does not take this model.
        """
        ...

    def finish(self, run_id: str, status: Status, end_ms: int, parent_id: str = "") -> None:
        """Give a run its final status.

        Args:
            run_id: the sink's id of the run.
            status: how it ended.
            end_ms: when it ended, in milliseconds since the epoch; a clock that was set back may
                have it before the start, which then counts.
            parent_id: attach the run to this one if it is attached to none.
        """
        ...

    def contents(self, run_id: str, wanted: Contents) -> Contents:
        """What of `wanted` a run holds; it may hold more.

        Args:
            run_id: the sink's id of the run.
            wanted: what is looked for.

        Returns:
            All counts and names of `wanted` that the run has. `refused` has what this object was
            told to send since the run was opened. A parameter counts with any value. Artifacts
            count as held if the sink does not list them.

        Raises:
            TrackingError: the sink does not have the run any more.
        """
        ...

    def register(self, run_id: str, model: Path, name: str, about: str) -> str:
        """Add a model to the sink's registry as the best version of that name.

        Args:
            run_id: the sink's id of the run that the model came from.
            model: a file or folder.
            name: name of the registered model.
            about: a line for the description of the version.

        Returns:
            The version.

        Raises:
            Refused: the sink does not take this model.
        """
        ...

    def address(self, experiment_id: str, run_id: str) -> str | None:
        """Address of a run's page for a browser; None if no server is known."""
        ...
