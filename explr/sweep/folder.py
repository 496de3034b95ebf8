"""The folder of a sweep: its command and its results."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import is_own_tree
from explr.config.omegaconf_private import to_yaml
from explr.core.folders import (
    BEST_PARAMS,
    COMMAND,
    MULTIRUN,
    REPORT,
    RESULTS,
    drop_unfinished,
    replace_file,
    within,
    write_json,
)
from explr.core.secrets.masking import redacted
from explr.results.begun import note_sweep
from explr.results.command import sweep_command
from explr.results.failures import failures_line
from explr.results.summary import (
    best_line,
    best_trials,
    confirmation_lines,
    counts_line,
    infeasible_line,
    pruned_line,
    table_of,
    tell,
)
from explr.results.table import continued
from explr.results.text import params_text
from explr.results.trial import read_trial
from explr.sweep.logs import LOG_FILE, STARTS
from explr.sweep.replicates import ReplicateFile
from explr.tuning.confirmation.confirming import confirmation_of
from explr.tuning.lock import HOLDER_FILE, LOCK_FILE
from explr.tuning.storage.journal import cannot_write
from explr.tuning.study import Study
from explr.tuning.trial import Job, Outcome
from explr.utils.invocation import starting_folder, this_call, typed_command
from explr.utils.lock import results_locked

log = logging.getLogger("explr.sweep")
starts = logging.getLogger(STARTS)


class SweepFolder:
    """Writes the files of a sweep.

    Args:
        path: the folder.
        study: the sweep's study.
        replicates: trainings of each trial.
        value: converts a sampled value of a parameter to its value in the config.
    """

    def __init__(
        self, path: Path, study: Study, replicates: int, value: Callable[[str, Any], Any]
    ) -> None:
        drop_unfinished(path)  # of a controller that was killed
        self.path = path
        self._study = study
        self._replicates = replicates
        self._value = value
        self._is_own = True
        self.has_command = False
        """Whether a command started the sweep, and not Python code."""
        self.unpruned = ""
        """Why its pruner stops no trial, if none reports the objective."""

    @property
    def shown(self) -> Path:
        """The path, relative to the working directory if possible."""
        cwd = Path.cwd()
        return self.path.relative_to(cwd) if self.path.is_relative_to(cwd) else self.path

    @property
    def resumption(self) -> str:
        """What resumes the sweep."""
        if self.has_command:
            return shlex.join(["explr", "resume", str(self.shown)])
        return f"run the Python code again with tuner.study_name={self._study.name}"

    def remember_command(self, arguments: Sequence[str]) -> None:
        """Save the command that resumes the sweep; an earlier one of the same place is kept.

        Args:
            arguments: the overrides; a sweep that was started from Python saves no command.
        """
        file = self.path / COMMAND
        kept = sweep_command(self.path)
        if kept is None or kept.moved_from or kept.is_lost:
            cwd = starting_folder()
            command: dict[str, Any] = {
                "study": self._study.name,
                "cwd": str(cwd),
                "folder": within(cwd, self.path),
                "python": sys.executable,
            }
            if set(arguments) <= set(sys.argv):
                command["argv"] = sys.orig_argv[1:]
                if this_call().is_explr:  # `explr tune` reads a file
                    command["hydra"] = sys.argv[1:]
            with _written(file):
                write_json(file, command, durable=True)
            kept = sweep_command(self.path)
        self.has_command = kept is not None and kept.argv is not None
        note_sweep(self.path)

    def remember_config(self, config: DictConfig) -> None:
        """Save the composed config of the sweep without its secrets, as Hydra's sweepers do."""
        self._is_own = is_own_tree(config)
        content = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        with _written(file := self.path / MULTIRUN):
            replace_file(file, to_yaml(redacted(content)), private=False)

    @property
    def fruitless(self) -> bool:
        """Whether every trial so far has failed."""
        return {trial.state.name for trial in self._study.frozen()} <= {"FAIL", "WAITING"}

    def job_folder(self, job: Job) -> Path:
        """Folder of a job."""
        trial = self.path / str(job.trial)
        return trial / str(job.replicate) if job.replicates > 1 else trial

    def kept_replicates(self, trial: int) -> ReplicateFile:
        """Keeps the finished replicates of a trial."""
        return ReplicateFile(self.path / str(trial))

    def job_folders(self) -> list[Path]:
        """Folder of each trial, or of its first replicate."""
        trials = [self.path / str(frozen.number) for frozen in self._study.frozen()]
        return [trial / "0" if self._replicates > 1 else trial for trial in trials]

    def output_of(self, job: Job) -> Path:
        """File for the output of a job."""
        return self.job_folder(job) / "output.log"

    def started(self, job: Job) -> None:
        """Log that a job starts."""
        attempt = f" (attempt {job.attempt + 1})" if job.attempt else ""
        starts.info("trial %s starts%s: %s", job.name, attempt, params_text(job.params))

    def changed(self, job: Job) -> None:
        """Log that a job continues with other parameters, as in population based training."""
        log.info("trial %s continues with %s", job.name, params_text(job.params))

    def ended(self, job: Job, outcome: Outcome, last: tuple[int, float] | None) -> None:
        """Log how a job ended; save the traceback of a failed one.

        Args:
            job: the job.
            outcome: how it ended.
            last: the last step that it reported, and its value; None if it reported none.
        """
        said = " ".join(f"{value:.6g}" for value in outcome.values)
        at = (
            ""
            if last is None
            else f"step {last[0]}"
            if said
            else f"{last[1]:.6g} at step {last[0]}"
        )
        level = logging.WARNING if outcome.state == "FAIL" else logging.INFO
        parts = [said or outcome.reason, at, params_text(job.params)]
        log.log(level, "trial %s %s: %s", job.name, outcome.state, "  ".join(filter(None, parts)))
        if outcome.detail:
            folder = self.job_folder(job)
            folder.mkdir(parents=True, exist_ok=True)
            with _written(file := folder / "traceback.txt"):
                replace_file(file, outcome.detail, private=False)

    def write_results(self) -> dict[str, Any]:
        """Write `results.json`, and the best parameters in Hydra's own format.

        Returns:
            The content of `results.json`.
        """
        self._study.flush()
        with _written(file := self.path / RESULTS), results_locked(self.path):
            results = self._results()
            write_json(file, results, durable=True)
        if len(self._study.directions) > 1:
            solutions = [
                {"params": trial["params"], "values": trial["value"]} for trial in results["front"]
            ]
            content: dict[str, Any] = {"name": "optuna", "solutions": solutions}
        elif results["best"]:
            best = results["best"]
            content = {"name": "optuna", "best_params": best["params"], "best_value": best["value"]}
        else:
            return results
        with _written(file := self.path / BEST_PARAMS):
            replace_file(file, to_yaml(redacted(content)), private=False)
        return results

    def _results(self) -> dict[str, Any]:
        """The content of `results.json`: every trial so far, and the best of them."""
        trials = []
        for frozen in self._study.frozen():
            params = {name: self._value(name, value) for name, value in frozen.params.items()}
            folder = self.path / str(frozen.number)
            trial = read_trial(frozen, folder, {"params": params}, own=self._is_own)
            trials.append(trial.row())
        directions = self._study.directions
        several = len(directions) > 1
        complete = any(trial["state"] == "COMPLETE" for trial in trials)
        front = [trials[number] for number in self._study.front()] if complete else []
        found = confirmation_of(self._study.held)
        told = found.told() if found is not None else {}
        for place, each in enumerate(told.get("candidates", ())):
            trials[each["number"]]["standing"] = place
        return {
            "study": self._study.name,
            "direction": directions if several else directions[0],
            "command": typed_command(),
            "n_trials": len(trials),
            "best": front[0] if front and not several else None,
            **({"front": front} if several else {}),
            **({"confirmation": told} if told else {}),
            **({"stopped": stopped} if (stopped := self._study.stop_reason) else {}),
            "trials": trials,
        }

    def tell(
        self, results: dict[str, Any], metrics: Sequence[str], retrain: str, report: bool
    ) -> None:
        """Print the result of the whole sweep.

        Args:
            results: what `write_results` returned.
            metrics: name of each objective.
            retrain: the command, or the Python code, that trains the best trial again.
            report: whether there is a report.
        """
        trials, best, front = results["trials"], results["best"], results.get("front", [])
        best_ones = best_trials(trials, self._study.directions, front)
        lines = [counts_line(trials)]
        if (infeasible := infeasible_line(trials)) is not None:
            lines.append(infeasible)
        if (failures := failures_line(trials)) is not None:
            lines.append(failures)
        if (saved := pruned_line(trials)) is not None:
            lines.append(saved)
        if self.unpruned and not any(trial["steps"] for trial in trials):
            lines.append(f"nothing was pruned: {self.unpruned}")
        if stopped := results.get("stopped"):
            lines.append(f"stopped early: {stopped}")
        ended, total = self._study.grid_ended or (0, 0)
        if ended < total:
            lines.append(f"grid: {ended} of {total} combinations were run")
        if best is not None:
            lines.append(best_line(best))
            lines += confirmation_lines(results.get("confirmation"))
            lines.append(continued(f"to train it again: {retrain}"))
        if front:
            numbers = ", ".join(str(trial["number"]) for trial in front)
            lines.append(f"on the front: trials {numbers}")
        lines.append(f"results: {self.shown / RESULTS}")
        if report:
            lines.append(f"report: {self.shown / REPORT}")
        tell(table_of(best_ones, metrics, self.shown), lines)


@contextmanager
def removed_if_refused(path: Path, made: Sequence[Path]) -> Iterator[None]:
    """Leave nothing of a new sweep if the block, which opens it, raises; the caller has its lock.

    Args:
        path: folder of the sweep.
        made: folders that were made for it, the innermost first.
    """
    is_new = {file.name for file in path.iterdir()} <= {LOCK_FILE, HOLDER_FILE, LOG_FILE}
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # the first error is the one to raise
                for file in path.iterdir():
                    file.unlink()
                for folder in made:
                    folder.rmdir()
        raise


@contextmanager
def _written(file: Path) -> Iterator[None]:
    """Report a file that cannot be written in one sentence."""
    try:
        yield
    except OSError as error:
        raise cannot_write(file, error) from error
