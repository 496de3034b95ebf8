"""What Hydra saves of a run: its files without secrets, and a run read from them again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from explr.core.errors import UsageError
from explr.core.folders import SAVED, replacing, saved_in
from explr.core.secrets.command_line import take_names
from explr.core.secrets.masking import may_hold_secrets, redacted


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
        if not may_hold_secrets(text) or _holds_none(text):
            continue
        before = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if (after := redacted(before)) != before:
            with replacing(file) as aside:
                OmegaConf.save(OmegaConf.create(after), aside)


def _holds_none(text: str) -> bool:
    """Whether a file certainly holds no secret; to make a config of it takes ten times as long."""
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:  # a path is an object of Python's
        return False
    return bool(redacted(content) == content)


def take_names_of(config: DictConfig) -> None:
    """Hide from now on what a config names as a secret, see `SecretsConfig`.

    Args:
        config: of explr's own tree, or of an app with its callback; faults are left to others.
    """
    for node in ("tracking", "hydra.callbacks.explr_mlflow"):
        with suppress(OmegaConfBaseException):
            found = OmegaConf.select(config, node)
            names = OmegaConf.to_container(found) if OmegaConf.is_dict(found) else {}
            assert isinstance(names, dict)
            given = (names.get("secret_names"), names.get("harmless_names"))
            take_names(*(each if isinstance(each, list) else [] for each in given))


def saved_files(folder: Path) -> list[Path]:
    """What Hydra saved for a run.

    Args:
        folder: the folder in that of the run, as `hydra.output_subdir` names it.
    """
    return [folder / name for name in SAVED]


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


def saved_run(folder: str) -> Path:
    """The files that Hydra keeps with a run, to run it again.

    Raises:
        UsageError: there is no run in `folder`.
    """
    files = saved_in(Path(folder))
    if files is None or not all(file.is_file() for file in saved_files(files)):
        raise UsageError(
            f"there is no run in {folder}: it has no .hydra/{SAVED[0]}, which Hydra saves unless "
            "hydra.output_subdir is null"
        )
    return files


def saved_overrides(folder: str) -> list[str]:
    """The overrides that a run was made with.

    Raises:
        UsageError: there is no run in `folder`.
    """
    saved = OmegaConf.load(saved_run(folder) / "overrides.yaml")
    lines = OmegaConf.to_container(saved, resolve=False)
    assert isinstance(lines, list)
    return [str(line) for line in lines]
