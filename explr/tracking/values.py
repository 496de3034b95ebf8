"""Converts values of training code to what a journal holds."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from explr.core.numbers import described, read_metric, unboxed
from explr.core.reporter import whole_step
from explr.core.secrets.masking import redacted, redacted_text

log = logging.getLogger("explr.tracking")


class WarnOnce:
    """Logs a warning once for each key."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, key: str, message: str, *args: object) -> None:
        """Log a message, unless that was done for the key before."""
        if key not in self._told:
            self._told.add(key)
            log.warning(f"{message}. This warning is shown once", *args)


def read_metrics(
    metrics: Mapping[str, Any], step: Any, warn: WarnOnce
) -> tuple[dict[str, float], int | None]:
    """The rows of metrics, and their step; what cannot be recorded is left out with a warning.

    Args:
        metrics: values of any type by name; see `read_metric`.
        step: a whole number of any type, or None.
        warn: takes the warnings, one for each name.
    """
    try:
        at = None if step is None else whole_step(step)
    except (TypeError, ValueError) as error:
        for name in metrics:
            warn(f"step of {name}", "metric %s is left out: %s", name, error)
        return {}, None
    rows: dict[str, float] = {}
    for name, value in metrics.items():
        if type(value) is float:
            rows[str(name)] = value
            continue
        try:
            rows |= read_metric(str(name), value)
        except TypeError as error:
            warn(f"metric {name}", "metric %s is left out: %s", name, error)
    return rows, at


def plain(value: Any) -> Any:
    """Settings of any kind as mappings and lists, for what goes into parameters, tags and files.

    Args:
        value: an `argparse.Namespace`, dataclass, named tuple, config of OmegaConf or model of
            pydantic becomes a mapping; a sequence or set a list; a number of a library Python's
            own; a path its text. They may be nested. Anything else, such as an array, stays.
    """
    if type(value) in (float, int, bool, str) or isinstance(value, (str, bytes, type)):
        return value
    if (omegaconf := sys.modules.get("omegaconf")) and omegaconf.OmegaConf.is_config(value):
        value = _container(omegaconf.OmegaConf, value)
    if (mapping := _as_mapping(value)) is not None:
        return {str(key): plain(each) for key, each in mapping.items()}
    if isinstance(value, AbstractSet):
        return sorted(map(plain, value), key=str)  # their own order changes between processes
    if isinstance(value, Sequence) and not isinstance(value, (bytearray, memoryview, range)):
        return [plain(each) for each in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        with suppress(Exception):  # a tensor without data, say
            return value.item()
    return value


def listed(value: Any) -> Any:
    """A value as JSON can hold it, with lists in place of arrays; other types stay."""
    with suppress(Exception):  # a tensor without data, say
        value = unboxed(value)
    value = plain(value)
    if isinstance(value, dict):
        return {key: listed(each) for key, each in value.items()}
    return [listed(each) for each in value] if isinstance(value, list) else value


def text_of(value: Any, key: str = "") -> str:
    """The text of a value of any type, without secrets.

    Args:
        value: any value.
        key: its name, which may say that it is a secret.
    """
    clean = redacted(plain(value), key)
    if isinstance(clean, str):
        return clean
    try:
        return redacted_text(str(clean))
    except Exception:  # noqa: BLE001 - an integer of 5000 digits, say
        return described(clean)


def texts_of(values: Any, what: str) -> dict[str, str]:
    """The texts of values of any type by name, without secrets.

    Args:
        values: a mapping; None is an empty one.
        what: what the values are, for the message.

    Raises:
        TypeError: it is no mapping.
    """
    if values is not None and not isinstance(values, Mapping):
        raise TypeError(f"{what} are a mapping of names to values, got {described(values)}")
    return {str(name): text_of(value, str(name)) for name, value in (values or {}).items()}


def parameters(params: Any) -> dict[str, str]:
    """Parameters as texts by dotted name, without secrets.

    Args:
        params: what holds settings by name; see `plain`.

    Raises:
        TypeError: it holds none.
    """
    content = plain(params)
    if not isinstance(content, dict):
        raise TypeError(
            "log_params takes a mapping, a Namespace or a dataclass instance, "
            f"got {described(params)}"
        )
    return {name: text_of(value) for name, value in flatten(redacted(content)).items()}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested mapping; the keys become dotted names.

    Args:
        values: a mapping, whose values may be mappings, or lists of them, whose indices become
            part of the names; other lists stay as they are.
        prefix: put before each name.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _container(omegaconf: Any, config: Any) -> Any:
    """The content of a config of OmegaConf; if it cannot be resolved, as it is written."""
    try:
        return omegaconf.to_container(config, resolve=True)
    except Exception:  # noqa: BLE001 - resolvers are code of the user
        return omegaconf.to_container(config, resolve=False)


def _as_mapping(value: Any) -> Mapping[Any, Any] | None:
    """The content of an object that holds settings by name; None for any other."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (argparse.Namespace, types.SimpleNamespace)):
        return vars(value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if isinstance(value, tuple) and (fields := getattr(type(value), "__match_args__", ())):
        return dict(zip(fields, value, strict=True))  # a named tuple
    if callable(getattr(type(value), "model_dump", None)):  # pydantic
        with suppress(Exception):
            return dict(value.model_dump())
    return None
