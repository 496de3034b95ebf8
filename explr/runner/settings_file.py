"""A plain YAML file of settings as the overrides that it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from explr.core.errors import UsageError

GROUPS = frozenset({"framework", "tuner", "tracking", "gpu", "experiment"})
"""Config groups that a file may choose an option of: `framework: tensorflow`."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        UsageError: it is not there, or is no mapping in YAML.
    """
    try:
        content = OmegaConf.load(path)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read as YAML: {text}") from None
    if not OmegaConf.is_dict(content):
        raise UsageError(f"{path} must be a mapping of settings")
    values = OmegaConf.to_container(content, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def command_line(path: Path, train_function: str | None) -> list[str]:
    """What to put on Hydra's command line for a file.

    A file with a `defaults` list is a primary config of Hydra's. Any other is laid over the
    composed config: each of its leaves is set, whether or not the key was there before.

    Args:
        path: the file.
        train_function: the training function, if it is named beside the file.

    Raises:
        UsageError: the file cannot be used.
    """
    values = read_settings(path)
    chosen = [f"train_model={_quoted(train_function)}"] if train_function else []
    if "defaults" in values:
        folder = str(path.resolve().parent)
        return ["--config-dir", folder, "--config-name", path.stem, *chosen]
    groups = [f"{key}={values.pop(key)}" for key in list(values) if _chooses(key, values[key])]
    return [*groups, *_leaves(values), *chosen]


def _chooses(key: str, value: Any) -> bool:
    return key in GROUPS and isinstance(value, str)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield f"++{name}={_literal(value)}"


def _literal(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_quoted(str(k))}:{_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_literal(v) for v in value) + "]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()
