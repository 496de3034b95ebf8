"""Two environments with different versions of MLflow share one EXPLR_HOME."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.mlflow_versions]

OLDEST = "EXPLR_OLDEST_MLFLOW"
"""Variable with the interpreter of the environment that has the oldest MLflow."""

NAMES = """
import sys
from mlflow import MlflowClient
found = MlflowClient(sys.argv[1]).search_runs(["0", "1"])
print(*sorted(run.info.run_name + " " + run.info.status for run in found), sep="\\n")
"""


def call(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, timeout=300, check=False
    )


def version_of(python: str) -> str:
    return call(python, "-c", "from mlflow.version import VERSION; print(VERSION)").stdout.strip()


def test_runs_wait_until_a_version_that_suits_the_store_ships_them(
    kit: Any, home: Path, tmp_path: Path
) -> None:
    old, new = os.environ.get(OLDEST), sys.executable
    if old is None:
        pytest.skip(f"{OLDEST} names no second environment; make testmlflow makes one")
    if version_of(old) == version_of(new):
        pytest.skip("the oldest MLflow has nobody to share a store with")
    train = kit.write_training(tmp_path / "job.py", "return 0.5")
    uri = f"sqlite:///{home / 'mlflow.db'}"

    def trained(python: str, name: str, wait_s: int = 240) -> str:
        wait = f"tracking.drain_timeout_s={wait_s}"
        line = (train, "framework=none", f"hydra.run.dir={name}", wait)
        done = call(python, "-m", "explr", *line)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "MLflow: run " in trained(old, "first")

    assert "MLflow: run " in trained(new, "second")  # which brings the store to its own schema

    assert "`explr sync " in trained(old, "third", wait_s=0)  # it waits for nothing
    waiting = call(old, "-m", "explr", "sync")
    said = waiting.stdout + waiting.stderr
    assert (waiting.returncode, len(said.splitlines())) == (1, 3), said
    assert (
        f" was written by a newer MLflow than {version_of(old)}, which is installed here: "
        "pip install --upgrade mlflow; until then runs wait in their journals\n"
    ) in said

    assert call(new, "-m", "explr", "sync").returncode == 0
    found = call(new, "-c", NAMES, uri).stdout.split("\n")
    assert found[:3] == [f"{name} FINISHED" for name in ("first", "second", "third")]
