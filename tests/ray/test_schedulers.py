"""Ray's schedulers and search algorithms, in the words of `tuner/pruner` and `tuner/sampler`."""

from __future__ import annotations

import shutil
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import explr
from explr import TrainingContext
from explr.core.errors import ConfigError, UsageError
from explr.sweep.ray.schedulers import rays_own
from explr.tuning.search_space import parse
from explr.tuning.trial import SweepResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray", "elsewhere")]

GOOD, BAD, STEPS = (0.1, 0.11, 0.12), (0.9, 0.91), 9


def stairs(ctx: TrainingContext) -> float:
    for step in range(STEPS):
        ctx.report(step, val_loss=ctx.hyperparameters["lr"] + 1 / (step + 1))
        if ctx.should_prune:
            raise explr.TrialPruned
    return float(ctx.hyperparameters["lr"])


def sweep(train: Any, *overrides: str, tuner: str = "ray") -> SweepResult:
    return explr.tune([f"tuner={tuner}", "tracking=off", "lr=interval(0,1)", *overrides], train)


KNOWN = "tuner.enqueue=[" + ",".join(f"{{lr: {x}}}" for x in (*GOOD, *BAD)) + "]"


@pytest.mark.parametrize(
    ("pruner", "settings"),
    [
        ("asha", ["tuner.pruner.min_resource=2"]),
        ("threshold", ["tuner.pruner.upper=1.35", "tuner.pruner.n_warmup_steps=1"]),
    ],
)
def test_bad_trials_are_pruned_and_good_ones_are_not(pruner: str, settings: list[str]) -> None:
    swept = sweep(stairs, f"tuner/pruner={pruner}", KNOWN, "tuner.n_trials=5", *settings)
    good, bad = swept.trials[: len(GOOD)], swept.trials[len(GOOD) :]
    assert [trial["params"]["lr"] for trial in swept.trials] == [*GOOD, *BAD]
    assert swept.best == good[0]
    pruned = [trial for trial in swept.trials if trial["state"] == "PRUNED"]
    if pruner == "threshold":
        assert {trial["state"] for trial in bad} == {"PRUNED"}
        assert good[0]["state"] == good[1]["state"] == "COMPLETE"
    else:
        assert pruned
    for trial in swept.trials:
        lr, steps = trial["params"]["lr"], trial["steps"]
        if trial["state"] == "PRUNED":
            assert 0 < steps < STEPS
            assert trial["value"] == lr + 1 / steps
            assert trial["reason"].startswith("by the tuner")
            assert Path(trial["dir"], "result.json").exists()
        else:
            assert (trial["state"], steps, trial["value"]) == ("COMPLETE", STEPS, lr)


@pytest.mark.parametrize("pruner", ["none", "patient", "percentile", "threshold", "wilcoxon"])
def test_the_study_decides_where_ray_has_no_such_pruner(pruner: str) -> None:
    file = Path(__file__).parents[2] / "conf" / "tuner" / "pruner" / f"{pruner}.yaml"
    node: Any = OmegaConf.to_container(OmegaConf.load(file))
    space, _ = parse({"lr": "interval(0, 1)"})
    assert rays_own(node, space) is None


def grows(ctx: TrainingContext) -> float:
    start = ctx.load_checkpoint()
    first, level = (start[0] + 1, start[1]["level"]) if start else (0, 0.0)
    for step in range(first, 12):
        level += ctx.hyperparameters["lr"]
        ctx.report(step, val_loss=-level)
        ctx.save_checkpoint({"level": level}, step=step)
        with open(ctx.output_dir / "levels", "a") as file:
            file.write(f"{step} {level} {ctx.hyperparameters['lr']}\n")
    return -float(level)


def test_population_based_training_moves_checkpoints_and_changes_parameters(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    one_worker: str,
    template: Path,
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(template, tmp_path / "home" / "mlflow.db")
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    swept = explr.tune(
        [
            "tuner=ray", "tuner/pruner=pbt", "+tuner.pruner.synch=true", one_worker,
            "tuner.pruner.resample_probability=0",  # else trial 1 may draw an even lower lr
            "lr=interval(0.001,1)", "tuner.enqueue=[{lr: 0.5},{lr: 0.01},{lr: 0.4},{lr: 0.3}]",
            "tracking.drain_timeout_s=600",
        ],
        grows,
        n_trials=4,
    )  # fmt: skip
    assert {trial["state"] for trial in swept.trials} == {"COMPLETE"}
    worst = swept.trials[1]
    assert worst["params"]["lr"] > 0.01
    assert "trial 1 continues with lr=" in capsys.readouterr().out
    rows = [line.split() for line in Path(worst["dir"], "levels").read_text().splitlines()]
    jumps = [
        (float(level) - float(before)) / float(lr)
        for (_, before, _), (_, level, lr) in pairwise(rows)
    ]
    assert max(jumps) > 2  # it went on from the level of another trial, not from its own
    for trial in swept.trials:
        lines = Path(trial["dir"], "levels").read_text().splitlines()
        assert all(0.001 <= float(line.split()[2]) <= 1 for line in lines)
        assert trial["steps"] == 12
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as store:
        runs = store.execute("select run_uuid, status from runs").fetchall()
        count = "select count(*) from metrics where key = 'val_loss' and run_uuid = ?"
        steps = f"{count.replace('count(*)', 'count(distinct step)')}"
        tags = dict(
            store.execute("select key, value from tags where run_uuid = ?", (worst["run_id"],))
        )
        (begun_with,) = store.execute(
            "select value from params where key = 'lr' and run_uuid = ?", (worst["run_id"],)
        ).fetchone()
        for trial in swept.trials:
            (rows_,), (steps_,) = [
                store.execute(query, (trial["run_id"],)).fetchone() for query in (count, steps)
            ]
            assert (rows_, steps_) == (12, 12)
    store.close()
    assert [status for _, status in runs] == ["FINISHED"] * 5  # the sweep's, and one for each trial
    assert float(begun_with) == 0.01
    assert str(worst["params"]["lr"]) in tags.values()


def test_population_based_training_needs_checkpoints(one_worker: str) -> None:
    with pytest.raises(UsageError, match=r"saved none by step 4: call ctx\.save_checkpoint"):
        sweep(
            stairs, "tuner/pruner=pbt", "+tuner.pruner.synch=true", "tuner.n_trials=4", one_worker
        )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["tuner/pruner=pbt", "tuner.replicates=2"], r"set tuner\.replicates=1"),
        (["tuner/pruner=pbt", "tuner.pruner.quantile_fraction=3"], r"tuner\.pruner: ray\.tune"),
        (
            ["tuner/sampler=hyperopt", "objective.metric=[a,b]", "tuner/pruner=none",
             "objective.direction=[minimize,minimize]"],
            "searches for one objective",
        ),
        (
            ["tuner/sampler=random", "tuner.sampler={_target_: ray.tune.search.bohb.TuneBOHB}"],
            r"tuner\.sampler: ray",
        ),
        (
            ["tuner/sampler=hyperopt", "+tuner.sampler.gamma=abc"],
            r"^tuner\.sampler\.gamma must be a number, got 'abc'$",
        ),
        (
            ["tuner/pruner=pbt", "+tuner.pruner.nonsense=1"],
            r"^there is no setting tuner\.pruner\.nonsense; PopulationBasedTraining takes time_",
        ),
        (
            ["tuner/pruner=asha", "tuner.pruner.reduction_factor=abc"],
            r"^tuner\.pruner\.reduction_factor must be an integer, got 'abc'$",
        ),
        (
            ["+tuner.ray.init.num_cpus=abc"],
            r"^tuner\.ray\.init\.num_cpus must be an integer or null, got 'abc'$",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        sweep(stairs, *overrides)


@pytest.mark.parametrize("choice", ["tuner/pruner=pbt", "tuner/sampler=hyperopt"])
def test_what_is_rays_own_needs_ray(choice: str) -> None:
    with pytest.raises(ConfigError, match="is Ray Tune's own: it needs tuner=ray"):
        sweep(stairs, choice, tuner="optuna")


def test_a_search_algorithm_of_rays() -> None:
    pytest.importorskip("hyperopt")
    swept = sweep(
        stairs, "tuner/sampler=hyperopt", "tuner/pruner=none", "tuner.n_trials=6",
        "width=int(interval(1,9))", "+word=null,\"it's\",[1]", "tuner.enqueue=[{lr: 0.25}]",
    )  # fmt: skip
    assert [trial["state"] for trial in swept.trials] == ["COMPLETE"] * 6
    assert swept.trials[0]["params"]["lr"] == 0.25
    assert len({trial["params"]["lr"] for trial in swept.trials}) == 6
    for trial in swept.trials:
        assert 0 <= trial["params"]["lr"] <= 1
        assert trial["params"]["width"] in range(1, 10)
        assert trial["value"] == trial["params"]["lr"]
