import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from explr.tracking.destination import Destination
from explr.tracking.journal.journal import Journal, now_ms
from explr.tracking.journal.pending import entries
from explr.tracking.provenance import changes_since_commit, installed_packages, origin_tags
from explr.tracking.run import open_run
from explr.tracking.shipping.observer import (
    AWAITED_MS,
    LONGEST_AWAITED_MS,
    is_awaited,
    observed_file,
    steps_so_far,
)
from explr.utils.readings import gpu_tags

LOCK, DIFF = "origin/requirements.txt", "origin/changes.diff"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working tree with a change that is in no commit, and the test in it."""
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=me", "-c", "user.email=me@localhost")
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "--initial-branch", "mine")
    git("remote", "add", "origin", "https://me:hunter22@host/repository.git")
    (folder / "code.py").write_text("lr = 1\n")
    git("add", "code.py")
    git("commit", "--message", "one")
    (folder / "code.py").write_text("lr = 2\nurl = 'https://me:hunter22@host'\n")
    (folder / "new.py").touch()
    monkeypatch.chdir(folder)
    return folder


def test_the_origin_of_a_run(repository: Path) -> None:
    assert origin_tags(repository) == {
        **gpu_tags(),
        "mlflow.source.git.branch": "mine",
        "mlflow.source.git.repoURL": "https://host/repository.git",
        "explr.git.dirty": "true",
    }
    changes = changes_since_commit(repository)
    assert "\n-lr = 1\n+lr = 2\n+url = 'https://***@host'\n" in changes
    assert changes.endswith("# not in git: new.py\n")


def test_outside_a_repository_there_is_no_origin(tmp_path: Path) -> None:
    assert "mlflow.source.git.branch" not in origin_tags(tmp_path)
    assert changes_since_commit(tmp_path) == ""


@pytest.mark.slow
def test_packages_are_those_that_pip_would_print() -> None:
    asked = [sys.executable, "-m", "pip", "freeze", "--all", "--disable-pip-version-check"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("pip is not installed here")
    told = {line for line in done.stdout.splitlines() if re.fullmatch(r"[\w.-]+==\S+", line)}
    assert told <= set(installed_packages().splitlines())


def test_the_end_of_a_run_waits_for_its_origin_and_not_for_ever(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path)
    young, old = {"t": now_ms(), "observe": 0.0}, {"t": now_ms() - AWAITED_MS - 1, "observe": 0.0}
    assert is_awaited(journal.path, young)
    assert not is_awaited(journal.path, old)
    assert not is_awaited(journal.path, {"t": now_ms(), "observe": None})
    notes = Journal(observed_file(journal.path))
    oldest = {"t": now_ms() - LONGEST_AWAITED_MS - 1, "observe": 0.0}
    assert is_awaited(journal.path, young)
    assert is_awaited(journal.path, old)  # somebody is at it, and slow
    assert not is_awaited(journal.path, oldest)
    notes.close()
    assert not is_awaited(journal.path, old)
    Journal(observed_file(journal.path)).append("tags", g={"explr.git.dirty": "true"})
    assert not is_awaited(journal.path, young)


def test_attempts_at_a_run_measure_the_machine_in_one_series(tmp_path: Path) -> None:
    assert steps_so_far(begun(tmp_path, "other", looks=9)) == 9
    begun(tmp_path, "mine", looks=2)
    begun(tmp_path, "mine", looks=0)
    journal = begun(tmp_path, "mine", looks=3, first=3)
    assert steps_so_far(journal) == 5
    observed_file(journal).unlink()
    assert steps_so_far(journal) == 2


def begun(folder: Path, run: str, looks: int, first: int = 1) -> Path:
    """The journal of an attempt at a run in which the machine was measured."""
    with closing(Journal.create(folder)) as journal:
        journal.append("start", run=run)
    if looks:
        with closing(Journal(observed_file(journal.path))) as notes:
            notes.append("tags", g={})
            for look in range(looks):
                notes.append("metrics", s=first + look, m={"system/load": 1.0})
    return journal.path


@pytest.mark.slow
def test_a_run_records_the_machine_and_what_it_was_made_from(
    repository: Path, store: Any, kit: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    run = open_run(
        folder,
        Destination(look_s=0.2),
        experiment="digits",
        name="observed",
        params={},
        tags={"explr.cwd": str(repository)},
    )

    def looks() -> list[tuple[int, float]]:
        found = store.runs()
        return store.rows(found[0], "system/cpu_utilization_percentage") if found else []

    kit.eventually(lambda: len(looks()) >= 3, "three looks in MLflow")
    run.tracker.log_metric("loss", 0.5, step=1)
    run.close("FINISHED")
    kit.eventually(lambda: not entries(), "the end in MLflow")
    found = store.run()
    assert [step for step, _ in looks()] == list(range(1, len(looks()) + 1))
    assert found.data.metrics["system/process_memory_usage_megabytes"] > 10
    assert 0 < found.data.metrics["system/system_memory_usage_percentage"] <= 100
    assert found.data.tags["mlflow.source.git.branch"] == "mine"
    assert found.data.tags["mlflow.source.git.repoURL"] == "https://host/repository.git"
    assert {LOCK, DIFF} <= set(store.artifacts(found))
    assert store.rows(found, "loss") == [(1, 0.5)]
    looked = len(looks())
    time.sleep(0.5)
    assert len(looks()) == looked


@pytest.mark.slow
def test_the_shortest_run_has_its_origin_and_trials_refer_to_their_sweep(
    repository: Path, store: Any, kit: Any
) -> None:
    train = kit.write_training(repository / "job.py", "return ctx.hyperparameters['lr']")
    wait = "tracking.drain_timeout_s=200"
    assert kit.explr(train, wait, "tracking.system_metrics=false").returncode == 0
    single = store.run()
    assert {LOCK, DIFF} <= set(store.artifacts(single))
    assert single.data.metrics["system/peak_memory_megabytes"] > 10
    sweep = kit.explr("-m", train, wait, "tuner=optuna", "tuner.n_trials=2", "lr=interval(1,2)")
    assert sweep.returncode == 0, sweep.stderr
    commit = single.data.tags["mlflow.source.git.commit"]
    kinds: dict[str, list[Any]] = {}
    for run in store.runs():
        assert run.data.tags["mlflow.source.git.commit"] == commit
        kinds.setdefault(run.data.tags["explr.kind"], []).append(run)
    (parent,) = kinds["sweep"]
    assert {LOCK, DIFF} <= set(store.artifacts(parent))
    assert len(kinds["trial"]) == 2
    for trial in kinds["trial"]:
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert not {LOCK, DIFF} & set(store.artifacts(trial))
        assert trial.data.metrics["system/peak_memory_megabytes"] > 10
