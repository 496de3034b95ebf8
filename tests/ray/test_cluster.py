"""A cluster of two nodes that is there already: joined, used, and left as it was."""

from __future__ import annotations

import logging
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf
from sweeping import Workshop
from waiting import HANG_S, wait_until

from explr.core.errors import UsageError
from explr.sweep.ray.cluster import CORE, RayDied, RayProcesses, ray_module

pytestmark = pytest.mark.slow

MORE = """

def says_where(ctx):
    start = ctx.load_checkpoint()
    (ctx.output_dir / f"node-{os.environ['RAY_RAYLET_PID']}").touch()
    for epoch in range(start[0] + 1 if start else 0, 4):
        while epoch == 2 and not Path(ctx.output_dir.parent, "go").exists():
            time.sleep(0.02)
        ctx.report(epoch, val_loss=1.0)
        ctx.save_checkpoint({"epoch": epoch}, step=epoch)
    return float(ctx.hyperparameters["lr"])
"""


class FakeRay:
    """As much of Ray as says which node it is."""

    def get_runtime_context(self) -> FakeRay:
        return self

    def get_node_id(self) -> str:
        return "a-node"


def test_the_death_of_rays_own_processes_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayProcesses, "LOOK_EVERY_S", 0.0)
    started = []
    for name, mark in (("raylet", "--node_id"), ("gcs_server", "--node-id"), ("raylet", "--other")):
        (file := tmp_path / f"{mark}" / name).parent.mkdir()
        file.symlink_to("/bin/sh")
        line = [file, "-c", "read line", "", f"{mark}=a-node"]
        started.append(subprocess.Popen(line, stdin=subprocess.PIPE))
    raylet, server, other = started
    wait_until(lambda: all(psutil.Process(one.pid).name() in CORE for one in started))
    processes = RayProcesses(FakeRay())
    for one, word in ((other, None), (server, "gcs_server"), (raylet, "raylet")):
        processes.check()
        one.communicate(b"end")
        if word is not None:
            with pytest.raises(RayDied, match=word):
                processes.check()
            processes = RayProcesses(FakeRay())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head with room for one trial; the folder that it works in is one of its own."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cluster"))
        add_node(cluster)
    yield cluster
    cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """Start a node with room for one trial, in the working directory."""
    node = cluster.add_node(wait=False, num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes(HANG_S)
    return node


def nodes_of(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*/node-*")}


def test_trials_run_on_both_nodes_and_survive_the_kill_of_one(
    shop: Workshop, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (shop.folder / "trainings.py").open("a") as file:
        file.write(MORE)
    monkeypatch.chdir(shop.folder)
    other = add_node(cluster)
    sweep = shop.folder / "multirun" / "s"
    driver = shop.start(
        shop.explr(
            "train_model=trainings:says_where", "tracking=off", "tuner=ray", "tuner/pruner=none",
            f"tuner.ray.address={cluster.address}", "tuner.study_name=s", "-m", "lr=interval(0,1)",
            "tuner.n_trials=3", "tuner.n_jobs=2",
        )
    )  # fmt: skip
    second_epochs = "*/checkpoints/step-000000001.pkl"
    wait_until(
        lambda: len(list(sweep.glob(second_epochs))) == 2 or driver.poll() is not None, HANG_S
    )
    assert len(nodes_of(sweep)) == 2, shop.log()
    cluster.remove_node(other, allow_graceful=False)
    (sweep / "go").touch()
    assert driver.wait(HANG_S) == 0, shop.log()
    assert f"Ray: the cluster at {cluster.address} with 2 nodes" in shop.log()
    trials = shop.results("multirun/s")["trials"]
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 3
    assert sorted({trial["attempts"] for trial in trials}) == [1, 2]
    assert [trial["steps"] for trial in trials] == [4] * 3
    assert cluster.head_node.live_processes()  # not ours to end


def launched_there(shop: Workshop, cluster: Any, *arguments: str) -> list[str]:
    """A sweep of Optuna's under Hydra's launcher for Ray."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    address = f"+hydra.launcher.ray.init.address='{cluster.address}'"
    return [*shop.app("lr=interval(0,1)", *arguments), "hydra/launcher=ray", address]


def test_the_launcher_of_optunas_sweeps_on_the_cluster(shop: Workshop, cluster: Any) -> None:
    known = ",".join(f"{{lr: {lr}}}" for lr in (0.01, 0.02, 0.9))
    done = shop.run(
        launched_there(
            shop, cluster, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1",
            f"hydra.sweeper.enqueue=[{known}]",
            "+hydra.sweeper.pruner.n_startup_trials=2", "+hydra.sweeper.pruner.n_warmup_steps=1",
        )
    )  # fmt: skip
    assert done.returncode == 0, done
    assert shop.states() == ["COMPLETE", "COMPLETE", "PRUNED"]  # its reports reached the sweep
    for trial in shop.results()["trials"]:
        lr, steps = trial["params"]["lr"], trial["steps"]
        saved: Any = OmegaConf.load(Path(trial["dir"], ".hydra", "config.yaml"))
        assert saved.lr == lr
        if trial["state"] == "COMPLETE":
            assert (steps, trial["value"]) == (6, lr)
        else:
            assert (steps, trial["value"]) == (2, lr + 1 / 2)
    assert cluster.head_node.live_processes()


def test_a_trial_of_the_launcher_that_takes_too_long_is_ended(shop: Workshop, cluster: Any) -> None:
    limits = ("hydra.sweeper.n_trials=1", "hydra.sweeper.trial_timeout_s=1", "hold=true")
    done = shop.run(launched_there(shop, cluster, *limits))
    assert done.returncode == 1
    (trial,) = shop.results()["trials"]
    assert (trial["state"], trial["reason"]) == ("FAIL", "timeout after 1 s")
    assert "trial_timeout_s" not in done.stdout  # no warning that it is not kept


def test_an_address_of_a_client_is_refused(shop: Workshop) -> None:
    done = shop.run(
        shop.explr(
            "train_model=trainings:plain", "tracking=off", "tuner=ray", "-m", "lr=interval(0,1)",
            "tuner.ray.address='ray://127.0.0.1:10001'", "tuner.n_trials=1",
        )
    )  # fmt: skip
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert "a sweep runs on a machine of the cluster itself" in line


def test_a_user_without_a_home_folder_is_told_that_ray_needs_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    with pytest.raises(UsageError, match="tuner=ray needs a home folder, and this user has none"):
        ray_module()


def test_a_launcher_without_an_address_joins_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from explr.sweep.executors.hydra_launcher import RayKind

    asked: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **settings: asked.update(settings))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    init = {"address": None, "num_cpus": 2}
    config = OmegaConf.create({"ray": {"init": init, "remote": {}}})
    assert RayKind().slots(config, 2) == 2
    assert asked == {"address": "local", "num_cpus": 2}


def test_what_other_machines_cannot_record_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from socket import gethostname

    from explr.sweep.ray.cluster import tracking_variables, warn_of_local_store

    here = {"NodeManagerHostname": gethostname(), "Alive": True}
    there = {"NodeManagerHostname": "gpu-box-2", "Alive": True}
    gone = {"NodeManagerHostname": "gpu-box-3", "Alive": False}
    with caplog.at_level(logging.WARNING):
        warn_of_local_store([here, gone], "sqlite:////home/me/mlflow.db")
        warn_of_local_store([here, there], None)
        warn_of_local_store([here, there], "https://mlflow.example.org")
        assert caplog.messages == []
        for uri in (
            "sqlite:////home/me/mlflow.db",
            "http://127.0.0.1:5000",
            "file:///home/me/runs",
        ):
            warn_of_local_store([here, there, gone], uri)
    assert caplog.messages == [
        f"MLflow is at {uri}, which trials on gpu-box-2 cannot reach: set tracking.uri or "
        "MLFLOW_TRACKING_URI to a server that they can"
        for uri in ("sqlite:////home/me/mlflow.db", "http://127.0.0.1:5000", "file:///home/me/runs")
    ]
    assert tracking_variables([here])["EXPLR_HOME"] == os.environ["EXPLR_HOME"]
    assert "EXPLR_HOME" not in tracking_variables([here, there])
