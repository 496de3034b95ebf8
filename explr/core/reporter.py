"""What carries intermediate values of the objective to the tuner."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Carries intermediate values of the objective to whatever decides on pruning."""

    def report(self, step: int, value: float) -> None:
        """Tell the value of the objective at a step."""
        ...

    def should_prune(self) -> bool:
        """Whether the trial should end now."""
        ...


class NullReporter:
    """A training outside a sweep: nobody listens and nobody prunes."""

    def report(self, step: int, value: float) -> None:
        """Do nothing."""

    def should_prune(self) -> bool:
        """Never."""
        return False
