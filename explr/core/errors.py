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
    │       └── DivergedError   the objective is NaN
    ├── SweepError              too many of a sweep's trials failed, or all of them
    ├── JobStopped              a job reports, but it was told to stop
    ├── CheckpointError         no usable checkpoint
    └── TrackingError           the run cannot be tracked
    TrialPruned                 not an error: stops a trial early and keeps its reports
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from explr.core.secrets.masking import redacted_text

LONGEST_REASON = 200
"""Characters of a reason that is shown in one line."""

_WEB_PAGE = re.compile(
    r"[\s.:]*(response body: *)?['\"]?\s*<(!doctype|html|head|body|\?xml)\b.*", re.I | re.S
)


def described(error: BaseException) -> str:
    """The class and the text of an exception, also of one that cannot show its text."""
    try:
        text = str(error)
    except Exception as fault:  # noqa: BLE001 - whatever its method raises
        text = f"its text cannot be shown ({type(fault).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(error: BaseException) -> str:
    """A line of at most `LONGEST_REASON` characters that says what went wrong.

    Returns:
        The first line of the error's text, without secrets and without the source of a web page;
        the error's type if it has no text.
    """
    text = _WEB_PAGE.sub(" (the answer is a web page)", str(error))
    lines = (line.strip() for line in text.splitlines())
    return shortened(redacted_text(next(filter(None, lines), ""))) or type(error).__name__


def holds_web_page(error: BaseException) -> bool:
    """Whether the text of an error holds the source of a web page."""
    return _WEB_PAGE.search(str(error)) is not None


def shortened(text: str, length: int = LONGEST_REASON) -> str:
    """A text of at most `length` characters; a longer one is cut and ends in an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def encoding_message(error: UnicodeEncodeError) -> str:
    """Which text has a character that cannot be written, and why."""
    text = ascii(error.object[max(0, error.start - 20) : error.end + 20])
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return f"{text} cannot be written, because it is not valid UTF-8: name it otherwise"
    return (
        f"{text} cannot be written in {encoding}, which is the encoding of this locale: set "
        "PYTHONUTF8=1, or a locale with UTF-8 such as LC_ALL=C.UTF-8"
    )


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


class DivergedError(ResultError, ValueError):
    """The objective is NaN."""


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


def is_pruning(error: object) -> bool:
    """Whether an exception prunes a trial: explr's `TrialPruned`, or Optuna's own."""
    return isinstance(error, TrialPruned) or type(error).__name__ == TrialPruned.__name__
