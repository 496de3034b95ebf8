"""The exceptions of explr.

::

    ExplrError                  what went wrong, in one sentence
    ├── UsageError              what was asked for cannot be done (exit code 2)
    │   ├── ConfigError         faults in the configuration, all of them at once
    │   ├── TargetError         `train_model` cannot be found, imported or called
    │   ├── MissingDependencyError
    │   ├── DeviceError         the device is not there
    │   └── ResultError         `train_model` returned something that is no result
    ├── SweepError              too many of a sweep's trials failed, or all of them
    ├── CheckpointError         no usable checkpoint
    └── TrackingError           the run cannot be tracked
    TrialPruned                 not an error: ends a trial early, keeping what it reported
"""

from __future__ import annotations

from collections.abc import Sequence


class ExplrError(Exception):
    """Base of every error that explr raises; its text is meant for people."""

    exit_code = 1


class UsageError(ExplrError):
    """The command, the configuration or the training function cannot be used as it is."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more faults in a configuration.

    Args:
        faults: a sentence for each fault, naming the key and what is allowed.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.faults,)


class TargetError(UsageError):
    """`train_model` names something that cannot be found, imported or called."""


class MissingDependencyError(UsageError):
    """A package is needed that is not installed."""


class DeviceError(UsageError):
    """The requested device is not on this machine."""


class ResultError(UsageError):
    """`train_model` returned something that cannot be read as a result."""


class SweepError(ExplrError):
    """Too many of a sweep's trials failed, or all of them."""


class CheckpointError(ExplrError):
    """There is no checkpoint that can be read."""


class TrackingError(ExplrError):
    """The run cannot be tracked as configured."""


BY_TUNER = "by the tuner"
"""How explr begins to say why a trial was pruned that the tuner asked to end."""


class TrialPruned(Exception):
    """Raise it from `train_model` to end a trial early; what it reported is kept."""
