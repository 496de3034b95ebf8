"""What the sweepers of explr share: settings that are checked, and the sweep that they begin."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from explr.config.nodes import SWEEPER_NODE, is_own_tree
from explr.core.errors import ConfigError
from explr.core.validation import settings_of
from explr.tuning.search_space import as_range

if TYPE_CHECKING:
    from explr.sweep.plan import SweepPlan
    from explr.sweep.sweep import Backend
    from explr.tuning.trial import SweepResult


class SearchSweeper(Sweeper):
    """Searches ranges.

    Args:
        settings: fields of `SweeperConfig` in `explr/core/config.py`; a tuner may have more.
    """

    def __init__(self, **settings: Any) -> None:
        self._given = {name: _plain(value) for name, value in settings.items()}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra composed.

        Raises:
            ConfigError: a setting does not exist or has a wrong value.
            ConfigCompositionException: the same, in an app that is not explr's own.
        """
        from explr.sweep.session import SweepSettings
        from explr.sweep.sweep import Sweep

        self._task = task_function
        # Named as the folder is: Hydra made this object from a copy with a `now` of its own.
        name = OmegaConf.select(config, f"{SWEEPER_NODE}.study_name")
        given = self._given | {"study_name": name}
        with self._complaints():
            _refuse_option(config)
            _refuse_older_spellings(given)
            backend = self._backend(given)
            settings = settings_of(SweepSettings, given, SWEEPER_NODE)
            self._sweep = Sweep(settings, backend, config, hydra_context, task_function)

    @abstractmethod
    def _backend(self, given: dict[str, Any]) -> Backend:
        """What runs the trials.

        Args:
            given: the settings as plain values; those that only the backend has are taken out.

        Raises:
            ConfigError: one of these does not exist or has a wrong value.
        """

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Have Hydra show explr's complaints without a traceback in an app that is not its own."""
        from explr.core.errors import ExplrError
        from explr.tracking.callback import OWN_TASK

        try:
            yield
        except ExplrError as error:
            if getattr(self._task, OWN_TASK, False):
                raise
            raise ConfigCompositionException(str(error)) from None

    def sweep(self, arguments: list[str]) -> SweepResult:
        """Run the sweep.

        Raises:
            ConfigCompositionException: explr's complaint, in an app that is not its own.
        """
        with self._complaints():
            return self._sweep.run(arguments)

    def plan(self, arguments: list[str], samples: int) -> SweepPlan:
        """What the sweep would run, and the jobs of the first trials, launching nothing."""
        return self._sweep.plan(arguments, samples)


SAMPLER = "hydra/sweeper/sampler"
"""The config group of samplers in an app that is not explr's own."""


def _refuse_option(config: DictConfig) -> None:
    """Check that no sampler is chosen for Hydra where explr's own config tree chooses it.

    Raises:
        ConfigError: one is.
    """
    option = config.hydra.runtime.choices.get(SAMPLER)
    if option is not None and is_own_tree(config):
        raise ConfigError([f"{SAMPLER}={option} has no effect here: write tuner/sampler={option}"])


def _refuse_older_spellings(given: dict[str, Any]) -> None:
    """Say how settings of hydra-optuna-sweeper are written that explr does not take.

    Args:
        given: the settings as plain values; those without a value are taken out.

    Raises:
        ConfigError: naming each of them.
    """
    faults = [
        f"{SWEEPER_NODE}.search_space is not read: write {SWEEPER_NODE}.params.{name}: "
        f"{as_range(range_) or 'RANGE'}"
        for name, range_ in (given.pop("search_space", None) or {}).items()
    ]
    if isinstance(given.get("storage"), Mapping):  # not shown: it may have a password
        faults.append(
            f"{SWEEPER_NODE}.storage must be a URL, got a mapping: write its url, as in "
            f"{SWEEPER_NODE}.storage: sqlite:///study.db"
        )
    if faults:
        raise ConfigError(faults)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
