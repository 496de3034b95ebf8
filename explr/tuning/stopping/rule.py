"""When a search stops before its last trial: its target is reached, or little is left to gain."""

from __future__ import annotations

from dataclasses import dataclass

MIN_TRIALS = 20
"""Ended trials from which the gain of a further one is estimated."""


@dataclass
class StoppingRule:
    """Follows the best value of a search.

    The gain of a further trial is estimated from the later half of the trials, without a model of
    the objective: the chance that it improves the best value is (k + 1) / (n + 1) where k of these
    n trials did so (Laplace's rule of succession), and its size is the mean of their gains, or the
    last gain if none did. Trials that were pruned or failed count as trials without a gain.

    Args:
        minimize: whether smaller values are better.
        target: the value to reach; None sets none.
        least_gain: the search stops when less than this is expected; None never stops it.
    """

    minimize: bool
    target: float | None = None
    least_gain: float | None = None

    def __post_init__(self) -> None:
        self._best: float | None = None
        self._gains: list[float] = []
        self._last_gain: float | None = None
        self.reason = ""
        """Why no further trial starts; empty as long as some do."""

    def ended(self, number: int, value: float | None) -> None:
        """Take in a trial that has ended.

        Args:
            number: its number.
            value: the objective; None if it did not complete.
        """
        if self.reason:
            return
        gain = 0.0
        if value is not None:
            if self._best is not None:
                gain = max(0.0, self._best - value if self.minimize else value - self._best)
            if self._best is None or gain:
                self._best = value
            if gain:
                self._last_gain = gain
            if self.target is not None and self._reaches(value):
                self.reason = (
                    f"trial {number} has reached the target {self.target:g} with {value:g}"
                )
        self._gains.append(gain)
        expected = self.expected_gain()
        if self.reason or self.least_gain is None or expected is None:
            return
        if expected < self.least_gain:
            self.reason = (
                f"a further trial is expected to gain {expected:.2g}, less than "
                f"stop_when={self.least_gain:g}"
            )

    def expected_gain(self) -> float | None:
        """What a further trial is expected to gain; None if it cannot be said yet."""
        if len(self._gains) < MIN_TRIALS or self._last_gain is None:
            return None
        later = self._gains[len(self._gains) // 2 :]
        gains = [gain for gain in later if gain]
        size = sum(gains) / len(gains) if gains else self._last_gain
        return (len(gains) + 1) / (len(later) + 1) * size

    def _reaches(self, value: float) -> bool:
        assert self.target is not None
        return value <= self.target if self.minimize else value >= self.target
