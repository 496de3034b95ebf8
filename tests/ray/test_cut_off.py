"""Sweeps that are cut off, and resumed: they end as if nothing had happened.

EXPLR_CUTS=all runs every way to cut a sweep off under every tuner and pruner.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from checking import check_sweep, check_trials, family
from companions import companions_of
from sweeping import Workshop
from waiting import HANG_S, wait_until

pytestmark = pytest.mark.slow

PRUNERS = {
    "none": [],
    "median": ["tuner.pruner.n_startup_trials=1", "tuner.pruner.n_warmup_steps=4"],
    "asha": ["tuner.pruner.min_resource=3"],
    "hyperband": ["tuner.pruner.min_resource=3", "tuner.pruner.max_resource=6"],
    "pbt": ["tuner.pruner.perturbation_interval=2"],
}
"""Settings of each pruner with which it decides after the trials were cut off."""

CUTS = ["raylet", "ctrl_c", "kill"]

CELLS = [
    (tuner, pruner, (cut,))
    for tuner in ("optuna", "ray")
    for pruner in PRUNERS
    for cut in CUTS
    if tuner == "ray" or (pruner != "pbt" and cut != "raylet")
]

SOME = [("ray", "pbt", ("raylet",))]  # each cut costs two starts of Ray

ALL = os.environ.get("EXPLR_CUTS") == "all"
CHOSEN = CELLS if ALL else SOME


@pytest.mark.parametrize(
    ("tuner", "pruner", "cuts"), CHOSEN, ids=["-".join([*cell[:2], *cell[2]]) for cell in CHOSEN]
)
def test_what_is_cut_off_ends_as_if_nothing_had_happened(
    shop: Workshop, tuner: str, pruner: str, cuts: tuple[str, ...]
) -> None:
    population = pruner == "pbt"
    tracked = not ALL  # the drill of random kills tracks all of its sweeps
    # In a population one worker is enough for the others to be paused, not ended, by the cut.
    n_trials, at_once = (4, 1) if population else (7, 2)
    known = ",".join(f"{{lr: {0.1 * number:.1f}}}" for number in range(1, n_trials + 1))
    # Three trials end before the others are held; in a population all of them have their turns.
    shop.environment["HELD"] = "0:4" if population else "3:2"
    command = shop.explr(
        "train_model=trainings:held", f"tuner={tuner}", f"tuner/pruner={pruner}", *PRUNERS[pruner],
        "tuner/sampler=random", "tuner.study_name=s", f"tuner.n_trials={n_trials}",
        f"tuner.n_jobs={at_once}", "-m", "lr=interval(0,1)", f"tuner.enqueue=[{known}]",
        "tracking.drain_timeout_s=0" if tracked else "tracking=off",
    )  # fmt: skip
    for cut in cuts:
        for held in shop.folder.glob("held-*"):
            held.unlink()
        _cut_off(shop, command, cut, at_once)
        command = shop.explr("resume", "multirun/s")
    (shop.folder / "go").touch()
    done = shop.run(command)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stdout + done.stderr
    check = check_sweep if tracked else check_trials
    trials = check(shop, n_trials, may_change=population)
    states = [trial["state"] for trial in trials]
    print(tuner, pruner, *cuts, states)
    if pruner in ("none", "pbt"):
        assert {*states} == {"COMPLETE"}
    elif tuner == "ray":
        assert "PRUNED" in states[3:]  # by comparison with trials that ended before
    if not population:
        assert trials[0]["state"] == "COMPLETE"
        assert [trial["attempts"] for trial in trials] == [
            1 + len(cuts) * (number in (3, 4)) for number in range(n_trials)
        ]
        assert [trial["params"]["lr"] for trial in trials] == [
            float(f"{0.1 * number:.1f}") for number in range(1, n_trials + 1)
        ]
    again = shop.run(command)
    assert again.returncode == 0, again
    assert " starts" not in again.stdout


def _cut_off(shop: Workshop, command: list[str], cut: str, at_once: int) -> None:
    """Start a sweep, and cut it off when as many of its trials are held as run at once."""
    (shop.folder / "log").unlink(missing_ok=True)
    controller = shop.start(command)
    wait_until(
        lambda: controller.poll() is not None or len([*shop.folder.glob("held-*")]) == at_once,
        HANG_S,
    )
    assert controller.poll() is None, shop.log()
    if cut == "kill":
        controller.kill()
        controller.wait()
    elif cut == "ctrl_c":
        controller.send_signal(signal.SIGINT)
        assert controller.wait(HANG_S) == 130, shop.log()
    else:
        (raylet,) = [one for one in family(shop) if one.name() == "raylet"]
        raylet.kill()
        assert controller.wait(HANG_S) == 1, shop.log()
    if cut != "kill":
        assert "to resume: explr resume multirun/s" in shop.log()
        assert "Traceback" not in shop.log()
        states = {*shop.states("multirun/s")}
        assert {"RUNNING"} <= states <= {"COMPLETE", "PRUNED", "RUNNING", "WAITING"}
    # A companion uploads what there is, and ends by itself.
    home = Path(shop.environment["EXPLR_HOME"])
    wait_until(lambda: {*family(shop)} <= {*companions_of(home)}, HANG_S)
