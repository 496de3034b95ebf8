"""Which GPU a slot may use, and how much of the memory budget."""

from __future__ import annotations

from dataclasses import dataclass

CONTEXT_GB = 0.5
"""GiB that a process takes for its CUDA context, outside of what a framework can limit."""


@dataclass(frozen=True)
class Lease:
    """The right of one slot to a device.

    Args:
        slot: number of the slot, from 0.
        devices: value for `CUDA_VISIBLE_DEVICES`; None leaves it as it is.
        memory_gb: GiB that a job in this slot may take on its GPU; 0 sets no limit.
    """

    slot: int
    devices: str | None
    memory_gb: float

    @property
    def environment(self) -> dict[str, str]:
        """Variables to set before the framework looks for devices."""
        return {} if self.devices is None else {"CUDA_VISIBLE_DEVICES": self.devices}


def divide(slots: int, devices: list[str], budget_gb: float) -> list[Lease]:
    """Spread slots over GPUs, and each GPU's budget over the slots on it.

    Args:
        slots: jobs at the same time.
        devices: the GPUs that may be used, as `CUDA_VISIBLE_DEVICES` names them.
        budget_gb: GiB of each GPU for all that run there at once; 0 sets no limit.

    Returns:
        A lease a slot. Where more than one job shares a GPU, each gets an equal part of the
        budget less `CONTEXT_GB` for its CUDA context.
    """
    if not devices:
        return [Lease(slot, None, 0.0) for slot in range(slots)]
    leases = []
    for slot in range(slots):
        place = slot % len(devices)
        sharing = len(range(place, slots, len(devices)))
        leases.append(Lease(slot, devices[place], share_gb(budget_gb, sharing)))
    return leases


def share_gb(budget_gb: float, sharing: int) -> float:
    """GiB of a GPU's budget for each of the jobs that share it; 0 sets no limit.

    Args:
        budget_gb: GiB for all of them; 0 sets no limit.
        sharing: number of the jobs; one alone gets the whole.
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
