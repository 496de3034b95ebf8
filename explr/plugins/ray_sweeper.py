"""`hydra/sweeper=explr_ray`: the same sweep, run and scheduled by Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from explr.plugins.optuna_sweeper import OptunaSweeper


class RaySweeper(OptunaSweeper):
    """Searches ranges with Ray Tune; see `conf/tuner/ray.yaml` for what each field means."""

    def __init__(self, ray: Mapping[str, Any] | None = None, **settings: Any) -> None:
        from explr.sweep.ray.cluster import RaySettings

        super().__init__(**settings)
        node = OmegaConf.to_container(ray, resolve=True) if OmegaConf.is_config(ray) else ray
        assert node is None or isinstance(node, dict)
        self._ray = RaySettings(**{str(key): value for key, value in (node or {}).items()})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take in what Hydra composed."""
        from explr.sweep.ray.sweep import RayBackend
        from explr.sweep.sweep import Sweep

        self._task = task_function
        self._sweep = Sweep(
            self._settings_in(config),
            RayBackend(self._ray),
            config,
            hydra_context,
            task_function,
        )
