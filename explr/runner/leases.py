"""The GPU leases of the jobs that run on this machine at the same time."""

from __future__ import annotations

import os

from hydra.types import TaskFunction
from omegaconf import DictConfig

from explr.launching.lease import Lease, divide, visible_devices
from explr.tracking.callback import OWN_TASK
from explr.utils.gpu import nvidia_gpu_count
from explr.utils.memory import memory_budget


def leases_for(config: DictConfig, task: TaskFunction, n_jobs: int) -> list[Lease]:
    """A lease for each of `n_jobs` slots.

    Args:
        config: composed config of the sweep.
        task: its task function; explr's own is held to the device and the memory budget of the
            group `gpu`, which in another app means whatever that app makes of it.
        n_jobs: jobs at the same time.
    """
    own = bool(getattr(task, OWN_TASK, False))
    devices: list[str] = []
    if not (own and config.gpu.device == "cpu"):
        devices = visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), nvidia_gpu_count())
    budget_gb = memory_budget(config.gpu.memory_limit_gb).gb if own else 0.0
    return divide(n_jobs, devices, budget_gb)
