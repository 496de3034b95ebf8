"""A plain YAML file of settings, and the command line that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.core.errors import UsageError
from explr.runner.overlay import FILE_OVERLAY, store_file_overlay
from explr.tuning.search_space import literal

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
        content = OmegaConf.load(path)
    except FileNotFoundError:
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
