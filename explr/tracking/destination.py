"""Where runs are recorded: from a config, from the environment, or the local store."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from explr.core.config import MirrorConfig, TrackingConfig
from explr.core.secrets.shapes import without_user_info
from explr.tracking.home import is_local_store, local_store_uri
from explr.tracking.sweeps import Sweep

TRACKING_URI = "MLFLOW_TRACKING_URI"
"""MLflow's own variable for the tracking URI."""


@dataclass(frozen=True)
class Destination:
    """Where runs are recorded.

    Args:
        uri: tracking URI; its scheme names the sink; None is the local store.
        autostart: start an MLflow server for the local store.
        port: first port to try for it.
        protect: it asks for a password.
        drain_timeout_s: seconds that the end of a command waits for the upload.
        companion: start a process on this machine that uploads.
        look_s: seconds between two measurements of the machine by that process; 0 for none.
        register: name to register the best model under; None registers none.
    """

    uri: str | None = None
    autostart: bool = True
    port: int = 5000
    protect: bool = False
    drain_timeout_s: float = 10.0
    companion: bool = True
    look_s: float = 0.0
    register: str | None = None

    def __post_init__(self) -> None:
        if self.uri:
            # The companion has another working directory.
            object.__setattr__(self, "uri", absolute_uri(self.uri, _working_directory()))

    @classmethod
    def of(cls, settings: MirrorConfig) -> Destination:
        """The destination that the settings name."""
        return cls(
            settings.uri,
            settings.autostart,
            settings.port,
            settings.protect,
            settings.drain_timeout_s,
            look_s=settings.system_metrics_interval_s if settings.system_metrics else 0.0,
            register=settings.register,
        )

    @classmethod
    def in_config(cls, tracking: TrackingConfig) -> Destination | None:
        """The destination that a config names; None if it records nothing.

        Args:
            tracking: the group `tracking` of a config.
        """
        return cls.of(tracking) if isinstance(tracking, MirrorConfig) else None

    def beside(self, sweep: Sweep | None) -> Destination:
        """The destination of a job of `sweep`, whose controller uploads for its own machine."""
        return replace(self, companion=sweep is None or not sweep.is_here)

    @property
    def resolved_uri(self) -> str:
        """The tracking URI; that of the local store if none was given."""
        return self.uri or local_store_uri()


def environment_uri() -> str:
    """The tracking URI of a command without a config: MLFLOW_TRACKING_URI, or the local store."""
    return Destination(os.environ.get(TRACKING_URI)).resolved_uri


def with_user_info(uri: str) -> str:
    """A tracking URI with the user and password that MLFLOW_TRACKING_URI has for it, if any.

    Args:
        uri: tracking URI without them, as it was written down.
    """
    given = os.environ.get(TRACKING_URI, "")
    return given if without_user_info(given) == uri else uri


def absolute_uri(uri: str, folder: Path) -> str:
    """A tracking URI that means the same in every working directory.

    Args:
        uri: tracking URI, or the path of a folder, as MLflow takes it.
        folder: what a relative path is relative to.
    """
    if is_local_store(uri):
        dialect, _, location = uri.partition(":///")
        path, mark, query = location.partition("?")
        return f"{dialect}:///{_joined(folder, path)}{mark}{query}"
    scheme, colon, rest = uri.partition(":")
    if scheme == "file" and not rest.startswith("/"):
        return _joined(folder, rest).as_uri()
    if colon or uri.startswith(("databricks", "uc")):
        return uri
    return _joined(folder, uri).as_uri()


def _joined(folder: Path, path: str) -> Path:
    return Path((folder / path).absolute())


def _working_directory() -> Path:
    """Where the command was given; Hydra may have changed to a job's folder since."""
    from hydra.core.hydra_config import HydraConfig

    cwd = HydraConfig.get().runtime.cwd if HydraConfig.initialized() else None
    return Path(cwd) if cwd else Path.cwd()
