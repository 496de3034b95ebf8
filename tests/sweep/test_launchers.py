"""Every launcher, in an app that knows nothing of explr but `explr.report`."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from sweeping import Workshop, any_runs, workers_of
from waiting import PATIENCE_S, wait_until

LAUNCHERS = ["basic", "explr_local", "joblib"]
"""Those that start in no time; tests/ray/test_cluster has the one of Ray."""


def launch(shop: Workshop, launcher: str, *arguments: str) -> list[str]:
    if launcher in ("joblib", "ray"):
        pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    extra = {
        "joblib": ["hydra.launcher.n_jobs=2"],
        "ray": [
            "+hydra.launcher.ray.init.num_cpus=2",
            "+hydra.launcher.ray.init.include_dashboard=false",
        ],
    }
    return [*shop.app(*arguments), f"hydra/launcher={launcher}", *extra.get(launcher, [])]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_pruned_sweep_under_every_launcher(shop: Workshop, launcher: str) -> None:
    known = ",".join(f"{{lr: {lr}}}" for lr in (0.01, 0.02, 0.9, 0.8, 0.95, 0.97))
    command = launch(
        shop, launcher, "lr=interval(0,1)", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2",
        f"hydra.sweeper.enqueue=[{known}]",
        "+hydra.sweeper.pruner.n_startup_trials=2", "+hydra.sweeper.pruner.n_warmup_steps=1",
    )  # fmt: skip
    done = shop.run(command)
    assert done.returncode == 0, done.stderr
    results = shop.results()
    states = [trial["state"] for trial in results["trials"]]
    assert states[:2] == ["COMPLETE"] * 2
    assert states[4:] == ["PRUNED"] * 2  # by then there were two to be compared with
    assert [trial["steps"] for trial in results["trials"][4:]] == [2, 2]
    for trial in results["trials"]:
        folder = Path(trial["dir"])
        assert (folder / ".hydra" / "config.yaml").exists()
        saved: Any = OmegaConf.load(folder / ".hydra" / "config.yaml")
        assert saved.lr == trial["params"]["lr"]
        if trial["state"] == "COMPLETE":
            assert (trial["steps"], trial["value"]) == (6, trial["params"]["lr"])
        else:
            # The first to be compared may have come to its last step till then.
            assert 1 < trial["steps"] <= 6
            assert trial["value"] == trial["params"]["lr"] + 1 / trial["steps"]
    complete = [t["value"] for t in results["trials"] if t["state"] == "COMPLETE"]
    assert results["best"]["value"] == min(complete)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_ctrl_c_under_somebodys_launcher(shop: Workshop, launcher: str) -> None:
    command = launch(shop, launcher, "lr=interval(0,1)", "hold=true", "hydra.sweeper.n_jobs=2")
    controller = shop.start(command)
    wait_until(lambda: len(list(shop.folder.rglob("started-*"))) == 2)
    family = workers_of(controller.pid)
    controller.send_signal(signal.SIGINT)
    controller.wait(PATIENCE_S)
    wait_until(lambda: not any_runs(family))
    assert shop.states() == ["RUNNING"] * 2
    assert "to resume: explr resume out" in shop.log()


def test_a_launcher_that_runs_one_at_a_time_says_so_once(shop: Workshop) -> None:
    done = shop.run(launch(shop, "basic", "lr=interval(0,1)", "steps=0", "hydra.sweeper.n_jobs=3"))
    assert done.returncode == 0
    assert done.stdout.count("runs one trial at a time") == 1


def test_what_hydra_saves_for_a_job_is_saved_alike(shop: Workshop) -> None:
    ours = shop.run(
        shop.app("lr=interval(0,1)", "word='a b'", "hydra.sweeper.n_trials=1", "steps=1")
    )
    assert ours.returncode == 0, ours.stderr
    (trial,) = shop.results()["trials"]
    lr = f"lr={trial['params']['lr']!r}"
    shop.run([shop.app()[0], "app.py", "-m", lr, "word='a b'", "steps=1", "hydra.sweep.dir=theirs"])
    folders = [Path(trial["dir"], ".hydra"), shop.folder / "theirs" / "0" / ".hydra"]
    assert len({(folder / "config.yaml").read_text() for folder in folders}) == 1
    assert len({(folder / "overrides.yaml").read_text() for folder in folders}) == 1
    mine, theirs = [hydra_node(folder / "hydra.yaml") for folder in folders]
    assert mine == theirs
    assert [*mine] == [*theirs]


def hydra_node(file: Path) -> dict[str, Any]:
    """Hydra's own part of a job's config, without what two sweepers must differ in."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    node: dict[str, Any] = content["hydra"]
    del node["sweeper"], node["launcher"], node["sweep"]["dir"], node["runtime"]["output_dir"]
    node["overrides"]["hydra"] = [t for t in node["overrides"]["hydra"] if "mode=" in t]
    for group in ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler"):
        node["runtime"]["choices"].pop(group, None)
    return node


def test_several_objectives(shop: Workshop) -> None:
    command = shop.app(
        "lr=interval(0,1)", "several=true", "hydra.sweeper.n_trials=4",
        "hydra.sweeper.direction=[minimize,minimize]",
    )  # fmt: skip
    refused = shop.run([*command, "+hydra.sweeper.pruner.n_startup_trials=1"])
    assert refused.returncode == 1
    assert "pruning needs one objective" in refused.stderr
    assert "hydra.sweeper.pruner=null" in refused.stderr.splitlines()[-1]
    done = shop.run(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the default pruner is not used") == 1
    results = shop.results()
    assert results["direction"] == ["minimize", "minimize"]
    assert results["best"] is None
    assert [trial["number"] for trial in results["front"]] == [0, 1, 2, 3]
    for trial in results["trials"]:
        assert trial["value"] == pytest.approx([trial["params"]["lr"], 1 - trial["params"]["lr"]])
    saved: Any = OmegaConf.load(shop.folder / "out" / "optimization_results.yaml")
    assert len(saved.solutions) == 4
    worse = shop.run(
        [*command[:-1], "hydra.sweeper.direction=[minimize,maximize]", "hydra.sweeper.pruner=null",
         "hydra.sweep.dir=other"]
    )  # fmt: skip
    assert worse.returncode == 0, worse.stderr
    assert len(shop.results("other")["front"]) == 1  # one objective is the other's mirror


def test_a_number_of_objectives_that_is_wrong_fails_the_trial(shop: Workshop) -> None:
    done = shop.run(
        shop.app("lr=interval(0,1)", "several=true", "steps=0", "hydra.sweeper.n_trials=1")
    )
    assert done.returncode == 1
    (trial,) = shop.results()["trials"]
    assert (trial["state"], trial["reason"]) == ("FAIL", "returned 2 values for 1 objectives")


def test_the_users_own_folders_give_way_to_numbers(shop: Workshop) -> None:
    done = shop.run(
        shop.app("lr=interval(0,1)", "hydra.sweep.subdir=same", "hydra.sweep.dir='out/rate-${lr}'",
                 "steps=0", "hydra.sweeper.n_trials=2")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hydra.sweep.subdir is left out" in done.stdout
    (folder,) = (shop.folder / "out").iterdir()
    assert f"hydra.sweep.dir is the same for all trials: out/{folder.name}" in done.stdout
    results = json.loads((folder / "results.json").read_text())
    assert [trial["dir"] for trial in results["trials"]] == [f"{folder}/0", f"{folder}/1"]
    for trial in results["trials"]:
        assert (Path(trial["dir"]) / ".hydra" / "config.yaml").exists()
    assert not (folder / "same").exists()
