"""One tracked run from its first event to its last, and the wait for its upload at the end."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.config import MirrorConfig
from explr.core.errors import TrackingError, UsageError, shortened
from explr.core.folders import within
from explr.core.secrets.masking import redacted, redacted_text
from explr.core.secrets.shapes import without_user_info
from explr.tracking.artifacts import Copies
from explr.tracking.client import ExplrTracker
from explr.tracking.destination import Destination
from explr.tracking.home import autostart_allowed, explr_home, is_local_store, is_made
from explr.tracking.journal.index import recorded_steps
from explr.tracking.journal.journal import (
    Journal,
    end_as_killed,
    first_event,
    has_ended,
    journals_in,
    reopened,
    uid_of,
)
from explr.tracking.journal.lines import VERSION
from explr.tracking.journal.pending import Entry, enter, entries, strike_off
from explr.tracking.journal.position import Position, read_position
from explr.tracking.journal.steps import RecordedSteps
from explr.tracking.mlflow.registry import name_fault
from explr.tracking.null import NullTracker
from explr.tracking.shipping.awaiting import awaiting
from explr.tracking.shipping.sinks import sink_for
from explr.tracking.shipping.start import (
    LOG_FILE,
    ensure_companion,
    first_words,
    has_companion,
    tell_no_address,
)
from explr.utils.console import is_terminal
from explr.utils.processes import identity_of

if TYPE_CHECKING:
    from explr.tracking.shipping.sink import Status

log = logging.getLogger(__name__)

POLL_S = 0.02
SILENT_S = 1.0
"""After so long a wait for the upload, a line says what is waited for."""


class TrackedRun:
    """A run that is being recorded.

    Args:
        journal: its journal.
        destination: where it is recorded.
        recorded: metrics and steps that an earlier attempt at this run recorded.
    """

    def __init__(
        self,
        journal: Journal,
        destination: Destination,
        recorded: RecordedSteps | None = None,
    ) -> None:
        self.journal = journal
        self.destination = destination
        self.tracker = ExplrTracker(journal, journal.path.parent, self._mlflow_run, recorded)
        self.status: Status | None = None
        self._owner = os.getpid()

    @property
    def position(self) -> Position:
        """How far the run was uploaded."""
        return read_position(self.journal.path)

    def close(self, status: Status) -> None:
        """Record how the run ended; a second call, or one in a forked process, does nothing.

        Raises:
            TrackingError: the end of a finished run cannot be written. For a run that failed or
                was killed this is only logged, since another exception is being raised already.
        """
        if self.status is not None or os.getpid() != self._owner:
            return
        self.status = status
        try:
            self.journal.end(status)
        except TrackingError as error:
            if status == "FINISHED":
                raise
            log.error("%s", error)

    def register(self, name: str, model: Path, about: str, run: Path | None = None) -> None:
        """Register a model in MLflow with the alias `best`, as part of the upload.

        Args:
            name: name of the registered model.
            model: a file or folder.
            about: a line for its description.
            run: journal of the run that the model came from; None takes this run.

        Raises:
            UsageError: there is nothing at `model`, or the name cannot be used.
            TrackingError: the journal cannot be written.
        """
        if fault := name_fault(name):
            raise UsageError(fault)
        if not model.exists():
            raise UsageError(f"{model} is to be registered as {name}, and is not there")
        folder = self.journal.path.parent
        run = run or self.journal.path
        homes = {folder.resolve(), run.parent.resolve()}
        if not any(model.resolve().is_relative_to(home) for home in homes):
            model = Copies(folder).take(model, "model")  # nothing from elsewhere is uploaded
        paths = {"model": model, "run": run}
        places = {key: within(folder, path) for key, path in paths.items()}
        self.journal.append("register", name=name, about=redacted_text(about), **places)

    def keep_shipping(self) -> None:
        """Make sure that the upload process runs; the one that was started may have been killed.

        Raises:
            TrackingError: it cannot be started, or the server's password cannot be kept.
        """
        if self.destination.companion:
            serve = autostart_allowed(self.destination.autostart)
            uri = self.destination.resolved_uri
            if self.destination.protect and is_local_store(uri):
                from explr.tracking.mlflow.serving.gate import make_password

                make_password(explr_home())
            ensure_companion(uri, serve=serve, port=self.destination.port)

    def waiting(self) -> list[Entry]:
        """Journals below the run's folder that are not fully uploaded."""
        folder = self.journal.path.parent.resolve()
        uri = self.destination.resolved_uri
        return [e for e in entries(uri) if Path(e.journal).is_relative_to(folder)]

    def drain(self) -> int:
        """Wait until everything below the run's folder is uploaded, at most `drain_timeout_s`.

        Journals that MLflow refuses without a change by the user are not waited for. Neither is a
        new local store, which takes seconds, unless `drain_timeout_s` is longer than by default.

        Returns:
            How many journals are not fully uploaded.
        """
        timeout_s = self.destination.drain_timeout_s
        begun, told = time.monotonic(), False
        if self.waiting():
            self.keep_shipping()
        with awaiting(self.destination.resolved_uri):
            while (waiting := self.waiting()) and time.monotonic() < begun + timeout_s:
                if all(read_position(Path(entry.journal)).stuck for entry in waiting):
                    break
                waited_s = time.monotonic() - begun
                if not self.waits_for_store and (self.nearest_address or waited_s > SILENT_S):
                    break  # the server tells its address within a moment
                if not told and waited_s > SILENT_S:
                    told = True
                    if is_terminal(sys.stderr):
                        print("waiting for the upload to MLflow …", file=sys.stderr)
                time.sleep(POLL_S)
        return len(waiting)

    @property
    def waits_for_store(self) -> bool:
        """Whether to wait for the upload: not while a new local store is made."""
        if self.destination.drain_timeout_s > MirrorConfig.drain_timeout_s:
            return True
        return is_made(self.destination.resolved_uri)

    @property
    def address(self) -> str | None:
        """Address of the run in MLflow's UI; None if it is not known (yet)."""
        position = self.position
        if not position.run_id:
            return None
        return self._page(position.experiment_id, position.run_id)

    @property
    def nearest_address(self) -> str | None:
        """Address of the run, or of its experiment or of all, as far as it is known."""
        position = self.position
        return self._page(position.experiment_id, position.run_id)

    def compared(self, minimize: bool) -> str | None:
        """Address of the charts of a sweep's runs; None if it is not known.

        Args:
            minimize: whether smaller values of the objective are better.
        """
        position = self.position
        if not position.run_id:
            return None
        sink = sink_for(self.destination.resolved_uri)
        return sink.compared(position.experiment_id, position.run_id, minimize)

    def _page(self, experiment_id: str, run_id: str) -> str | None:
        return sink_for(self.destination.resolved_uri).address(experiment_id, run_id)

    def _mlflow_run(self) -> AbstractContextManager[Any]:
        from explr.tracking.mlflow.fluent import active_run

        if not self.journal.path.exists():
            raise self.journal.missing()
        if os.getpid() == self._owner:
            self.keep_shipping()
        uri = self.destination.resolved_uri
        return active_run(self.journal.path, uri, self.tracker.params_end)


def open_run(
    folder: Path,
    destination: Destination,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    parent: Path | None = None,
    first_files: tuple[Path, ...] = (),
    last_files: tuple[Path, ...] = (),
    resumes: bool = False,
) -> TrackedRun:
    """Start to record a run.

    Args:
        folder: folder of the run and of its journal.
        destination: where the run is recorded.
        experiment: name of the MLflow experiment.
        name: name of the run.
        params: its parameters, nested or flat.
        tags: its tags.
        parent: journal of the sweep that the run belongs to.
        first_files: artifacts that do not change any more.
        last_files: artifacts that are uploaded as they are when the run ends.
        resumes: this is another attempt at the run that `folder` holds, if it holds one: both
            are one run in MLflow, and a metric that was recorded for a step stays as it is.

    Raises:
        TrackingError: the folder or EXPLR_HOME cannot be written, or no companion starts.
    """
    folder = folder.resolve()
    earlier = journals_in(folder) if resumes else []
    me, host, uri = identity_of(), socket.gethostname(), destination.resolved_uri
    journal = Journal.create(folder)
    entry = Entry(str(journal.path), without_user_info(uri), me.pid, me.started, host)
    try:
        enter(entry)  # before the first event, so that a kill in between leaves no open run
        journal.append(
            "start",
            v=VERSION,
            experiment=experiment,
            name=name,
            g=redacted(tags),
            parent=str(parent) if parent else None,
            pid=me.pid,
            started=me.started,
            host=host,
            last=[within(folder, path) for path in last_files],
            after=earlier[-1].name if earlier else None,
            run=uid_of(earlier[0]) if earlier else journal.uid,
            observe=destination.look_s if destination.companion else None,
        )
        for before in earlier:
            if not has_ended(before):  # a process that a killed attempt has left may go on
                end_as_killed(before)
        run = TrackedRun(journal, destination, recorded_steps(earlier))
        run.tracker.log_params(params)
        for path in first_files:
            journal.append("artifact", f=within(folder, path), d="")
        run.keep_shipping()
    except BaseException:
        journal.discard()
        with suppress(OSError):  # its cause is being raised already
            strike_off(entry)
        raise
    return run


def experiment_of(folder: Path) -> str | None:
    """Name of the experiment of the last run in a folder; None if there was none.

    Args:
        folder: folder of a run or a sweep.
    """
    starts = [start for each in journals_in(folder) if (start := first_event(each)) is not None]
    return str(starts[-1]["experiment"]) if starts else None


def helper_tracker(journal: Path) -> ExplrTracker:
    """The tracker of a run for a process that its training has started.

    Args:
        journal: journal of the run, which the training writes too.

    """
    folder = journal.parent
    resumes = (first_event(journal) or {}).get("after") is not None
    earlier = [path for path in journals_in(folder) if path != journal] if resumes else []
    no_run = NullTracker().mlflow_run
    return ExplrTracker(reopened(journal), folder, no_run, recorded_steps(earlier))


def closing_line(run: TrackedRun, wait: bool = True) -> str:
    """A line that says where the run is in MLflow, or what is not uploaded yet; then a line before
    it says why, if that is known.

    Args:
        run: the run, or the sweep with all runs below its folder.
        wait: wait for the upload, at most `drain_timeout_s`.
    """
    try:
        return _closing_line(run, wait)
    except (TrackingError, OSError) as error:  # it must not fail the training
        return f"MLflow has not caught up with {run.journal.path.parent}: {error}"


def _closing_line(run: TrackedRun, wait: bool) -> str:
    tell_no_address(run.destination.resolved_uri)
    if wait:
        run.drain()
    waiting = run.waiting()
    if not run.journal.path.exists():
        return f"MLflow lacks the end of this run: {run.journal.path} was deleted while it went on"
    if not waiting:
        store = without_user_info(run.destination.resolved_uri)
        where = run.address or f"run {run.position.run_id} in {store}"
        return "; ".join([f"MLflow: {where}", *_missing(run.journal.path.parent)])
    runs = "1 run" if len(waiting) == 1 else f"{len(waiting)} runs"
    reasons = [read_position(Path(entry.journal)).error for entry in waiting]
    reason = next(filter(None, [*reasons, first_words(run.destination.resolved_uri)]), "")
    command = shlex.join(["explr", "sync", str(run.journal.path.parent)])
    goes_on = has_companion(run.destination.resolved_uri)
    if goes_on and not reason:
        where = run.nearest_address or without_user_info(run.destination.resolved_uri)
        return f"MLflow: {where}; the upload continues in the background, `{command}` waits for it"
    reason = shortened(f"Not uploaded: {reason}") + "\n" if reason else ""
    if goes_on:
        state = "the upload continues in the background for a while"
    else:
        state = f"the upload process has ended, see {explr_home() / LOG_FILE}"
    return f"{reason}MLflow has not caught up with {runs}: {state}, and `{command}` resumes it"


def _missing(folder: Path) -> list[str]:
    """What MLflow will not have of the runs in a folder: of the first of them, and how many."""
    found = []
    for pattern in ("", "*/", "*/*/"):  # a sweep, its trials, their replicates
        for file in sorted(folder.glob(f"{pattern}journal-*.items")):
            if missing := read_position(file.with_suffix(".jsonl")).missing:
                found.append(missing)
    return [found[0] + (f"; {len(found)} runs lack some" if found[1:] else "")] if found else []
