"""The YAML files that Hydra saves for a run, without secrets."""

from __future__ import annotations

import re
from pathlib import Path

from explr.core.secrets import holds_remembered, redacted

SAVED = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""What Hydra saves in a run's folder, below `.hydra`."""

_TELLING = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|bearer|cookie|authorization|://[^\s]*@"
    r"|(?:api|access|private|auth|encryption|signing|ssh|account)[_-]?keys?\b",
    re.IGNORECASE,
)
"""What a file with a secret holds; most files hold none of it, and are not parsed."""


def hide_secrets(*files: Path) -> None:
    """Write files of Hydra's anew without their secrets, where there are any.

    Args:
        files: YAML files; those that do not exist are passed over.

    Raises:
        OSError: a file cannot be written.
    """
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        if not _TELLING.search(text) and not holds_remembered(text):
            continue
        from omegaconf import OmegaConf

        before = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if (after := redacted(before)) != before:
            aside = file.with_name(f".{file.name}")
            OmegaConf.save(OmegaConf.create(after), aside)
            aside.replace(file)


def saved_files(folder: Path) -> list[Path]:
    """What Hydra saved for a run.

    Args:
        folder: the folder `.hydra` of the run.
    """
    return [folder / name for name in SAVED]
