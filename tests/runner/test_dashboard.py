"""optuna-dashboard on the study of a sweep, looked at as a browser does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from waiting import PATIENCE_S, wait_until

from explr.tuning.search_space import SearchSpace
from explr.tuning.study import Study

NEEDS_DASHBOARD = pytest.mark.skipif(
    find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed"
)

WITHOUT = """\
import sys
sys.modules["optuna_dashboard"] = None
from explr.runner.cli.main import main
main()
"""


def grow(study: Study) -> None:
    """One more trial."""
    space = SearchSpace({"lr": FloatDistribution(0.1, 1.0)})
    number, params = study.ask(lambda given: space)
    study.tell(number, "COMPLETE", [params["lr"]])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path, "mine", ["minimize"])
    study.use(optuna.samplers.RandomSampler(seed=1), None)
    grow(study)
    return study


@pytest.fixture
def server(tmp_path: Path, study: Study) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "explr", "dashboard", str(tmp_path), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.partition("/dashboard")[0], process
        finally:
            process.kill()


def ask(url: str, method: str = "GET") -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, method=method), timeout=PATIENCE_S) as response:
        return json.load(response)


@NEEDS_DASHBOARD
@pytest.mark.slow
def test_it_follows_a_sweep_and_changes_nothing(
    tmp_path: Path, study: Study, server: tuple[str, subprocess.Popen[str]]
) -> None:
    address, process = server
    assert address.startswith("http://127.0.0.1:")
    (found,) = ask(f"{address}/api/studies")["study_summaries"]
    assert found["study_name"] == "mine"
    trials = f"{address}/api/studies/{found['study_id']}?after=0"
    assert len(ask(trials)["trials"]) == 1
    grow(study)
    # The dashboard keeps what it knows for some seconds.
    wait_until(lambda: len(ask(trials)["trials"]) == 2)
    before = (tmp_path / "study.journal").read_bytes()
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{address}/api/studies/{found['study_id']}", "DELETE")
    refused.value.close()
    assert (tmp_path / "study.journal").read_bytes() == before
    assert not (tmp_path / "study.journal.lock").exists()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


def test_where_it_is_not_installed(tmp_path: Path, study: Study) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "dashboard", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install optuna-dashboard" in done.stderr
    assert done.stderr.count("\n") == 1


@NEEDS_DASHBOARD
@pytest.mark.slow
def test_a_folder_without_a_study(tmp_path: Path, explr: Any) -> None:
    done = explr("dashboard", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"there is no study in {tmp_path}")
    assert [*tmp_path.iterdir()] == []
