"""`explr sync`: uploads to MLflow what companions could not upload."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from explr.core.errors import ExplrError, FileError, TrackingError
from explr.core.ownership import refuse_foreign
from explr.core.secrets.shapes import without_user_info
from explr.tracking.destination import environment_uri, with_user_info
from explr.tracking.home import explr_home, is_local_store, store_file
from explr.tracking.journal.items import Items, read_items
from explr.tracking.journal.journal import first_event, uid_of
from explr.tracking.journal.lines import is_over, read_events
from explr.tracking.journal.pending import Entry, Liveness, enter, entries, is_of_this_host
from explr.tracking.journal.position import Position, read_position
from explr.tracking.shipping.awaiting import upload_lock
from explr.tracking.shipping.companion import follow
from explr.tracking.shipping.run_ids import fill_in
from explr.tracking.shipping.sink import Sink, SinkUnavailable
from explr.tracking.shipping.sinks import sink_for
from explr.tracking.shipping.start import LOG_FILE, Order
from explr.tracking.shipping.verification import Tally, known_refusals, lacking, put_back
from explr.utils.lock import lock_file


def sync_journals(folder: Path | None, trust: bool = False) -> int:
    """Upload pending runs, and print those that are still pending.

    Args:
        folder: upload only the runs in this folder; None takes every run of this user.
        trust: upload also the runs in it that other users have written.

    Returns:
        The exit code: 1 if a run that has ended could not be uploaded, or lacks an artifact.

    Raises:
        TrackingError: EXPLR_HOME cannot be used.
        UsageError: a run in `folder` belongs to another user.
    """
    if folder is not None and not trust:
        for journal in sorted(folder.resolve().rglob("journal-*.jsonl")):
            refuse_foreign(journal, "the files that it names would be uploaded")
    code = _upload(folder)
    if folder is not None:
        try:
            fill_in(folder)
        except (FileError, OSError) as error:
            click.echo(f"the ids of runs are not in the results of the sweep: {error}", err=True)
            return 1
    return code


def verify_journals(folder: Path) -> int:
    """Compare the journals in a folder with what MLflow holds, and print a line for each run.

    Runs of which something is missing are put on the list of those to upload.

    Args:
        folder: folder of a run, or of a sweep.

    Returns:
        The exit code: 1 if something is missing, or could not be compared.

    Raises:
        TrackingError: EXPLR_HOME cannot be used.
    """
    runs: dict[str, list[Path]] = {}
    begun = [(first_event(path), path) for path in folder.resolve().rglob("journal-*.jsonl")]
    damaged = [path for start, path in begun if start is None and path.stat().st_size]
    for start, path in sorted(((s, p) for s, p in begun if s), key=lambda found: found[0]["t"]):
        runs.setdefault(start.get("run") or uid_of(path), []).append(path)
    for path in damaged:
        click.echo(f"{path}: its beginning is damaged: it cannot be compared", err=True)
    if not begun:
        click.echo(f"there is no run in {folder}", err=True)
    _log_to_file()
    stores = Stores()
    whole = [_compare(stores, journals) for journals in runs.values()]
    return 0 if begun and not damaged and all(whole) else 1


class Stores:
    """The sinks of a command, each connected once."""

    def __init__(self) -> None:
        self._sinks: dict[str, Sink | ExplrError] = {}

    def sink(self, position: Position) -> Sink:
        """The sink that a run was uploaded to.

        Raises:
            SinkUnavailable, TrackingError: it cannot be used.
        """
        uri = position.uri
        if not uri or (is_local_store(uri) and not store_file(uri).exists()):
            uri = environment_uri()  # uploaded by an older version, or on another machine
        if uri not in self._sinks:
            self._sinks[uri] = _connected(with_user_info(uri))
        sink = self._sinks[uri]
        if isinstance(sink, ExplrError):
            raise sink
        return sink


def _connected(uri: str) -> Sink | ExplrError:
    """A sink, or why it cannot be used."""
    sink = sink_for(uri)
    if reason := sink.look():
        return SinkUnavailable(reason)
    try:
        sink.connect(only_uploads=True)
    except (SinkUnavailable, TrackingError) as error:
        return error
    return sink


def _compare(stores: Stores, journals: Sequence[Path]) -> bool:
    """Compare a run with what MLflow holds of it, and print the result; whether it is whole."""
    folder = _shown(journals[-1].parent)
    command = shlex.join(["explr", "sync", folder])
    positions = [read_position(journal) for journal in journals]
    if not all(position.done for position in positions):
        click.echo(f"{folder}: it is not uploaded yet: `{command}` does it", err=True)
        return False
    tally = Tally()
    for journal, position in zip(journals, positions, strict=True):
        tally.add_all(journal, position)
    items = [read_items(journal) or Items() for journal in journals]
    wanted = tally.wanted(journals[-1].parent, set().union(*(each.set_aside for each in items)))
    what = (
        f"{_count(sum(wanted.rows.values()), 'row')}, {_count(len(wanted.params), 'parameter')} "
        f"and {_count(len(wanted.artifacts), 'artifact')}"
    )
    try:
        sink = stores.sink(positions[-1])
        held = sink.contents(positions[-1].run_id, wanted)
    except (SinkUnavailable, TrackingError) as error:
        click.echo(f"{folder}: {error}", err=True)
        return False
    missing = lacking(wanted, held, known_refusals(journals))
    if missing:
        remedy = f"`{command}` uploads it"
        try:
            for journal in journals:
                put_back(journal, sink.uri)
        except OSError as error:
            remedy = f"it cannot be uploaded again, {error.strerror}"
        click.echo(f"{folder}: of {what} MLflow lacks {missing}: {remedy}", err=True)
        return False
    click.echo(f"{folder}: MLflow has all of its {what}")
    return True


def _shown(path: Path) -> str:
    """A path, relative to the working directory if it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


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
    click.echo(f"Uploading {_count(len(before), 'run')} …")
    _log_to_file()
    uris = dict.fromkeys(entry.uri for entry in before)
    for uri in uris:
        if reason := sink_for(with_user_info(uri)).look():
            click.echo(reason, err=True)  # now, since MLflow takes seconds, and its time-outs more
    with _progress(before) as told:
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
            click.echo(f"{_shown(journal)}: {error or _reason(entry)}", err=True)
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
    click.echo(f"{_count(uploaded, 'run')} uploaded, {len(left)} left.")
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
        is_read = position.offset >= size or is_over(journal, position.offset)
        if position.done and is_read and is_whole:
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


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
