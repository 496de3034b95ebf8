"""Checks a sweep that has ended: nothing is lost, doubled or left, whatever was killed before."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from companions import companions_of, processes_of
from sweeping import Workshop
from waiting import runs, wait_until

from explr.tracking.journal.lines import read_events

EPOCHS = 6
"""Epochs of the trainings `epochs`, `lasts` and `held`, which report in each of them."""


def check_sweep(shop: Workshop, n_trials: int, may_change: bool = False) -> list[dict[str, Any]]:
    """Check the sweep in `multirun/s`, and what MLflow has of it after `explr sync`.

    Args:
        shop: where the sweep ran.
        n_trials: the number of its trials.
        may_change: trials may have continued from others, with other parameters.

    Returns:
        Its trials.
    """
    companions = companions_of(Path(shop.environment["EXPLR_HOME"]))
    for companion in companions:
        with suppress(psutil.NoSuchProcess):
            companion.kill()  # it takes its time; `explr sync` uploads in its place
    wait_until(lambda: not any(map(runs, companions)))
    folder = shop.folder / "multirun" / "s"
    done = shop.run(shop.explr("sync", str(folder)))
    assert done.returncode == 0, done
    trials = check_trials(shop, n_trials, may_change)
    _check_store(shop, folder, shop.results("multirun/s"))
    assert [*Path(shop.environment["EXPLR_HOME"], "pending").iterdir()] == []
    return trials


def check_trials(shop: Workshop, n_trials: int, may_change: bool = False) -> list[dict[str, Any]]:
    """Check the sweep in `multirun/s` as `check_sweep` does, without MLflow."""
    folder = shop.folder / "multirun" / "s"
    results = shop.results("multirun/s")
    trials: list[dict[str, Any]] = results["trials"]
    assert [trial["number"] for trial in trials] == [*range(n_trials)]
    assert len({trial["dir"] for trial in trials}) == n_trials
    for trial in trials:
        _check_trial(trial, may_change)
    complete = [trial for trial in trials if trial["state"] == "COMPLETE"]
    assert results["best"] == min(complete, key=lambda trial: trial["value"])
    assert [*folder.rglob(".writing-*")] == []
    wait_until(lambda: not family(shop))
    return trials


def family(shop: Workshop) -> list[psutil.Process]:
    """Every process that was started in the workshop, and what those have started."""
    found = {process.pid: process for process in processes_of(Path(shop.environment["EXPLR_HOME"]))}
    for process in psutil.process_iter():  # Ray hides the environment of its workers
        try:
            if process.cwd() == str(shop.folder):
                found[process.pid] = process
        except psutil.Error:
            continue
    return [process for process in found.values() if runs(process)]


def _check_trial(trial: dict[str, Any], may_change: bool) -> None:
    lr, steps = trial["params"]["lr"], trial["steps"]
    if trial["state"] == "COMPLETE":
        assert trial["value"] == lr, trial
        assert steps == EPOCHS or (may_change and 0 < steps < EPOCHS), trial
    else:
        assert trial["state"] == "PRUNED", trial
        assert 0 < steps <= EPOCHS, trial
        assert may_change or trial["value"] == lr + 1 / steps, trial
        assert trial["reason"].startswith("by the tuner"), trial


def _check_store(shop: Workshop, folder: Path, results: dict[str, Any]) -> None:
    """One run for the sweep and one for each trial, all finished, and every row exactly once."""
    trials = results["trials"]
    with sqlite3.connect(Path(shop.environment["EXPLR_HOME"], "mlflow.db")) as store:
        tags: dict[str, dict[str, str]] = {}
        for run, key, value in store.execute("select run_uuid, key, value from tags"):
            tags.setdefault(run, {})[key] = value
        found = store.execute("select run_uuid, name, status from runs").fetchall()
        stored = store.execute("select run_uuid, key, step, value from metrics").fetchall()
    store.close()
    assert Counter((tags[run]["explr.kind"], status) for run, _, status in found) == {
        ("sweep", "FINISHED"): 1, ("trial", "FINISHED"): len(trials),
    }  # fmt: skip
    (parent,) = (run for run in tags if tags[run]["explr.kind"] == "sweep")
    names = {run: name.partition(" ")[0] for run, name, _ in found if run != parent}
    assert {tags[run]["mlflow.parentRunId"] for run in names} == {parent}
    assert {trial["run_id"]: str(trial["number"]) for trial in trials} == names
    assert {run: tags[run]["explr.state"] for run in names} == {
        trial["run_id"]: trial["state"] for trial in trials
    }
    assert tags[parent]["explr.best_trial"] == str(results["best"]["number"])

    written: Counter[tuple[str, str, int, float]] = Counter()
    for file in [*folder.glob("*/*.jsonl"), *folder.glob("*.jsonl")]:  # also of observers
        for event, _ in read_events(file):
            if event["k"] == "metrics":
                for key, value in event["m"].items():
                    written[file.parent.name, key, event["s"] or 0, value] += 1
    assert Counter((names.get(run, "s"), *row) for run, *row in stored) == written
    looks = Counter(
        row[:3] for row in written.elements() if row[1] == "system/disk_usage_percentage"
    )
    assert {*looks.values()} <= {1}
    for trial in trials:
        rows = [row[1:] for row in written.elements() if row[0] == str(trial["number"])]
        steps = sorted(step for key, step, _ in rows if key == "val_loss")
        assert len(steps) == len(set(steps)) == trial["steps"], trial
        ends = [value for key, _, value in rows if key == "objective"]
        assert ends == [trial["value"]] * (trial["state"] == "COMPLETE"), trial
