"""Configs for hydra-optuna-sweeper, or for other launchers, run with explr's plugins."""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from apps import CONFIG, App
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import SAMPLERS
from explr.sweep.algorithms import OPTUNA, algorithm_faults, as_sampler
from explr.tuning.search_space import as_range

OPTUNA_SWEEPER = "hydra/sweeper=explr_optuna"

TEMPLATE = {
    "config": """\
defaults:
  - _self_
  - hydra: default
  - hparams_search: null
  - optional local: default
task_name: train
optimized_metric: null
model: {lr: 0.1, width: 8}
""",
    "hydra/default": """\
sweep:
  dir: logs/${task_name}/multiruns
  subdir: ${hydra.job.num}
job_logging:
  handlers:
    file:
      filename: ${hydra.runtime.output_dir}/${task_name}.log
""",
    "hparams_search/digits": """\
# @package _global_
defaults:
  - override /hydra/sweeper: SWEEPER
optimized_metric: val/acc
hydra:
  mode: MULTIRUN
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 4
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      n_startup_trials: 2
    params:
      model.lr: interval(0.0001, 0.1)
      model.width: choice(16, 32, 64)
""",
}
"""A project of the shape of lightning-hydra-template, with its way to search hyperparameters."""


def with_sweeper(name: str) -> dict[str, str]:
    return {file: text.replace("SWEEPER", name) for file, text in TEMPLATE.items()}


def accuracy(cfg: DictConfig) -> float:
    return float(cfg.model.lr * cfg.model.width)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("written", "line"),
    [("explr_optuna", []), ("basic", [OPTUNA_SWEEPER])],
    ids=["in YAML", "on the line"],
)
def test_the_search_of_a_template_with_one_word_changed(
    tmp_path: Path, written: str, line: list[str]
) -> None:
    app = App(tmp_path, with_sweeper(written))
    result = app.sweep(accuracy, ["hparams_search=digits", *line])
    assert [trial["state"] for trial in result.trials] == ["COMPLETE"] * 4
    assert result.best["value"] == max(trial["value"] for trial in result.trials)
    sampler = optuna.samplers.TPESampler(seed=1234, n_startup_trials=2)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.optimize(
        lambda t: (
            t.suggest_float("model.lr", 0.0001, 0.1) * t.suggest_categorical("w", [16, 32, 64])
        ),
        n_trials=2,
    )
    theirs = [list(trial.params.values()) for trial in study.trials]
    assert [list(trial["params"].values()) for trial in result.trials[:2]] == theirs


OFFICIAL = """\
defaults:
  - override hydra/sweeper: explr_optuna
  - override hydra/sweeper/sampler: {sampler}
hydra:
  sweeper:
    sampler:
      seed: 123
    direction: {direction}
    study_name: sphere
    storage: null
    n_trials: 8
    n_jobs: 1
    max_failure_rate: 0.0
    params:
      x: range(-5.5, 5.5, step=0.5)
      y: choice(-5, 0, 5)
x: 1
y: 1
z: 1
"""


def sphere(cfg: DictConfig) -> float:
    return float(cfg.x**2 + cfg.y**2)


def saved(folder: str = "out") -> Any:
    return OmegaConf.to_container(OmegaConf.load(Path(folder, "optimization_results.yaml")))


@pytest.mark.slow
def test_what_the_config_searches_and_what_the_line_does(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    app = App(tmp_path, {"config": OFFICIAL.format(sampler="tpe", direction="minimize")})
    line = [f"hydra.sweeper.storage={storage}", "hydra.sweeper.study_name=mine", "~z"]
    app.sweep(sphere, [*line, "hydra.sweeper.sampler.seed=1", "x=choice(0, 1, 2)", "y=0"])
    study = optuna.load_study(study_name="mine", storage=storage)
    assert len(study.trials) == 8
    assert all(set(trial.params) == {"x"} for trial in study.trials)
    best = {"name": "optuna", "best_params": study.best_params, "best_value": study.best_value}
    assert saved() == best
    given = OmegaConf.load("out/0/.hydra/config.yaml")
    assert (given.y, "z" in given) == (0, False)


@pytest.mark.parametrize("n_trials", [10, 1])
def test_a_grid_never_runs_more_than_its_combinations(tmp_path: Path, n_trials: int) -> None:
    app = App(tmp_path, {"config": OFFICIAL.format(sampler="grid", direction="minimize")})
    line = ["x=choice(-1, 1)", "y=range(-1, 2)", "hydra.sweeper.max_failure_rate=1"]
    result = app.sweep(sphere, [*line, f"hydra.sweeper.n_trials={n_trials}"])
    found = {(trial["params"]["x"], trial["params"]["y"]) for trial in result.trials}
    assert len(result.trials) == len(found) == min(n_trials, 6)
    assert found <= {(x, y) for x in (-1, 1) for y in (-1, 0, 1)}


def test_several_directions_and_the_front(tmp_path: Path) -> None:
    app = App(
        tmp_path, {"config": OFFICIAL.format(sampler="nsgaii", direction="[minimize, minimize]")}
    )
    app.sweep(lambda cfg: (4.0 * cfg.x**2, float((cfg.x - 5) ** 2)), ["x=range(0, 5, step=0.5)"])
    written = saved()
    assert written["name"] == "optuna"
    values = [each["values"] for each in written["solutions"]]
    assert values
    for one in values:
        assert not any(
            other != one and all(a <= b for a, b in zip(other, one, strict=True))
            for other in values
        )


def test_the_first_failure_ends_the_sweep_if_none_may_fail(tmp_path: Path) -> None:
    app = App(tmp_path, {"config": OFFICIAL.format(sampler="random", direction="minimize")})

    def fails(cfg: DictConfig) -> float:
        raise RuntimeError("cfg.error is True")

    with pytest.raises(ConfigCompositionException, match=r"RuntimeError: cfg\.error is True"):
        app.sweep(fails, [])
    assert not Path("out/1").exists()


@pytest.mark.parametrize("name", sorted(SAMPLERS.keys() - {"motpe"}))
def test_each_sampler_by_its_name(tmp_path: Path, name: str) -> None:
    line = [OPTUNA_SWEEPER, f"hydra/sweeper/sampler={name}", "hydra.sweeper.sampler.seed=1"]
    node: Any = OmegaConf.to_container(App(tmp_path, CONFIG).composed(line).hydra.sweeper.sampler)
    for given in (node, SAMPLERS[name] | {"seed": 1}):  # both, if hydra-optuna-sweeper is there
        sampler = as_sampler(given)
        assert list(algorithm_faults(sampler, "it", OPTUNA)) == []
        assert sampler["seed"] == 1
        assert sampler["_target_"] == SAMPLERS[name]["_target_"]


def test_the_names_are_those_of_the_official_sweeper() -> None:
    if find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("hydra-optuna-sweeper is not installed")
    from hydra.core.config_store import ConfigStore

    there = ConfigStore.instance().list("hydra/sweeper/sampler")
    assert {name.removesuffix(".yaml") for name in there} == SAMPLERS.keys()


OLDER = "+hydra.sweeper.search_space={x: {type: float, low: 0.1, high: 0.3, step: 0.1}}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "hydra/sweeper/sampler=motpe",
            "motpe sampler was removed in Optuna 4.0: write hydra/swee",
        ),
        (OLDER, "write hydra.sweeper.params.x: range(0.1, 0.4, 0.1)"),
        ("hydra.sweeper.storage={url: 'sqlite:///a.db'}", "hydra.sweeper.storage must be a URL"),
        ("hydra.sweeper.sampler.nonsense=1", "no setting hydra.sweeper.sampler.nonsense"),
        ("hydra.sweeper.custom_search_space=no.such", "custom_search_space=no.such: "),
    ],
)
def test_what_is_not_taken_is_told_by_name(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigCompositionException) as caught:
        App(tmp_path, CONFIG).sweep(sphere, [OPTUNA_SWEEPER, "x=interval(0,1)", line])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("out/0").exists()


def test_ranges_of_older_configs_are_translated() -> None:
    assert as_range({"type": "int", "low": 1, "high": 9, "step": 2}) == "range(1, 11, 2)"
    assert as_range({"type": "float", "low": 1, "high": 9, "log": True}) == (
        "tag(log, interval(1, 9))"
    )


SPACE = """\
def configure(cfg, trial):
    assert trial.user_attrs["y"] == "3"
    x = trial.params["x"]
    trial.suggest_float("z", x - cfg.most, x + cfg.most)
    trial.suggest_float("+w", 0, 1)
"""


@pytest.mark.slow
def test_a_function_of_the_app_samples_further_parameters(tmp_path: Path) -> None:
    (tmp_path / "my_own_space.py").write_text(SPACE)
    app = App(tmp_path, {"config": "x: 1\ny: 1\nz: 100\nmost: 0.5\n"})
    line = [
        OPTUNA_SWEEPER, "hydra/sweeper/sampler=random", "x=interval(-5,5)", "y=3", "most=0.25",
        "hydra.sweeper.custom_search_space=my_own_space.configure",
    ]  # fmt: skip

    def distance(cfg: DictConfig) -> float:
        return float(abs(cfg.x - cfg.z) + cfg.w)

    first = app.sweep(distance, [*line, "hydra.sweeper.n_trials=2"])
    result = app.sweep(distance, [*line, "hydra.sweeper.n_trials=5"])
    assert result.trials[:2] == first.trials
    for trial in result.trials:
        params = trial["params"]
        assert params.keys() == {"x", "z", "+w"}
        assert abs(params["x"] - params["z"]) <= 0.25
        assert math.isclose(trial["value"], abs(params["x"] - params["z"]) + params["+w"])
    fixed = "hydra.sweeper.custom_search_space samples z, which is fixed: leave out z=…"
    with pytest.raises(ConfigCompositionException, match=fixed):
        app.sweep(distance, [*line, "z=1", "hydra.sweeper.n_trials=6"])
    with pytest.raises(ConfigCompositionException, match="a grid has none but its ranges"):
        app.sweep(distance, [*line, "x=1,2", "hydra/sweeper/sampler=grid", "hydra.sweep.dir=grid"])


FOREIGN = """\
defaults:
  - override hydra/launcher: explr_local
  - _self_
hydra:
  launcher:
    _target_: hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher
    timeout_min: 4300
    mem_gb: 160
    n_jobs: -1
x: 1
y: 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("line", [["x=1,2"], [OPTUNA_SWEEPER, "hydra.sweeper.n_trials=2"]])
def test_keys_of_another_launcher_are_left_out_with_a_word(
    tmp_path: Path, line: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        App(tmp_path, {"config": FOREIGN}).sweep(sphere, line)
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert said == [
        "hydra.launcher.timeout_min, mem_gb: left out, explr_local has only n_jobs and preload; "
        "use hydra.sweeper.trial_timeout_s in place of timeout_min"
    ]
    assert sorted(path.name for path in Path("out").iterdir() if path.is_dir()) == ["0", "1"]


def test_a_number_of_jobs_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(HydraException, match="n_jobs must be a whole number from 1 on, or -1"):
        App(tmp_path, {"config": FOREIGN}).sweep(sphere, ["x=1,2", "hydra.launcher.n_jobs=0"])
