"""Tells Hydra of explr's config groups, in every Hydra app of the environment."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

from explr.config.hydra_private import admit_null
from explr.config.nodes import (
    CALLBACK,
    CONFIG_TREE,
    LAUNCHER,
    MIRROR,
    RAY_SWEEPER,
    SEARCH,
    SWEEPER,
)
from explr.core.config import SCHEMAS

admit_null()


class ExplrSearchPath(SearchPathPlugin):
    """Brings an explr app its schemas and nodes, and the options of a project's own `conf` folder.

    A project's options stand behind the packaged ones: it adds some and replaces none.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Do so if this is an explr app; other apps keep their groups as they are."""
        if all(element.path != CONFIG_TREE for element in search_path.get_path()):
            return
        store = ConfigStore.instance()
        for name, schema in SCHEMAS.items():
            store.store(
                group="explr/schema", name=name, node=schema, provider="explr", replace=True
            )
        for name, node in {"mirror": MIRROR, "search": SEARCH}.items():
            store.store(
                group="explr",
                name=name,
                node=node,
                package="_global_",
                provider="explr",
                replace=True,
            )
        project = Path.cwd() / "conf"
        if project.is_dir():
            # Hydra takes what follows the scheme as it is: it knows no escaped characters.
            search_path.append("explr-project", f"file://{project}")


ConfigStore.instance().store(
    group="hydra/callbacks", name="explr_mlflow", node=CALLBACK, provider="explr", replace=True
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="explr_optuna", node=SWEEPER, provider="explr", replace=True
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="explr_ray", node=RAY_SWEEPER, provider="explr", replace=True
)
ConfigStore.instance().store(
    group="hydra/launcher", name="explr_local", node=LAUNCHER, provider="explr", replace=True
)
