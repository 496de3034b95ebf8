"""`explr sync`: uploads to MLflow what companions could not upload."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from explr.core.errors import FileError
from explr.core.secrets import without_user_info
from explr.tracking.destination import environment_uri, with_user_info
from explr.tracking.home import explr_home
from explr.tracking.journal.items import read_items
from explr.tracking.journal.journal import first_event, read_events, uid_of
from explr.tracking.journal.pending import Entry, Liveness, enter, entries, is_of_this_host
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.awaiting import upload_lock
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.run_ids import fill_in
from explr.tracking.shipping.start import LOG_FILE, Order
from explr.utils.lock import lock_file


def sync_journals(folder: Path | None) -> int:
    """Upload pending runs, and print those that are still pending.

    Args:
        folder: upload only the runs in this folder; None takes every run of this user.

    Returns:
        The exit code: 1 if a run that has ended could not be uploaded, or lacks an artifact.

    Raises:
        TrackingError: EXPLR_HOME cannot be used.
    """
    code = _upload(folder)
    if folder is not None:
        try:
            fill_in(folder)
        except (FileError, OSError) as error:
            click.echo(f"the ids of runs are not in the results of the sweep: {error}", err=True)
            return 1
    return code


def _upload(folder: Path | None) -> int:
    """See `sync_journals`."""
    damaged = _enter_strays(folder) if folder is not None else []
    for journal in damaged:
        click.echo(f"{journal}: its beginning is damaged: it cannot be uploaded", err=True)
    before = _waiting(folder)
    if not before:
        if not damaged:
            click.echo("Everything is in MLflow already.")
        return 1 if damaged else 0
    click.echo(f"Uploading {_runs(len(before))} …")
    _log_to_file()
    with _progress(before) as told:
        uris = dict.fromkeys(entry.uri for entry in before)
        busy = {uri for uri in uris if not follow(Order(with_user_info(uri)), told)}
    liveness = Liveness()
    left = {entry.uid for entry in _waiting(folder)}
    code = 1 if damaged else 0
    uploaded = 0
    for entry in before:
        journal = Path(entry.journal)
        if entry.uid in left:
            error = read_position(journal).error
            if not error and entry.uri in busy and liveness.is_left(entry):
                error = busy_text(entry.uri)
            click.echo(f"{journal}: {error or _reason(entry)}", err=True)
            code = 1 if error else code
        elif _has_events(journal):
            uploaded += 1
            if missing := read_position(journal).missing:
                click.echo(f"{journal}: {missing}", err=True)
                code = 1
        else:
            done = "emptied" if journal.exists() else "deleted"
            click.echo(f"{journal} was {done}: its rows that are not in MLflow are lost", err=True)
            code = 1
    click.echo(f"{_runs(uploaded)} uploaded, {len(left)} left.")
    return code


@contextmanager
def _progress(waiting: Sequence[Entry]) -> Iterator[Callable[[], None]]:
    """Show a progress bar in a terminal; the yielded function updates it."""
    if not sys.stdout.isatty():
        yield lambda: None
        return
    journals = [Path(entry.journal) for entry in waiting]
    sizes = {journal: journal.stat().st_size for journal in journals if journal.exists()}
    with click.progressbar(length=max(sum(sizes.values()), 1), label="in MLflow") as bar:

        def told() -> None:
            done = sum(min(read_position(path).offset, size) for path, size in sizes.items())
            bar.update(done - bar.pos)

        told()
        yield told
        told()


def _waiting(folder: Path | None) -> list[Entry]:
    root = folder.resolve() if folder else None
    return [e for e in entries() if root is None or Path(e.journal).is_relative_to(root)]


def busy_text(uri: str) -> str:
    """Why a run is still pending that another process may upload."""
    return (
        "another process is uploading and has not reached this run yet: try again, or if it is "
        f"gone with its machine, delete {lock_file(upload_lock(uri))}"
    )


def _reason(entry: Entry) -> str:
    """Why a run is still pending although nothing failed."""
    if is_of_this_host(entry):
        return "its training is still running"
    return f"its training is running on {entry.host}, or was killed there"


def _has_events(journal: Path) -> bool:
    return journal.exists() and next(read_events(journal), None) is not None


def _enter_strays(folder: Path) -> list[Path]:
    """Add journals that are not in the list of pending runs, such as copied ones.

    A run that lacks an artifact is added too, so that this is tried again.

    Returns:
        Journals whose beginning is damaged and which MLflow does not have.
    """
    known = {entry.uid: entry for entry in entries()}
    uri = without_user_info(environment_uri())
    found, damaged = [], []
    for journal in folder.resolve().rglob("journal-*.jsonl"):
        start = first_event(journal)
        position = read_position(journal)
        size = journal.stat().st_size
        items = read_items(journal)
        is_whole = items is not None and not items.refused
        if position.done and position.offset >= size and is_whole:
            continue
        if start is None:
            if uid_of(journal) not in known and (size or position.offset):
                damaged.append(journal)
            continue
        entry = Entry(str(journal), uri, start["pid"], start["started"], start["host"])
        # The list may still have the old path of a folder that was moved.
        if entry.uid not in known or not Path(known[entry.uid].journal).exists():
            found.append((start["t"], entry))
    for _, entry in sorted(found, key=lambda x: x[0]):  # a sweep before its trials
        enter(entry)
    return damaged


def _log_to_file() -> None:
    """Write the messages of MLflow and its libraries to the log file, not to the terminal."""
    handler = logging.FileHandler(explr_home() / LOG_FILE)
    handler.setFormatter(logging.Formatter("[%(asctime)s][sync][%(levelname)s] %(message)s"))
    logging.getLogger().addHandler(handler)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
