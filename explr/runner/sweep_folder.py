"""The folder of a sweep: the command that made it, and what came out."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from explr.runner.arguments import program
from explr.runner.files import read_result_file
from explr.tuning.base import Job, Outcome
from explr.tuning.study import ATTEMPTS, REASON, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

log = logging.getLogger("explr.sweep")

COMMAND_FILE = "sweep.json"
RESULTS_FILE = "results.json"
BEST_FILE = "optimization_results.yaml"


class SweepFolder:
    """Writes what belongs to a sweep as a whole.

    Args:
        path: the folder.
        study: the sweep's study.
        replicates: trainings of each trial.
    """

    def __init__(self, path: Path, study: Study, replicates: int) -> None:
        self.path = path
        self._study = study
        self._replicates = replicates

    @property
    def shown(self) -> Path:
        """The path as one would type it here."""
        return (
            self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path
        )

    def remember_command(self) -> None:
        """Write down what to run again to go on with the sweep; the first command stays."""
        file = self.path / COMMAND_FILE
        if not file.exists():
            command = {"argv": sys.orig_argv[1:], "cwd": str(Path.cwd())}
            _write(file, json.dumps(command, indent=2) + "\n")

    def job_folder(self, job: Job) -> Path:
        """Folder of a job."""
        trial = self.path / str(job.trial)
        return trial / str(job.replicate) if job.replicates > 1 else trial

    def output_of(self, job: Job) -> Path:
        """File for what a job prints."""
        return self.job_folder(job) / "output.log"

    def started(self, job: Job) -> None:
        """Say that a job starts."""
        values = " ".join(f"{name}={_short(value)}" for name, value in job.params.items())
        again = f" (attempt {job.attempt + 1})" if job.attempt else ""
        log.info("trial %s starts%s: %s", _name(job), again, values)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Say how a job ended; keep the traceback of one that failed."""
        said = " ".join(f"{value:.6g}" for value in outcome.values) or outcome.reason
        log.info("trial %s %s: %s", _name(job), outcome.state, said)
        if outcome.detail:
            folder = self.job_folder(job)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "traceback.txt").write_text(outcome.detail)

    def results(self) -> dict[str, Any]:
        """What came out so far."""
        trials = [self._row(frozen) for frozen in self._study.frozen()]
        front = [trials[number] for number in self._study.front()] if _any_complete(trials) else []
        directions = self._study.directions
        return {
            "study": self._study.name,
            "direction": directions[0] if len(directions) == 1 else directions,
            "command": _command(),
            "n_trials": len(trials),
            "best": front[0] if front and len(directions) == 1 else None,
            **({"front": front} if len(directions) > 1 else {}),
            "trials": trials,
        }

    def write_results(self) -> dict[str, Any]:
        """Write `results.json`, and the best parameters in Hydra's own format.

        Returns:
            The content of `results.json`.
        """
        results = self.results()
        _write(self.path / RESULTS_FILE, json.dumps(results, indent=2, default=str) + "\n")
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
        _write(self.path / BEST_FILE, OmegaConf.to_yaml(OmegaConf.create(content)))
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
            values = " ".join(f"{name}={_short(value)}" for name, value in best["params"].items())
            log.info("best: trial %d with %.6g: %s", best["number"], best["value"], values)
            log.info("to train it again: %s %s", program(), shlex.join(retrain))
        for trial in results.get("front", ()):
            log.info("on the front: trial %d with %s", trial["number"], trial["value"])
        log.info("results: %s", self.shown / RESULTS_FILE)

    def _row(self, frozen: FrozenTrial) -> dict[str, Any]:
        folder = self.path / str(frozen.number)
        written = read_result_file(folder) if folder.is_dir() else None
        values = frozen.values
        if values is None and frozen.state.name == "PRUNED" and frozen.intermediate_values:
            values = [frozen.intermediate_values[max(frozen.intermediate_values)]]
        duration = frozen.duration.total_seconds() if frozen.duration else None
        return {
            "number": frozen.number,
            "state": frozen.state.name,
            "params": dict(frozen.params),
            "value": values if values is None or len(values) > 1 else values[0],
            "steps": len(frozen.intermediate_values),
            "duration_s": duration,
            "dir": str(folder),
            "run_id": _run_id(folder),
            "attempts": frozen.user_attrs.get(ATTEMPTS, 1),
            "reason": frozen.user_attrs.get(REASON, written["reason"] if written else ""),
        }


def _command() -> str:
    """The command that runs, as one would type it."""
    return shlex.join([program(), *sys.argv[1:]])


def _any_complete(trials: list[dict[str, Any]]) -> bool:
    return any(trial["state"] == "COMPLETE" for trial in trials)


def _run_id(folder: Path) -> str | None:
    """Id of the trial's run in MLflow, where that is known by now."""
    for position in folder.glob("journal-*.position"):
        if run_id := json.loads(position.read_text()).get("run_id"):
            return str(run_id)
    return None


def _name(job: Job) -> str:
    return f"{job.trial}.{job.replicate}" if job.replicates > 1 else str(job.trial)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
