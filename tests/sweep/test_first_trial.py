"""What a sweep cannot search is refused before its first trial, in explr's tree and in any app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra_spelling import VERSION_BASE

from explr.config.compose import compose_with, hydra_app
from explr.config.hydra_private import silent_context
from explr.config.hydra_versions import store
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError, UsageError
from explr.launching.hydra_job import HydraTask
from explr.runner.prepare import prepare
from explr.sweep.jobs import SweepJobs
from explr.sweep.preflight import check_first_job
from explr.sweep.session import SweepSettings
from explr.sweep.space import SweepSpace
from explr.sweep.sweep import OptunaBackend, Sweep
from explr.tuning.trial import Job

PARAMS = {"lr": "interval(0, 1)"}


@dataclass
class Typed:
    """The config of an app."""

    lr: float = 0.1
    width: int = 3


@pytest.fixture(autouse=True)
def _app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config tree of an app of somebody's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app" / "model").mkdir(parents=True)
    (tmp_path / "app" / "config.yaml").write_text("lr: 0.1\nsteps: 6\nopt: {wd: 0.1}\n")
    for option in ("a", "b"):
        (tmp_path / "app" / "model" / f"{option}.yaml").write_text(f"seed: {ord(option)}\n")
    store("typed", Typed, None)


def space_of(*line: str, name: str = "config", **params: Any) -> SweepSpace:
    """The search space of a sweep of the app."""
    return space_and_task(*line, name=name, **params)[0]


def space_and_task(*line: str, name: str = "config", **params: Any) -> tuple[SweepSpace, HydraTask]:
    """The search space of a sweep of the app, and what its jobs share."""
    with initialize_config_dir(str(Path("app").absolute()), **VERSION_BASE):
        app = GlobalHydra.instance().hydra
        assert app is not None
        config = compose_with(app, line, name, multirun=True)
        settings = SweepSettings(params=params)
        context = silent_context(app)
        sweep = Sweep(settings, OptunaBackend(), config, context, lambda cfg: 0.0)
        return sweep.space(list(line)), HydraTask(config, context, lambda cfg: 0.0)


IN_AN_APP: Mapping[tuple[str, ...], list[str]] = {
    ("lrr=interval(0,1)",): [
        "lrr=interval(0,1): there is no setting or hyperparameter lrr; did you mean lr?"
    ],
    ("opt.wdd=0.1,0.2", "lr=1,2"): [
        "opt.wdd=0.1,0.2: there is no setting or hyperparameter opt.wdd; did you mean opt.wd?"
    ],
    ("modul.depth=1,2", "stps=1,2"): [
        "modul.depth=1,2: there is no setting or hyperparameter modul.depth; +modul.depth=… adds",
        "stps=1,2: there is no setting or hyperparameter stps; did you mean steps?",
    ],
    ("+lr=interval(0,1)",): ["+lr=interval(0,1): lr is there already: leave out the + before lr"],
    ("+model=c,a",): ["+model=c: there is no such option, model is one of a, b"],
}


@pytest.mark.parametrize("line", IN_AN_APP, ids=" ".join)
def test_hydra_refuses_what_the_first_trial_cannot_apply(line: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        space_of(*line)
    for fault, words in zip(caught.value.faults, IN_AN_APP[line], strict=True):
        assert fault.startswith(words)


def test_a_range_of_the_config_is_refused_like_one_of_the_line() -> None:
    with pytest.raises(ConfigError, match=r"^lrr=interval\(0, 1\): .*; did you mean lr\?$"):
        space_of(lrr="interval(0, 1)")
    assert set(space_of("lr=1,2", **PARAMS).every.distributions) == {"lr"}


@pytest.mark.slow
def test_a_structured_config_refuses_keys_and_types() -> None:
    with pytest.raises(ConfigError, match=r"hyperparameter lrr; did you mean lr\?$"):
        space_of("lrr=interval(0,1)", name="typed")
    with pytest.raises(ConfigError, match=r"^width=wide: .* could not be converted to Integer$"):
        space_of("width=wide,3", name="typed")
    assert set(space_of("lr=interval(0,1)", name="typed").every.distributions) == {"lr"}


@pytest.mark.slow
def test_a_value_among_the_ranges_is_set_in_every_trial() -> None:
    space, task = space_and_task(steps=3, **PARAMS)
    job = space.job(0, {"lr": 0.5}, {})
    config = task.config_of(job, own_process=False)
    assert (config.lr, config.steps) == (0.5, 3)
    assert sorted(job.overrides) == ["lr=0.5", "steps=3"]
    assert space_of("steps=4", steps=3, **PARAMS).fixed == ["steps=4"]
    with pytest.raises(ConfigError, match=r"^stepss=3: .*; did you mean steps\?$"):
        space_of(stepss=3, **PARAMS)
    for value in ([1, 2], {"choices": [1, 2]}):  # either may be meant as a range
        with pytest.raises(ConfigError, match=r"^steps is no range .*; write choice\(1, 2\)$"):
            space_of(steps=value, **PARAMS)


def test_a_dollar_that_was_escaped_among_the_ranges_stays_one() -> None:
    space, task = space_and_task(steps="choice('${lr}',b)", lr="'${steps}'")
    (text, _) = space.every.distributions["steps"].choices  # type: ignore[attr-defined]
    with initialize_config_dir(str(Path("app").absolute()), **VERSION_BASE):
        config = task.config_of(space.job(0, {"steps": text}, {}), own_process=False)
    assert (config.steps, config.lr) == ("${lr}", "${steps}")


def test_an_option_among_the_ranges_is_chosen_in_every_trial() -> None:
    Path("app", "config.yaml").write_text("defaults: [_self_, model: a]\nlr: 0.1\n")
    space, task = space_and_task(model="b", **PARAMS)
    assert set(space.every.distributions) == {"lr"}
    with initialize_config_dir(str(Path("app").absolute()), **VERSION_BASE):
        job = space.job(0, {"lr": 0.5}, {})
        assert task.config_of(job, own_process=False).model.seed == ord("b")
    assert space_of("model=a", model="b", **PARAMS).fixed == ["model=a"]


@pytest.mark.slow
def test_the_ranges_of_every_option_are_applied_before_a_trial_chooses_it() -> None:
    Path("app", "config.yaml").write_text(
        "lr: 0.1\nranges: {lr: 'interval(0, 1)'}\nhydra: {sweeper: {params: '${ranges}'}}\n"
    )
    Path("app", "model", "b.yaml").write_text(
        "# @package _global_\nmomentum: 0\nranges: {momentumm: 'interval(0, 1)'}\n"
    )
    with pytest.raises(ConfigError, match=r"^momentumm=.*; did you mean momentum\?$"):
        space_of("+model=a,b", **PARAMS)


NO_RANGES = {
    "[16, 32]": "[16, 32]; write choice(16, 32)",
    "{type: float, low: 0.1, high: 1}": "write interval(0.1, 1)",
    "{type: int, low: 1, high: 9, log: true}": "write tag(log, int(interval(1, 9)))",
    "{distribution: log_uniform_values, min: 0.1, max: 1}": "write tag(log, interval(0.1, 1))",
    "{type: categorical, choices: [a, b c]}": 'write choice(a, "b c")',
    "loguniform": "as in lr=loguniform",
}


@pytest.mark.parametrize("text", NO_RANGES)
def test_what_is_no_range_says_how_to_write_one(text: str) -> None:
    fault = fault_of(f"+search_space.lr={text}")
    assert fault.startswith("lr is no range that can be searched: ")
    assert fault.endswith(NO_RANGES[text])


def test_a_number_in_the_search_space_is_told_with_the_line_that_may_be_missing() -> None:
    fault = fault_of("+search_space.lr=0.5")
    assert fault.startswith("search_space.lr is no range: ")
    assert "`# @package _global_`" in fault


def check(*line: str) -> None:
    check_first_job(line, ExplrConfig.from_composed)


def fault_of(*line: str) -> str:
    """The only fault of a sweep of Optuna's."""
    with pytest.raises(ConfigError) as caught:
        check("tuner=optuna", *line)
    (fault,) = caught.value.faults
    return fault


def test_a_mapping_among_the_ranges_has_those_of_its_keys() -> None:
    assert set(space_of(opt={"wd": "interval(0, 1)"}).every.distributions) == {"opt.wd"}


NOT_SEARCHED = {
    "tuner/sampler=tpe,random": "tuner/sampler holds for a whole sweep: start a sweep with each of",
    "tuner.n_trials=2,3": "tuner.n_trials holds for a whole sweep: start a sweep with each of the",
    "objective.direction=minimize,maximize": "with tuner=none train once with each",
    "tracking=mlflow,off": "tracking holds for a whole sweep: start a sweep with each of the",
    "gpu=cpu,full": "gpu holds for a whole sweep: start a sweep with each of the values, or with",
    "experiment_name=a,b": "experiment_name holds for a whole sweep",
    "search_space.lr=interval(0,1)": "searches no hyperparameter: write lr=interval(0,1)",
    "+search_space={tuner.n_trials: 'choice(2,3)'}": "tuner.n_trials holds for a whole sweep",
}


@pytest.mark.parametrize("text", NOT_SEARCHED)
def test_a_setting_of_the_sweep_is_no_hyperparameter(text: str) -> None:
    fault = fault_of("lr=interval(0,1)", text)
    assert NOT_SEARCHED[text] in fault


NO_SWEEP = {
    ("tuner=optuna",): "tuner=optuna has nothing to search: give a range, such as",
    ("tuner=optuna", "lr=1,2", "seed=-1"): "seed must be an integer",
    ("lr=1,2", "train_model=nowhere:f"): "train_model=nowhere:f: there is no module nowhere",
    ("tuner=optuna", "lr=1,2", "tuner.study_name=.."): "'..' is no name of a study: it stands for",
    ("tuner=optuna", "lr=1,2", "hydra.sweep.dir=out/${hydra:job.num}"): (
        "hydra.sweep.dir=out/${hydra:job.num}: only a trial has hydra.job.num, and a sweep has one"
    ),
}


@pytest.mark.parametrize("line", NO_SWEEP, ids=" ".join)
def test_a_sweep_that_could_not_start_is_refused(line: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        check_first_job(line, prepare)
    assert NO_SWEEP[line] in str(caught.value)


@pytest.mark.parametrize("text", ["seed=1,100", "framework=none,pytorch"])
def test_what_a_trial_may_have_for_itself_is_searched(text: str) -> None:
    check("tuner=optuna", "hydra/launcher=joblib", text)


@pytest.mark.parametrize(
    ("line", "params", "seed"),
    [
        (["lr=interval(0,1)"], {"lr": 0.5}, ["++seed=43"]),
        (["lr=interval(0,1)", "seed=7"], {"lr": 0.5}, ["++seed=8"]),
        (["seed=1,100"], {"seed": 100}, ["++seed=101"]),
        (["+model=a,b"], {"model": "b"}, ["++seed=99"]),
        (["+own=1,5", "seed=${own}"], {"own": 5}, ["++seed=6"]),
        (["lr=interval(0,1)", "seed=null"], {"lr": 0.5}, []),
    ],
)
def test_replicates_count_from_the_seed_of_their_trial(
    line: list[str], params: dict[str, Any], seed: list[str]
) -> None:
    own = Path("conf", "model")
    own.mkdir(parents=True)
    for option in ("a", "b"):
        (own / f"{option}.yaml").write_text(f"# @package _global_\nseed: {ord(option)}\n")
    with hydra_app() as app:
        line = ["tuner=optuna", *line]
        config = compose_with(app, line, None, multirun=True)
        space = SweepSpace(config, app.config_loader, {}, line)
        jobs = SweepJobs(config, space)
        first, second = (jobs(Job(0, replicate, 2, 0, params)) for replicate in (0, 1))
    assert not any(text.startswith("++seed=") for text in first.overrides)
    assert [text for text in second.overrides if text.startswith("++seed=")] == seed
