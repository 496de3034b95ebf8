"""Settings that come from a script or a file rather than from the config tree.

Hydra composes them like any option of a group, so that overrides and ranges on the command line
win over them. They live in the process only; what a run was made of is in its folder, and a rerun
takes them from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from explr.core.config import ROOT_KEYS
from explr.core.errors import UsageError
from explr.core.secrets import masked, masked_keys
from explr.runner.arguments import saved_overrides, saved_run
from explr.tuning.search_space import literal

SCRIPT_SPACE = "search_space=script"
"""Chooses the hyperparameters that a script gave to `explr.main`."""

FILE_OVERLAY = "+explr/file@_global_=settings"
"""Lays the settings of a file over everything else that is composed."""


def store_script_space(hyperparameters: Mapping[str, Any]) -> None:
    """Make `hyperparameters` the content of `SCRIPT_SPACE`."""
    group, _, name = SCRIPT_SPACE.partition("=")
    ConfigStore.instance().store(
        name, dict(hyperparameters), group=group, package="_global_", provider="explr", replace=True
    )


def store_file_overlay(settings: Mapping[str, Any]) -> None:
    """Make `settings` the content of `FILE_OVERLAY`."""
    ConfigStore.instance().store(
        "settings",
        dict(settings),
        group="explr/file",
        package="_global_",
        provider="explr",
        replace=True,
    )


def file_overlay() -> dict[str, Any]:
    """The content of `FILE_OVERLAY`."""
    content = ConfigStore.instance().load("explr/file/settings.yaml").node
    settings = OmegaConf.to_container(content, resolve=False)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def restore(folder: str, again: Sequence[str] = ()) -> None:
    """Bring back what a run was made of, for its rerun.

    Args:
        folder: the run's folder.
        again: overrides of the rerun itself.

    Raises:
        UsageError: there is no run in `folder`, or it was given a secret that is not given again.
    """
    overrides = saved_overrides(folder)
    saved = OmegaConf.load(saved_run(folder) / "config.yaml")
    config = OmegaConf.to_container(saved, resolve=False)
    assert isinstance(config, dict)
    laid_over = {SCRIPT_SPACE, FILE_OVERLAY}.intersection(overrides)
    hidden = [*masked(overrides), *(masked_keys(config) if laid_over else ())]
    given = {text.lstrip("+").partition("=")[0] for text in again}
    if lacking := [key for key in dict.fromkeys(hidden) if key not in given]:
        raise UsageError(
            f"the run in {folder} was given secrets, which explr does not write down: give them "
            f"again, as in {lacking[0]}=…, or from the environment ({', '.join(lacking)})"
        )
    if SCRIPT_SPACE in overrides:
        store_script_space({str(k): v for k, v in config.items() if k not in ROOT_KEYS})
    if FILE_OVERLAY in overrides:
        store_file_overlay({str(key): value for key, value in config.items()})


def as_overrides(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Each leaf of `settings` as an override of its own."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from as_overrides(value, f"{name}.")
        else:
            yield f"++{name}={literal(value)}"
