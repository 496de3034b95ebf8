"""Keys of an app's root that are named as explr's own: nothing of explr's reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apps import App
from omegaconf import DictConfig, OmegaConf

import explr
from explr.config.nodes import is_own_tree
from explr.core.config import ROOT_KEYS
from explr.results.sweep import objective_names, read_sweep, sweep_config
from explr.runner.cli.best import show_best
from explr.sweep.executors.kind import Launching
from explr.sweep.executors.leases import gpu_budgets, only_device

NAMES = sorted({*ROOT_KEYS, "experiment"} - {"hydra"})

SCALARS = {
    "config": """\
lr: 0.5
base: interval(0, 1)
experiment: 7
experiment_name: [1, 2]
framework: {name: flax}
gpu: {device: cpu, memory_limit_gb: many}
objective: {metric: [a, b], direction: up}
search_space: {lr: interval(0, 1), depth: 3}
seed: 42
tracking: {uri: "http://nowhere.example:1", backend: wandb}
train_model: true
tuner: {name: ray, study_name: mine, n_trials: 99, n_jobs: many}
unknown: ${nothing_registers_this:1}
""",
}

GROUPS = {
    "config": "defaults:\n"
    + "".join(f"  - {name}: one\n" for name in NAMES)
    + "  - tuner/pruner@tuner.pruner: one\n  - _self_\nlr: 0.5\n",
    **{f"{name}/{option}": f"is: {option}\n" for name in NAMES for option in ("one", "two")},
    "tuner/pruner/one": "kind: mine\n",
}

LINE = ["hydra/sweeper=explr_optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=1"]


def task(cfg: DictConfig) -> float:
    explr.report(0, loss=cfg.lr)
    return float(cfg.lr)


@pytest.mark.filterwarnings("error")
def test_values_of_these_names_are_the_apps(tmp_path: Path, caplog: Any) -> None:
    app = App(tmp_path, SCALARS)
    line = [*LINE, "lr=interval(0,1)", "search_space.depth=${base}", "hydra.sweeper.replicates=2"]
    result = app.sweep(task, line)
    assert [trial["state"] for trial in result.trials] == ["COMPLETE"] * 2
    assert result.trials[0]["params"].keys() == {"lr", "search_space.depth"}
    assert "name the key of your app's seed" in caplog.text
    for replicate in range(2):
        saved: Any = OmegaConf.load(f"out/0/{replicate}/.hydra/config.yaml")
        assert (saved.seed, saved.gpu, saved.tuner.n_trials) == (
            42, {"device": "cpu", "memory_limit_gb": "many"}, 99,
        )  # fmt: skip
    assert list(read_sweep(Path("out")).metrics) == ["objective"]


def test_what_runs_jobs_reads_none_of_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = App(tmp_path, SCALARS).composed([*LINE, "hydra/launcher=explr_local"])
    assert not is_own_tree(config)
    assert (gpu_budgets(config), only_device(config)) == ({}, None)
    context: Any = None
    assert Launching(config, context, task, 1, 1).preload == []
    assert objective_names(config, 2) == ["objective 0", "objective 1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_group_of_such_a_name_is_searched(tmp_path: Path, name: str, capsys: Any) -> None:
    line = [*LINE, f"{name}=one,two", "lr=interval(0,1)"]
    result = App(tmp_path, GROUPS).sweep(task, line)
    assert {trial["params"][name] for trial in result.trials} <= {"one", "two"}
    saved: Any = OmegaConf.load("out/0/.hydra/config.yaml")
    assert saved[name]["is"] == result.trials[0]["params"][name]
    capsys.readouterr()
    show_best(Path("out"), None, None)
    assert f"{name}={result.best['params'][name]}" in capsys.readouterr().out


def test_a_pruner_of_the_apps_own_forbids_no_second_objective(tmp_path: Path) -> None:
    line = [*LINE, "lr=interval(0,1)", "tuner.pruner.kind=other"]
    both = ["hydra.sweeper.direction=[minimize,minimize]"]
    result = App(tmp_path, GROUPS).sweep(lambda cfg: (cfg.lr, -cfg.lr), [*line, *both])
    assert len(result.front) == 2


@pytest.mark.parametrize("tuner", ["none", "optuna", "ray"])
def test_a_config_of_explrs_own_is_known_with_and_without_hydras_part(tuner: str) -> None:
    from explr.config.compose import compose_with, hydra_app

    with hydra_app() as app:
        whole = compose_with(app, [f"tuner={tuner}"], None, multirun=True)
    assert is_own_tree(whole)
    assert is_own_tree(explr.compose([f"tuner={tuner}"]))
    saved = OmegaConf.create(OmegaConf.to_container(whole, resolve=False, enum_to_str=True))
    assert is_own_tree(saved)
    assert not is_own_tree(sweep_config(Path("nowhere")))
