"""What the suites of Hydra's launchers and of its basic sweeper check, with explr's sweepers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

sys.path.append(str(Path(__file__).parents[1] / "plugins"))

from apps import App

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray", "elsewhere")]

FILES = {
    "config": "a: 0\nb: 0\n",
    "grouped": "defaults:\n  - group: ???\nbar: 0\n",
    "databases": "defaults:\n  - db: mysql\n",
    "group/one": "foo: 10\n",
    "group/two": "foo: 20\n",
    "db/mysql": "driver: mysql\nuser: omry\n",
    "db/postgresql": "driver: postgresql\nuser: root\ntimeout: 10\n",
    "listed": "hydra:\n  sweeper:\n    params:\n      a: 1,2\n      b: range(3)\na: 0\nb: 0\n",
}

CASES: dict[str, tuple[str, list[str], list[list[str]]]] = {
    "nothing is searched": ("config", ["a=10", "hydra.sweeper.n_trials=1"], [["a=10"]]),
    "a list is one value": ("config", ["a=[10,20]", "hydra.sweeper.n_trials=1"], [["a=[10,20]"]]),
    "lists to choose from": ("config", ["a=[x,y],[z]"], [["a=[x,y]"], ["a=[z]"]]),
    "two parameters": (
        "config", ["a=1,2", "b=10,11"],
        [["a=1", "b=10"], ["a=1", "b=11"], ["a=2", "b=10"], ["a=2", "b=11"]],
    ),
    "a range": ("config", ["a=range(1,3)"], [["a=1"], ["a=2"]]),
    "a range from 0": ("config", ["a=range(3)"], [["a=0"], ["a=1"], ["a=2"]]),
    "params of the config": (
        "listed", ["a=2"], [["b=0", "a=2"], ["b=1", "a=2"], ["b=2", "a=2"]],
    ),
    "an option that must be chosen": (
        "grouped", ["group=one,two"], [["group=one"], ["group=two"]],
    ),
    "a glob": ("grouped", ["group=glob(*,exclude=t*)"], [["group=one"]]),
    "a key that only the option has": (
        "databases", ["db=mysql,postgresql", "db.user=someone"],
        [["db=mysql", "db.user=someone"], ["db=postgresql", "db.user=someone"]],
    ),
}  # fmt: skip
"""The primary config, the line, and the overrides of each job."""


SWEEPERS = ["explr_optuna", "explr_ray"]

IN_RAY = "a key that only the option has"
"""The case that Ray runs too, which takes seconds."""


def sweep(sweeper: str, config: str, task: Any, line: list[str]) -> Any:
    """Sweep an app with a grid, as Hydra's own sweeper does; `config` names the primary config."""
    app = App(Path.cwd(), FILES | {"config": FILES[config]})
    grid = [f"hydra/sweeper={sweeper}", "hydra/sweeper/sampler=grid", "hydra.sweeper.retries=0"]
    return app.sweep(task, [*grid, *line])


def whole(cfg: DictConfig) -> float:
    return float(len(cfg))


def saved(number: int, name: str) -> Any:
    file = Path("out", str(number), ".hydra", f"{name}.yaml")
    return OmegaConf.to_container(OmegaConf.load(file))


@pytest.mark.parametrize(
    ("sweeper", "case"),
    [*(("explr_optuna", case) for case in CASES), ("explr_ray", IN_RAY)],
)
def test_the_jobs_are_those_of_hydra_s_sweeper(sweeper: str, case: str) -> None:
    config, line, expected = CASES[case]
    result = sweep(sweeper, config, whole, line)
    assert [trial["state"] for trial in result.trials] == ["COMPLETE"] * len(expected)
    jobs = [saved(number, "overrides") for number in range(len(expected))]
    assert sorted(jobs) == expected
    for number, job in enumerate(jobs):
        hydra, seen = saved(number, "hydra")["hydra"], saved(number, "config")
        assert (hydra["job"]["num"], hydra["job"]["id"]) == (number, str(number))
        assert Path(hydra["runtime"]["output_dir"]) == Path("out", str(number)).absolute()
        for key, _, value in (each.partition("=") for each in job):
            if key in hydra["runtime"]["choices"]:
                assert hydra["runtime"]["choices"][key] == value
            else:
                assert (
                    OmegaConf.select(OmegaConf.create(seen), key)
                    == OmegaConf.create(f"v: {value}").v
                )
    swept: Any = OmegaConf.load("out/multirun.yaml")
    assert [each for each in swept.hydra.overrides.task if "hydra" not in each] == [
        each for each in line if "hydra" not in each
    ]


@pytest.mark.parametrize("sweeper", SWEEPERS)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["a=1,2", "hydra.verbose=true,false"], "Sweeping over Hydra's configuration is not supp"),
        (["a=1,2", "boo=bar"], "boo"),
    ],
)
def test_what_is_refused_before_any_job(sweeper: str, line: list[str], said: str) -> None:
    with pytest.raises(HydraException, match=said):
        sweep(sweeper, "config", whole, line)
    assert not Path("out", "0").exists()


def divides(cfg: DictConfig) -> float:
    return 1 / cfg.a


@pytest.mark.parametrize("sweeper", SWEEPERS)
def test_a_failed_job_leaves_the_others_alone(sweeper: str) -> None:
    result = sweep(sweeper, "config", divides, ["a=0,1,x"])
    ended = {trial["params"]["a"]: (trial["state"], trial["reason"]) for trial in result.trials}
    assert ended[1] == ("COMPLETE", "")
    assert ended[0] == ("FAIL", "ZeroDivisionError: division by zero")
    assert ended["x"][0] == "FAIL"
    assert ended["x"][1].startswith("TypeError: ")
    (failed,) = [trial for trial in result.trials if trial["params"]["a"] == 0]
    text = Path(failed["dir"], "traceback.txt").read_text()
    assert "in divides" in text
    assert "return 1 / cfg.a" in text
