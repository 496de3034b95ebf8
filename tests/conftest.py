"""Fixtures of all tests: no telemetry, no server, a temporary EXPLR_HOME, the command line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from terminals import Terminal
from zygote import zygote

HOME = tempfile.mkdtemp(prefix="explr-tests-")

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    RAY_USAGE_STATS_ENABLED="0",
    EXPLR_AUTOSTART="0",
    EXPLR_HOME=HOME,
    COLUMNS="100",
    OMP_NUM_THREADS="1",  # several tests at once would wait for each other's threads
)
for name in (
    "HYDRA_FULL_ERROR", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "EXPLR_GPU_MEMORY_GB",
    "PYTHONDONTWRITEBYTECODE",  # hundreds of processes would compile the same files
):  # fmt: skip
    os.environ.pop(name, None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells ignore Ctrl-C in background jobs, and the tested commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # As nohup has it; a command under nohup does not end with its terminal, and tests end some so.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

MAKE_STORE = """\
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(f"sqlite:///{sys.argv[1]}", "./mlruns").search_experiments()
"""

ALL_SLOW = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.slow\b", re.MULTILINE)

LONGEST = ("test_remote.py", "test_tuners.py", "test_readme.py", "test_examples.py")
"""Files that take minutes."""

SHARED = {
    "ray": r"ray/test_(faults|schedulers|sweeper_suites|tasks|tuners)\.py",
    "tensorflow": r"(examples/test_examples|frameworks/test_(base|tensorflow)"
    r"|integrations/test_keras)\.py",
}
"""Files for one worker, which starts or imports once what takes seconds."""

HYDRA_13 = (
    *("config", "core", "launching", "plugins", "tuning"),
    *("runner/test_cli.py", "runner/test_compose.py", "runner/test_main_script.py"),
    *("runner/test_run.py", "runner/test_settings_file.py", "sweep/test_algorithms.py"),
    *("sweep/test_folder.py", "sweep/test_faults_of_controllers.py", "ray/test_swap.py"),
    *("sweep/test_composition.py", "sweep/test_first_trial.py", "tracking/test_callback.py"),
    *("results/test_report.py", "results/test_public_apps.py"),
)
"""Folders and files whose tests are run with Hydra 1.3 too: the command line, the plugins, sweeps
of each tuner, resuming, tracking of any app, the report."""

TRAININGS = """\
import explr
from explr import TrainingContext, TrainingResult

CONSTANT = 3


def train(ctx: TrainingContext) -> float:
    print("trained with", ctx.hyperparameters, "seed", ctx.seed)
    return (ctx.hyperparameters["lr"] - 0.01) ** 2


def boom(ctx):
    raise ValueError(f"no luck with {ctx.hyperparameters['lr']}")


def boom_above_one(ctx):
    if ctx.hyperparameters["lr"] > 1:
        raise ValueError("too fast")
    return 0.5


def prune(ctx):
    raise explr.TrialPruned("no good")


def wait(ctx):
    import time
    (ctx.output_dir / "started").touch()
    time.sleep(60)


def with_arguments(ctx, scale, offset=0):
    return scale * ctx.hyperparameters["lr"] + offset


class Trainer:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, ctx):
        return self.scale * ctx.hyperparameters["lr"]


def two_arguments(data, model):
    return 0.0


def returned_none(ctx):
    return None


def returned_nan(ctx):
    return float("nan")


def returned_string(ctx):
    return "0.5"


def returned_list(ctx):
    return [0.5]


def other_metric(ctx):
    return TrainingResult(0.9, "val_accuracy")


def other_direction(ctx):
    return TrainingResult(0.9, minimize=False)
"""


def runs_with_hydra_13(path: Path) -> bool:
    """Whether a file of tests is run with Hydra 1.3 too."""
    return path.relative_to(Path(__file__).parent).as_posix().startswith(HYDRA_13)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip modules of which no test is chosen: they import a lot, or what is not installed."""
    if not collection_path.match("test_*.py"):
        return None
    if config.option.markexpr == "hydra13":
        return not runs_with_hydra_13(collection_path) or None
    if config.option.markexpr == "mlflow_versions":
        return "mark.mlflow_versions" not in collection_path.read_text() or None
    if config.option.markexpr != "not slow":
        return None
    return bool(ALL_SLOW.search(collection_path.read_text())) or None


@pytest.hookimpl(tryfirst=True)  # before those that were not asked for are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what has a workshop of sweeps, or a store of MLflow.

    Files with slow tests come first, so that no worker is left with one at the end.
    """
    for item in items:
        if runs_with_hydra_13(item.path):
            item.add_marker(pytest.mark.hydra13)
        if {"shop", "template"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (item.path.name not in LONGEST, not slow[item.path]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, which sets it up once; pages of the docs need no such thing."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if "::test_every_block_runs" in nodeid:
                return nodeid
            shared = (name for name, files in SHARED.items() if re.search(files, nodeid))
            return next(shared, None) or super()._split_scope(nodeid)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """EXPLR_HOME of this test session."""
    yield Path(HOME)
    zygote.close()
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow store, which is copied for each test: making one takes a second or two."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one store for all workers
    store = folder / "mlflow.db"
    with FileLock(folder / "mlflow.lock"):
        if not store.exists():
            making = store.with_suffix(".making")
            command = [sys.executable, "-c", MAKE_STORE, str(making)]
            done = zygote.run(command, folder, dict(os.environ), 240)
            assert done.returncode == 0, done.stderr
            making.rename(store)
    return store


class Command:
    """Runs Python's command line in a folder.

    Args:
        cwd: the folder, unless a call names another.
    """

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def __call__(
        self, *arguments: str, cwd: Path | None = None, timeout_s: float = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m explr ARGUMENTS`."""
        return self._run(["-m", "explr", *arguments], cwd, timeout_s, environment)

    def script(
        self, *arguments: str, cwd: Path | None = None, timeout_s: float = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS`: a script, or `-m` and a module, with what either is given."""
        return self._run(arguments, cwd, timeout_s, environment)

    def python(
        self, *arguments: str, cwd: Path | None = None, timeout_s: float = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` in a fresh interpreter: what it starts with is its own."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd or self.cwd,
            env={**os.environ, **environment},
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )

    def _run(
        self,
        arguments: Sequence[str],
        cwd: Path | None,
        timeout_s: float,
        environment: Mapping[str, str],
    ) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, **environment}
        return zygote.run([sys.executable, *arguments], cwd or self.cwd, variables, timeout_s)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Runs commands in `tmp_path` under a pseudo-terminal."""
    return Terminal(tmp_path, {})


@pytest.fixture
def explr(tmp_path: Path) -> Command:
    """Runs `python -m explr ARGUMENTS` in `tmp_path`, or in the `cwd` of the call."""
    return Command(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module `trainings`, which holds training functions of all kinds."""
    (tmp_path / "trainings.py").write_text(TRAININGS)
    return tmp_path
