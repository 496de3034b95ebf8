"""Settings from a script or a plain YAML file, laid over the composed config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.config.advice import word_hint
from explr.config.grammar import literal
from explr.config.hydra_versions import store
from explr.config.saved import saved_overrides, saved_run
from explr.core.config import ROOT_KEYS
from explr.core.errors import UsageError
from explr.core.secrets.masking import masked, masked_keys

SCRIPT_SPACE = "search_space=script"
"""Chooses the hyperparameters that a script gave to `explr.main`."""

FILE_OVERLAY = "+explr/file@_global_=settings"
"""Lays the settings of a file over everything else that is composed."""


def store_script_space(hyperparameters: Mapping[str, Any]) -> None:
    """Make `hyperparameters` the content of `SCRIPT_SPACE`."""
    group, _, name = SCRIPT_SPACE.partition("=")
    store(name, dict(hyperparameters), group, "_global_")


def store_file_overlay(settings: Mapping[str, Any]) -> None:
    """Make `settings` the content of `FILE_OVERLAY`."""
    store("settings", dict(settings), "explr/file", "_global_")


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
            f"the command of the run in {folder} had secrets, which explr does not save "
            f"({', '.join(lacking)}): give them again, as in {lacking[0]}=…"
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


GROUPS = frozenset({"framework", "tuner", "tracking", "gpu", "search_space", "experiment"})
"""Config groups that a file may choose an option of: `framework: tensorflow`."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Args:
        path: the file.

    Raises:
        UsageError: it is not there, or is no mapping in YAML.
    """
    try:
        if path.suffix == ".py":
            raise UsageError(f"{path} is no file of settings: {word_hint(str(path))}")
        content = OmegaConf.load(path)
    except FileNotFoundError:
        if "=" in str(path):
            raise UsageError(
                f"{path}: the file of settings comes first; without one, explr itself takes "
                "settings, as in explr lr=0.1 or explr tuner=optuna -m 'lr=interval(0,1)'"
            ) from None
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        text = " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read as YAML: {text}") from None
    if not OmegaConf.is_dict(content):
        raise UsageError(f"{path} must be a mapping of settings")
    values = OmegaConf.to_container(content, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def command_line(
    path: Path,
    train_function: str | None,
    line: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
) -> list[str]:
    """What to put on Hydra's command line for a file.

    A file with a `defaults` list is a primary config of Hydra's. Any other is laid over the
    composed config, new keys and all, and is stored in Hydra's ConfigStore for that.

    Args:
        path: the file.
        train_function: the training function, if it is named beside the file.
        line: overrides and flags that win over the file.
        options: options of groups that win over the file's, whose settings of the group stay.

    Raises:
        UsageError: the file cannot be used.
    """
    values = read_settings(path)
    chosen = [f"train_model={literal(train_function)}"] if train_function else []
    if "defaults" in values:
        if path.suffix != ".yaml":
            raise UsageError(f"{path} has a `defaults` list: Hydra wants it to end in .yaml")
        folder = str(path.resolve().parent)
        named = [f"{key}={value}" for key, value in (options or {}).items()]
        return ["--config-dir", folder, "--config-name", path.stem, *named, *chosen, *line]
    given = {key: values.pop(key) for key in list(values) if _is_choice(key, values[key])}
    options = given | dict(options or {})
    for key in {word.partition("=")[0] for word in line}:
        options.pop(key, None)
        if key in GROUPS:
            values.pop(key, None)  # an option named on the line is wanted whole
    if train_function:
        values.pop("train_model", None)
    store_file_overlay(values)
    groups = [f"{key}={_option(value)}" for key, value in options.items()]
    return [*groups, FILE_OVERLAY, *chosen, *line]


def _option(value: Any) -> str:
    """An option of a group; YAML takes a bare `off` for false."""
    return {"False": "off", "True": "on", "None": "null"}.get(str(value), str(value))


def _is_choice(key: str, value: Any) -> bool:
    return (key in GROUPS or "/" in key) and not isinstance(value, Mapping)
