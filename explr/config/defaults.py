"""Hyperparameters that a config has only because explr's own search space is chosen by default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf


def untouched_defaults(values: Mapping[str, Any], overrides: Iterable[str]) -> frozenset[str]:
    """Hyperparameters of the bundled examples that nobody chose or changed.

    Args:
        values: the hyperparameters of a config.
        overrides: what it was composed of; those that chose a search space chose all it has.
    """
    named = {re.split(r"[=./@]", text.lstrip("+~"))[0] for text in overrides}
    if "search_space" in named:
        return frozenset()
    return frozenset(
        name
        for name, value in bundled_defaults().items()
        if name in values and name not in named and values[name] == value
    )


@cache
def bundled_defaults() -> Mapping[str, Any]:
    """The hyperparameters of explr's examples, by name."""
    text = files("explr.conf").joinpath("search_space", "default.yaml").read_text(encoding="utf-8")
    content = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}
