"""EXPLR_HOME: the user's folder with the local MLflow store, its artifacts, states and logs.

Every training process imports this module, so it imports almost nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from explr.core.errors import TrackingError
from explr.utils.settings import no_home, user_folder

MAX_LOG_BYTES = 5_000_000
"""Length at which a log file is rotated by the next process that opens it."""


def explr_home() -> Path:
    """The user's folder: `EXPLR_HOME`, else `explr` in the platform's user data folder.

    Returns:
        An absolute path to a folder that exists (created with mode 0700) and can be written.

    Raises:
        TrackingError: it cannot be created or written.
    """
    folder = user_folder("data")
    if folder is None:
        raise TrackingError(f"explr has no folder for its files: {no_home()}")
    return prepare_home(folder)


def ensure_home() -> None:
    """Make EXPLR_HOME the home folder of this process if its user has none.

    MLflow cannot be imported without one, and keeps files there that nobody else must write.

    Raises:
        TrackingError: EXPLR_HOME cannot be created or written.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(explr_home())


def prepare_home(folder: Path) -> Path:
    """Create `folder` if needed, and make sure that it can be a home.

    Returns:
        Its absolute path.

    Raises:
        TrackingError: it cannot be created or written.
    """
    home = Path(os.path.abspath(folder.expanduser()))
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = "" if os.access(home, os.R_OK | os.W_OK | os.X_OK) else "it cannot be written"
        if "?" in str(home):  # in an SQLite address, options follow it
            reason = "its name holds a question mark"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise TrackingError(
            f"explr cannot keep its files in {home} ({reason}): "
            "set EXPLR_HOME to a folder that can be written"
        )
    return home


def rotated_log(path: Path) -> Path:
    """Rotate a log file if it is long, and return its path.

    Args:
        path: the file; the rotated one has `.1` at the end of its name.
    """
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    except FileNotFoundError:
        pass  # it is new, or another process has just rotated it
    return path


def local_store_uri(home: Path | None = None) -> str:
    """The MLflow store of the user: an SQLite file in `home` (default: `explr_home()`)."""
    return f"sqlite:///{(home or explr_home()) / 'mlflow.db'}"


def artifact_root(home: Path | None = None) -> Path:
    """The folder in `home` (default: `explr_home()`) for the artifacts of the local store."""
    return (home or explr_home()) / "artifacts"


def store_file(uri: str) -> Path:
    """The file of a local store."""
    return Path(uri.partition(":///")[2].partition("?")[0])


def is_made(uri: str) -> bool:
    """Whether a store is there: a local one is made in one step by who first uploads to it."""
    if not is_local_store(uri):
        return True
    try:
        return store_file(uri).stat().st_size > 0
    except OSError:
        return False


def is_local_store(uri: str) -> bool:
    """Whether `uri` is an SQLite file, which explr writes directly and starts a server for."""
    dialect, separator, path = uri.partition(":///")
    return bool(
        separator
        and dialect.partition("+")[0] == "sqlite"
        and path.partition("?")[0] not in ("", ":memory:")
    )


def autostart_allowed(flag: bool) -> bool:
    """Whether a server may be started automatically.

    Args:
        flag: the setting `tracking.autostart`; `EXPLR_AUTOSTART` as 0, false or no forbids it too.
    """
    return flag and os.environ.get("EXPLR_AUTOSTART", "").strip().lower() not in (
        "0",
        "false",
        "no",
    )
