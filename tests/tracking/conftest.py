from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from companions import companions_of, processes_of
from ports import held_port
from waiting import runs, wait_until
from zygote import Started, zygote

from explr.tracking.destination import Destination
from explr.tracking.home import local_store_uri
from explr.tracking.run import TrackedRun, open_run
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.run_upload import RunUpload
from explr.tracking.shipping.start import Order

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PATIENCE_S = 240.0
"""How long something that must happen may take; companions stand back behind all else."""


def eventually(condition: Callable[[], Any], what: str = "it") -> Any:
    """What `condition` gives as soon as it gives anything."""
    return wait_until(condition, PATIENCE_S, what)


def _client(uri: str) -> MlflowClient:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of MLflow's own modules
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
        from mlflow import MlflowClient
    return MlflowClient(tracking_uri=uri)


class Store:
    """The user's MLflow store, as anybody can look into it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = _client(uri)

    def runs(self) -> list[Run]:
        ids = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(ids, order_by=["attributes.start_time"]))

    def run(self, name: str | None = None) -> Run:
        """The only run, or the only one with a name."""
        (run,) = [r for r in self.runs() if name in (None, r.info.run_name)]
        return run

    def rows(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, in order."""
        history = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((m.step, m.value) for m in history)

    def artifacts(self, run: Run, folder: str | None = None) -> dict[str, int]:
        """Sizes of all files among the artifacts, by path."""
        found: dict[str, int] = {}
        for info in self.client.list_artifacts(run.info.run_id, folder):
            if info.is_dir:
                found |= self.artifacts(run, info.path)
            else:
                found[info.path] = info.file_size
        return found

    def status(self, name: str | None = None) -> str:
        return str(self.run(name).info.status)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of explr's with a store in it; what still runs for it in the end is ended."""
    home = tmp_path / "ein Zuhause é"
    home.mkdir()
    for name in [n for n in os.environ if n.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EXPLR_HOME", str(home))
    monkeypatch.setenv("EXPLR_AUTOSTART", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    # Tests upload in this process too, where later ones may need all of MLflow.
    monkeypatch.setattr("explr.tracking.mlflow.store.FOR_MODELS", ())
    # On a busy machine, a slow server must not count as one that does not answer.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "90")
    monkeypatch.chdir(tmp_path)
    yield home
    kill(processes_of(home))


def kill_companions(home: Path) -> None:
    """Kill the companions that were started with this home."""
    kill(companions_of(home))


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes and wait until all have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        eventually(lambda: not runs(process), "the end of a killed process")  # noqa: B023


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which nobody listens until a server of the test does."""
    with held_port() as port:
        yield port


@pytest.fixture
def store(template: Path, home: Path) -> Store:
    shutil.copyfile(template, home / "mlflow.db")
    return Store(local_store_uri())


def begin(folder: Path, uri: str | None = None, **changes: Any) -> TrackedRun:
    """A run of this process without a companion."""
    folder.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {"experiment": "digits", "name": folder.name, "params": {}, "tags": {}}
    return open_run(folder, Destination(uri, companion=False), **{**given, **changes})


def ship(uri: str | None = None) -> None:
    """Upload everything that is pending, in this process."""
    follow(Order(uri or local_store_uri()))


def replay(store: Store, run: TrackedRun) -> None:
    """Upload a run again from its first event, as who has lost its place does."""
    from explr.tracking.mlflow.sink import MLflowSink

    run.journal.path.with_suffix(".position").unlink()
    sink = MLflowSink(store.uri)
    sink.connect()
    upload = RunUpload(sink, run.journal.path)
    while upload.advance():
        pass
    assert upload.done


def explr(*arguments: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return zygote.run([sys.executable, "-m", "explr", *arguments], Path.cwd(), env, PATIENCE_S)


class Running:
    """A command that runs, and what it and its companions write.

    Args:
        process: the command.
        output: the file that it writes to.
    """

    def __init__(self, process: Started, output: Path) -> None:
        self._process = process
        self._output = output
        self.send_signal, self.kill = process.send_signal, process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Wait for its end, in seconds; what it has written."""
        self._process.wait(timeout)
        return self._output.read_text(), None


def start(*arguments: str, environment: Mapping[str, str] | None = None) -> Running:
    """Start the command."""
    command = [sys.executable, "-m", "explr", *arguments]
    variables = {**os.environ, **(environment or {})}
    with NamedTemporaryFile(prefix="output-", dir=Path.cwd(), delete=False) as output:
        there = output.fileno()
        process = zygote.start(command, Path.cwd(), variables, there, there, is_whole=False)
    return Running(process, Path(output.name))


def write_training(path: Path, body: str) -> str:
    """Write a training function into a file; how `train_model` names it."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    path.write_text(f"import os, signal, sys, time\n\n\ndef train(ctx):\n{lines}\n")
    return f"train_model='{path}:train'"


def journals(folder: Path) -> list[Path]:
    return sorted(folder.rglob("journal-*.jsonl"))


UNTIL_TRIED = """
from explr.tracking.journal.journal import first_event
from explr.tracking.shipping.observer import is_awaited
from explr.tracking.journal.position import read_position
(journal,) = ctx.output_dir.glob("journal-*.jsonl")
while not read_position(journal).error or is_awaited(journal, first_event(journal)):
    time.sleep(0.05)
"""
"""For the body of a training: waits until its companion has tried to ship it, and failed, and has
written down what it was made from."""


class Kit:
    """What tests of tracking need, as one fixture: a conftest cannot be imported from."""

    patience_s = PATIENCE_S
    until_tried = UNTIL_TRIED
    store_at = staticmethod(Store)
    eventually = staticmethod(eventually)
    companions_of = staticmethod(companions_of)
    kill_companions = staticmethod(kill_companions)
    begin = staticmethod(begin)
    ship = staticmethod(ship)
    replay = staticmethod(replay)
    explr = staticmethod(explr)
    start = staticmethod(start)
    write_training = staticmethod(write_training)
    journals = staticmethod(journals)


@pytest.fixture
def kit(home: Path) -> Kit:
    return Kit()
