"""Where runs are mirrored to."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from explr.core.config import MirrorConfig
from explr.core.secrets import without_user_info
from explr.tracking.home import is_local_store, local_store_uri
from explr.tracking.sweeps import Sweep


@dataclass(frozen=True)
class Destination:
    """Where runs go.

    Args:
        uri: tracking URI; None stands for the local store.
        autostart: start an MLflow server for the local store.
        port: first port to try for it.
        drain_timeout_s: how long the end of a command waits for MLflow to catch up.
        companion: start a process that ships from this machine.
        look_s: seconds between two looks of that process at the machine; 0 for none.
    """

    uri: str | None = None
    autostart: bool = True
    port: int = 5000
    drain_timeout_s: float = 10.0
    companion: bool = True
    look_s: float = 0.0

    def __post_init__(self) -> None:
        if self.uri:
            # What ships has another working directory.
            object.__setattr__(self, "uri", absolute_uri(self.uri, _working_directory()))

    @classmethod
    def of(cls, settings: MirrorConfig) -> Destination:
        """The destination that the settings name."""
        look_s = settings.system_metrics_interval_s if settings.system_metrics else 0.0
        return cls(
            settings.uri,
            settings.autostart,
            settings.port,
            settings.drain_timeout_s,
            look_s=look_s,
        )

    def beside(self, sweep: Sweep | None) -> Destination:
        """The destination of a job of `sweep`, whose controller ships for its own machine."""
        return replace(self, companion=sweep is None or not sweep.is_here)

    @property
    def resolved_uri(self) -> str:
        """The tracking URI, whichever way it was given."""
        return self.uri or local_store_uri()


def with_user_info(uri: str) -> str:
    """A tracking URI as the environment has it, with user and password, if it is that one.

    Args:
        uri: tracking URI without them, as it was written down.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
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
    """Where the command was given; Hydra may have gone to a job's folder since."""
    from hydra.core.hydra_config import HydraConfig

    cwd = HydraConfig.get().runtime.cwd if HydraConfig.initialized() else None
    return Path(cwd) if cwd else Path.cwd()
