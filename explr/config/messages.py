"""What a person reads when something went wrong, and the exit code that goes with it."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from types import TracebackType

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from explr.config.hydra_private import WRITERS
from explr.core.errors import ExplrError, UsageError, encoding_message
from explr.core.secrets.masking import redacted_text
from explr.core.user_code import user_traceback

FULL_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""Whether the user requested full tracebacks, by Hydra's own variable."""

STANDARD = sys.stdlib_module_names
"""Top-level modules of Python itself."""

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM."""


def report_fault(error: Exception) -> int:
    """Print what went wrong to standard error.

    An exception of the training function is shown as its own traceback, and kept in the log file;
    a wrong configuration as one sentence a fault; anything else is a defect, shown whole.

    Returns:
        The exit code of the command.
    """
    sys.stdout.flush()  # so that what came before stands before
    keep_in_log_file(error)
    if FULL_TRACEBACK:
        _print_traceback(error, error.__traceback__)
    elif (own := user_traceback(error)) is not None and not isinstance(error, UsageError):
        _print_traceback(error, own)
        return 1
    elif isinstance(error, ExplrError):
        print(redacted_text(str(error)), file=sys.stderr)
    elif (text := usage_text(error)) is not None:
        print(redacted_text(text), file=sys.stderr)
    else:
        _print_traceback(error, error.__traceback__)
    if isinstance(error, ExplrError):
        return error.exit_code
    return 1 if usage_text(error) is None else UsageError.exit_code


def _print_traceback(error: Exception, own: TracebackType | None) -> None:
    lines = traceback.format_exception(type(error), error, own)
    print(redacted_text("".join(lines)), end="", file=sys.stderr)


def usage_text(error: Exception) -> str | None:
    """What a foreign exception says of wrong usage; None if it is something else."""
    if isinstance(error, HydraException):
        return short_message(error)
    if isinstance(error, OmegaConfBaseException):
        said = next(iter(short_message(error).splitlines()), type(error).__name__)
        key = str(error.full_key or "")
        return said if key in said else f"{key}: {said}"
    if isinstance(error, yaml.YAMLError):
        return yaml_message(error)
    if isinstance(error, UnicodeEncodeError):
        return encoding_message(error)
    modules = _modules(error)
    if isinstance(error, OSError) and error.errno == errno.ESTALE:
        return (
            f"{error.filename or 'a file'} was replaced or removed by another machine while it was "
            f"used ({error.strerror}): run the command again"
        )
    if isinstance(error, OSError) and error.filename is not None:
        by = next((m for m in reversed(modules) if m.split(".")[0] not in STANDARD), "")
        if by in WRITERS or by.startswith("hydra_plugins."):
            return (
                f"the output folder cannot be written: {error.filename}: {error.strerror or error}"
            )
        name = error.filename2 or error.filename  # of two files, what one should have become
        return f"{name} cannot be used: {error.strerror or error}"
    if isinstance(error, ValueError) and modules and modules[-1].startswith("hydra."):
        return short_message(error)  # what its command line refuses
    return None


def check_text(*texts: str) -> None:
    """Check that texts can be written to files.

    Raises:
        UsageError: one has a character that cannot.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(encoding_message(error)) from None


def yaml_message(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML file, and where."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"a file cannot be read as YAML: {' '.join(str(error).split())}"
    problem = getattr(error, "problem", None) or "it is no YAML"
    return f"{mark.name} cannot be read as YAML: line {mark.line + 1}: {problem}"


def _modules(error: Exception) -> list[str]:
    """The modules whose frames an exception went through, outermost first."""
    frames = traceback.walk_tb(error.__traceback__)
    return [str(frame.f_globals.get("__name__")) for frame, _ in frames]


INSIDES = ("full_key:", "object_type=", "reference_type=", "Config search path:", "provider=")
"""How lines start that speak of the insides of Hydra and OmegaConf."""


def short_message(error: BaseException) -> str:
    """Hydra's message without the lines that speak of its insides."""
    lines = [line for e in (error, error.__cause__) if e is not None for line in str(e).split("\n")]
    shown: list[str] = []
    for line in lines:
        text = line.strip()
        if text.startswith(INSIDES):
            continue
        if text and text not in shown:
            shown.append(text)
    return "\n".join(shown)


def keep_in_log_file(error: Exception) -> None:
    """Write the traceback of an exception of the training function to the log file of its run."""
    own = user_traceback(error)
    if own is not None and not isinstance(error, UsageError):
        log_to_files("training failed", error, own)


def log_to_files(text: str, error: BaseException, trace: TracebackType | None) -> None:
    """Write a line and a traceback to the log files, and not to the terminal."""
    record = logging.getLogger(__name__).makeRecord(
        "explr", logging.ERROR, __file__, 0, text, (), (type(error), error, trace)
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
