"""Tells Hydra of explr's config groups, in every Hydra app of the environment."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from explr.config.hydra_private import admit_null
from explr.config.hydra_versions import store
from explr.config.nodes import (
    CALLBACK,
    CONFIG_TREE,
    LAUNCHER,
    MIRROR,
    RAY_SWEEPER,
    SCHEMA,
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
        for name, schema in SCHEMAS.items():
            store(name, schema, SCHEMA)
        for name, node in {"mirror": MIRROR, "search": SEARCH}.items():
            store(name, node, "explr", "_global_")
        project = Path.cwd() / "conf"
        if project.is_dir():
            # Hydra takes what follows the scheme as it is: it knows no escaped characters.
            search_path.append("explr-project", f"file://{project}")


store("explr_mlflow", CALLBACK, "hydra/callbacks")
store("explr_optuna", SWEEPER, "hydra/sweeper")
store("explr_ray", RAY_SWEEPER, "hydra/sweeper")
store("explr_local", LAUNCHER, "hydra/launcher")
