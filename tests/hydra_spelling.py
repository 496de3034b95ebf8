"""What tests spell differently under Hydra 1.3, with OmegaConf 2.3, and under Hydra 1.4."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import OmegaConf

from explr.config.hydra_versions import HAS_WHITELIST

REGISTER = "register_resolver" if HAS_WHITELIST else "register_new_resolver"
"""OmegaConf's name for the registration of a resolver."""

register: Any = getattr(OmegaConf, REGISTER)

VERSION_BASE: dict[str, Any] = {} if HAS_WHITELIST else {"version_base": "1.3"}
"""Keyword arguments of `hydra.main` and of `initialize…`; Hydra 1.4 knows one behaviour only."""

MAIN = "" if HAS_WHITELIST else ", version_base='1.3'"
"""The same as text, behind other arguments."""


def spelled(app: str) -> str:
    """The text of an app whose `@hydra.main(…)` ends with the name of its config."""
    return re.sub(r"""(@hydra\.main\(.*config_name=["']config["'])\)""", rf"\1{MAIN})", app)
