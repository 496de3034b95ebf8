"""What a sweep would run, as lines of text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from explr.config.command_line import values_of
from explr.core.errors import ConfigError
from explr.core.folders import trial_numbers
from explr.core.validation import AUTO
from explr.launching.hydra_job import HydraJob
from explr.results.table import hanging
from explr.sweep.preflight import with_params
from explr.sweep.session import SweepSettings

WIDTH = 13
"""Columns of a line's title."""


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would run.

    Args:
        settings: how it searches.
        total: number of trials.
        ranges: each range as it is written, by parameter.
        jobs: the first trials.
        fixed: the overrides that all trials have.
        repeats: a sentence about trials that repeat one another; empty if none has to.
    """

    settings: SweepSettings
    total: int
    ranges: Mapping[str, str]
    jobs: Sequence[HydraJob]
    fixed: Sequence[str]
    repeats: str = ""

    def lines(self, tuner: str, config: DictConfig) -> Iterator[str]:
        """The plan for people.

        Args:
            tuner: what chooses the trials, with its title.
            config: composed config of the sweep.
        """
        given = self.settings
        slots = f"{given.n_jobs} at a time"
        if given.n_jobs == AUTO:
            slots = "as many at a time as fit into memory (n_jobs=auto)"
        yield f"{tuner}: {self.total} trials, {slots}"
        for title, (name, text) in zip(_titles("search"), self.ranges.items(), strict=False):
            yield f"{title}{name}: {text}"
        if self.repeats:
            yield f"{'repeats':{WIDTH}}{self.repeats}"
        yield f"{'direction':{WIDTH}}{', '.join(given.directions)}"
        yield f"{'sampler':{WIDTH}}{_algorithm(given.sampler)}"
        several = len(given.directions) > 1
        yield f"{'pruner':{WIDTH}}{'none' if several else _algorithm(given.pruner)}"
        yield f"{'time':{WIDTH}}{_time(given)}"
        yield from where(config)
        yield f"the first {len(self.jobs)} trials:"
        for job in self.jobs:
            yield f"    {shlex.join(text for text in job.overrides if text not in self.fixed)}"


def tell(lines: Iterable[str]) -> None:
    """Print the lines of a plan."""
    for line in lines:
        print(hanging(line, WIDTH))


def where(config: DictConfig) -> Iterator[str]:
    """Where a sweep would run, and its folder.

    Args:
        config: composed config of the sweep.
    """
    yield f"{'launcher':{WIDTH}}{config.hydra.runtime.choices.get('hydra/launcher')}"
    folder = Path(config.hydra.sweep.dir)
    there = len(trial_numbers(folder))
    yield f"{'folder':{WIDTH}}{folder}{f' (with {there} trials already)' if there else ''}"


def grid_lines(config: DictConfig, loader: ConfigLoader, samples: int) -> Iterator[str]:
    """What Hydra's own sweeper would run, for people.

    Args:
        config: composed config of the sweep.
        loader: Hydra's config loader.
        samples: the most jobs to show.

    Raises:
        ConfigError: it has a range without a list of values.
        HydraException, OmegaConfBaseException: an override cannot be applied.
    """
    task = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    params = OmegaConf.to_container(config.hydra.sweeper, resolve=True).get("params")  # type: ignore[union-attr]
    parser = OverridesParser.create(config_loader=loader)
    line = with_params(parser.parse_overrides(task), params or {}, loader)  # type: ignore[arg-type]
    values = [_values(override) for override in line]
    yield f"{'sweeper':{WIDTH}}basic (Hydra's own grid): {prod(map(len, values))} jobs"
    swept = [override for override in line if override.is_sweep_override()]
    for title, override in zip(_titles("search"), swept, strict=False):
        yield f"{title}{override.get_key_element()}: {override.get_value_string()}"
    yield from where(config)
    jobs = list(islice(product(*values), samples))
    yield f"the first {len(jobs)} jobs:"
    fixed = {override.input_line for override in line}
    for job in jobs:
        loader.load_sweep_config(config, list(job))
        yield f"    {shlex.join(text for text in job if text not in fixed)}"


def _values(override: Override) -> list[str]:
    """What the jobs of a grid have in place of an override.

    Raises:
        ConfigError: it is a range without a list of values.
    """
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise ConfigError(
            [
                f"{override.input_line}: Hydra's own sweeper takes lists of values only; "
                "hydra/sweeper=explr_optuna searches ranges"
            ]
        )
    return values_of(override, most=10**6)


def _titles(first: str) -> Iterator[str]:
    """The titles of lines that belong together."""
    yield f"{first:{WIDTH}}"
    while True:
        yield " " * WIDTH


def _algorithm(node: Mapping[str, Any] | None) -> str:
    """A sampler or pruner with its arguments."""
    if not node:
        return "none"
    given = ", ".join(f"{key}={value}" for key, value in node.items() if key != "_target_")
    return f"{str(node.get('_target_')).rpartition('.')[2]}({given})"


def _time(settings: SweepSettings) -> str:
    limits = {
        "no new trial after {:g} s": settings.timeout_s,
        "at most {:g} s for each trial": settings.trial_timeout_s,
    }
    given = [text.format(seconds) for text, seconds in limits.items() if seconds is not None]
    return ", ".join(given) or "no limit"
