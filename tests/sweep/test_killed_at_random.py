"""A sweep whose processes are killed at random instants, one after the other, until it is done.

EXPLR_KILL_SEEDS=1,2,3 runs the full drill once for each seed, and EXPLR_KILL_TUNERS=optuna,ray
chooses the tuners.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from checking import check_sweep, family
from sweeping import Workshop
from waiting import PATIENCE_S, wait_until

FULL = "EXPLR_KILL_SEEDS" in os.environ
SEEDS = [int(seed) for seed in os.environ.get("EXPLR_KILL_SEEDS", "1").split(",")]
TUNERS = os.environ.get("EXPLR_KILL_TUNERS", "optuna").split(",")
N_TRIALS = 60 if FULL else 8
ROUNDS = {"optuna": 10, "ray": 6} if FULL else {"optuna": 1, "ray": 1}
"""How often the whole sweep ends before its time; Ray takes long to start."""

ENDURED = {
    "optuna": ["fork server", "worker", "companion"],
    "ray": ["fork server", "worker", "companion", "actor"],
}
"""Whose death a sweep goes on after."""

FATAL = {"optuna": ["controller"], "ray": ["controller", "raylet"]}
"""Whose death ends the command."""

SERVER, COMPANION = "explr.launching", "explr.tracking.shipping.companion"


@pytest.fixture
def temporary(shop: Workshop) -> Iterator[Path]:
    """The folder for temporary files; in the full drill nobody else has it."""
    if not FULL:  # who has a folder of its own, is not forked from what others share
        yield Path(tempfile.gettempdir())
        return
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    shop.environment["TMPDIR"] = str(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tuner", TUNERS)
def test_nothing_is_lost_or_doubled(shop: Workshop, temporary: Path, tuner: str, seed: int) -> None:
    drill = Drill(shop, tuner, random.Random(seed))
    for number in range(ROUNDS[tuner]):
        controller = drill.start()
        drill.kill_some(controller, early=number % 3 == 0)
        drill.end(controller)
    controller = drill.start()
    drill.kill_some(controller, early=False)
    (shop.folder / "go").touch()
    assert controller.wait(2 * PATIENCE_S) == 0, shop.log()
    print("killed:", dict(drill.killed))
    assert "Traceback" not in shop.log()
    check_sweep(shop, N_TRIALS)
    if FULL:
        assert set(drill.killed) == {*ENDURED[tuner], *FATAL[tuner]}
        left = [path for path in temporary.iterdir() if not is_of_python(path)]
        assert {path.name for path in left} <= {"ray", "_ray_lockfiles"}  # logs, and its own


def is_of_python(path: Path) -> bool:
    """Whether `tempfile` wrote a file to see whether it can, and was killed there."""
    return path.is_file() and path.read_bytes() in (b"", b"blat")


class Drill:
    """Runs a sweep, and kills its processes.

    Args:
        shop: where it runs.
        tuner: who searches.
        rng: chooses.
    """

    def __init__(self, shop: Workshop, tuner: str, rng: random.Random) -> None:
        self.killed: Counter[str] = Counter()
        self._shop = shop
        self._tuner = tuner
        self._rng = rng
        self._next: list[str] = []
        shop.environment["LAST"] = str(N_TRIALS - 1)

    def start(self) -> subprocess.Popen[str]:
        """Begin the sweep, or resume it."""
        (self._shop.folder / "at-the-last").unlink(missing_ok=True)
        begun = (self._shop.folder / "multirun" / "s" / "sweep.json").exists()
        command = self._shop.explr(
            "train_model=trainings:lasts", f"tuner={self._tuner}", "-m", "lr=interval(0,1)",
            f"tuner.n_trials={N_TRIALS}", "tuner.n_jobs=3", "tuner.study_name=s",
            "tuner.retries=20", "tracking.drain_timeout_s=1",
        )  # fmt: skip
        return self._shop.start(self._shop.explr("resume", "multirun/s") if begun else command)

    def kill_some(self, controller: subprocess.Popen[str], early: bool) -> None:
        """Kill one to three processes at random instants; none of them ends the sweep.

        Args:
            controller: the controller.
            early: wait for a random time first, not for trials: perhaps there are none yet.
        """
        if early:
            time.sleep(self._rng.uniform(0, 4))
        for _ in range(self._rng.randint(1, 3)):
            self._wait_for_trials(controller)
            assert controller.poll() is None, self._shop.log()
            self._kill_one(ENDURED[self._tuner])
        self._wait_for_trials(controller, early)

    def end(self, controller: subprocess.Popen[str]) -> None:
        """Kill the controller, or what it cannot do without, and wait until all have ended."""
        assert controller.poll() is None, self._shop.log()
        there = {kind for kind in FATAL[self._tuner] if self._find(kind)} | {"controller"}
        kind = self._rng.choice(sorted(there))
        self.killed[kind] += 1
        if kind == "controller":
            controller.kill()
        else:
            self._find(kind)[0].kill()
        assert controller.wait(PATIENCE_S) != 0, self._shop.log()
        wait_until(lambda: all(kind_of(one) == "companion" for one in family(self._shop)))

    def _kill_one(self, kinds: list[str]) -> None:
        """Kill a process of the kind whose turn it is, among those that there are."""
        if not any(kind in self._next for kind in kinds):
            self._next = self._rng.sample(kinds, len(kinds))
        for kind in self._next:
            if found := self._find(kind):
                self._rng.choice(found).kill()
                self._next.remove(kind)
                self.killed[kind] += 1
                return

    def _find(self, kind: str) -> list[psutil.Process]:
        return [one for one in family(self._shop) if kind_of(one) == kind]

    def _wait_for_trials(self, controller: subprocess.Popen[str], early: bool = False) -> None:
        """Wait until some more trials have begun or ended, or the last waits, and a bit longer."""
        count = 0 if early else self._rng.randint(1, 6)
        before = self._shop.log().count("] trial ")
        wait_until(
            lambda: (
                controller.poll() is not None
                or self._shop.log().count("] trial ") >= before + count
                or (self._shop.folder / "at-the-last").exists()
            )
        )
        time.sleep(self._rng.uniform(0, 0.2))


def kind_of(process: psutil.Process) -> str:
    """What a process of a sweep does; "" if it is killed by nobody here."""
    try:
        line = process.cmdline()
        if COMPANION in line:
            return "companion"
        if SERVER in line:
            parent = process.parent()
            return "worker" if parent and SERVER in parent.cmdline() else "fork server"
        if process.name() == "raylet":
            return "raylet"
        return "actor" if process.name().startswith("ray::ResourceTr") else ""
    except psutil.NoSuchProcess:
        return ""
