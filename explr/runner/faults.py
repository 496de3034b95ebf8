"""What a person reads when something went wrong, and the exit code that goes with it."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from types import TracebackType

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from explr.core.errors import ExplrError, UsageError
from explr.runner.call import user_traceback

FULL_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Whether the user asked for whole tracebacks, by Hydra's own variable."""

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM."""


def report_fault(error: Exception) -> int:
    """Print what went wrong to standard error.

    An exception of the training function is shown as its own traceback, and kept in the log file;
    a wrong configuration as one sentence a fault; anything else is a defect, shown whole.

    Returns:
        The exit code of the command.
    """
    if FULL_TRACEBACK:
        traceback.print_exception(error)
    elif (own := user_traceback(error)) is not None and not isinstance(error, UsageError):
        traceback.print_exception(type(error), error, own)
        _keep_in_log_file(error, own)
        return 1
    elif isinstance(error, ExplrError):
        print(error, file=sys.stderr)
    elif isinstance(error, (HydraException, OmegaConfBaseException)):
        print(short_message(error), file=sys.stderr)
    elif isinstance(error, OSError) and error.filename is not None:
        print(f"{error.filename} cannot be used: {error.strerror}", file=sys.stderr)
    else:
        traceback.print_exception(error)
        return 1
    return error.exit_code if isinstance(error, ExplrError) else UsageError.exit_code


def short_message(error: BaseException) -> str:
    """Hydra's message without the lines that speak of its insides."""
    lines = [line for e in (error, error.__cause__) if e is not None for line in str(e).split("\n")]
    shown: list[str] = []
    for line in lines:
        text = line.strip()
        if text.startswith(("full_key:", "object_type=", "Config search path:", "provider=")):
            continue
        if text and text not in shown:
            shown.append(text)
    return "\n".join(shown)


def _keep_in_log_file(error: Exception, own: TracebackType) -> None:
    record = logging.getLogger(__name__).makeRecord(
        "explr", logging.ERROR, __file__, 0, "training failed", (), (type(error), error, own)
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
