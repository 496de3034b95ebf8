from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra_spelling import MAIN, VERSION_BASE
from omegaconf import DictConfig, OmegaConf

import explr
from explr.config.compose import TRUSTED
from explr.config.hydra_versions import make
from explr.core.errors import ConfigError

FRESH = f"""\
import sys, json
{{first}}
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
with initialize_config_module("explr.conf"{MAIN}):
    cfg = compose("config", ["framework=tensorflow", "tuner=optuna", "tuner.study_name=s", "lr=3"])
assert ("explr.core.config" in sys.modules), "the plugin registers the schemas"
{{after}}
print(json.dumps(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True), sort_keys=True))
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_hydra_composes_the_same_with_and_without_explr_imported(explr) -> None:
    outputs = []
    for first, after in (("", ""), ("import explr", ""), ("import explr; explr.compose([])", "")):
        done = explr.python("-c", FRESH.format(first=first, after=after))
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    own = explr.python(
        "-c",
        FRESH.format(
            first="",
            after="import explr; "
            "cfg = explr.compose(['framework=tensorflow', 'tuner=optuna', 'tuner.study_name=s', "
            "'lr=3'])",
        ),
    )
    assert own.returncode == 0, own.stderr
    assert len({*outputs, own.stdout}) == 1


def test_compose_leaves_hydra_s_own_part_out() -> None:
    cfg = explr.compose(["gpu=cpu", "lr=3"])
    assert isinstance(cfg, DictConfig)
    assert "hydra" not in cfg
    assert (cfg.lr, cfg.gpu.device, cfg.train_model) == (
        3, "cpu", "explr.examples.pytorch_example:train_model",
    )  # fmt: skip


def test_groups_are_typed_from_the_start() -> None:
    cfg = explr.compose()
    with pytest.raises(Exception, match="could not be converted to Float"):
        cfg.gpu.memory_limit_gb = "much"


def test_within_an_initialised_hydra_which_stays_as_it_was() -> None:
    with initialize_config_module("explr.conf", **VERSION_BASE):
        before = GlobalHydra.instance().hydra
        assert explr.compose(["lr=5"]).lr == 5
        assert GlobalHydra.instance().hydra is before
        assert hydra_compose("config", ["lr=6"]).lr == 6
    assert not GlobalHydra.instance().is_initialized()
    explr.compose()
    assert not GlobalHydra.instance().is_initialized()


def test_in_a_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(explr.compose(["lr=5"]).lr))
    thread.start()
    thread.join()
    assert found == [5]


@pytest.mark.parametrize("name", [".", 'it\'s my "project" %20 for $x, {a=b} é'])
def test_the_project_s_own_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (space := tmp_path / name / "conf" / "search_space").mkdir(parents=True)
    (space / "mine.yaml").write_text("# @package _global_\nlr: 8\n")
    monkeypatch.chdir(tmp_path / name)
    cfg = explr.compose(["search_space=mine"])
    assert cfg.lr == 8
    assert "batch_size" not in cfg


def test_the_project_replaces_no_packaged_option(tmp_path: Path) -> None:
    (tmp_path / "conf" / "gpu").mkdir(parents=True)
    (tmp_path / "conf" / "gpu" / "cpu.yaml").write_text("device: cuda\n")
    assert explr.compose(["gpu=cpu"]).gpu.device == "cpu"


@pytest.mark.slow
def test_every_fault_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        explr.compose(["lrr=5", "gpu.x=1", "framework=jax", "seed=-1"])
    starts = ["lrr=5: ", "gpu.x=1: ", "framework=jax: ", "seed must be"]
    assert len(caught.value.faults) == len(starts)
    for fault, start in zip(caught.value.faults, starts, strict=True):
        assert fault.startswith(start)
    assert caught.value.__suppress_context__


def test_a_range_is_for_a_sweep_in_python_too() -> None:
    with pytest.raises(ConfigError) as caught:
        explr.compose(["lr=interval(0,1)"])
    assert caught.value.faults == ["lr=interval(0,1) is a range: give it to explr.tune"]


@pytest.mark.parametrize("sampler", ["tpe", "mftpe", "random", "qmc", "cmaes", "gp"])
def test_every_sampler(sampler: str) -> None:
    cfg = explr.compose(["tuner=optuna", f"tuner/sampler={sampler}", "seed=3"])
    assert re.fullmatch(
        r"optuna\.samplers\.\w+Sampler|explr\.tuning\.samplers\.mftpe\.\w+",
        cfg.tuner.sampler._target_,
    )
    assert cfg.tuner.sampler.seed == 3


@pytest.mark.slow
def test_another_hydra_app_gets_no_group_of_ours(explr, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("a: 1\n")
    (tmp_path / "app.py").write_text(
        "import hydra\n"
        f"@hydra.main(config_path='conf', config_name='config'{MAIN})\n"
        "def app(cfg):\n    print(dict(cfg))\n"
        "app()\n"
    )
    done = explr.python("app.py", "a=2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'a': 2}\n", "")
    assert "framework" not in explr.python("app.py", "--help").stdout
    shown = explr.python("app.py", "--cfg", "hydra", "hydra/callbacks=explr_mlflow").stdout
    assert "explr.tracking.callback.MLflowCallback" in shown


def test_a_composed_config_can_be_resolved_and_written() -> None:
    text = OmegaConf.to_yaml(explr.compose(["tuner=optuna", "search_space=digits"]), resolve=True)
    assert "lr: tag(log, interval(1e-4, 1e-1))" in text


def test_callbacks_of_hydras_own_package_are_trusted() -> None:
    target = "hydra.experimental.callbacks.LogJobReturnCallback"
    with catch_warnings():
        simplefilter("ignore")  # Hydra 1.4 deprecates it
        made = make({"_target_": target}, TRUSTED)
    assert isinstance(made, Callback)
