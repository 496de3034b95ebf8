"""Where a run comes from: the tags that tell how to repeat it."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from explr.core.secrets import redacted_arguments
from explr.tracking.git import git
from explr.tracking.sweeps import Sweep

PACKAGES = ("explr-train", "torch", "tensorflow", "tensorflow-cpu", "keras", "numpy")
"""Packages whose versions a run records, by distribution."""


def provenance_of(sweep: Sweep | None) -> dict[str, str]:
    """Tags of a run that comes from here, as a job of `sweep` if there is one."""
    return provenance_tags(sweep.tags if sweep is not None and sweep.tags else None)


def constant_tags() -> dict[str, str]:
    """Tags for commit and versions, which all jobs of a sweep have in common."""
    commit = _commit(_working_directory())
    return {**_versions(), **({"mlflow.source.git.commit": commit} if commit else {})}


def provenance_tags(constant: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tags for commit, command, host, user and versions; in MLflow's names where it has one.

    Args:
        constant: what `constant_tags` returned in the sweep's controller; None asks here.
    """
    program, *arguments = sys.argv or [""]
    tags = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": program,
        "explr.command": shlex.join([Path(program).name, *redacted_arguments(arguments)]),
        "explr.cwd": _working_directory(),
        "explr.host": socket.gethostname(),
        "explr.python": platform.python_version(),
        **(constant_tags() if constant is None else constant),
    }
    if user := os.environ.get("USER") or os.environ.get("LOGNAME"):
        tags["mlflow.user"] = user
    return tags


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody deleted it
        return ""


@cache
def _versions() -> dict[str, str]:
    tags = {}
    for package in PACKAGES:
        try:
            tags[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return tags


@cache
def _commit(folder: str) -> str | None:
    """The commit that is checked out in the working directory `folder`, if git knows one."""
    answer = git(Path(folder), "rev-parse", "HEAD")
    return None if answer is None else answer.strip()
