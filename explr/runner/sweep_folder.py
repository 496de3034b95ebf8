"""The folder of a sweep: the command that made it, and what came out."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper

from explr.core.secrets import redacted
from explr.runner.arguments import program
from explr.runner.sweep_results import results_of
from explr.tuning.base import Job, Outcome
from explr.tuning.storage import cannot_write
from explr.tuning.study import Study

log = logging.getLogger("explr.sweep")

COMMAND_FILE = "sweep.json"
RESULTS_FILE = "results.json"
BEST_FILE = "optimization_results.yaml"

SHOWN = 10
"""Trials of a Pareto front that the closing lines name."""


class SweepFolder:
    """Writes what belongs to a sweep as a whole.

    Args:
        path: the folder.
        study: the sweep's study.
        replicates: trainings of each trial.
        value: what a sampled value of a parameter stands for.
    """

    def __init__(
        self, path: Path, study: Study, replicates: int, value: Callable[[str, Any], Any]
    ) -> None:
        self.path = path
        self._study = study
        self._replicates = replicates
        self._value = value

    @property
    def shown(self) -> Path:
        """The path as one would type it here."""
        return (
            self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path
        )

    def remember_command(self, arguments: Sequence[str]) -> None:
        """Write down what to run again to go on with the sweep; the first command stays.

        Args:
            arguments: the overrides; of a sweep that no command line began, none can go on with it.
        """
        file = self.path / COMMAND_FILE
        if not file.exists():
            command: dict[str, Any] = {"study": self._study.name, "cwd": str(Path.cwd())}
            if set(arguments) <= set(sys.argv):
                command["argv"] = sys.orig_argv[1:]
            _write(file, json.dumps(redacted(command), indent=2) + "\n")

    @property
    def fruitless(self) -> bool:
        """Whether every trial so far has failed."""
        return {trial.state.name for trial in self._study.frozen()} <= {"FAIL", "WAITING"}

    def job_folder(self, job: Job) -> Path:
        """Folder of a job."""
        trial = self.path / str(job.trial)
        return trial / str(job.replicate) if job.replicates > 1 else trial

    def job_folders(self) -> list[Path]:
        """Folder of each trial, or of the first of its replicates, which stands for it."""
        trials = [self.path / str(frozen.number) for frozen in self._study.frozen()]
        return [trial / "0" if self._replicates > 1 else trial for trial in trials]

    def output_of(self, job: Job) -> Path:
        """File for what a job prints."""
        return self.job_folder(job) / "output.log"

    def started(self, job: Job) -> None:
        """Say that a job starts."""
        again = f" (attempt {job.attempt + 1})" if job.attempt else ""
        log.info("trial %s starts%s: %s", _name(job), again, _values(job.params))

    def changed(self, job: Job) -> None:
        """Say that a job goes on with other parameters, as population based training has it."""
        log.info("trial %s goes on with %s", _name(job), _values(job.params))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Say how a job ended; keep the traceback of one that failed."""
        said = " ".join(f"{value:.6g}" for value in outcome.values) or outcome.reason
        log.info("trial %s %s: %s", _name(job), outcome.state, said)
        if outcome.detail:
            folder = self.job_folder(job)
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / "traceback.txt", outcome.detail)

    def write_results(self) -> dict[str, Any]:
        """Write `results.json`, and the best parameters in Hydra's own format.

        Returns:
            The content of `results.json`.
        """
        results = results_of(self._study, self.path, self._value)
        _write(
            self.path / RESULTS_FILE, json.dumps(redacted(results), indent=2, default=str) + "\n"
        )
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
        _write(self.path / BEST_FILE, _yaml(redacted(content)))
        return results

    def tell(self, results: dict[str, Any], retrain: list[str]) -> None:
        """Say what came out of the whole sweep.

        Args:
            results: what `write_results` returned.
            retrain: overrides that train the best once more.
        """
        states = [trial["state"] for trial in results["trials"]]
        counts = ", ".join(f"{states.count(s)} {s.lower()}" for s in dict.fromkeys(states))
        log.info("%d trials: %s", len(states), counts)
        best = results["best"]
        if best is not None:
            values = _values(best["params"])
            log.info("best: trial %d with %.6g: %s", best["number"], best["value"], values)
            log.info("to train it again: %s %s", program(), shlex.join(retrain))
        front = results.get("front", [])
        for trial in front[:SHOWN]:
            values = " ".join(f"{value:.6g}" for value in trial["value"])
            params = _values(trial["params"])
            log.info("on the front: trial %d with %s: %s", trial["number"], values, params)
        if len(front) > SHOWN:
            log.info("on the front: %d more", len(front) - SHOWN)
        log.info("results: %s", self.shown / RESULTS_FILE)


def remembered_study(folder: Path) -> str | None:
    """Name of the study that a sweep's folder belongs to; None if it is a new one."""
    try:
        name = json.loads((folder / COMMAND_FILE).read_text()).get("study")
    except FileNotFoundError:
        return None
    return str(name) if name is not None else None


def _name(job: Job) -> str:
    return f"{job.trial}.{job.replicate}" if job.replicates > 1 else str(job.trial)


def _values(params: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _yaml(content: dict[str, Any]) -> str:
    """YAML as OmegaConf writes it; a text that looks like an interpolation is no more than text."""
    return str(
        yaml.dump(
            content,
            default_flow_style=False,
            allow_unicode=True,
            sort_keys=False,
            Dumper=get_omega_conf_dumper(),
        )
    )


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
