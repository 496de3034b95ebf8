"""`hydra/sweeper=explr_optuna`: a sweep in which no slot waits for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from explr.launching.hydra_job import HydraJob
    from explr.sweep.session import SweepSettings
    from explr.tuning.trial import SweepResult


class OptunaSweeper(Sweeper):
    """Searches ranges with Optuna; see `conf/tuner/optuna.yaml` for what each field means."""

    def __init__(
        self,
        n_trials: int,
        n_jobs: Any,
        memory_gb: Any,
        timeout_s: float | None,
        trial_timeout_s: float | None,
        retries: int,
        replicates: int,
        max_failure_rate: float,
        study_name: str | None,
        storage: str | None,
        direction: Any,
        sampler: Mapping[str, Any] | None,
        pruner: Mapping[str, Any] | None,
        enqueue: Any,
        params: Mapping[str, Any] | None,
    ) -> None:
        from explr.sweep.session import SweepSettings
        from explr.tuning.account import Limits

        limits = Limits(n_trials, timeout_s, trial_timeout_s, retries, max_failure_rate, replicates)
        self._settings = SweepSettings(
            limits,
            n_jobs,
            _directions(direction),
            study_name,
            storage,
            _plain(sampler) or {},
            _plain(pruner) or {},
            _plain(enqueue) or [],
            _plain(params) or {},
            memory_gb,
        )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra composed."""
        from explr.sweep.sweep import OptunaBackend, Sweep

        self._task = task_function
        self._sweep = Sweep(
            self._settings_in(config), OptunaBackend(), config, hydra_context, task_function
        )

    def _settings_in(self, config: DictConfig) -> SweepSettings:
        """The settings, with the study named as the folder is: a copy has a `now` of its own."""
        return replace(self._settings, study_name=config.hydra.sweeper.study_name)

    def sweep(self, arguments: list[str]) -> SweepResult:
        """Run the sweep.

        Raises:
            ConfigCompositionException: explr's complaint, in an app that is not its own: Hydra
                shows it without a traceback.
        """
        from explr.core.errors import ExplrError
        from explr.tracking.callback import OWN_TASK

        try:
            return self._sweep.run(arguments)
        except ExplrError as error:
            if getattr(self._task, OWN_TASK, False):
                raise
            raise ConfigCompositionException(str(error)) from None

    def plan(self, arguments: list[str], samples: int) -> list[HydraJob]:
        """The jobs of the first trials, launching nothing."""
        return self._sweep.plan(arguments, samples)

    def fixed(self, arguments: list[str]) -> list[str]:
        """Those of the overrides that are no ranges."""
        return self._sweep.space(arguments).fixed


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _directions(direction: Any) -> tuple[str, ...]:
    given = (
        direction if OmegaConf.is_list(direction) or isinstance(direction, list) else [direction]
    )
    return tuple(str(getattr(one, "name", one)) for one in given)
