"""Hydra's own suites for launchers, from its package, on `explr_local`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils import test_utils
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
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
