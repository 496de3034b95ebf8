"""A live view below a notebook cell."""

from __future__ import annotations

import logging
import threading
from importlib import import_module
from io import StringIO
from typing import Any

PERIOD_S = 0.5
"""Seconds between two drawings."""

WIDTH = 100
"""Columns."""


class NotebookScreen:
    """Draws in a thread until it is closed; the last drawing stays.

    Args:
        view: any object that rich can draw.
        loggers: names of loggers whose handlers show only warnings and errors in the meantime.
    """

    def __init__(self, view: Any, loggers: tuple[str, ...] = ()) -> None:
        self._view = view
        self._handlers = [h for name in loggers for h in logging.getLogger(name).handlers]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="explr-screen", daemon=True)

    def __enter__(self) -> NotebookScreen:
        jupyter: Any = import_module("IPython.display")
        self._html = jupyter.HTML
        self._display = jupyter.display(self._html(html_of(self._view)), display_id=True)
        for handler in self._handlers:
            handler.addFilter(_matters)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        for handler in self._handlers:
            handler.removeFilter(_matters)

    def _draw(self) -> None:
        while not self._done.wait(PERIOD_S):
            self._update()
        self._update()

    def _update(self) -> None:
        self._display.update(self._html(html_of(self._view)))


def html_of(view: Any) -> str:
    """Render an object with rich as HTML."""
    from rich.console import Console

    console = Console(file=StringIO(), width=WIDTH, record=True, force_jupyter=False)
    console.print(view)
    form = '<pre style="line-height:1.3;white-space:pre;overflow-x:auto">{code}</pre>'
    return console.export_html(code_format=form, inline_styles=True)


def _matters(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
