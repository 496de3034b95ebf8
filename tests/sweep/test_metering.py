"""What a look at running jobs meets, on the host and on a GPU that a simulated driver knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from simulated_driver import PROCESSES, Card, build_driver, environment_with
from waiting import PATIENCE_S

from explr.sweep.executors.leases import PackedLeases
from explr.sweep.executors.packing import Packing, Room
from explr.tuning.trial import Job, Peak
from explr.utils.lease import Lease

LOOK = """\
import os, subprocess, sys
from pathlib import Path
from explr.utils.lease import Lease
from explr.sweep.executors import meter as metering
from explr.sweep.executors.meter import Meter
from explr.tuning.trial import Job, Peak
from explr.utils.gpu import HeldGpuMemory
from explr.utils.host import family

WAIT = "held = bytearray(b'x') * (100 * 2**20); print(flush=True); input()"
WITH_CHILD = (
    "import subprocess, sys\\n"
    f"child = subprocess.Popen([sys.executable, '-c', {WAIT!r}])\\n"
    "child.wait()"
)
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
trial = subprocess.Popen([sys.executable, "-c", WITH_CHILD], **pipes)
trial.stdout.readline()
(_, child) = family(trial.pid)
lines = [f"0 {trial.pid} {3 * 2**30}", f"0 {child} {2**30}", f"0 {os.getpid()} {2**30}"]
Path(os.environ["SIMULATED_GPU_PROCESSES"]).write_text("\\n".join(lines))
metering.LOOK_S = 600.0
meter = Meter(HeldGpuMemory(["0"], own_numbers=True))
found = []
for number, own in enumerate([None, Peak(0.5, 2.0), Peak(0.01)]):
    job = Job(number, 0, 1, 0, {})
    meter.look([(job, Lease(0, "0", 0.0), trial.pid)])
    found.append(meter.take(job, own))
found.append(meter.take(Job(9, 0, 1, 0, {}), None))
assert meter.due_in_s > 0
meter.close()
trial.communicate(b"\\n")
print([(round(peak.host_gb, 1), peak.gpu_gb) for peak in found])
"""


@pytest.mark.slow
def test_a_trial_is_measured_with_all_that_it_started(tmp_path: Path) -> None:
    driver = build_driver(tmp_path, [Card()])
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**environment_with(driver), PROCESSES: str(tmp_path / "processes")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    # By the driver alone; by the framework, and its children by the driver; never seen.
    assert eval(done.stdout) == [(0.1, 4.0), (0.5, 3.0), (0.1, 4.0), (0.0, None)]


def job(alone: bool = False) -> Job:
    return Job(0, 0, 1, 0, {}, alone)


def test_leases_go_round_the_gpus_and_share_their_budget() -> None:
    packing = Packing(Room(8, 64.0, gpus=2, gpu_gb=24.0))
    leases = PackedLeases(packing, {"0": 24.0, "1": 24.0})
    first, second = leases.take(job()), leases.take(job())
    assert (first, second) == (Lease(0, "0", 24.0), Lease(1, "1", 24.0))
    for _ in range(2):
        packing.measured(Peak(1.0, 8.0))
    assert leases.slots == 4
    leases.give_back(second)
    assert leases.take(job()) == Lease(1, "1", 11.5)
    assert leases.take(job()).devices == "0"
    assert leases.take(job()) == Lease(3, "1", 11.5)


def test_a_job_that_runs_alone_has_the_whole_budget() -> None:
    packing = Packing(Room(8, 64.0, gpus=1, gpu_gb=24.0))
    packing.measured(Peak(1.0, 8.0))
    assert packing.slots == 2
    assert PackedLeases(packing, {"0": 24.0}).take(job(alone=True)).memory_gb == 24.0


@pytest.mark.parametrize(
    ("budget_gb", "free_gb", "share_gb"), [(24.0, 10.0, 4.5), (0.0, 10.0, 0.0), (24.0, 30.0, 11.5)]
)
def test_what_is_shared_out_is_what_is_free(
    budget_gb: float, free_gb: float, share_gb: float
) -> None:
    packing = Packing(Room(8, 64.0, gpus=1, gpu_gb=free_gb))
    packing.measured(Peak(1.0, 1.0))
    assert packing.slots == 2
    assert PackedLeases(packing, {"0": budget_gb}).take(job()).memory_gb == share_gb


def test_without_a_gpu_a_lease_says_nothing() -> None:
    leases = PackedLeases(Packing(Room(8, 64.0)), {})
    assert leases.take(job()) == Lease(0, None, 0.0)
