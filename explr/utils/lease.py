"""Divides GPUs and their memory budget among trials that run at the same time.

Several GPUs of one trial are neighbours in CUDA's order; how they are connected is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTEXT_GB = 0.5
"""GiB of a process's CUDA context, which no framework's limit includes."""


@dataclass(frozen=True)
class Lease:
    """The GPUs and the memory of one slot.

    Args:
        slot: number of the slot, from 0.
        devices: value of `CUDA_VISIBLE_DEVICES`; None leaves it unchanged.
        memory_gb: GiB of each GPU that a job in this slot may use; 0 sets no limit.
        device: how a job in this slot names its GPU, if its config has another name for it; None
            leaves that unchanged.
    """

    slot: int
    devices: str | None
    memory_gb: float
    device: str | None = None

    @property
    def gpus(self) -> list[str]:
        """Its GPUs, as `CUDA_VISIBLE_DEVICES` names them."""
        return self.devices.split(",") if self.devices else []

    @property
    def environment(self) -> dict[str, str]:
        """Variables to set before the framework looks for devices."""
        return {} if self.devices is None else {"CUDA_VISIBLE_DEVICES": self.devices}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that a job in this slot gets."""
        given = {"gpu.memory_limit_gb": self.memory_gb, "gpu.device": self.device}
        return {name: value for name, value in given.items() if value}


def grouped(budgets_gb: Mapping[str, float], per_slot: int) -> dict[str, float]:
    """Groups of GPUs for jobs that have several, each with the budget of its smallest GPU.

    Args:
        budgets_gb: the GPUs, as `CUDA_VISIBLE_DEVICES` names them, each with its GiB.
        per_slot: GPUs of a group; those that are left over belong to none.
    """
    names = list(budgets_gb)
    groups = [names[at : at + per_slot] for at in range(0, len(names), per_slot)]
    return {
        ",".join(group): min(budgets_gb[name] for name in group)
        for group in groups
        if len(group) == per_slot
    }


def divide(slots: int, budgets_gb: Mapping[str, float], device: str | None = None) -> list[Lease]:
    """Divide slots among GPUs, and the budget of each GPU among its slots.

    Args:
        slots: jobs at the same time.
        budgets_gb: the usable GPUs, or groups of them, as `CUDA_VISIBLE_DEVICES` names them, each
            with GiB for all jobs on it; 0 sets no limit.
        device: how a job names its GPU; see `Lease`.

    Returns:
        One lease per slot. Jobs that share a GPU each get an equal part of its budget, less
        `CONTEXT_GB` for the CUDA context.
    """
    if not budgets_gb:
        return [Lease(slot, None, 0.0) for slot in range(slots)]
    leases = []
    devices = list(budgets_gb)
    for slot in range(slots):
        place = slot % len(devices)
        sharing = len(range(place, slots, len(devices)))
        name = devices[place]
        leases.append(Lease(slot, name, share_gb(budgets_gb[name], sharing), device))
    return leases


def share_gb(budget_gb: float, sharing: int) -> float:
    """GiB for each of the jobs that share a GPU; 0 sets no limit.

    Args:
        budget_gb: GiB for all jobs; 0 sets no limit.
        sharing: number of jobs.
    """
    share = budget_gb / sharing - (CONTEXT_GB if sharing > 1 else 0.0)
    return max(share, 0.1) if budget_gb else 0.0


def visible_devices(setting: str | None, count: int) -> list[str]:
    """The GPUs that a sweep may use.

    Args:
        setting: `CUDA_VISIBLE_DEVICES` of the controller; None if it is not set.
        count: GPUs on the machine.
    """
    if setting is None:
        return [str(index) for index in range(count)]
    names = [name.strip() for name in setting.split(",")]
    return [name for name in names if name and name != "-1"][:count]
