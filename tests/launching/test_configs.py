"""Configs as apps have them: classes of the script, and interpolations that only the app knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hydra_spelling import REGISTER

from explr.config.hydra_versions import HAS_WHITELIST

if TYPE_CHECKING:
    from conftest import Command

pytestmark = pytest.mark.slow

MAIN = (
    'config_name="config", execution_whitelist=["__main__.*", "explr.*", "optuna.*"]'
    if HAS_WHITELIST
    else 'config_name="config", config_path=None, version_base="1.3"'
)

APP = f"""\
import os
import pickle
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import attr
import hydra
import pydantic
from hydra.core.config_store import ConfigStore
from hydra.utils import get_class, instantiate
from omegaconf import MISSING, OmegaConf

register = OmegaConf.{REGISTER}


class Colour(Enum):
    RED = 1


@dataclass
class Model:
    width: int = 32
    layers: list[int] = field(default_factory=lambda: [1, 2])
    colour: Colour = Colour.RED
    where: Path = Path("a/b")
    code: bytes = b"ab"
    later: int = MISSING


@attr.s(auto_attribs=True)
class Data:
    names: dict[str, int] = attr.ib(factory=lambda: {{"a": 1}})


@pydantic.dataclasses.dataclass
class Checked:
    ratio: float = 0.5


class Settings(pydantic.BaseModel):
    width: int


class Net:
    def __init__(self, width, scale):
        self.width, self.scale = width, scale


def build(width):
    return Net(width, 2.0)


Made = make_dataclass("Made", [("depth", int, 3)])
Made.__module__ = "types"  # as hydra-zen's: there is no such name


@dataclass
class Config:
    lr: float = 0.1
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    checked: Checked = field(default_factory=Checked)
    made: Any = field(default_factory=Made)
    net: Any = field(
        default_factory=lambda: {{"_target_": "__main__.build", "width": "${{model.width}}"}}
    )
    early: Any = "${{twice:${{lr}}}}"
    late: Any = "${{by_app:3}}"
    unset: Any = "${{oc.env:SET_BY_THE_APP}}"


register("twice", lambda x: 2 * x)
ConfigStore.instance().store(name="config", node=Config)


@hydra.main({MAIN})
def main(cfg):
    register("by_app", lambda x: 10 * x, replace=True)
    os.environ["SET_BY_THE_APP"] = "x"
    assert (cfg.early, cfg.late, cfg.unset) == (2 * cfg.lr, 30, "x")
    cfg.model.later = 7
    config = OmegaConf.to_object(cfg)
    kinds = (config, config.model, config.data, config.checked, config.model.colour)
    assert [type(each) for each in kinds] == [Config, Model, Data, Checked, Colour]
    assert config.made.depth == 3
    net = instantiate(cfg.net)
    assert type(net) is Net is get_class("__main__.Net")
    assert pickle.loads(pickle.dumps(net)).scale == 2.0
    assert Settings(width=cfg.model.width).width == 32
    assert Path(__file__).name == "app.py"
    return cfg.lr * cfg.model.width


if __name__ == "__main__":
    main()
"""


def texts(folder: Path) -> dict[str, str]:
    return {
        name: (folder / ".hydra" / name).read_text() for name in ("config.yaml", "overrides.yaml")
    }


def test_hydras_sweeper_with_the_launcher(explr: Command) -> None:
    (explr.cwd / "app.py").write_text(APP)
    for launcher in ("basic", "explr_local"):
        done = explr.script(
            "app.py",
            "-m",
            "lr=0.1,0.2",
            f"hydra/launcher={launcher}",
            f"hydra.sweep.dir={launcher}",
        )
        assert done.returncode == 0, done.stderr
        assert "Launching 2 jobs locally" in done.stdout
    for job in ("0", "1"):
        assert texts(explr.cwd / "basic" / job) == texts(explr.cwd / "explr_local" / job)


@pytest.mark.parametrize("tuner", ["optuna", "ray"])
def test_sweeps(explr: Command, tuner: str) -> None:
    if tuner == "ray":
        pytest.importorskip("ray")
    (explr.cwd / "app.py").write_text(APP)
    launcher = ["hydra/launcher=explr_local"] if tuner == "optuna" else []
    done = explr.script(
        "app.py", "-m", "lr=interval(0.1,0.5)", f"hydra/sweeper=explr_{tuner}", *launcher,
        "hydra.sweeper.n_trials=2", "hydra.sweep.dir=out", "hydra.sweeper.n_jobs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((explr.cwd / "out" / "results.json").read_text())["trials"]
    assert [trial["value"] for trial in trials] == [
        pytest.approx(32 * trial["params"]["lr"]) for trial in trials
    ]


ZEN = """\
from hydra_zen import builds, make_config, store, zen


def optimizer(lr=0.1):
    return lr


def task(optimizer):
    return 2 * optimizer


store(make_config(optimizer=builds(optimizer, populate_full_signature=True)), name="task")

if __name__ == "__main__":
    store.add_to_hydra_store()
    zen(task).hydra_main(config_name="task", config_path=None, version_base=None)
"""


@pytest.mark.parametrize(
    "options", [[], ["hydra/sweeper=explr_optuna", "hydra.sweeper.n_trials=2"]]
)
def test_hydra_zen(explr: Command, options: list[str]) -> None:
    pytest.importorskip("hydra_zen")
    (explr.cwd / "app.py").write_text(ZEN)
    line = ["-W", "ignore", "app.py", "-m", "optimizer.lr=0.1,0.2", *options]
    done = explr.python(*line, "hydra/launcher=explr_local", "hydra.sweep.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(explr.cwd / "out" / job / ".hydra").is_dir() for job in ("0", "1")] == [True, True]


FAILS = f"""\
import logging

import hydra

TABLE = {{"a": 1.0}}


@hydra.main({MAIN.replace('config_name="config", ', "")})
def main(cfg):
    logging.getLogger(__name__).info("looking up %s", cfg.key)
    try:
        return look_up(cfg.key)
    except KeyError as error:
        raise LookupError("not found") from error


def look_up(key):
    return TABLE[key]


if __name__ == "__main__":
    main()
"""


def test_a_failed_job_keeps_its_traceback_and_its_log(explr: Command) -> None:
    (explr.cwd / "app.py").write_text(FAILS)
    done = explr.script(
        "app.py", "-m", "+key=a,b", "hydra/launcher=explr_local", "hydra.sweep.dir=out"
    )
    assert done.returncode == 1
    assert "Error executing job with overrides: ['+key=b']" in done.stderr
    for text in (done.stderr, (explr.cwd / "out" / "1" / "app.log").read_text()):
        lines = [line.strip() for line in text.splitlines()]
        for line in ("return TABLE[key]", "return look_up(cfg.key)", "LookupError: not found"):
            assert line in lines
        assert "KeyError: 'b'" in lines
        assert "/explr/" not in text
        assert "/hydra/core/" not in text
    assert "looking up b" in (explr.cwd / "out" / "1" / "app.log").read_text()
    assert "Traceback" not in (explr.cwd / "out" / "0" / "app.log").read_text()


@pytest.mark.skipif(HAS_WHITELIST, reason="Hydra 1.4 has one behaviour")
@pytest.mark.parametrize("base", ["", 'version_base="1.1"', 'version_base="1.2"'])
def test_a_job_works_where_hydra_13_has_it_work(explr: Command, base: str) -> None:
    (explr.cwd / "app.py").write_text(
        f"import hydra, os\n@hydra.main({base})\ndef main(cfg):\n    print('in', os.getcwd())\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    said = [
        explr.script("app.py", "-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=out")
        for launcher in ("basic", "explr_local")
    ]
    seen = [[t for t in done.stdout.splitlines() if t.startswith("in ")] for done in said]
    assert seen[0] == seen[1] != []
