"""The exceptions of explr.

::

    ExplrError                  base class; the message is one sentence for people
    ├── UsageError              the request cannot be carried out (exit code 2)
    │   ├── ConfigError         all faults in the configuration
    │   ├── TargetError         `train_model` cannot be found, imported or called
    │   ├── MissingDependencyError
    │   ├── DeviceError         the device does not exist
    │   ├── FileError           a file of explr's is damaged, or of a newer version
    │   └── ResultError         `train_model` returned an invalid result
    ├── SweepError              too many of a sweep's trials failed, or all of them
    ├── JobStopped              a job reports, but it was told to stop
    ├── CheckpointError         no usable checkpoint
    └── TrackingError           the run cannot be tracked
    TrialPruned                 not an error: stops a trial early and keeps its reports
"""

from __future__ import annotations

from collections.abc import Sequence


def described(error: BaseException) -> str:
    """The class and the text of an exception, also of one that cannot show its text."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - whatever its method raises
        text = f"its text cannot be shown ({type(fault).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class ExplrError(Exception):
    """Base class of explr's errors; the message is written for people."""

    exit_code = 1


class UsageError(ExplrError):
    """The command, the configuration or the training function is wrong."""

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
    """The target of `train_model` cannot be found, imported or called."""


class MissingDependencyError(UsageError):
    """A required package is not installed."""


class DeviceError(UsageError):
    """The requested device is not on this machine."""


class ResultError(UsageError):
    """`train_model` returned an invalid result."""


class FileError(UsageError):
    """A file that explr wrote is damaged, or was written by a newer version."""


class SweepError(ExplrError):
    """Too many of a sweep's trials failed, or all of them."""


class JobStopped(ExplrError):
    """A job reports, but it was told to stop or is over."""


class CheckpointError(ExplrError):
    """A checkpoint cannot be written or read."""


class TrackingError(ExplrError):
    """The run cannot be tracked as configured."""


BY_TUNER = "by the tuner"
"""First words of the reason of a trial that the tuner pruned."""


class TrialPruned(Exception):
    """Raise it in `train_model` to stop a trial early; its reports are kept."""
