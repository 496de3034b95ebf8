"""What Hydra's launchers are tested with, on `explr_local`: suites of its package, and more."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils import test_utils
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from hydra_spelling import register
from omegaconf import DictConfig
from zygote import zygote

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def _plugins() -> None:
    """The suites put Hydra back as it was before each test: with its plugins."""
    Plugins.instance()


@pytest.mark.parametrize("launcher_name", ["explr_local"])
@pytest.mark.parametrize("overrides", [["hydra.launcher.n_jobs=1"], ["hydra.launcher.n_jobs=2"]])
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("explr_local", ["hydra.launcher.n_jobs=2", "hydra.sweeper.max_batch_size=2"])],
)
class TestBatches(BatchedSweeperTestSuite):
    pass


def run_forked(command: list[str], env: dict[str, str]) -> None:
    """Run an app of the suite as all commands of these tests are run."""
    done = zygote.run(command, Path.cwd(), env, 240)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_utils, "subprocess", SimpleNamespace(check_call=run_forked))


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=explr_local"])]
)
class TestIntegration(IntegrationTestSuite):
    pass


class Callable:
    """A task that is no function, whose jobs answer what is hard to send."""

    def __init__(self, says: str) -> None:
        self.says = says

    def __call__(self, cfg: DictConfig) -> Any:
        if cfg.job == 0:
            return os.getpid(), cfg.word, self.says
        if cfg.job == 1:
            return os.getpid(), (lambda: "sent"), self.says
        if cfg.job == 2:
            return (number for number in range(3))
        os.kill(os.getpid(), signal.SIGKILL)
        return None


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.usefixtures("hydra_restore_singletons")
def test_jobs_apart(hydra_sweep_runner: Any, tmp_path: Path, n_jobs: int) -> None:
    """Callable tasks, resolvers of the app, a process a job, and failures that name their job."""
    register("word", lambda word: f"resolved-{word}", replace=True)
    overrides = ["+job=0,1,2,3", "+word=${word:ok}", "hydra/launcher=explr_local"]
    failed: list[str] = []

    class Launched(Exception):
        pass

    sweep = hydra_sweep_runner(
        calling_file=None,
        calling_module="hydra.test_utils.a_module",
        task_function=Callable("callable"),
        config_path="configs",
        config_name="compose.yaml",
        overrides=[*overrides, f"hydra.launcher.n_jobs={n_jobs}"],
        temp_dir=tmp_path,
    )
    kept: list[Any] = []
    from explr.plugins.local_launcher import LocalLauncher

    launch = LocalLauncher.launch

    def keep(launcher: LocalLauncher, *arguments: Any, **options: Any) -> Any:
        kept.extend(launch(launcher, *arguments, **options))
        raise Launched

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalLauncher, "launch", keep)
        with pytest.raises(Launched), sweep:
            pass
    one, two = [returned.return_value for returned in kept[:2]]
    assert len({os.getpid(), one[0], two[0]}) == 3
    assert (one[1:], two[1](), two[2]) == (("resolved-ok", "callable"), "sent", "callable")
    for returned, said in zip(kept[2:], ("cannot be sent: ", "killed by signal 9"), strict=True):
        with pytest.raises(Exception, match=said):
            _ = returned.return_value
        failed += [text for text in returned.overrides if text.startswith("+job")]
    assert failed == ["+job=2", "+job=3"]
