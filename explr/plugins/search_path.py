"""Tells Hydra of explr's config groups, in every Hydra app of the environment."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from explr.config.command_line import take_plan
from explr.config.hydra_private import admit_null, make_plugins_within
from explr.config.hydra_versions import store, store_missing
from explr.config.nodes import (
    CALLBACK,
    CONFIG_TREE,
    MIRROR,
    OWN,
    SAMPLERS,
    SCHEMA,
    SEARCH,
    own_classes,
)
from explr.core.config import SCHEMAS

admit_null()
make_plugins_within(own_classes)


class ExplrSearchPath(SearchPathPlugin):
    """Brings an explr app its schemas and nodes, and the options of a project's own `conf` folder.

    A project's options stand behind the packaged ones: it adds some and replaces none.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Do so if this is an explr app; other apps keep their own groups as they are."""
        # All plugins are loaded: hydra-optuna-sweeper, if it is installed, has stored its own.
        store_missing(SAMPLERS, "hydra/sweeper/sampler")
        if all(element.path != CONFIG_TREE for element in search_path.get_path()):
            if (samples := take_plan(sys.argv)[1]) is not None:
                from explr.plugins.planning import plan_instead

                plan_instead(samples)
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
for group, options in OWN.items():
    for name, node in options.items():
        store(name, node, group)
