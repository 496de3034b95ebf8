"""MLflow's own calls and its autologging within `ctx.tracker.mlflow_run()`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from explr.core.errors import TrackingError
from explr.tracking.run import TrackedRun

pytestmark = [pytest.mark.slow, pytest.mark.mlflow_versions]

VARIABLES = {
    "MLFLOW_EXPERIMENT_NAME": "somewhere else",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_RUN_ID": "0" * 32,
}


@pytest.fixture
def run(store: Any, kit: Any, tmp_path: Path) -> Iterator[TrackedRun]:
    """A run that MLflow has, with a parameter."""
    run = kit.begin(tmp_path / "run", params={"epochs": 20, "lr": 0.1})
    kit.ship()
    yield run
    run.close("FINISHED")


def test_mlflows_own_calls_land_in_the_run(store: Any, kit: Any, run: TrackedRun) -> None:
    import mlflow

    run.tracker.log_metric("ours", 1.0)
    with run.tracker.mlflow_run() as active:
        mlflow.log_metric("theirs", 2.0, step=3)
        mlflow.log_param("theirs", "p")
        mlflow.set_tag("theirs", "t")
        mlflow.log_text("x", "theirs.txt")
        assert mlflow.active_run().info.run_id == active.info.run_id
    assert mlflow.active_run() is None
    with run.tracker.mlflow_run():
        mlflow.log_metric("again", 3.0)
    run.tracker.log_metric("ours", 2.0, step=1)
    run.close("FINISHED")
    kit.ship()
    found = store.run()
    assert found.info.status == "FINISHED"
    assert store.rows(found, "ours") == [(0, 1.0), (1, 2.0)]
    assert store.rows(found, "theirs") == [(3, 2.0)]
    assert store.rows(found, "again") == [(0, 3.0)]
    assert (found.data.params["theirs"], found.data.tags["theirs"]) == ("p", "t")
    assert "theirs.txt" in store.artifacts(found)


@pytest.mark.parametrize("how", ["fluent", "client", "asynchronous", "queue", "single"])
def test_a_parameter_that_has_another_value_becomes_a_tag(
    store: Any, run: TrackedRun, how: str
) -> None:
    import mlflow
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient

    given = {"epochs": 3, "lr": 0.1, "depth": 2}
    with run.tracker.mlflow_run() as active:
        run_id = active.info.run_id
        if how == "fluent":
            mlflow.log_params(given)
        elif how == "asynchronous":
            mlflow.log_params(given, synchronous=False)
        elif how == "single":
            assert [mlflow.log_param(*item) for item in given.items()] == [3, 0.1, 2]
        elif how == "client":
            rows = [Param(name, str(value)) for name, value in given.items()]
            more = [Metric("m", 1.0, 5, 2)], rows, [RunTag("t", "u")]
            mlflow.MlflowClient().log_batch(run_id, *more)
        else:
            queue = MlflowAutologgingQueueingClient()
            queue.log_params(run_id, given)
            queue.flush(synchronous=False).await_completion()
    found = store.run()
    assert found.data.params == {"epochs": "20", "lr": "0.1", "depth": "2"}
    assert {n: v for n, v in found.data.tags.items() if "changed" in n} == {"changed.epochs": "3"}
    if how == "client":
        assert store.rows(found, "m") == [(2, 1.0)]
        assert found.data.tags["t"] == "u"
    with pytest.raises(mlflow.MlflowException, match="Changing param values"):
        store.client.log_param(run_id, "epochs", 4)


def test_only_changes_of_the_runs_own_parameters_are_kept_from_failing(
    store: Any, run: TrackedRun
) -> None:
    import mlflow

    with run.tracker.mlflow_run():
        with pytest.raises(mlflow.MlflowException, match="Invalid"):
            mlflow.log_params({"a\0b": 1, "epochs": 3})
        with mlflow.start_run(nested=True):
            mlflow.log_param("epochs", 1)
            with pytest.raises(mlflow.MlflowException, match="Changing param values"):
                mlflow.log_param("epochs", 2)


def test_autologging_writes_to_the_run(store: Any, kit: Any, run: TrackedRun) -> None:
    import mlflow
    from sklearn.linear_model import Ridge

    run.tracker.log_params({"alpha": 9})
    kit.ship()
    mlflow.sklearn.autolog(log_models=False, log_datasets=False, silent=True)
    try:
        with run.tracker.mlflow_run():
            Ridge(alpha=0.5).fit([[1.0], [2.0]], [1.0, 2.0])
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    found = store.run()
    assert (found.data.params["alpha"], found.data.tags["changed.alpha"]) == ("9", "0.5")
    assert found.data.params["fit_intercept"] == "True"
    assert found.data.metrics["training_r2_score"] <= 1.0


def test_nested_runs_land_under_the_run_in_its_experiment(
    store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    sweep = kit.begin(tmp_path / "sweep")
    run = kit.begin(tmp_path / "trial", parent=sweep.journal.path)
    kit.ship()
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)
    with run.tracker.mlflow_run() as active:
        with mlflow.start_run(nested=True, run_name="fold 0"):
            mlflow.log_metric("fold", 1.0)
        with pytest.raises(ZeroDivisionError), mlflow.start_run(nested=True, run_name="fold 1"):
            raise ZeroDivisionError
        mlflow.start_run(nested=True, run_name="left open")
        assert store.status("trial") == "RUNNING"
    assert mlflow.active_run() is None
    assert {name: os.environ[name] for name in VARIABLES} == VARIABLES
    folds = {r.info.run_name: r for r in store.runs() if r.info.run_name not in ("sweep", "trial")}
    statuses = {name: fold.info.status for name, fold in folds.items()}
    assert statuses == {"fold 0": "FINISHED", "fold 1": "FAILED", "left open": "FINISHED"}
    for fold in folds.values():
        assert fold.info.experiment_id == active.info.experiment_id
        assert fold.data.tags["mlflow.parentRunId"] == active.info.run_id
    assert {e.name for e in store.client.search_experiments()} == {"Default", "digits"}


@pytest.mark.parametrize("chosen", [False, True])
def test_the_block_leaves_mlflow_as_it_was(
    store: Any, run: TrackedRun, tmp_path: Path, chosen: bool
) -> None:
    import mlflow
    from mlflow.tracking import fluent

    if chosen:
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mine.db")
        fluent._active_experiment_id = "12"
    uri, variables = mlflow.get_tracking_uri(), dict(os.environ)
    try:
        with suppress(KeyboardInterrupt), run.tracker.mlflow_run():
            assert mlflow.get_tracking_uri() == store.uri
            raise KeyboardInterrupt
        assert mlflow.get_tracking_uri() == uri
        assert fluent._active_experiment_id == ("12" if chosen else None)
        assert dict(os.environ) == variables
        assert store.run().info.status == "RUNNING"
        assert store.run().info.end_time is None
    finally:
        fluent._active_experiment_id = None
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_explr_alone_ends_the_run(store: Any, kit: Any, run: TrackedRun) -> None:
    import mlflow

    with run.tracker.mlflow_run() as active:
        mlflow.end_run("FAILED")
        assert store.status() == "RUNNING"
        mlflow.MlflowClient().update_run(active.info.run_id, name="renamed")
        mlflow.MlflowClient().set_terminated(active.info.run_id)
    with run.tracker.mlflow_run(), run.tracker.mlflow_run():  # the inner one changes nothing
        mlflow.log_metric("twice", 1.0)
    assert mlflow.active_run() is None
    assert (store.run().info.run_name, store.run().info.status) == ("renamed", "RUNNING")
    assert store.rows(store.run(), "twice") == [(0, 1.0)]
    run.close("FINISHED")
    kit.ship()
    assert store.status() == "FINISHED"


def test_blocks_of_several_threads_share_mlflows_globals(
    store: Any, kit: Any, run: TrackedRun, tmp_path: Path
) -> None:
    import mlflow

    other = kit.begin(tmp_path / "other", params={"epochs": 20})
    kit.ship()
    opened, closed = threading.Event(), threading.Event()

    def block() -> None:
        with other.tracker.mlflow_run():
            opened.set()
            assert closed.wait(kit.patience_s)
            mlflow.log_params({"epochs": 5, "theirs": 1})

    thread = threading.Thread(target=block)
    thread.start()
    assert opened.wait(kit.patience_s)
    with run.tracker.mlflow_run():
        mlflow.log_params({"epochs": 4, "ours": 1})
    strange = kit.begin(tmp_path / "strange", experiment="another")
    kit.ship()
    with pytest.raises(TrackingError, match="one after the other"), strange.tracker.mlflow_run():
        pass
    closed.set()
    thread.join()
    assert store.run("run").data.tags["changed.epochs"] == "4"
    assert store.run("run").data.params.keys() >= {"ours"}
    assert store.run("other").data.tags["changed.epochs"] == "5"
    assert store.run("other").data.params.keys() >= {"theirs"}


def test_a_block_waits_for_the_parameters_that_were_logged_before(
    store: Any, kit: Any, run: TrackedRun
) -> None:
    import mlflow

    run.tracker.log_params({"depth": 1})
    shipping = threading.Timer(0.2, kit.ship)
    shipping.start()
    with run.tracker.mlflow_run():
        mlflow.log_param("depth", 2)
    shipping.join()
    assert store.run().data.params["depth"] == "1"
    assert store.run().data.tags["changed.depth"] == "2"
