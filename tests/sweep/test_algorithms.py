"""The arguments of samplers and pruners: each that does not fit is told in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from sweeping import Workshop

from explr.core.errors import ConfigError
from explr.sweep.algorithms import (
    OPTUNA,
    algorithm_faults,
    argument_faults,
    optuna_pruner,
)

TPE = "optuna.samplers.TPESampler"
GRID = "explr.tuning.grid.Grid"
MEDIAN = "explr.tuning.percentile.MedianPruner"
PATIENT = "optuna.pruners.PatientPruner"
HYPERBAND = "optuna.pruners.HyperbandPruner"


@pytest.mark.parametrize(
    ("target", "given", "fault"),
    [
        (TPE, {"n_startup_trials": "abc"}, "n_startup_trials must be an integer, got 'abc'"),
        (TPE, {"n_startup_trials": 1.5}, "n_startup_trials must be an integer, got 1.5"),
        (TPE, {"n_startup_trials": True}, "n_startup_trials must be an integer, got True"),
        (TPE, {"n_startup_trials": None}, "n_startup_trials must be an integer, got None"),
        (TPE, {"n_startup_trials": [1]}, "n_startup_trials must be an integer, got [1]"),
        (TPE, {"seed": "abc"}, "seed must be an integer or null, got 'abc'"),
        (TPE, {"prior_weight": "a"}, "prior_weight must be a number or null, got 'a'"),
        (TPE, {"group": 1}, "group must be true or false, got 1"),
        (GRID, {"seed": "abc"}, "seed must be an integer or null, got 'abc'"),
        (HYPERBAND, {"max_resource": 1.5}, "max_resource must be a text or an integer, got 1.5"),
        (
            PATIENT,
            {"wrapped_pruner": "median", "patience": 2},
            "wrapped_pruner must be BasePruner or null, got 'median'",
        ),
        (
            PATIENT,
            {"wrapped_pruner": {"_target_": MEDIAN, "n_warmup_steps": "a"}, "patience": 2},
            "wrapped_pruner.n_warmup_steps must be an integer, got 'a'",
        ),
        (TPE, {}, None),
        (TPE, {"seed": 1, "prior_weight": 1, "gamma": {"_target_": "optuna.x"}}, None),
        (GRID, {"seed": None}, None),
        (HYPERBAND, {"max_resource": "auto"}, None),
        (PATIENT, {"wrapped_pruner": {"_target_": MEDIAN}, "patience": 2}, None),
    ],
)
def test_the_type_of_an_argument(target: str, given: dict[str, Any], fault: str | None) -> None:
    node = {"_target_": target, **given, **({"_partial_": True} if target == GRID else {})}
    faults = [each for each in algorithm_faults(node, "it", OPTUNA) if "optuna.x" not in each]
    assert faults == ([] if fault is None else [f"it.{fault}"])


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        (
            {"_target_": "optuna.samplers.RandomSampler", "nonsense": 1, "seed": 2},
            "there is no setting it.nonsense; RandomSampler takes seed",
        ),
        (
            {"_target_": GRID, "_partial_": True, "branches": []},
            "there is no setting it.branches; Grid takes seed",
        ),
        (
            {"_target_": "optuna.samplers.Nothing"},
            "it._target_=optuna.samplers.Nothing: there is no such class",
        ),
        ({"_target_": "os.system"}, "it._target_=os.system is none of optuna.*, explr.tuning.*"),
        (
            {"_target_": "ray.tune.schedulers.FIFOScheduler"},
            "ray.tune.schedulers.FIFOScheduler is Ray Tune's own: it needs tuner=ray",
        ),
        ({"seed": 1}, "it has no _target_: name the class in it._target_"),
    ],
)
def test_what_is_no_argument_and_no_class(node: dict[str, Any], fault: str) -> None:
    assert list(algorithm_faults(node, "it", OPTUNA)) == [fault]


def test_a_function_that_takes_any_name_decides_itself() -> None:
    def init(cpus: int | None = None, **more: Any) -> None: ...

    assert list(argument_faults(init, {"more": 1, "cpus": 1}, "it")) == []
    assert list(argument_faults(init, {"cpus": "a"}, "it")) == [
        "it.cpus must be an integer or null, got 'a'"
    ]


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        ({"_target_": MEDIAN, "n_startup_trials": -1}, f"{MEDIAN}: Number of startup trials"),
        ({"_target_": "optuna.samplers.RandomSampler"}, "RandomSampler is no pruner"),
    ],
)
def test_what_only_the_library_refuses(node: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        optuna_pruner(node)
    assert "\n" not in str(caught.value)


def test_an_argument_in_an_app_of_one_s_own(shop: Workshop) -> None:
    done = shop.run(shop.app("lr=interval(0,1)", "+hydra.sweeper.sampler.seed=abc"))
    assert done.returncode == 1  # Hydra's own
    assert "Traceback" not in done.stderr
    fault = "hydra.sweeper.sampler.seed must be an integer or null, got 'abc'"
    assert done.stderr.splitlines()[0] == fault
    assert not (shop.folder / "out").exists()
