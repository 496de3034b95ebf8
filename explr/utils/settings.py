"""The user's settings file, which holds for all projects.

It is in `EXPLR_HOME` if that is set, else in the platform's folder for settings.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from explr.core.errors import FileError, UsageError
from explr.core.folders import read_json, replace_file

FILE = "settings.json"


def settings_path() -> Path:
    """Path of the settings file, which may not exist."""
    home = os.environ.get("EXPLR_HOME")
    if home:
        return Path(os.path.abspath(Path(home).expanduser())) / FILE
    import platformdirs

    return platformdirs.user_config_path("explr") / FILE


def read_settings() -> dict[str, Any]:
    """The settings by name; empty if there is no file.

    Raises:
        UsageError: the file cannot be read as settings.
    """
    try:
        return read_json(settings_path()) or {}
    except (OSError, FileError) as error:
        raise UsageError(f"the settings cannot be read: {error}") from None


def write_setting(name: str, value: Any) -> Path:
    """Save a setting; the others stay.

    Args:
        name: its name.
        value: a JSON value; None removes the setting.

    Returns:
        The file.

    Raises:
        UsageError: the file cannot be read or written.
    """
    settings = {**read_settings(), name: value}
    kept = {key: each for key, each in settings.items() if each is not None}
    path = settings_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, json.dumps(kept, indent=1) + "\n", private=False)
    except OSError as error:
        raise UsageError(f"the settings cannot be kept in {path}: {error.strerror}") from None
    return path
