"""The origin of a run: command, commit, changes, packages, GPUs."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from explr.core.framework import frameworks
from explr.core.secrets.masking import redacted_text
from explr.core.secrets.shapes import without_user_info
from explr.tracking.sweeps import Sweep
from explr.utils.invocation import typed_command

GIT_TIMEOUT_S = 20.0
"""Seconds that git may take."""


def git(folder: Path, *arguments: str) -> str | None:
    """The output of git; None if it fails or is not installed.

    Args:
        folder: working directory.
        arguments: subcommand and options that change nothing in the repository.
    """
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None


PACKAGES = ("explr-train", "numpy")
"""Distributions whose versions a run records beside those of the frameworks."""


def provenance_of(sweep: Sweep | None) -> dict[str, str]:
    """Tags for the origin of a run in this process, as a job of `sweep` if there is one."""
    return provenance_tags(sweep.tags if sweep is not None and sweep.tags else None)


def constant_tags() -> dict[str, str]:
    """Tags for command, commit and versions, which are the same for all jobs of a sweep."""
    commit = _commit(_working_directory())
    tags = {"explr.command": typed_command(), **_versions()}
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def provenance_tags(constant: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tags for commit, command, host, user and versions, under MLflow's names where it has one.

    Args:
        constant: result of `constant_tags` in the sweep's controller; None calls it here.
    """
    tags = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": sys.argv[0] if sys.argv else "",
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
    except FileNotFoundError:  # it was deleted meanwhile
        return ""


@cache
def _versions() -> dict[str, str]:
    tags = {}
    named = (name for framework in frameworks() for name in framework.distributions)
    for package in (*PACKAGES, *named):
        try:
            tags[f"version.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return tags


@cache
def _commit(folder: str) -> str | None:
    """The commit that is checked out in `folder`; None if there is none."""
    answer = git(Path(folder), "rev-parse", "HEAD")
    return None if answer is None else answer.strip()


DIFF_FILE = "changes.diff"
LOCK_FILE = "requirements.txt"
"""Names of the files, below `origin` among a run's artifacts."""

MAX_DIFF = 5_000_000
"""Characters of a diff that are kept."""


def origin_tags(folder: Path) -> dict[str, str]:
    """Tags for branch, remote, uncommitted changes, GPUs and driver.

    Args:
        folder: working directory of the run.
    """
    from explr.utils.readings import gpu_tags  # the companion asks, and no training

    tags = gpu_tags()
    branch = git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    if branch is None:
        return tags
    tags["mlflow.source.git.branch"] = branch.strip()
    if remote := (git(folder, "config", "--get", "remote.origin.url") or "").strip():
        tags["mlflow.source.git.repoURL"] = without_user_info(remote)
    changes = git(folder, "status", "--porcelain")
    tags["explr.git.dirty"] = str(bool(changes)).lower()
    return tags


def changes_since_commit(folder: Path) -> str:
    """The uncommitted changes of a working tree as a diff without secrets; "" if there are none.

    Untracked files are named at its end, after `#`.
    """
    diff = git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
    untracked = git(folder, "ls-files", "--others", "--exclude-standard") or ""
    text = redacted_text(diff)
    if len(text) > MAX_DIFF:
        text = f"{text[:MAX_DIFF]}\n# cut here: {len(text)} characters in all\n"
    return text + "".join(f"# not in git: {name}\n" for name in untracked.splitlines()[:1000])


def installed_packages() -> str:
    """All installed packages with their versions, as `pip freeze` prints them."""
    # `metadata` parses a file each time it is asked for.
    found = ((package, package.metadata) for package in distributions())
    lines = {
        _requirement(package, metadata["Name"], metadata["Version"])
        for package, metadata in found
        if metadata["Name"]
    }
    return "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


def _requirement(package: Distribution, name: str, version: str) -> str:
    direct = package.read_text("direct_url.json")
    if direct is None:
        return f"{name}=={version}"
    source = json.loads(direct)
    if source.get("dir_info", {}).get("editable"):
        return f"-e {unquote(urlsplit(source['url']).path)}"
    if (vcs := source.get("vcs_info")) is not None:
        return redacted_text(f"{name} @ {vcs['vcs']}+{source['url']}@{vcs['commit_id']}")
    return redacted_text(f"{name} @ {source['url']}")
