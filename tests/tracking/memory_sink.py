"""A sink in memory, which can fail, and a clock that moves only when somebody sleeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import TrackingError
from explr.tracking.shipping.sink import (
    Contents,
    LoggedModel,
    RunStart,
    SinkRun,
    SinkUnavailable,
    Status,
    dataset_name,
)

if TYPE_CHECKING:
    from explr.tracking.shipping.delay import Clock
    from explr.tracking.shipping.sink import Sink

SCHEME = "memory"
URI = f"{SCHEME}:here"


@dataclass
class MemoryRun:
    """A run, and how it was opened."""

    run_id: str
    start: RunStart
    status: str = "RUNNING"
    end_ms: int | None = None
    parent_id: str = ""
    rows: set[tuple[str, int, int, str]] = field(default_factory=set)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    models: dict[str, LoggedModel] = field(default_factory=dict)

    def values(self, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, in order."""
        return sorted((step, float(text)) for name, step, _, text in self.rows if name == metric)


class Memory:
    """What sinks of one address share, as the processes that open them share a server.

    `calls` are named after the method, and the run if there is one: "check", "send digits".
    `failing` holds what calls raise, by the name of the call or of the method, and what uploads
    raise, as "upload notes.txt"; `cost_s` is the processor time of a call; `trouble` is what a
    first look sees.

    Args:
        clock: tells when calls came.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        self._clock = clock or FakeClock()
        self.cost_s = 0.0
        self.trouble = ""
        self.runs: dict[str, MemoryRun] = {}
        self.models: dict[tuple[str, str], str] = {}
        self.calls: list[str] = []
        self.times: list[float] = []
        self.sent: list[Mapping[str, Any]] = []
        self.failing: dict[str, Exception] = {}
        self.ports: list[int | None] = []

    def called(self, method: str, run: str = "") -> None:
        """Note a call; raises what it should."""
        name = f"{method} {run}".rstrip()
        self.calls.append(name)
        self.times.append(self._clock.monotonic())
        self._clock.busy_s += self.cost_s
        for key in (name, method):
            self.fail(key)

    def fail(self, key: str) -> None:
        """Raise what `failing` holds under a key, if it does."""
        if key in self.failing:
            raise self.failing[key]

    def run(self, name: str) -> MemoryRun:
        """The only run of a name."""
        (run,) = [run for run in self.runs.values() if run.start.name == name]
        return run

    def go_away(self) -> None:
        """Fail in every call from now on."""
        away = SinkUnavailable("nobody is there")
        names = ("check", "find", "open_run", "send", "upload", "finish", "contents")
        names = (*names, "log_model", "register")
        self.failing = dict.fromkeys(names, away)

    def come_back(self) -> None:
        """Answer again."""
        self.failing.clear()

    def refuse(self, name: str, reason: str) -> None:
        """Refuse a call for good."""
        self.failing[name] = TrackingError(reason)


class MemorySink:
    """Keeps runs in a `Memory`."""

    def __init__(self, memory: Memory, uri: str = URI) -> None:
        self._memory = memory
        self._uri = uri

    @property
    def uri(self) -> str:
        return self._uri

    def look(self) -> str:
        return self._memory.trouble

    def connect(self, port: int | None = None, only_uploads: bool = False) -> None:
        self._memory.called("connect")
        self._memory.ports.append(port)

    def check(self) -> None:
        self._memory.called("check")

    def find(self, uid: str, experiment: str | None = None) -> SinkRun | None:
        self._memory.called("find")
        return self._find(uid, experiment)

    def _find(self, uid: str, experiment: str | None) -> SinkRun | None:
        for run in self._memory.runs.values():
            if run.start.uid == uid and experiment in (None, run.start.experiment):
                return _seen(run)
        return None

    def open_run(self, start: RunStart) -> SinkRun:
        self._memory.called("open_run", start.name)
        seen = self._find(start.uid, start.experiment)
        if seen is None:
            run_id = f"run-{len(self._memory.runs)}"
            run = MemoryRun(run_id, start, parent_id=start.parent_id, tags=dict(start.tags))
            self._memory.runs[run_id] = run
            return _seen(run)
        if start.resumed:
            self._memory.runs[seen.run_id].status = "RUNNING"
        return replace(seen, has_ended=seen.has_ended and not start.resumed)

    def send(self, run_id: str, events: Sequence[Mapping[str, Any]]) -> None:
        run = self._run("send", run_id)
        self._memory.sent += events
        for event in events:
            if event["k"] == "metrics":
                rows = event["m"].items()  # as text, since NaN is equal to nothing
                run.rows |= {(name, event["s"] or 0, event["t"], repr(v)) for name, v in rows}
            elif event["k"] == "params":
                run.params = {**event["p"], **run.params}
            elif event["k"] == "input":
                name = dataset_name(event["d"]["name"], event["d"]["digest"])
                run.inputs.setdefault(name, event["g"])
            else:
                run.tags |= event["g"]

    def upload(self, run_id: str, path: Path, folder: str) -> None:
        run = self._run("upload", run_id)
        self._memory.fail(f"upload {path.name}")
        run.files[str(Path(folder) / path.name)] = path.read_bytes()

    def log_model(self, run_id: str, path: Path, model: LoggedModel) -> None:
        self._run("log_model", run_id).models[path.name] = model

    def finish(self, run_id: str, status: Status, end_ms: int, parent_id: str = "") -> None:
        run = self._run("finish", run_id)
        run.status, run.end_ms = status, max(end_ms, run.start.started_ms)
        run.parent_id = run.parent_id or parent_id

    def contents(self, run_id: str, wanted: Contents) -> Contents:
        run = self._run("contents", run_id)
        rows = Counter(name for name, *_ in run.rows)
        return Contents(
            dict(rows),
            frozenset(run.params),
            frozenset(run.files),
            inputs=frozenset(run.inputs),
            models=frozenset(run.models),
        )

    def register(self, run_id: str, model: Path, name: str, about: str) -> str:
        self._run("register", run_id).files[f"model/{model.name}"] = model.read_bytes()
        self._memory.models.setdefault((name, run_id), about)
        return str(list(self._memory.models).index((name, run_id)) + 1)

    def address(self, experiment_id: str, run_id: str) -> str | None:
        return f"{self._uri}/{experiment_id}/{run_id}"

    def _run(self, method: str, run_id: str) -> MemoryRun:
        run = self._memory.runs[run_id]
        self._memory.called(method, run.start.name)
        return run


def _seen(run: MemoryRun) -> SinkRun:
    experiment = run.start.experiment
    return SinkRun(run.run_id, experiment, bool(run.parent_id), run.status != "RUNNING")


class FakeClock:
    """A clock that stands still; sleeping moves it, and does what was planned for that time."""

    def __init__(self) -> None:
        self.now_s = self.busy_s = 0.0
        self._plans: list[tuple[float, Callable[[], object]]] = []

    def at(self, time_s: float, action: Callable[[], object]) -> None:
        """Plan something."""
        self._plans.append((time_s, action))

    def monotonic(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.busy_s

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds
        due = [plan for plan in self._plans if plan[0] <= self.now_s]
        self._plans = [plan for plan in self._plans if plan[0] > self.now_s]
        for _, action in due:
            action()


if TYPE_CHECKING:

    def _conforms(sink: MemorySink, clock: FakeClock) -> tuple[Sink, Clock]:
        return sink, clock
