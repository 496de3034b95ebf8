"""The plugins as Hydra 1.3 finds them: installed as `hydra_plugins.explr`.

Hydra 1.3 takes plugins from the package `hydra_plugins`, if their classes are defined there.
Hydra 1.4 looks there too, and finds them by their entry points: it must not find them twice.
"""

from __future__ import annotations

from explr.config.hydra_versions import HAS_WHITELIST

if not HAS_WHITELIST:
    from explr.plugins import local_launcher, optuna_sweeper, ray_sweeper, search_path

    class ExplrSearchPath(search_path.ExplrSearchPath):
        """See `explr.plugins.search_path`."""

    class LocalLauncher(local_launcher.LocalLauncher):
        """See `explr.plugins.local_launcher`."""

    class OptunaSweeper(optuna_sweeper.OptunaSweeper):
        """See `explr.plugins.optuna_sweeper`."""

    class RaySweeper(ray_sweeper.RaySweeper):
        """See `explr.plugins.ray_sweeper`."""
