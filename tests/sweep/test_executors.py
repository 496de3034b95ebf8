"""What every executor does, whichever way it runs a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig
from waiting import PATIENCE_S

import explr
from explr.config.compose import TRUSTED, hydra_app
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.sweep.executors.hydra_launcher import LauncherExecutor
from explr.sweep.executors.inline import InlineExecutor
from explr.sweep.executors.leases import FixedLeases
from explr.sweep.executors.local import LocalExecutor
from explr.sweep.executors.trial_process import RunTrial
from explr.tuning.channel import ChannelServer
from explr.tuning.executor import Executor
from explr.tuning.trial import Job, Outcome
from explr.utils.lease import divide

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


@pytest.fixture
def controller() -> Controller:
    return Controller()


@pytest.fixture(
    params=[
        "inline",
        pytest.param("local", marks=pytest.mark.slow),
        "basic launcher in a thread",
    ]
)
def executor(
    request: pytest.FixtureRequest,
    controller: Controller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Executor]:
    monkeypatch.chdir(tmp_path)
    with hydra_app() as app:
        config = app.compose_config(
            "config",
            ["+what=number", "hydra.mode=MULTIRUN", f"hydra.sweep.dir={tmp_path}/out"],
            run_mode=explr_multirun(),
        )
        HydraConfig.instance().set_config(config)
        context = HydraContext(app.config_loader, Callbacks(), TRUSTED)
        shared = HydraTask(config, context, task)
        channel = ChannelServer(controller)
        made: Executor
        if request.param == "inline":
            made = InlineExecutor(shared, job_of, controller, 1)
        elif request.param == "local":
            made = LocalExecutor(
                shared,
                job_of,
                FixedLeases(divide(2, [], 0)),
                channel,
                [],
                RunTrial(shared, 1),
                lambda job: tmp_path / "output",
            )
        else:

            def launcher() -> Any:
                return Plugins.instance().instantiate_launcher(
                    config=config, hydra_context=context, task_function=task
                )

            made = LauncherExecutor(launcher, job_of, 1, channel, 1)
        yield made
        made.close()
        channel.close()


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


def test_values(run: Callable[..., Outcome], tmp_path: Path) -> None:
    assert run(0, what="number") == Outcome("COMPLETE", (0.5,))
    assert run(1, what="integer") == Outcome("COMPLETE", (2.0,))
    assert (tmp_path / "out" / "1" / ".hydra" / "config.yaml").exists()
    assert run(2, what="text").reason == "returned 'x', which is no number"
    assert run(3, what="none").state == "FAIL"
    assert run(4, what="two").reason == "returned 2 values for 1 objectives"


def test_what_a_job_raises(run: Callable[..., Outcome]) -> None:
    raised = run(0, what="raise")
    assert (raised.state, raised.reason, raised.died) == ("FAIL", "ValueError: oops", False)
    assert 'raise ValueError("oops")' in raised.detail
    assert run(1, what="prune") == Outcome("PRUNED", reason="no good")
    exited = run(2, what="exit")
    assert exited.state == "FAIL"
    assert "3" in exited.reason
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
