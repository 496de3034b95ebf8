from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import explr
from explr.config.nodes import SEARCH, SWEEPER
from explr.core.config import (
    SCHEMAS,
    ExplrConfig,
    MLflowConfig,
    OptunaConfig,
    SearchConfig,
    SweeperConfig,
    TrackingConfig,
    TunerConfig,
)
from explr.core.errors import ConfigError, UsageError
from explr.core.validation import settings_of
from explr.sweep.preflight import study_name_fault
from explr.sweep.session import SweepSettings

PROBLEMS = [
    ("experiment_name", "", "experiment_name must be a text"),
    ("experiment_name", None, "experiment_name must be a text"),
    ("seed", -1, "seed must be an integer from 0 to 4294967295, or null, got -1"),
    ("seed", 2**32, "seed must be an integer"),
    ("seed", True, "seed must be an integer"),
    ("seed", 1.5, "seed must be an integer"),
    ("seed", "abc", "seed must be an integer"),
    ("seed", "???", "seed has no value: set it with seed=…"),
    ("train_model", 3, "train_model must be module:function"),
    ("train_model", {"scale": 2}, "or a mapping with _target_"),
    ("search_space", "wide", "search_space must hold ranges by hyperparameter"),
    ("lr", "${nowhere}", "lr: Interpolation key 'nowhere' not found"),
    ("gpu", 3, "gpu must be a mapping with the keys of GpuConfig"),
    ("gpu", {"memory": 3}, "there is no setting gpu.memory; there are gpu.device, gpu.memory_l"),
    ("gpu", {"memory_limit_gb": "much"}, "gpu.memory_limit_gb: Value 'much'"),
    ("gpu", {"memory_limit_gb": -1}, "gpu.memory_limit_gb must be at least 0, got -1.0"),
    ("gpu", {"memory_limit_gb": float("nan")}, "gpu.memory_limit_gb must be at least 0, got nan"),
    ("gpu", {"device": "tpu"}, "gpu.device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    ("gpu", {"device": "cuda:"}, "gpu.device must be auto, cpu, cuda or cuda:N, got 'cuda:'"),
    ("objective", {"direction": "up"}, "objective.direction must be minimize or maximize, got"),
    ("objective", {"metric": ["a", "a"], "direction": ["minimize"] * 2}, "names a 2 times"),
    (
        "objective",
        {"metric": ["a", "b"], "direction": "minimize"},
        "there are 2 metrics (a, b) and 1 directions",
    ),
    ("objective", {"metric": []}, "objective.metric must name a metric"),
    ("objective", {"metric": ["a", ""], "direction": ["minimize"] * 2}, "must name a metric"),
    ("objective", {"metric": {"a": 1}}, "objective.metric must name a metric"),
    ("objective", {"direction": 3}, "objective.direction must be minimize or maximize"),
    ("framework", {"name": "pytorch", "example": "m:f", "threads": 0}, "framework.threads must"),
    ("tracking", {"backend": "mlflow", "port": 0}, "tracking.port must be at least 1"),
    ("tracking", {"backend": "mlflow", "port": 70000}, "tracking.port must be at most 65535"),
    ("tuner", {"name": "optuna", "n_trials": 0}, "tuner.n_trials must be at least 1, got 0"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def composed() -> dict[str, object]:
    content = OmegaConf.to_container(explr.compose(["tracking=off"]), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def test_types_and_hyperparameters() -> None:
    config = ExplrConfig.from_composed(explr.compose(["+new=3", "tracking=off", "seed=null"]))
    assert config.hyperparameters == {
        "lr": 1e-3, "batch_size": 64, "width": 32, "epochs": 20, "new": 3,
    }  # fmt: skip
    assert config.objective.direction == "minimize"
    assert config.train_model == "explr.examples.pytorch_example:train_model"
    assert config.seed is None
    assert type(config.tracking) is TrackingConfig
    assert type(config.tuner) is TunerConfig


def test_a_plain_mapping_is_taken_too() -> None:
    config = ExplrConfig.from_composed(composed() | {"lr": 3})
    assert config.hyperparameters["lr"] == 3


def test_groups_have_the_type_of_their_option() -> None:
    config = ExplrConfig.from_composed(explr.compose(["tuner=optuna", "search_space=digits"]))
    assert isinstance(config.tuner, OptunaConfig)
    assert config.tuner.sampler["_target_"] == "optuna.samplers.TPESampler"
    assert isinstance(config.tracking, MLflowConfig)
    assert set(config.search_space) == {"lr", "batch_size", "width"}


def test_a_number_may_name_an_experiment() -> None:
    assert ExplrConfig.from_composed(composed() | {"experiment_name": 2024}).experiment_name == (
        "2024"
    )


@pytest.mark.parametrize(("key", "value", "sentence"), PROBLEMS)
def test_each_fault_is_a_sentence(key: str, value: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExplrConfig.from_composed(composed() | {key: value})
    assert len(caught.value.faults) == 1, caught.value.faults
    assert sentence in caught.value.faults[0]


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ExplrConfig.from_composed(
            composed() | {"seed": "x", "gpu": {"device": "tpu"}, "lr": "???", "train_model": None}
        )
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "seed", "train_model", "lr", "gpu.device",
    ]  # fmt: skip


def test_another_config_is_recognised() -> None:
    with pytest.raises(UsageError, match=r"compose one with explr\.compose"):
        ExplrConfig.from_composed({"lr": 3})


def test_every_field_of_a_schema_says_what_it_is() -> None:
    text = (Path(explr.__path__[0]) / "core" / "config.py").read_text().splitlines()
    for schema in {base for one in (*SCHEMAS.values(), SweeperConfig) for base in one.__mro__[:-1]}:
        for name in schema.__annotations__:
            line = next(n for n, row in enumerate(text) if row.startswith(f"    {name}: "))
            assert text[line - 1].startswith("    # "), f"{schema.__name__}.{name}"


def test_a_setting_of_a_sweep_is_declared_once() -> None:
    settings = asdict(SearchConfig()) | {"sampler": SWEEPER["sampler"], "pruner": SWEEPER["pruner"]}
    assert {name: SWEEPER[name] for name in settings} == settings
    names = [field.name for field in fields(SweeperConfig)]
    assert SWEEPER.keys() - {"_target_", "_recursive_", "defaults"} == set(names)
    assert set(names) - SEARCH["hydra"]["sweeper"].keys() == {"custom_search_space"}
    given = {"retries": 7, "memory_gb": 1.5, "pruner": None, "direction": ["minimize", "maximize"]}
    taken = settings_of(SweepSettings, given, "hydra.sweeper")
    assert (taken.limits.retries, taken.memory_gb, taken.pruner) == (7, 1.5, {})
    assert taken.directions == ["minimize", "maximize"]


def test_a_plugin_names_every_setting_that_is_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(SweepSettings, {"foo": 1, "n_trials": "abc"}, "hydra.sweeper")
    unknown, wrong = caught.value.faults
    assert unknown.startswith("there is no setting hydra.sweeper.foo; there are hydra.sweeper.m")
    assert wrong.startswith("hydra.sweeper.n_trials: Value 'abc'")


@pytest.mark.parametrize("name", ["mine", "lr 0.1", "2024", "tag=x", "ünïcode", "x" * 255, "..."])
def test_names_of_studies(name: str) -> None:
    assert study_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (None, "tuner.study_name=null is no name of a study: it is empty: leave"),
        ("", "it is empty"),
        (" ", "it is empty"),
        (".", "it stands for another folder"),
        ("..", "it stands for another folder"),
        ("a/b", "it has a /"),
        ("/etc", "it has a /"),
        ("a\0b", "it has a character that cannot be printed"),
        ("a\nb", "it has a character that cannot be printed"),
        (
            "x" * 300,
            "tuner.study_name='xxxxxxxxxxxxxxxxxxxx…' is no name of a study: it has 300 bytes",
        ),
        ("ü" * 128, "it has 256 bytes, and the name of a folder at most 255"),
        ("2026-02-28", "it is reserved for the folder of the sweeps of that day"),
        ("NUL", "it is reserved for a device in Windows"),
        ("con.txt", "it is reserved for a device in Windows"),
    ],
)
def test_what_is_no_name_of_a_study(name: str | None, why: str) -> None:
    fault = study_name_fault(name)
    assert fault is not None
    assert why in fault
    assert fault.isprintable()
