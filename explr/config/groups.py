"""Config groups and their options, as Hydra finds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf


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
