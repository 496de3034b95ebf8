"""What every tuner promises, whichever runs the trials: one suite for all of them."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mischief
import pytest
from waiting import PATIENCE_S

import explr
from explr import TrainingContext, TrainingResult, TrialPruned
from explr.core.errors import ConfigError, SweepError
from explr.tuning import OptunaTuner, RayTuneTuner, SearchSpaceBuilder
from explr.tuning.trial import SweepResult

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray", "elsewhere")]

AWKWARD = [None, "null", True, 1, 1.5, "it's", 'say "so"', "a,b", "{z}", "k=v", [1, None], "${lr}"]

Tune = Callable[..., SweepResult]


@pytest.fixture(params=[OptunaTuner, RayTuneTuner], ids=["optuna", "ray"])
def tune(request: pytest.FixtureRequest) -> Tune:
    """Searches with one of the tuners: `tune(train_model, search_space, n_trials, …)`."""

    def search(
        train_model: Any,
        space: dict[str, Any],
        n_trials: int = 4,
        n_jobs: int = 1,
        overrides: tuple[str, ...] = (),
        **options: Any,
    ) -> SweepResult:
        options = {"sampler": "random", "pruner": "none", **options}
        overrides = ("tracking=off", *overrides)
        tuner = request.param(n_trials, n_jobs, overrides=overrides, **options)
        found = tuner.optimize(train_model, space)
        assert isinstance(found, SweepResult)
        return found

    return search


def plain(ctx: TrainingContext) -> float:
    return float(ctx.hyperparameters["lr"])


def kept(ctx: TrainingContext) -> float:
    (ctx.output_dir / "seen").write_text(repr(ctx.hyperparameters))
    return 1.0


def test_a_sweep_and_how_it_is_resumed(tune: Tune, tmp_path: Path) -> None:
    ranges = (
        SearchSpaceBuilder()
        .interval("lr", 1e-4, 1e-1, log=True)
        .integer("width", 2, 5)
        .choice("word", AWKWARD)
        .build()
    )
    settings = {"study_name": "s", "enqueue": [{"lr": 0.01, "word": AWKWARD[0]}, {"width": 5}]}
    swept = tune(kept, {**ranges, "epochs": 7}, 5, settings=settings)
    assert [trial["number"] for trial in swept.trials] == [*range(5)]
    assert {trial["state"] for trial in swept.trials} == {"COMPLETE"}
    assert swept.folder == tmp_path / "multirun" / "s"
    assert (swept.trials[0]["params"]["lr"], swept.trials[0]["params"]["word"]) == (0.01, None)
    assert swept.trials[1]["params"]["width"] == 5
    for trial in swept.trials:
        seen = eval(Path(trial["dir"], "seen").read_text())
        assert {name: seen[name] for name in trial["params"]} == trial["params"]
        assert seen["epochs"] == 7
        assert 1e-4 <= seen["lr"] <= 1e-1
        assert seen["width"] in range(2, 6)
        assert seen["word"] in AWKWARD
        assert Path(trial["dir"], ".hydra", "config.yaml").exists()
    again = tune(kept, ranges, 6, settings=settings)  # the total, not an addition
    assert [trial["number"] for trial in again.trials] == [*range(6)]
    assert again.trials[:5] == [*swept.trials]
    assert len({trial["params"]["lr"] for trial in again.trials}) == 6


def test_a_swept_group_brings_the_ranges_of_what_is_chosen(tune: Tune, tmp_path: Path) -> None:
    group = tmp_path / "conf" / "optimizer"
    group.mkdir(parents=True)
    (group / "sgd.yaml").write_text(
        "# @package _global_\nmomentum: 0.5\n"
        "search_space: {momentum: 'interval(0, 0.9)', lr: 'interval(0, 1)'}\n"
    )
    (group / "adam.yaml").write_text(
        "# @package _global_\nbeta: 0.5\n"
        "search_space: {beta: 'interval(0.8, 0.9)', lr: 'interval(2, 3)'}\n"
    )
    swept = tune(
        kept, {}, 6,
        overrides=("+optimizer=choice(sgd,adam)", "tuner.enqueue=[{optimizer: adam, beta: 0.85}]"),
    )  # fmt: skip
    assert swept.trials[0]["params"]["beta"] == 0.85
    assert {trial["params"]["optimizer"] for trial in swept.trials} == {"sgd", "adam"}
    for trial in swept.trials:
        seen = eval(Path(trial["dir"], "seen").read_text())
        sgd = trial["params"]["optimizer"] == "sgd"
        assert set(trial["params"]) == {"optimizer", "lr", "momentum" if sgd else "beta"}
        assert ("beta" in seen, "momentum" in seen) == (not sgd, sgd)
        assert seen["lr"] <= 1 if sgd else seen["lr"] >= 2


def test_a_grid_ends_by_itself_and_each_replicate_has_a_seed_of_its_own(tune: Tune) -> None:
    def seeded(ctx: TrainingContext) -> float:
        value = ctx.hyperparameters["lr"] + (ctx.seed or 0)
        ctx.report(0, val_loss=value)
        return float(value)

    swept = tune(
        seeded, {"lr": "0.25,0.5", "width": "1,2"}, 50, sampler="grid",
        settings={"replicates": 3}, overrides=("objective.direction=maximize", "seed=7"),
    )  # fmt: skip
    found = sorted((t["params"]["lr"], t["params"]["width"]) for t in swept.trials)
    assert found == [(lr, width) for lr in (0.25, 0.5) for width in (1, 2)]
    assert [(t["value"], t["steps"]) for t in swept.trials] == [
        (8 + t["params"]["lr"], 1) for t in swept.trials
    ]
    assert swept.best is not None
    assert swept.best["value"] == 8.5  # the largest, as was asked for


def test_several_objectives(tune: Tune) -> None:
    def both(ctx: TrainingContext) -> TrainingResult:
        lr = ctx.hyperparameters["lr"]
        return TrainingResult(lr, metrics={"accuracy": lr / 2})

    settings = {
        "objective.metric": ["val_loss", "accuracy"],
        "objective.direction": ["minimize", "minimize"],
    }
    swept = tune(both, {"lr": "interval(0, 1)"}, 3, settings=settings, pruner=None)
    assert swept.best is None
    (best,) = swept.front
    assert best["value"] == [best["params"]["lr"], best["params"]["lr"] / 2]
    assert best["value"][0] == min(trial["value"][0] for trial in swept.trials)
    with pytest.raises(ConfigError, match="pruning needs one objective"):
        tune(both, {"lr": "interval(0, 1)"}, 3, settings=settings, pruner="median")


def faulty(ctx: TrainingContext) -> Any:
    lr, fault = float(ctx.hyperparameters["lr"]), ctx.hyperparameters["fault"]
    at_a_rung = {"reports NaN": math.nan, "reports None": None}
    for step in range(0 if fault == "returns nothing" else 2 if fault in at_a_rung else 3):
        ctx.report(step, val_loss=lr + 1 / (step + 1))
    if fault == "prunes":
        raise TrialPruned("hopeless")
    if fault == "raises":
        raise ZeroDivisionError("no luck")
    if fault == "exits":
        raise SystemExit(3)
    if fault in at_a_rung:
        ctx.report(2, val_loss=at_a_rung[fault])
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"returns NaN": math.nan, "returns nothing": None}.get(fault, lr)


ENDS = {
    "raises": ("FAIL", "ZeroDivisionError: no luck"),
    "first": ("COMPLETE", None),
    "reports None": ("COMPLETE", None),  # the report is refused, and the training goes on
    "prunes": ("PRUNED", "hopeless"),
    "exits": ("FAIL", "the training called exit(3)"),
    "returns NaN": ("FAIL", "returned NaN"),
    "reports NaN": ("FAIL", "the objective is NaN at step 2"),
    "second": ("COMPLETE", None),
    "returns nothing": ("FAIL", "train_model returned None and reported no val_loss"),
    "killed": ("FAIL", "killed by signal 9"),
    "third": ("COMPLETE", None),
}
"""How a trial with this fault ends, under every tuner and pruner."""

PRUNERS = ["none", "median", "asha", "hyperband"]
MORE = {"asha": ("tuner.pruner.min_resource=1",)}
"""With rungs after the first and the third step, at which it compares values."""


@pytest.mark.parametrize(
    ("tune", "pruner"),
    [(OptunaTuner, pruner) for pruner in PRUNERS]
    + [(RayTuneTuner, pruner) for pruner in [*PRUNERS, "pbt"]],
    indirect=["tune"],
)
def test_a_trial_that_goes_wrong_changes_nothing_for_the_others(
    tune: Tune, pruner: str, request: pytest.FixtureRequest, one_worker: str
) -> None:
    # Each trial is better than those before it: none of them is to be pruned.
    known = [{"lr": 1 - 0.05 * place, "fault": fault} for place, fault in enumerate(ENDS)]
    settings = {"study_name": "s", "retries": 0, "max_failure_rate": 1.0}
    space = {"lr": "interval(0, 1)", "fault": f"choice({','.join(map(repr, ENDS))})"}
    # It is resumed for the last one; how Ray's are: above, `test_search`, `test_cut_off`.
    resumed = request.node.callspec.params["tune"] is OptunaTuner and pruner == "none"
    for count in [len(known) - 1, len(known)] if resumed else [len(known)]:
        swept = tune(
            faulty,
            space,
            count,
            pruner=pruner,
            settings={**settings, "enqueue": known[:count]},
            overrides=MORE.get(pruner, ()) + ((one_worker,) if pruner == "pbt" else ()),
        )
        assert [trial["params"]["fault"] for trial in swept.trials] == [*ENDS][:count]
        for trial in swept.trials:
            state, reason = ENDS[trial["params"]["fault"]]
            assert trial["state"] == state, trial
            assert reason is None or reason in trial["reason"]
            assert trial["attempts"] == 1
    for number in (1, 2, 7, 10):
        assert swept.trials[number]["value"] == swept.trials[number]["params"]["lr"]
    assert swept.best == swept.trials[10]
    said = "".join(file.read_text() for file in Path(swept.trials[2]["dir"]).glob("*.log"))
    assert "the tuner gets no report of the objective at step 2: " in said
    assert "no luck" in Path(swept.trials[0]["dir"], "traceback.txt").read_text()


def test_a_training_that_hangs_is_ended(tune: Tune, tmp_path: Path) -> None:
    def hangs(ctx: TrainingContext) -> float:
        time.sleep(600)
        return 1.0

    settings = {"study_name": "s", "trial_timeout_s": 1}
    with pytest.raises(SweepError):
        tune(hangs, {"lr": "interval(0, 1)"}, 2, settings=settings)
    trials = json.loads((tmp_path / "multirun" / "s" / "results.json").read_text())["trials"]
    assert [(trial["state"], trial["reason"]) for trial in trials] == [
        ("FAIL", "timeout after 1 s")
    ] * 2


def test_as_many_trials_at_the_same_time_as_are_asked_for_and_a_seed_repeats_them(
    tune: Tune,
) -> None:
    def meets(ctx: TrainingContext) -> float:
        folder = Path(ctx.output_dir).parent
        (folder / f"here-{ctx.trial_number}").touch()
        deadline = time.monotonic() + PATIENCE_S
        while len(list(folder.glob("here-*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return 1.0

    space = {"lr": "interval(0, 1)", "width": "int(interval(1, 99))"}
    one = tune(meets, space, 2, 2, overrides=("seed=3",))
    assert {trial["state"] for trial in one.trials} == {"COMPLETE"}
    two = OptunaTuner(
        2, 1, sampler="random", pruner="none", overrides=("tracking=off", "seed=3")
    ).optimize(plain, space)
    assert isinstance(two, SweepResult)
    assert [t["params"] for t in one.trials] == [t["params"] for t in two.trials]
    assert one.folder != two.folder


def test_the_public_names() -> None:
    assert explr.tuning.RayTuneTuner is RayTuneTuner  # type: ignore[attr-defined]


def test_what_a_training_does_to_its_process_harms_no_other(
    tune: Tune, request: pytest.FixtureRequest
) -> None:
    # The processes are the same under both tuners: one kind in four is enough for the second.
    is_first = request.node.callspec.params["tune"] is OptunaTuner
    kinds = [mischief.INNOCENT, *[*mischief.KINDS][:: 1 if is_first else 4]]
    ranges = SearchSpaceBuilder().choice("kind", kinds).build()
    swept = tune(
        mischief.train_model, ranges, len(kinds), n_jobs=3,
        overrides=(f"+others={len(kinds) - 1}",),
        settings={
            "enqueue": [{"kind": kind} for kind in kinds], "retries": 0, "max_failure_rate": 1,
        },
    )  # fmt: skip
    reasons = {mischief.INNOCENT: None, **{kind: why for kind, (_, why) in mischief.KINDS.items()}}
    good = {kind: f"FAIL {reasons[kind]}" if reasons[kind] else "COMPLETE 1.0" for kind in kinds}
    seen = {}
    for trial in swept.trials:
        kind, state, told = trial["params"]["kind"], trial["state"], trial["value"]
        if state == "FAIL":  # only the part that matters of the reason
            why = reasons[kind] or ""
            told = why if why and why in trial["reason"] else trial["reason"]
        seen[kind] = f"{state} {told}"
    assert seen == good
