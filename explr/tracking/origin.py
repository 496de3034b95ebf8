"""What a run was made from: branch, changes that are in no commit, packages, GPUs."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

from explr.core.secrets import redacted_text, without_user_info
from explr.tracking.git import git
from explr.utils.readings import gpu_tags

DIFF_FILE = "changes.diff"
LOCK_FILE = "requirements.txt"
"""Names of the files, below `origin` among a run's artifacts."""

MAX_DIFF = 5_000_000
"""Characters of a diff that are kept."""


def origin_tags(folder: Path) -> dict[str, str]:
    """Tags for branch, remote, changes that are in no commit, GPUs and driver.

    Args:
        folder: working directory of the run.
    """
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
    """The diff of a working tree to its commit, without secrets; empty where there is none.

    Files that git does not know are named at its end, after `#`.
    """
    diff = git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
    untracked = git(folder, "ls-files", "--others", "--exclude-standard") or ""
    text = redacted_text(diff)
    if len(text) > MAX_DIFF:
        text = f"{text[:MAX_DIFF]}\n# cut here: {len(text)} characters in all\n"
    return text + "".join(f"# not in git: {name}\n" for name in untracked.splitlines()[:1000])


def installed_packages() -> str:
    """Every installed package with its version, as `pip freeze` prints them."""
    lines = {_requirement(package) for package in distributions() if package.metadata["Name"]}
    return "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


def _requirement(package: Distribution) -> str:
    name = package.metadata["Name"]
    direct = package.read_text("direct_url.json")
    if direct is None:
        return f"{name}=={package.version}"
    source = json.loads(direct)
    if source.get("dir_info", {}).get("editable"):
        return f"-e {unquote(urlsplit(source['url']).path)}"
    if (vcs := source.get("vcs_info")) is not None:
        return redacted_text(f"{name} @ {vcs['vcs']}+{source['url']}@{vcs['commit_id']}")
    return redacted_text(f"{name} @ {source['url']}")
