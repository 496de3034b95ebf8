"""Hydra over explr's config tree, without its command line; config groups as Hydra finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

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


def is_group(name: str, config: DictConfig, loader: ConfigLoader) -> bool:
    """Whether there is a config group of a name; its options may all be in subfolders.

    Args:
        name: the name.
        config: composed config, which says where else to look.
        loader: Hydra's config loader.
    """
    return bool(_listed(name, None, config, loader))


def options_of(group: str, config: DictConfig, loader: ConfigLoader) -> list[str]:
    """The options of a config group, those in subfolders too.

    Args:
        group: the group.
        config: composed config, which says where else to look.
        loader: Hydra's config loader.
    """
    options = _listed(group, ObjectType.CONFIG, config, loader)
    for folder in _listed(group, ObjectType.GROUP, config, loader):
        below = options_of(f"{group}/{folder}", config, loader)
        options += [f"{folder}/{option}" for option in below]
    return options


def all_groups(config: DictConfig, loader: ConfigLoader, parent: str = "") -> Iterator[str]:
    """Every config group that has options, with those in subfolders.

    Args:
        config: composed config, which says where else to look.
        loader: Hydra's config loader.
        parent: folder to look in; empty looks everywhere.
    """
    for folder in _listed(parent, ObjectType.GROUP, config, loader):
        group = f"{parent}/{folder}".lstrip("/")
        if _listed(group, ObjectType.CONFIG, config, loader):
            yield group
        yield from all_groups(config, loader, group)


def _listed(
    group: str, kind: ObjectType | None, config: DictConfig, loader: ConfigLoader
) -> list[str]:
    """What a config group contains, also in the folders of `hydra.searchpath`."""
    if not config.hydra.searchpath:
        return loader.get_group_options(group, kind)
    overrides: Any = OmegaConf.to_container(config.hydra.overrides.hydra)
    return loader.get_group_options(group, kind, config.hydra.job.config_name, overrides)
