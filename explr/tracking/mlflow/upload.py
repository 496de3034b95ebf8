"""Uploads single files to the artifacts of a run in MLflow."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from explr.tracking.mlflow.names import legal_file
from explr.tracking.mlflow.timeouts import time_out, upload_limit_s
from explr.tracking.tree import files_below

if TYPE_CHECKING:
    from mlflow import MlflowClient


def upload_file(client: MlflowClient, run_id: str, file: Path, name: str) -> None:
    """Upload a file under a name that MLflow takes, with the time that its size needs.

    Args:
        client: MLflow's client for the store.
        run_id: the run in MLflow.
        file: the file.
        name: its path among the artifacts; changed if MLflow does not take it.
    """
    folder, base = posixpath.split(legal_file(name))
    with time_out(upload_limit_s(file.stat().st_size)), _named(file, base) as path:
        client.log_artifact(run_id, str(path), folder or None)


def upload_tree(client: MlflowClient, run_id: str, path: Path, folder: str) -> None:
    """Upload a file, or the files below a folder.

    Args:
        client: MLflow's client for the store.
        run_id: the run in MLflow.
        path: the file or folder.
        folder: where to put them among the artifacts.
    """
    if not path.is_dir():
        upload_file(client, run_id, path, f"{folder}/{path.name}")
        return
    for name in files_below(path).files:
        upload_file(client, run_id, path / name, f"{folder}/{name}")


@contextmanager
def _named(file: Path, name: str) -> Iterator[Path]:
    """A path of the file that ends with a name: MLflow's client takes the name from there."""
    if file.name == name:
        yield file
        return
    with TemporaryDirectory(prefix="explr-") as folder:
        link = Path(folder, name)
        link.symlink_to(file.absolute())
        yield link
