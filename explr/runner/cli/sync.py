"""`explr sync`: uploads what the companions had to leave behind."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from explr.core.secrets import without_user_info
from explr.tracking.destination import environment_uri, with_user_info
from explr.tracking.home import explr_home
from explr.tracking.journal.journal import first_event
from explr.tracking.journal.pending import Entry, Liveness, enter, entries, is_of_this_host
from explr.tracking.journal.position import read_position
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.start import LOG_FILE, Order

BUSY = "another process uploads it, and has not come to it yet: try again"


def sync_journals(folder: Path | None) -> int:
    """Upload what waits, and print what still does.

    Args:
        folder: only runs below it; None takes every run of this user.

    Returns:
        The exit code: 1 if something waits that should not.

    Raises:
        TrackingError: EXPLR_HOME cannot be used.
    """
    if folder is not None:
        _enter_strays(folder)
    before = _waiting(folder)
    if not before:
        click.echo("Nothing waits: MLflow has all of it.")
        return 0
    click.echo(f"Uploading {_runs(len(before))} …")
    _log_to_file()
    with _progress(before) as on_progress:
        uris = dict.fromkeys(entry.uri for entry in before)
        busy = {uri for uri in uris if not follow(Order(with_user_info(uri)), on_progress)}
    liveness = Liveness()
    left = {entry.uid for entry in _waiting(folder)}
    code = 0
    uploaded = 0
    for entry in before:
        journal = Path(entry.journal)
        if entry.uid in left:
            error = read_position(journal).error
            if not error and entry.uri in busy and liveness.is_left(entry):
                error = BUSY
            click.echo(f"{journal}: {error or _reason(entry)}", err=True)
            code = 1 if error else code
        elif journal.exists():
            uploaded += 1
        else:
            click.echo(f"{journal} was deleted: what it held beyond MLflow is lost", err=True)
            code = 1
    click.echo(f"{_runs(uploaded)} uploaded, {len(left)} left.")
    return code


@contextmanager
def _progress(waiting: Sequence[Entry]) -> Iterator[Callable[[], None]]:
    """A progress bar, if the output is a terminal; the yielded function updates it."""
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


def _reason(entry: Entry) -> str:
    """Why a run without an error waits."""
    if is_of_this_host(entry):
        return "its training is still running"
    return f"its training runs on {entry.host}, or ended there without a word"


def _enter_strays(folder: Path) -> None:
    """Enter journals that are not on the list, such as those copied from another machine."""
    known = {entry.uid: entry for entry in entries()}
    uri = without_user_info(environment_uri())
    found = []
    for journal in folder.resolve().rglob("journal-*.jsonl"):
        start = first_event(journal)
        position = read_position(journal)
        if start is None or (position.done and position.offset >= journal.stat().st_size):
            continue
        entry = Entry(str(journal), uri, start["pid"], start["started"], start["host"])
        # It may be on the list with a path where it no longer is: its folder was moved.
        if entry.uid not in known or not Path(known[entry.uid].journal).exists():
            found.append((start["t"], entry))
    for _, entry in sorted(found, key=lambda x: x[0]):  # a sweep before its jobs
        enter(entry)


def _log_to_file() -> None:
    """Write the log messages of MLflow and its libraries to a file, not to the terminal."""
    handler = logging.FileHandler(explr_home() / LOG_FILE)
    handler.setFormatter(logging.Formatter("[%(asctime)s][sync][%(levelname)s] %(message)s"))
    logging.getLogger().addHandler(handler)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
