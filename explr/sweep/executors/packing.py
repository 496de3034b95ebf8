"""Decides how many trials fit into memory, from the peaks of earlier trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from explr.tuning.trial import Peak, readable_gb

MARGIN = 1.1
"""Expected memory of a trial, relative to the largest peak so far."""

GROWTH = 2
"""Maximum trials at once per measured trial: the first one may be the smallest."""


@dataclass(frozen=True)
class Room:
    """Resources of all trials together.

    Args:
        cores: CPU cores; each trial gets at least one.
        host_gb: GiB of host memory.
        gpus: number of GPUs, or of groups of them if each trial has several.
        gpu_gb: GiB of each GPU; None if unknown.
        per_trial: GPUs of each trial; several are not shared with other trials.
        processes: processes of each trial, each of which gets at least one core.
    """

    cores: int
    host_gb: float
    gpus: int = 0
    gpu_gb: float | None = None
    per_trial: int = 1
    processes: int = 1

    @property
    def by_cores(self) -> int:
        """Trials that have enough cores."""
        return max(1, self.cores // self.processes)


class Packing:
    """The number of trials at once: one, or one per GPU, until trials were measured.

    It follows the largest peak so far. It rises while few trials were measured. It falls when a
    trial uses more than earlier ones, or when several trials together run out of memory.

    Args:
        room: resources of all trials together.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.slots = self._first = min(room.by_cores, max(1, room.gpus))
        self._peak = Peak()
        self._measured = 0
        self._ceiling = math.inf

    def __str__(self) -> str:
        room = f"{readable_gb(self.room.host_gb)} GiB of host memory"
        if self.room.gpus and self.room.gpu_gb is not None:
            which = "each" if self.room.gpus > 1 else "the"
            room += f" and {readable_gb(self.room.gpu_gb)} GiB of {which} GPU"
        known = "until the memory of a trial is measured"
        return f"{_trials(self.slots)} at once, {known}; available: {room}"

    def measured(self, peak: Peak, again: bool = False) -> str | None:
        """Add the peak of a trial that completed, was pruned, or whose memory use repeats.

        Args:
            peak: its peak.
            again: whether an earlier peak of the same trial was added.

        Returns:
            A message with the new number and the reason; None if the number did not change.
        """
        self._measured += not again
        self._peak |= peak
        return self._decide()

    def ran_out(self, together: int, peak: Peak) -> str | None:
        """Record that a trial ran out of memory.

        Args:
            together: maximum number of trials that ran at once while it ran, itself included.
            peak: its peak until then.

        Returns:
            See `measured`.
        """
        if together > self._first:  # one trial per GPU always fits
            self._ceiling = min(self._ceiling, together - 1)
        self._peak |= peak
        return self._decide()

    def _decide(self) -> str | None:
        slots, why = min(self._bounds(), key=lambda bound: bound[0])
        before, self.slots = self.slots, max(1, int(slots))
        if self.slots == before:
            return None
        return f"{_trials(self.slots)} at once: {why}"

    def _bounds(self) -> list[tuple[float, str]]:
        """Each limit of the number of trials, with its reason."""
        room, peak = self.room, self._peak
        host = f"each took up to {readable_gb(peak.host_gb)} GiB of {readable_gb(room.host_gb)} GiB"
        most = max(self._first, GROWTH * self._measured)
        bounds = [
            (_fit(room.host_gb, peak.host_gb), f"{host} host memory"),
            (room.by_cores, f"there are {room.cores} CPU cores; each took up to {peak}"),
            (self._ceiling, f"{self._ceiling + 1:g} together ran out of memory"),
            (most, f"more once these are measured too; each took up to {peak} so far"),
        ]
        if not room.gpus:
            return bounds
        if room.per_trial > 1:
            total = room.gpus * room.per_trial
            return [(room.gpus, f"{room.per_trial} of {total} GPUs are for each"), *bounds]
        if peak.gpu_gb is None or room.gpu_gb is None:
            unknown = "the driver does not report the GPU memory of each trial"
            return [(room.gpus, unknown), *bounds]
        took, of = readable_gb(peak.gpu_gb), readable_gb(room.gpu_gb)
        gpu = f"each took up to {took} GiB of {of} GiB GPU memory"
        fit = room.gpus * max(1, _fit(room.gpu_gb, peak.gpu_gb))
        return [(fit, f"{gpu} on {room.gpus} GPUs" if room.gpus > 1 else gpu), *bounds]


def _fit(room_gb: float, peak_gb: float) -> float:
    return math.floor(room_gb / (peak_gb * MARGIN)) if peak_gb else math.inf


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
