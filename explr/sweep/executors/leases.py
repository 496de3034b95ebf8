"""GPU leases of the jobs that run at the same time on this machine."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Protocol

from omegaconf import DictConfig

from explr.config.nodes import is_own_tree
from explr.core.errors import UsageError
from explr.frameworks.device import cuda_index
from explr.sweep.executors.packing import Packing
from explr.tuning.trial import Job
from explr.utils.gpu import nvidia_gpu_count
from explr.utils.lease import Lease, divide, grouped, share_gb, visible_devices
from explr.utils.memory import card_budgets

log = logging.getLogger("explr.sweep")


class Leases(Protocol):
    """Decides how many jobs may run at once, and which part of the GPUs each may use."""

    @property
    def slots(self) -> int:
        """How many jobs may run at once."""
        ...

    def take(self, job: Job) -> Lease:
        """The lease of a job that starts."""
        ...

    def give_back(self, lease: Lease) -> None:
        """Take back the lease of a job that ended."""
        ...


class FixedLeases:
    """A fixed number of leases, one per running job.

    Args:
        leases: the leases.
    """

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.slots = len(leases)
        self._free = deque(leases)

    def take(self, job: Job) -> Lease:
        """See `Leases.take`."""
        return self._free.popleft()

    def give_back(self, lease: Lease) -> None:
        """See `Leases.give_back`."""
        self._free.append(lease)


class PackedLeases:
    """Leases for as many jobs as fit into memory, each on the GPU with the fewest jobs.

    When a job starts, its part of the GPU is the budget divided by the jobs per GPU; later changes
    of that number do not affect it. A job that runs alone on its GPU may use the whole budget.

    Args:
        packing: decides how many jobs fit.
        budgets_gb: the GPUs, or groups of them, as `CUDA_VISIBLE_DEVICES` names them, each with GiB
            for all that run there at once; 0 sets no limit.
        device: how a job names its GPU; see `Lease`.
    """

    def __init__(
        self, packing: Packing, budgets_gb: Mapping[str, float], device: str | None = None
    ) -> None:
        self._packing = packing
        self._device = device
        self._budgets_gb = budgets_gb
        self._given: dict[int, Lease] = {}

    @property
    def slots(self) -> int:
        """See `Leases.slots`."""
        return self._packing.slots

    def take(self, job: Job) -> Lease:
        """See `Leases.take`."""
        slot = next(number for number in count() if number not in self._given)
        lease = Lease(slot, None, 0.0)
        if self._budgets_gb:
            taken = [each.devices for each in self._given.values()]
            name = min(self._budgets_gb, key=taken.count)
            lease = Lease(slot, name, self._share_gb(name, job.alone), self._device)
        self._given[slot] = lease
        return lease

    def give_back(self, lease: Lease) -> None:
        """See `Leases.give_back`."""
        del self._given[lease.slot]

    def _share_gb(self, name: str, alone: bool) -> float:
        budget_gb = self._budgets_gb[name]
        sharing = 1 if alone else math.ceil(self.slots / len(self._budgets_gb))
        room_gb = self._packing.room.gpu_gb
        if sharing == 1 or room_gb is None:
            return share_gb(budget_gb, sharing)
        return share_gb(min(budget_gb, room_gb), sharing)


def leases_for(config: DictConfig, n_jobs: int) -> list[Lease]:
    """A lease for each of `n_jobs` jobs; fewer if each has several GPUs and there are not as many.

    Args:
        config: composed config of the sweep.
        n_jobs: jobs at the same time.

    Raises:
        UsageError: a job needs more GPUs than there are.
    """
    budgets_gb = gpu_budgets(config)
    if (per_trial := gpus_of_trial(config)) > 1 and budgets_gb and n_jobs > len(budgets_gb):
        log.info(
            "trials at once: %d instead of %d, since each has %d GPUs of its own",
            len(budgets_gb), n_jobs, per_trial,
        )  # fmt: skip
        n_jobs = len(budgets_gb)
    return divide(n_jobs, budgets_gb, only_device(config))


def gpus_of_trial(config: DictConfig) -> int:
    """GPUs of each job of a sweep.

    Args:
        config: composed config of the sweep.
    """
    if not is_own_tree(config):
        return 1
    return int(config.gpu.per_trial or config.framework.processes)


def processes_of_trial(config: DictConfig) -> int:
    """Processes that train in each job of a sweep.

    Args:
        config: composed config of the sweep.
    """
    return int(config.framework.processes) if is_own_tree(config) else 1


def gpu_budgets(config: DictConfig) -> dict[str, float]:
    """The GPUs of a sweep, each with GiB for all jobs on it; 0 sets no limit.

    If each job has several GPUs, these are groups of as many.

    Args:
        config: composed config of the sweep.

    Raises:
        UsageError: a job needs more GPUs than there are.
    """
    own = is_own_tree(config)
    if own and config.gpu.device == "cpu":
        return {}
    devices = visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), nvidia_gpu_count())
    if not own:
        return dict.fromkeys(devices, 0.0)
    budgets = [budget.gb for budget in card_budgets(config.gpu.memory_limit_gb)]
    gpus = [*zip(devices, budgets, strict=True)]
    if only_device(config):
        gpus = [gpus[cuda_index(config.gpu.device) or 0]]
    per_trial = gpus_of_trial(config)
    if len(gpus) < per_trial and (gpus or config.gpu.per_trial):
        raise UsageError(
            f"each trial needs {per_trial} GPUs (gpu.per_trial, framework.processes), and there "
            f"{'is' if len(gpus) == 1 else 'are'} {len(gpus)} to use: set fewer, or gpu=cpu"
        )
    return grouped(dict(gpus), per_trial)


def only_device(config: DictConfig) -> str | None:
    """How a job names its GPU, if its config chooses one by number: it sees this one alone."""
    number = cuda_index(config.gpu.device) if is_own_tree(config) else None
    return None if number is None or number >= nvidia_gpu_count() else "cuda"


def _conforms(one: FixedLeases, two: PackedLeases) -> list[Leases]:
    return [one, two]
