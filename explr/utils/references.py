"""Settings that come from the environment, as they may be written down: by reference."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

_VARIABLE = re.compile(r"\boc\.env:\s*(\w+)")


def by_reference(cfg: DictConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Resolved settings, in which a text from the environment is the reference that gave it.

    Args:
        cfg: the config, with its interpolations.
        values: some of its settings, resolved; numbers stay as they are.
    """
    written = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    assert isinstance(written, dict)
    names = set(_VARIABLE.findall(str(written)))
    found = {os.environ[name] for name in names if os.environ.get(name)}
    return {key: _public(written.get(key), value, found) for key, value in values.items()}


def _public(written: Any, value: Any, found: set[str]) -> Any:
    if isinstance(value, Mapping) and isinstance(written, Mapping):
        return {key: _public(written.get(key), below, found) for key, below in value.items()}
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
        return [_public(was, item, found) for was, item in zip(written, value, strict=True)]
    if isinstance(written, str) and "${" in written and any(part in str(value) for part in found):
        return value if isinstance(value, (bool, int, float)) else written
    return value
