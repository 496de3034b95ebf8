"""Reads a grid: the jobs of Hydra's own sweepers, or of others than explr's, in any app."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import SWEEPER_NODE, is_own_tree
from explr.core.errors import UsageError
from explr.core.folders import (
    COMMAND,
    JOB,
    MULTIRUN,
    RESULT,
    RESULTS,
    BestTrial,
    as_best,
    best_first,
    common_folder,
    grid_trials,
    read_json,
)
from explr.core.validation import known_direction
from explr.tuning.storage.journal import STUDY_FILE

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

NO_END = "it still runs, or was killed before it could say how it ended"
"""Why a job counts as failed that has written nothing."""


@dataclass(frozen=True)
class Grid:
    """The jobs of a grid.

    Args:
        trials: the jobs as `results.json` has trials, ordered by number; with the folder as `dir`.
        direction: `minimize` or `maximize`, or one of them for each objective; None if nothing
            tells, as in an app that is not explr's.
        metrics: name of each objective.
        command: the command that started it, as `sweep.json` has it; None if that is not known.
    """

    trials: Sequence[dict[str, Any]]
    direction: str | list[str] | None
    metrics: Sequence[str]
    command: Mapping[str, Any] | None

    @property
    def directions(self) -> list[str]:
        """The direction of each objective; smaller values are better if nothing tells."""
        given = self.direction or "minimize"
        return given if isinstance(given, list) else [given] * len(self.metrics)

    @cached_property
    def ranked(self) -> list[dict[str, Any]]:
        """The best of the completed jobs first; none if there are several objectives."""
        if len(self.metrics) > 1:
            return []
        return best_first(self.trials, self.directions == ["minimize"])

    @property
    def searched(self) -> list[str]:
        """The parameters in which the jobs differ; all of them if there is one job only."""
        every = [trial["params"] for trial in self.trials if trial["params"]]
        names = dict.fromkeys(name for params in every for name in params)
        return [
            name
            for name in names
            if len(every) < 2 or len({str(params.get(name)) for params in every}) > 1
        ]

    @property
    def best(self) -> BestTrial | None:
        """The best job; None if none is complete, or there are several objectives."""
        if not self.ranked:
            return None
        best, worst = self.ranked[0], self.ranked[-1]
        note = ""
        if self.direction is None:
            note = (
                "nothing says whether larger values are better: this is the smallest, and the "
                f"largest is {worst['value']:.6g} in {worst['dir']}"
            )
        return as_best(best, len(self.trials), Path(best["dir"]), best, note)

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        """The jobs by number, with the parameters in which they differ."""
        names = self.searched
        return {
            trial["number"]: {
                **trial,
                "params": {k: v for k, v in trial["params"].items() if k in names},
            }
            for trial in self.trials
        }

    def study(self, name: str, storage: BaseStorage | None = None) -> Study:
        """The grid as a study of Optuna's.

        Args:
            name: name of the study.
            storage: an empty storage in memory; None makes one.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=self.directions,  # type: ignore[arg-type]
        )
        names = self.searched
        params = [_of_study(trial["params"], names) for trial in self.trials]
        ranges = {name: _range(each[name] for each in params if name in each) for name in names}
        for trial, given in zip(self.trials, params, strict=True):
            study.add_trial(_frozen(trial, given, {name: ranges[name] for name in given}))
        return study


def read_grid(folder: Path) -> Grid | None:
    """Read the grid in a folder, whose jobs may have their folders anywhere below it.

    Args:
        folder: folder of the grid.

    Returns:
        The grid; None if the folder is that of a sweep with a study, or no grid has run there.

    Raises:
        UsageError: nobody kept the values of the jobs, or the folder has several grids.
        FileError: a file of a job is damaged.
    """
    if any((folder / name).exists() for name in (COMMAND, STUDY_FILE, RESULTS)):
        return None
    if not (folder / MULTIRUN).exists() and (below := sorted(folder.rglob(COMMAND))):
        newest = max(below, key=lambda file: file.stat().st_mtime_ns).parent
        sweeps = "a sweep" if len(below) == 1 else f"{len(below)} sweeps"
        raise UsageError(f"{folder} holds {sweeps}: name one by its folder, such as {newest}")
    jobs = _jobs(folder)
    if jobs:
        direction = _direction(jobs[0])
        count = max((len(v) for t in jobs if isinstance(v := t["value"], list)), default=1)
        names = ["objective"] if count == 1 else [f"objective {i}" for i in range(count)]
        return Grid(_filled(jobs, folder), direction, names, jobs[0]["command"])
    if _is_foreign(folder):
        raise UsageError(
            f"{folder} is a grid whose values nobody kept: with hydra/callbacks=explr_mlflow or "
            f"hydra/launcher=explr_local, each job keeps what it returns in {JOB}"
        )
    return own_grid(folder, (file.parent for file in sorted(folder.rglob(RESULT))))


def own_grid(folder: Path, jobs: Iterable[Path]) -> Grid | None:
    """Read a grid of explr's own trainings.

    Args:
        folder: folder of the grid.
        jobs: folders of its jobs.

    Returns:
        The grid; None if no job has written a result.

    Raises:
        FileError: a file of a job is damaged.
    """
    own = grid_trials(jobs)
    if not own:
        return None
    result = next((trial["result"] for trial in own if trial["result"]), None)
    less = result is None or result["minimize"]
    metric = result["primary_metric_name"] if result else "objective"
    direction = "minimize" if less else "maximize"
    return Grid(_filled(own, folder), direction, [str(metric)], None)


def _jobs(folder: Path) -> list[dict[str, Any]]:
    """The jobs of somebody else's app in a folder, which must be those of one grid."""
    grids = _by_grid(folder)
    if not grids and (folder / MULTIRUN).exists():  # its jobs may have folders beside it
        grids = _by_grid(folder.parent)
        return grids.get(folder.resolve(), [])
    if folder.resolve() in grids:
        return grids[folder.resolve()]
    if len(grids) > 1:
        newest = max(grids.values(), key=lambda jobs: Path(jobs[0]["dir"], JOB).stat().st_mtime)
        raise UsageError(
            f"{folder} holds the jobs of {len(grids)} grids: name the folder of one of them, such "
            f"as {common_folder([Path(job['dir']) for job in newest])}"
        )
    return next(iter(grids.values()), [])


def _by_grid(folder: Path) -> dict[Path, list[dict[str, Any]]]:
    grids: defaultdict[Path, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(folder.rglob(JOB)):
        if (job := read_json(file)) is not None:
            place = (file.parent / job["sweep"]).resolve()
            grids[place].append({**job, "dir": str(file.parent), "grid": place})
    return grids


def _direction(job: Mapping[str, Any]) -> str | list[str] | None:
    """The direction that the app's sweeper has in its config, as that of Optuna."""
    file = Path(job["grid"], MULTIRUN)
    config = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    given = OmegaConf.select(config, f"{SWEEPER_NODE}.direction")
    metric = OmegaConf.select(config, f"{SWEEPER_NODE}.metric")
    if given is None and isinstance(metric, str):
        return known_direction(metric)
    if given is None:
        return None
    each = given if OmegaConf.is_list(given) else [given]
    names = ["maximize" if "max" in str(one).lower() else "minimize" for one in each]
    return names if OmegaConf.is_list(given) else names[0]


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds grids of apps that are not explr's."""
    files = [folder / MULTIRUN, *folder.glob(f"*/{MULTIRUN}")]
    configs = [OmegaConf.load(file) for file in files if file.exists()]
    return any(isinstance(each, DictConfig) and not is_own_tree(each) for each in configs)


def _filled(jobs: Iterable[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The jobs by number, with one in place of each that has written nothing."""
    known = {job["number"]: job for job in jobs}
    return [
        known.get(number)
        or {
            "number": number,
            "state": "FAIL",
            "params": {},
            "value": None,
            "reason": NO_END,
            "duration_s": None,
            "dir": str(folder / str(number)),
        }
        for number in range(max(known) + 1)
    ]


def _of_study(params: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Parameters as a study can hold them: lists and mappings are texts there."""
    return {
        name: value if isinstance(value, (str, int, float, type(None))) else str(value)
        for name, value in params.items()
        if name in names
    }


def _range(values: Iterable[Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    every = list(dict.fromkeys(values))
    if all(type(value) is int for value in every):
        return IntDistribution(min(every), max(every))
    if all(type(value) in (int, float) for value in every):
        return FloatDistribution(min(every), max(every))
    return CategoricalDistribution(every)


def _frozen(
    trial: Mapping[str, Any], params: dict[str, Any], ranges: dict[str, BaseDistribution]
) -> Any:
    from optuna.trial import FrozenTrial, TrialState

    value = trial["value"] if trial["state"] == "COMPLETE" else None
    files = [Path(trial["dir"], name) for name in (JOB, RESULT)]
    written = next((file.stat().st_mtime for file in files if file.exists()), 0.0)
    ended = datetime.fromtimestamp(written)
    several = isinstance(value, list)
    frozen = FrozenTrial(
        trial["number"],
        TrialState[trial["state"]],
        None if several else value,
        ended - timedelta(seconds=trial["duration_s"] or 0),
        ended,
        params,
        ranges,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial["number"],
        values=value if several else None,
    )
    if "feasible" in trial:
        frozen.set_constraint("feasible", 0.0 if trial["feasible"] else 1.0)
    return frozen
