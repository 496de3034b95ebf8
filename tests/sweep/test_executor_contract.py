"""What every executor does, whichever way it runs a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from waiting import PATIENCE_S

import explr
from explr.config.compose import TRUSTED, hydra_app
from explr.core.validation import AUTO
from explr.launching.hydra_job import HydraJob
from explr.sweep.executors.choose import ANY, KINDS, kind_of
from explr.sweep.executors.kind import Launching, Place
from explr.tuning.executor import Executor
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Job, Outcome

# A job's process cannot import a test module; a user's module lies on `sys.path`.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def task(cfg: DictConfig) -> Any:
    """What the jobs of these tests do."""
    for step in range(cfg.get("reports", 0)):
        explr.report(step, loss=step / 2)
    if cfg.what == "raise":
        raise ValueError("oops")
    if cfg.what == "prune":
        raise explr.TrialPruned("no good")
    if cfg.what == "exit":
        raise SystemExit(3)
    return {"number": 0.5, "integer": 2, "text": "x", "none": None, "two": [1, 2]}[cfg.what]


class Controller:
    """Remembers reports; prunes from step 3 on, and refuses a fifth."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int, float]] = []

    def __call__(self, key: int, step: int, value: float) -> bool:
        self.reports.append((key, step, value))
        return step >= 3


@pytest.fixture(scope="module")
def shared_controller() -> Controller:
    return Controller()


@pytest.fixture
def controller(shared_controller: Controller) -> Controller:
    """The controller of the executor, which has heard of nothing yet."""
    shared_controller.reports.clear()
    return shared_controller


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the executors of all tests write."""
    return tmp_path_factory.mktemp("executors")


SLOW = pytest.mark.slow
EXECUTORS = [
    "hydra/launcher=basic",
    pytest.param("hydra/launcher=explr_local", marks=SLOW),
    # It measures its trials, and imports PyTorch to ask it for its memory.
    pytest.param("hydra/launcher=explr_local auto", marks=SLOW),
    pytest.param("basic launcher in a thread", marks=SLOW),
    pytest.param("hydra/launcher=joblib", marks=SLOW),
    pytest.param("hydra/launcher=ray", marks=SLOW),
]


@pytest.fixture(params=EXECUTORS, scope="module")
def executor(
    request: pytest.FixtureRequest, shared_controller: Controller, folder: Path
) -> Iterator[Executor]:
    """An executor that runs the jobs of all tests, since some take seconds to start."""
    heard = shared_controller
    choice, _, auto = str(request.param).partition(" ")
    chosen, kind = [choice], None
    if choice == "basic":
        chosen, kind = ["hydra/launcher=basic"], ANY
    with pytest.MonkeyPatch.context() as patch, hydra_app() as app:
        patch.chdir(folder)
        config = app.compose_config(
            "config",
            ["+what=number", "hydra.mode=MULTIRUN", f"hydra.sweep.dir={folder}/out", *chosen],
            run_mode=explr_multirun(),
        )
        HydraConfig.instance().set_config(config)
        context = HydraContext(app.config_loader, Callbacks(), TRUSTED)
        launching = Launching(config, context, task, AUTO if auto == "auto" else 1, 1)
        kind = kind or kind_of(launching.launcher)
        with (
            ray_with_this_module() if choice.endswith("=ray") else nullcontext(),
            kind.executor(launching, job_of, heard, lambda job: folder / "output") as made,
        ):
            yield made


@contextmanager
def ray_with_this_module() -> Iterator[None]:
    """Ray has a cloudpickle of its own; it is ended, since other tests start it in their way."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


def explr_multirun() -> Any:
    from hydra.types import RunMode

    return RunMode.MULTIRUN


def job_of(job: Job, lease: Any) -> HydraJob:
    overrides = [f"++{name}={value}" for name, value in job.params.items()]
    return HydraJob(job.key, overrides)


@pytest.fixture
def run(executor: Executor) -> Callable[..., Outcome]:
    def run(number: int = 0, **params: Any) -> Outcome:
        job = Job(number, 0, 1, 0, params)
        executor.start(job)
        ended: list[tuple[Job, Outcome]] = []
        while not ended:
            ended = executor.wait(PATIENCE_S)
        ((other, outcome),) = ended
        assert other == job
        return outcome

    return run


def test_values(run: Callable[..., Outcome], folder: Path) -> None:
    config = folder / "out" / "1" / ".hydra" / "config.yaml"
    config.unlink(missing_ok=True)  # another executor's
    assert run(0, what="number") == Outcome("COMPLETE", (0.5,))
    assert run(1, what="integer") == Outcome("COMPLETE", (2.0,))
    assert config.exists()
    assert run(2, what="text") == Outcome(
        "FAIL", (), "returned 'x', which is no number", Failure.INVALID
    )
    assert run(3, what="none") == Outcome("COMPLETE")  # what it has reported decides
    assert run(4, what="two").reason == "returned 2 values for 1 objectives"


def test_what_a_job_raises(run: Callable[..., Outcome], request: pytest.FixtureRequest) -> None:
    raised = run(0, what="raise")
    assert (raised.state, raised.reason, raised.died) == ("FAIL", "ValueError: oops", False)
    assert raised.failure is Failure.ERROR
    assert "ValueError: oops" in raised.detail  # joblib sends no more of the traceback
    assert run(1, what="prune") == Outcome("PRUNED", reason="no good")
    if "joblib" not in request.node.name:  # joblib takes 40 s to replace a worker that exits
        exited = run(2, what="exit")
        assert exited.state == "FAIL"
        assert exited.reason  # Ray only knows that its worker is gone
    assert run(3, what="number").state == "COMPLETE"


def test_reports(run: Callable[..., Outcome], controller: Controller) -> None:
    assert run(7, what="number", reports=3) == Outcome("COMPLETE", (0.5,))
    assert controller.reports == [(7, step, step / 2) for step in range(3)]
    assert run(8, what="number", reports=6).state == "PRUNED"
    assert controller.reports[3:] == [(8, step, step / 2) for step in range(4)]


def test_a_config_that_cannot_be_composed_fails_its_own_job(run: Callable[..., Outcome]) -> None:
    broken = run(0, what="number", framework="{name: 1")
    assert broken.state == "FAIL"
    assert broken.reason
    assert run(1, what="number").state == "COMPLETE"


def test_waiting_ends_after_its_time(executor: Executor) -> None:
    assert executor.wait(0.01) == []
    assert executor.slots >= 1


def launcher(name: str, **settings: Any) -> Any:
    """The node of a launcher."""
    target = next((target for target in KINDS if target.endswith(f".{name}")), f"somebody.{name}")
    return OmegaConf.create({"_target_": target, **settings})


@pytest.mark.parametrize(
    ("node", "place", "measures", "caveat"),
    [
        (launcher("BasicLauncher"), Place.PROCESS, False, "has no effect"),
        (launcher("LocalLauncher"), Place.MACHINE, True, ""),
        (launcher("JoblibLauncher"), Place.MACHINE, False, "ends with its next report"),
        (launcher("RayLauncher", ray={"init": {"address": None}}), Place.MACHINE, False, ""),
        (launcher("RayLauncher", ray={"init": {"address": "auto"}}), Place.ANYWHERE, False, ""),
        (launcher("SlurmLauncher"), Place.ANYWHERE, False, "ends with its next report"),
    ],
)
def test_what_a_kind_of_executor_answers(
    node: Any, place: Place, measures: bool, caveat: str
) -> None:
    kind = kind_of(node)
    assert (kind.place(node), kind.measures_memory) == (place, measures)
    assert bool(kind.timeout_caveat) == bool(caveat)
    assert caveat in kind.timeout_caveat
    assert (kind.listening_host(node) is not None) == (place is Place.ANYWHERE)
