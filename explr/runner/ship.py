"""`explr sync`: ships what the companions had to leave behind."""

from __future__ import annotations

import os
from pathlib import Path

import click

from explr.tracking.companion import Order, follow
from explr.tracking.home import local_store_uri
from explr.tracking.journal import read_events
from explr.tracking.spool import Entry, enter, entries, read_position

NOBODY = 0
"""A process id that never lives: what is shipped for it is left by the dead."""


def sync_journals(folder: Path | None) -> int:
    """Ship what waits, and tell what still does.

    Args:
        folder: only what lies below it; None takes every run of this user.

    Returns:
        The exit code: 1 if something waits that should not.
    """
    if folder is not None:
        _enter_strays(folder)
    before = _waiting(folder)
    if not before:
        click.echo("Nothing waits: MLflow has all of it.")
        return 0
    click.echo(f"Shipping {_runs(len(before))} …")
    for uri in {entry.uri for entry in before}:
        follow(Order(uri, NOBODY, 0.0, serve=False, port=5000))
    left = {entry.uid for entry in _waiting(folder)}
    for entry in before:
        if entry.uid in left:
            reason = read_position(Path(entry.journal)).error or "its training is still running"
            click.echo(f"{entry.journal}: {reason}", err=True)
    click.echo(f"{_runs(len(before) - len(left))} shipped, {len(left)} left.")
    return 1 if any(read_position(Path(e.journal)).error for e in before if e.uid in left) else 0


def _waiting(folder: Path | None) -> list[Entry]:
    root = folder.resolve() if folder else None
    return [e for e in entries() if root is None or Path(e.journal).is_relative_to(root)]


def _enter_strays(folder: Path) -> None:
    """Put journals on the list that are not: those copied from another machine, for one."""
    known = {entry.uid for entry in entries()}
    uri = os.environ.get("MLFLOW_TRACKING_URI") or local_store_uri()
    for journal in sorted(folder.resolve().rglob("journal-*.jsonl")):
        first = next(read_events(journal), None)
        if first is None or first.event["k"] != "start" or read_position(journal).done:
            continue
        start = first.event
        entry = Entry(str(journal), uri, start["pid"], start["started"], start["host"])
        if entry.uid not in known:
            enter(entry)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
