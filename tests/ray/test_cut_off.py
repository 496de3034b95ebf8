"""Sweeps that are cut off, and resumed: they end as if nothing had happened.

EXPLR_CUTS=all runs every way to cut a sweep off under every tuner and pruner.
"""

from __future__ import annotations

import os
import signal

import pytest
from checking import check_sweep, family
from sweeping import DRAIN, Workshop
from waiting import PATIENCE_S, wait_until

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

SOME = [("ray", "pbt", tuple(CUTS))]

CHOSEN = CELLS if os.environ.get("EXPLR_CUTS") == "all" else SOME


@pytest.mark.parametrize(
    ("tuner", "pruner", "cuts"), CHOSEN, ids=["-".join([*cell[:2], *cell[2]]) for cell in CHOSEN]
)
def test_what_is_cut_off_ends_as_if_nothing_had_happened(
    shop: Workshop, tuner: str, pruner: str, cuts: tuple[str, ...]
) -> None:
    population = pruner == "pbt"
    n_trials = 4 if population else 8
    known = ",".join(f"{{lr: {0.1 * number:.1f}}}" for number in range(1, n_trials + 1))
    # Three trials end before the others are held; in a population all of them have their turns.
    shop.environment["HELD"] = "0:4" if population else "3:2"
    command = shop.explr(
        "train_model=trainings:held", f"tuner={tuner}", f"tuner/pruner={pruner}", *PRUNERS[pruner],
        "tuner/sampler=random", "tuner.study_name=s", f"tuner.n_trials={n_trials}",
        "tuner.n_jobs=2", "-m", "lr=interval(0,1)", f"tuner.enqueue=[{known}]", DRAIN,
    )  # fmt: skip
    for cut in cuts:
        for held in shop.folder.glob("held-*"):
            held.unlink()
        _cut_off(shop, command, cut)
        command = shop.explr("resume", "multirun/s")
    (shop.folder / "go").touch()
    done = shop.run(command)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stdout + done.stderr
    trials = check_sweep(shop, n_trials, may_change=population)
    if pruner in ("none", "pbt"):
        assert {trial["state"] for trial in trials} == {"COMPLETE"}
    if not population:
        assert trials[0]["state"] == "COMPLETE"
        assert [trial["params"]["lr"] for trial in trials] == [
            float(f"{0.1 * number:.1f}") for number in range(1, n_trials + 1)
        ]
    again = shop.run(command)
    assert again.returncode == 0, again
    assert " starts" not in again.stdout


def _cut_off(shop: Workshop, command: list[str], cut: str) -> None:
    """Start a sweep, and cut it off when two of its trials are held."""
    (shop.folder / "log").unlink(missing_ok=True)
    controller = shop.start(command)
    wait_until(lambda: controller.poll() is not None or len([*shop.folder.glob("held-*")]) == 2)
    assert controller.poll() is None, shop.log()
    if cut == "kill":
        controller.kill()
        controller.wait()
    elif cut == "ctrl_c":
        controller.send_signal(signal.SIGINT)
        assert controller.wait(PATIENCE_S) == 130, shop.log()
    else:
        (raylet,) = [one for one in family(shop) if one.name() == "raylet"]
        raylet.kill()
        assert controller.wait(PATIENCE_S) == 1, shop.log()
    if cut != "kill":
        assert "explr resume multirun/s" in shop.log()
        assert "Traceback" not in shop.log()
    # A companion uploads what there is, and ends by itself.
    wait_until(lambda: all(_is_companion(one.cmdline()) for one in family(shop)))


def _is_companion(line: list[str]) -> bool:
    return "explr.tracking.shipping.companion" in line
