"""Forty trials whose controller and workers are killed at random instants, until all are done."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from sweeping import Workshop, any_runs, workers_of
from waiting import PATIENCE_S, wait_until

from explr.tracking.journal.journal import read_events

N_TRIALS = 40
KILLS = [
    (False, True), (True, False), (False, False), (True, True),
    (False, True), (False, False), (True, False),
]  # fmt: skip
"""Whether it comes at a random time, not after so many trials; whether a worker is killed first."""

SEEDS = [int(seed) for seed in os.environ.get("EXPLR_KILL_SEEDS", "1").split(",")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled(shop: Workshop, seed: int) -> None:
    rng = random.Random(seed)
    command = shop.explr(
        "train_model=trainings:lasts", "tuner=optuna", "-m", "lr=interval(0,1)",
        f"tuner.n_trials={N_TRIALS}", "tuner.n_jobs=4", "tuner.study_name=s", "tuner.retries=5",
    )  # fmt: skip
    shop.environment["LAST"] = str(N_TRIALS - 1)
    for kills in range(40):
        (shop.folder / "at-the-last").unlink(missing_ok=True)
        begun = (shop.folder / "multirun" / "s" / "sweep.json").exists()
        controller = shop.start(shop.explr("resume", "multirun/s") if begun else command)
        if kills < len(KILLS):
            code = _kill(shop, controller, rng, *KILLS[kills])
            assert code != 0, "the last trial waits, and all the same it came to its end"
        else:
            (shop.folder / "go").touch()
            code = controller.wait(2 * PATIENCE_S)
        if code == 0:
            break
    assert code == 0, shop.log()
    shop.sync()

    results = shop.results("multirun/s")
    assert len(results["trials"]) == N_TRIALS
    assert {trial["state"] for trial in results["trials"]} <= {"COMPLETE", "PRUNED"}
    assert len({trial["dir"] for trial in results["trials"]}) == N_TRIALS
    _check_store(shop, shop.folder / "multirun" / "s")


def _kill(
    shop: Workshop,
    controller: subprocess.Popen[str],
    rng: random.Random,
    early: bool,
    worker: bool,
) -> int | None:
    """Kill the controller, or a worker and it, at a random instant; the exit code if it ended.

    Args:
        shop: where it runs.
        controller: the controller.
        rng: chooses.
        early: after a random time, not after some trials.
        worker: a worker first.
    """
    if early:
        time.sleep(rng.uniform(0, 4))  # before the first trial, or soon after
    else:
        _wait_for_events(shop, controller, rng.randint(1, 12), rng)
    family = workers_of(controller.pid)
    if worker and family:
        rng.choice(family).kill()  # the process that the others are forked from among them
        _wait_for_events(shop, controller, rng.randint(1, 6), rng)
        family = list({*family, *workers_of(controller.pid)})
    if controller.poll() is not None:
        return controller.returncode
    controller.kill()
    controller.wait()
    wait_until(lambda: not any_runs(family))
    return None


def _wait_for_events(
    shop: Workshop, controller: subprocess.Popen[str], count: int, rng: random.Random
) -> None:
    """Wait until some more trials have begun or ended, or the last waits, and a little longer."""
    before = shop.log().count("] trial ") if (shop.folder / "log").exists() else 0
    wait_until(
        lambda: (
            controller.poll() is not None
            or shop.log().count("] trial ") >= before + count
            or (shop.folder / "at-the-last").exists()
        )
    )
    time.sleep(rng.uniform(0, 0.2))


def _check_store(shop: Workshop, folder: Path) -> None:
    """One parent and its children, all of them finished, and every row exactly once."""
    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        kinds = dict(store.execute("select run_uuid, value from tags where key = 'explr.kind'"))
        parents = dict(
            store.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'")
        )
        found = store.execute("select run_uuid, name, status from runs").fetchall()
        rows = store.execute("select run_uuid, key, step, value from metrics").fetchall()
    store.close()
    assert Counter((kinds[run], status) for run, _, status in found) == {
        ("sweep", "FINISHED"): 1, ("trial", "FINISHED"): N_TRIALS,
    }  # fmt: skip
    (parent,) = (run for run, kind in kinds.items() if kind == "sweep")
    names = {run: name for run, name, _ in found if kinds[run] == "trial"}
    assert sorted(map(int, names.values())) == list(range(N_TRIALS))
    assert {parents[run] for run in names} == {parent}

    written: Counter[tuple[str, str, int, float]] = Counter()
    for journal in folder.glob("*/journal-*.jsonl"):
        for event, _ in read_events(journal):
            if event["k"] == "metrics":
                for key, value in event["m"].items():
                    written[journal.parent.name, key, event["s"] or 0, value] += 1
    assert Counter((names[run], *row) for run, *row in rows if run in names) == written
    steps = Counter(row[:3] for row in written.elements() if row[1] == "val_loss")
    assert set(steps.values()) == {1}
