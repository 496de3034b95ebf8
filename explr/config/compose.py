"""Hydra over explr's config tree, without its command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from explr.config.hydra_private import Hydra, create_app, search_path_of
from explr.config.nodes import CONFIG_TREE

CONFIG_NAME = "config"
"""Name of the primary config."""
FIRST_JOB = ("hydra.job.num=0", "hydra.job.id=0")
"""Overrides that make a config that of the first job of a sweep."""
TRUSTED = ["explr.*", "hydra_plugins.*", "hydra.experimental.callbacks.*", "optuna.*", "logging.*"]
"""What a config may have Hydra instantiate; the training function is resolved by explr itself."""


@contextmanager
def hydra_app(config_dir: str | None = None) -> Iterator[Hydra]:
    """Make Hydra ready, and leave it as it was before.

    Args:
        config_dir: a folder of configs that comes after the packaged ones.
    """
    search_path = search_path_of(CONFIG_TREE)
    if config_dir is not None:
        search_path.prepend("command-line", f"file://{Path(config_dir).absolute()}", "schema")
    before, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield create_app("explr", search_path)
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = config
        if before is not None:
            GlobalHydra.instance().initialize(before)


def compose_with(
    app: Hydra, overrides: Sequence[str], config_name: str | None, multirun: bool
) -> DictConfig:
    """Compose as the command line does.

    Args:
        app: Hydra, as `hydra_app` made it ready.
        overrides: settings in Hydra's grammar.
        config_name: name of the primary config; None takes explr's own.
        multirun: let ranges stand, as `-m` does.

    Raises:
        HydraException, OmegaConfBaseException: an override cannot be applied.
    """
    return app.compose_config(
        config_name or CONFIG_NAME,
        list(overrides),
        run_mode=RunMode.MULTIRUN if multirun else RunMode.RUN,
        with_log_configuration=False,
    )


@contextmanager
def hydra_config(cfg: DictConfig) -> Iterator[None]:
    """Make `${hydra:…}` resolvable within the block."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before
