"""What came of a job of somebody else's app, kept in the job's folder.

Hydra's own sweepers keep no values, and neither do the apps. explr's launcher and callback do.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from explr.config.grammar import plain
from explr.config.hydra_private import value_of
from explr.core.config import ObjectiveConfig
from explr.core.errors import described, is_pruning
from explr.core.folders import JOB, within, write_json
from explr.core.reporter import LISTENERS, NO_VALUE, reported_value
from explr.core.secrets.masking import redacted_arguments, redacted_text
from explr.utils.invocation import starting_folder

if TYPE_CHECKING:
    from explr.launching.hydra_job import HydraJob, HydraTask

log = logging.getLogger(__name__)


def this_command(sweep: Path) -> dict[str, Any]:
    """The command that started this process, as `sweep.json` has it.

    Args:
        sweep: folder of the sweep.
    """
    cwd = starting_folder()
    argv, python = sys.orig_argv[1:], sys.executable
    return {"cwd": str(cwd), "folder": within(cwd, sweep), "argv": argv, "python": python}


def run_job(task: HydraTask, job: HydraJob) -> JobReturn:
    """Run a job for one of Hydra's own sweepers; its value may be one that it has reported.

    Args:
        task: what all jobs share.
        job: the job.
    """
    reported: list[float] = []

    def hear(step: int, value: float) -> None:
        reported.append(value)

    LISTENERS.add(hear)
    try:
        returned = task.run(job)
    finally:
        LISTENERS.drop(hear)
    if returned.status is JobStatus.COMPLETED:
        returned.return_value = objective_of(value_of(returned), returned.hydra_cfg, reported)
    return returned


def objective_of(value: Any, config: DictConfig | None, reported: Sequence[float]) -> Any:
    """What counts as the value of a job.

    Args:
        value: what it returned; None, if it has reported values, stands for one of these.
        config: its config, with Hydra's part.
        reported: what it has reported, the last at the end.
    """
    if value is not None or not reported or config is None:
        return value
    sweeper = config.hydra.sweeper  # one of Hydra's own may have a direction, too
    way = ObjectiveConfig(sweeper.get("metric"), sweeper.get("direction"))
    return reported_value(reported, str(sweeper.get("reported", "last")), way.minimize)


def record_job(
    sweep: Path,
    folder: Path,
    number: int,
    returned: JobReturn,
    duration_s: float,
    command: Mapping[str, Any],
    reported: Sequence[float] = (),
) -> None:
    """Write down how a job ended; a file that cannot be written costs a line of the log.

    Args:
        sweep: folder of its sweep.
        folder: its own folder.
        number: its number in the sweep.
        returned: what Hydra returned for it.
        duration_s: how long it took, in seconds.
        command: the command of the sweep, see `this_command`.
        reported: what it has reported, see `objective_of`.
    """
    state, value, reason = _end_of(returned, reported)
    overrides = list(returned.overrides or ())
    content = {
        "state": state,
        "number": number,
        "overrides": redacted_arguments(overrides),
        "params": _params(overrides),
        "value": value,
        "reason": reason,
        "duration_s": round(duration_s, 3),
        "sweep": os.path.relpath(sweep, folder),  # valid as long as they are moved together
        "command": command,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)  # the process may have died before it was made
        write_json(folder / JOB, content)
    except OSError as error:
        log.warning("%s cannot be written: %s", folder / JOB, error.strerror or error)


def _end_of(returned: JobReturn, reported: Sequence[float]) -> tuple[str, Any, str]:
    """State, value and reason of a job, as `results.json` has them."""
    value = objective_of(value_of(returned), returned.hydra_cfg, reported)
    if isinstance(value, BaseException):
        if is_pruning(value):
            return "PRUNED", None, str(value)
        return "FAIL", None, redacted_text(described(value))
    if returned.status is not JobStatus.COMPLETED:
        return "FAIL", None, "it was interrupted"
    if value is None:
        return "FAIL", None, NO_VALUE
    values = value if isinstance(value, (list, tuple)) else [value]
    numbers = [_number(one) for one in values]
    if not numbers or any(map(math.isnan, numbers)):
        return "FAIL", None, redacted_text(f"returned {value!r}, which is no number")
    return "COMPLETE", numbers if len(numbers) > 1 else numbers[0], ""


def _number(value: Any) -> float:
    """A number that a task returned, of whatever library; NaN if it is none."""
    if isinstance(value, (str, bytes, bool)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _params(overrides: Iterable[str]) -> dict[str, Any]:
    """The values of a job by name, from its overrides."""
    parser = OverridesParser.create()
    parsed = [parser.parse_override(text) for text in overrides]
    return {
        each.get_key_element().lstrip("+"): plain(each.value())
        for each in parsed
        if not each.is_delete()
    }
