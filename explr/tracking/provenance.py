"""Where a run comes from: the tags that tell how to repeat it."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("explr-train", "torch", "tensorflow", "tensorflow-cpu", "keras", "numpy")
"""Packages whose versions a run records, by distribution."""


def provenance_tags() -> dict[str, str]:
    """Tags for commit, command, host, user and versions; in MLflow's names where it has one."""
    program, *arguments = sys.argv or [""]
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # somebody deleted it
        folder = ""
    tags = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": program,
        "explr.command": shlex.join([Path(program).name, *arguments]),
        "explr.cwd": folder,
        "explr.host": socket.gethostname(),
        "explr.python": platform.python_version(),
        **_versions(),
    }
    if user := os.environ.get("USER") or os.environ.get("LOGNAME"):
        tags["mlflow.user"] = user
    if commit := _commit(folder):
        tags["mlflow.source.git.commit"] = commit
    return tags


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
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
