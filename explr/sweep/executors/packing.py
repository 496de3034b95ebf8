"""How many trials fit beside one another, judged by what those before them took."""

from __future__ import annotations

import math
from dataclasses import dataclass

from explr.tuning.trial import Peak, readable_gb

MARGIN = 1.1
"""What a trial is reckoned to need, in parts of the most that one before it took."""

GROWTH = 2
"""Trials at once, at most, for each that was measured: the first may have been the smallest."""


@dataclass(frozen=True)
class Room:
    """What all trials together may take.

    Args:
        cores: CPU cores, each for one trial at least.
        host_gb: GiB of host memory.
        gpus: GPUs that the trials are spread over.
        gpu_gb: GiB of each GPU; None if nobody can tell.
    """

    cores: int
    host_gb: float
    gpus: int = 0
    gpu_gb: float | None = None


class Packing:
    """The number of trials at once: one, or one a GPU, until their memory has been measured.

    It follows the largest peak so far, so it rises only while few trials have been measured, and
    falls when one takes more than those before it or when memory runs out among several.

    Args:
        room: what all trials together may take.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.slots = self._first = min(room.cores, max(1, room.gpus))
        self._peak = Peak()
        self._measured = 0
        self._ceiling = math.inf

    def __str__(self) -> str:
        room = f"{readable_gb(self.room.host_gb)} GiB of host memory"
        if self.room.gpus and self.room.gpu_gb is not None:
            which = "each" if self.room.gpus > 1 else "the"
            room += f" and {readable_gb(self.room.gpu_gb)} GiB of {which} GPU"
        return f"{_trials(self.slots)} at once, until it is known what one takes of {room}"

    def measured(self, peak: Peak, again: bool = False) -> str | None:
        """Take in the peak of a trial that ended, was pruned, or has come to repeat itself.

        Args:
            peak: its peak.
            again: whether an earlier peak of the same trial was taken in.

        Returns:
            What is to be told of it: the new number and why, if it is another one.
        """
        self._measured += not again
        self._peak |= peak
        return self._decide()

    def ran_out(self, together: int, peak: Peak) -> str | None:
        """Take in that a trial ran out of memory.

        Args:
            together: the most trials, itself included, that ran at once since it began.
            peak: the most that it had taken till then.

        Returns:
            As `measured`.
        """
        if together > self._first:  # one on each GPU is no crowd
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
        """Each thing that bounds the number, with the number and with what is said of it."""
        room, peak = self.room, self._peak
        host = f"each took up to {readable_gb(peak.host_gb)} GiB of {readable_gb(room.host_gb)} GiB"
        most = max(self._first, GROWTH * self._measured)
        bounds = [
            (_fit(room.host_gb, peak.host_gb), f"{host} host memory"),
            (room.cores, f"there are {room.cores} CPU cores; each took up to {peak}"),
            (self._ceiling, f"{self._ceiling + 1:g} together ran out of memory"),
            (most, f"more once these are measured too; each took up to {peak} so far"),
        ]
        if not room.gpus:
            return bounds
        if peak.gpu_gb is None or room.gpu_gb is None:
            unknown = "the driver does not tell how much of a GPU each of them takes"
            return [(room.gpus, unknown), *bounds]
        took, of = readable_gb(peak.gpu_gb), readable_gb(room.gpu_gb)
        gpu = f"each took up to {took} GiB of {of} GiB GPU memory"
        fit = room.gpus * max(1, _fit(room.gpu_gb, peak.gpu_gb))
        return [(fit, f"{gpu} on {room.gpus} GPUs" if room.gpus > 1 else gpu), *bounds]


def _fit(room_gb: float, peak_gb: float) -> float:
    return math.floor(room_gb / (peak_gb * MARGIN)) if peak_gb else math.inf


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
