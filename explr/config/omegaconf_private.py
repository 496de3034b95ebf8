"""Every use of OmegaConf that it does not document.

Read in omegaconf 2.4.1rc1, and beside it in 2.3.1. On an upgrade this file is the one to read.
"""

from __future__ import annotations

from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Quotes as OmegaConf does, with libyaml's speed."""


_Dumper.yaml_representers = get_omega_conf_dumper().yaml_representers.copy()


def to_yaml(content: Any) -> str:
    """Write plain data as `OmegaConf.to_yaml` writes a config.

    `OmegaConf.to_yaml` makes a config of the data first, which rejects a text such as `${`, and
    writes without libyaml. PyYAML alone leaves texts such as `1e-3` unquoted, which OmegaConf then
    reads as numbers. Read in 2.4.1rc1; 2.3.1 has the same, without the representers of paths.

    Args:
        content: mappings, sequences, texts, numbers and paths.
    """
    return str(
        yaml.dump(
            content,
            default_flow_style=False,
            allow_unicode=True,
            sort_keys=False,
            Dumper=_Dumper,
        )
    )
