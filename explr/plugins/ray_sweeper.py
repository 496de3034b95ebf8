"""`hydra/sweeper=explr_ray`: the same sweep, run and scheduled by Ray Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explr.config.nodes import SWEEPER_NODE
from explr.core.config import RayClusterConfig
from explr.core.errors import ConfigError
from explr.core.validation import cluster_faults, settings_of
from explr.plugins.sweeper import SearchSweeper

if TYPE_CHECKING:
    from explr.sweep.ray.sweep import RayBackend


class RaySweeper(SearchSweeper):
    """Searches ranges with Ray Tune; takes the fields of `RayClusterConfig` as `ray`."""

    def _backend(self, given: dict[str, Any]) -> RayBackend:
        from explr.sweep.ray.sweep import RayBackend

        ray = settings_of(RayClusterConfig, given.pop("ray", None) or {}, f"{SWEEPER_NODE}.ray")
        if faults := cluster_faults(ray.cpus_per_trial, ray.gpus_per_trial):
            raise ConfigError(faults)
        return RayBackend(ray)
