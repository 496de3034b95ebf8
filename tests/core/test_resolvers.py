"""Resolvers that a training's module registers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest
from hydra.core.singleton import Singleton
from hydra_spelling import MAIN, REGISTER, register
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.config.compose import hydra_app
from explr.config.importing import refuse_in_import
from explr.config.target import resolve_target
from explr.core.config import ObjectiveConfig
from explr.core.errors import TargetError

MODULE = f"""\
from omegaconf import OmegaConf

OmegaConf.{REGISTER}("double", lambda value: 2 * value)


def train(ctx):
    return 1.0
"""


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "with_resolver.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    OmegaConf.clear_resolver("double")
    sys.modules.pop("with_resolver", None)


def config(target: str):
    own = {"objective": ObjectiveConfig(), "train_model": target}  # as the config tree has it
    return OmegaConf.create({**own, "lr": "${double:2}"})


@pytest.mark.parametrize("target", ["with_resolver:train", "with_resolver.py:train"])
def test_a_config_finds_what_its_training_registers(target: str) -> None:
    assert config(target).lr == 4


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:train", "train_model=nowhere:train: there is no module nowhere"),
        ("explr.examples.pytorch_example:train_model", "Unsupported interpolation type double"),
        ("${unknown:1}", "Unsupported interpolation type unknown"),
    ],
)
def test_an_unknown_resolver_is_said(target: str, said: str) -> None:
    with pytest.raises(OmegaConfBaseException, match=said):
        _ = config(target).lr


def test_no_training_of_another_app_is_imported() -> None:
    named = {"framework": {}, "objective": {}, "train_model": "with_resolver:train"}
    other = OmegaConf.create({**named, "lr": "${double:2}"})
    with pytest.raises(OmegaConfBaseException, match="Unsupported interpolation type double"):
        _ = other.lr


def test_a_module_registers_again_what_another_process_has_sent() -> None:
    register("double", lambda value: -value)
    sent = cloudpickle.dumps(Singleton.get_state())
    program = (
        "import pickle, sys\n"
        "from hydra.core.singleton import Singleton\n"
        "from omegaconf import OmegaConf\n"
        "from explr.config.target import resolve_target\n"
        "Singleton.set_state(pickle.loads(sys.stdin.buffer.read()))\n"
        "config = OmegaConf.create({'lr': '${double:2}'})\n"
        "print(config.lr)\n"
        "resolve_target('with_resolver.py:train')\n"
        "print(config.lr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=sent,
        capture_output=True,
        env=environment,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"-2\n4\n", b"")


def test_two_of_one_name_in_one_process_stay_an_error() -> None:
    register("double", lambda value: -value)
    with pytest.raises(TargetError, match="resolver 'double' is already registered"):
        resolve_target("with_resolver:train")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("explr.main(f)", "explr.main"),
        ("explr.run({})", "explr.run"),
        ("explr.tune([], f)", "explr.tune"),
        (f"hydra.main(config_path=None{MAIN})(f)()", "its @hydra.main function"),
    ],
)
def test_a_script_that_trains_when_it_is_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, named: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["explr"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as explr's command line sets it
    script = f"import explr, hydra\ndef f(ctx): ...\n{call}\n"
    (tmp_path / "unguarded.py").write_text(script)
    with hydra_app(), pytest.raises(TargetError) as said:
        resolve_target("unguarded.py:f")
    assert str(said.value) == (
        f"train_model=unguarded.py:f: its module calls {named} when it is imported; write "
        '`if __name__ == "__main__":` above the call, and indent what follows'
    )
    refuse_in_import(named)  # that is over now
