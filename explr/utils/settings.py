"""The user's settings file, which holds for all projects.

It is in `EXPLR_HOME` if that is set, else in the platform's folder for settings.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from explr.core.errors import FileError, UsageError
from explr.core.folders import read_json, replace_file

FILE = "settings.json"


def user_folder(kind: Literal["data", "config"]) -> Path | None:
    """The user's folder: `EXPLR_HOME` if that is set, else the platform's folder of a kind.

    Returns:
        An absolute path, which may not exist; None if the user has no home folder.
    """
    configured = os.environ.get("EXPLR_HOME")
    try:
        if configured:
            return Path(os.path.abspath(Path(configured).expanduser()))
        import platformdirs

        folders = platformdirs.PlatformDirs("explr")
        folder = folders.user_data_path if kind == "data" else folders.user_config_path
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # older ones leave the ~ in it


def no_home() -> str:
    """Why `user_folder` has found none, and what to do about it, as the end of a sentence."""
    configured = os.environ.get("EXPLR_HOME")
    why = f"EXPLR_HOME={configured}" if configured else "HOME is not set"
    return (
        f"{why}, and the system knows no home folder of the user with the number {os.getuid()}: "
        "set EXPLR_HOME to the path of a folder that can be written"
    )


def check_home(what: str) -> None:
    """Check that the user has a home folder, which Ray needs.

    Args:
        what: what the user has chosen that needs it.

    Raises:
        UsageError: there is none.
    """
    try:
        Path.home()
    except RuntimeError:
        raise UsageError(
            f"{what} needs a home folder, and this user has none: set HOME to the path of a folder "
            "that can be written"
        ) from None


def settings_path() -> Path | None:
    """Path of the settings file, which may not exist; None if the user has no home folder."""
    folder = user_folder("config")
    return None if folder is None else folder / FILE


def read_settings() -> dict[str, Any]:
    """The settings by name; empty if there is no file.

    Raises:
        UsageError: the file cannot be read as settings.
    """
    path = settings_path()
    try:
        return (path and read_json(path)) or {}
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
    if path is None:
        raise UsageError(f"the settings cannot be kept: {no_home()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, json.dumps(kept, indent=1) + "\n", private=False)
    except OSError as error:
        raise UsageError(f"the settings cannot be kept in {path}: {error.strerror}") from None
    return path
