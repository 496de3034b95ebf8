"""A live region at the bottom of a terminal; all other output appears above it.

A thread draws a few times a second. Other output goes to a queue in the meantime, so that printing
never waits.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TextIO, cast

from explr.results.table import hanging
from explr.utils.console import is_terminal

PERIOD_S = 0.25
"""Seconds between two drawings."""


class Screen:
    """Draws until it is closed, and then removes its drawing.

    Standard output and error appear above the region, and so do the records of handlers of the root
    logger and of `loggers` that write there. `breakpoint()` closes the region, because a debugger
    needs the terminal.

    Args:
        view: any object that rich can draw.
        loggers: names of loggers with handlers of their own.
        hidden: names of loggers whose records are not shown, because the region shows the same.
    """

    def __init__(self, view: Any, loggers: Iterable[str] = (), hidden: Iterable[str] = ()) -> None:
        self._view = view
        self._loggers = (None, *loggers)
        self._hidden = frozenset(hidden)
        self._queue: deque[str] = deque()
        self._unfinished = ""
        self._done = threading.Event()
        self._undo: list[Callable[[], None]] = []
        self.closed = True

    def __enter__(self) -> Screen:
        terminal = sys.stdout
        self._terminal = terminal
        for name in ("stdout", "stderr"):
            if is_terminal(
                stream := getattr(sys, name)
            ):  # otherwise it goes to a file, which stays so
                setattr(sys, name, cast(TextIO, _Above(stream, self)))
                self._undo.append(partial(setattr, sys, name, stream))
        for handler in self._handlers():
            self._take_over(handler)
        before, sys.breakpointhook = sys.breakpointhook, self._debug
        self._undo.append(partial(setattr, sys, "breakpointhook", before))
        _open.add(self)
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop drawing, print the rest of the queue, and restore streams and handlers."""
        if self._done.is_set():
            return
        try:
            self.stop()
        finally:
            while self._undo:
                self._undo.pop()()
            _open.discard(self)
        self._flush()  # output of other threads in the meantime

    def start(self) -> None:
        """Draw."""
        self.closed = False
        self._done.clear()
        self._thread = threading.Thread(target=self._draw, name="explr-screen", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove the drawing and end its thread, until `start`."""
        self._done.set()
        self._thread.join()

    def write(self, text: str, stream: TextIO) -> int:
        """Print a text above the region."""
        if self.closed:
            return stream.write(text)
        self._queue.append(text)
        return len(text)

    def abandon(self) -> None:
        """Print directly from now on: a forked process has no drawing thread."""
        self.closed = True
        self._queue.clear()

    def _handlers(self) -> set[logging.StreamHandler[Any]]:
        found = {h for name in self._loggers for h in logging.getLogger(name).handlers}
        return {h for h in found if isinstance(h, logging.StreamHandler)}

    def _take_over(self, handler: logging.StreamHandler[Any]) -> None:
        stream = handler.stream
        if isinstance(handler, logging.FileHandler) or not is_terminal(stream):
            return
        if not isinstance(stream, _Above):
            handler.setStream(cast(TextIO, _Above(stream, self)))
            self._undo.append(partial(handler.setStream, stream))
        before = handler.formatter
        handler.setFormatter(WrappedFormatter(before or logging.Formatter()))
        self._undo.append(partial(handler.setFormatter, before))
        handler.addFilter(self._is_news)
        self._undo.append(partial(handler.removeFilter, self._is_news))

    def _is_news(self, record: logging.LogRecord) -> bool:
        return record.name not in self._hidden

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._terminal)
        try:
            with Live(
                console=console,
                get_renderable=self._region,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as live:
                while not self._done.wait(PERIOD_S):
                    self._refresh(console, live)
                self._unfinished = self._print(console)
        finally:
            self.closed = True
            self._queue.appendleft(self._unfinished)
            self._unfinished = ""
            self._flush()

    def _flush(self) -> None:
        """Print the rest of the queue unchanged."""
        while self._queue:
            self._terminal.write(self._queue.popleft())
        self._terminal.flush()

    def _refresh(self, console: Any, live: Any) -> None:
        unfinished = self._print(console)
        self._unfinished = unfinished
        live.refresh()

    def _print(self, console: Any) -> str:
        """Print the complete lines of the queue; return the incomplete last line."""
        from rich.text import Text

        text = self._unfinished
        while self._queue:
            text += self._queue.popleft()
        whole, end, unfinished = text.rpartition("\n")
        if end:
            lines = "\n".join(_overwritten(line) for line in whole.split("\n"))
            console.print(Text.from_ansi(lines), soft_wrap=True, highlight=False)
        return _overwritten(unfinished)

    def _region(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        view = "" if self._done.is_set() else self._view
        return Group(Text.from_ansi(self._unfinished), view) if self._unfinished else view

    def _debug(self, *args: Any, **kwargs: Any) -> Any:
        self.close()
        if os.environ.get("PYTHONBREAKPOINT"):
            return sys.breakpointhook(*args, **kwargs)
        import pdb

        caller: FrameType | None = sys._getframe().f_back
        pdb.Pdb().set_trace(caller)
        return None


class WrappedFormatter(logging.Formatter):
    """Breaks explr's own lines between words, where the terminal ends; those of others stay.

    Args:
        inner: formats the records.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        text = self._inner.format(record)
        return hanging(text) if record.name.partition(".")[0] == "explr" else text


class _Above:
    """A standard stream whose output appears above a region."""

    def __init__(self, stream: TextIO, screen: Screen) -> None:
        self._stream = stream
        self._screen = screen

    def write(self, text: str) -> int:
        return self._screen.write(text, self._stream)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        if self._screen.closed:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def is_taken() -> bool:
    """Whether a region is drawn already; a terminal has room for one."""
    return any(not screen.closed for screen in _open)


@contextmanager
def not_drawing() -> Iterator[None]:
    """Have no region, and no thread that draws one, within the block."""
    stopped = [screen for screen in _open if not screen.closed]
    for screen in stopped:
        screen.stop()
    try:
        yield
    finally:
        for screen in stopped:
            screen.start()


def _overwritten(line: str) -> str:
    """The visible text of a line with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


_open: weakref.WeakSet[Screen] = weakref.WeakSet()


def _forget_in_child() -> None:
    for screen in list(_open):
        screen.abandon()


os.register_at_fork(after_in_child=_forget_in_child)
