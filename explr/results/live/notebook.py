"""A live view below a notebook cell."""

from __future__ import annotations

import logging
import threading
from importlib import import_module
from io import StringIO
from typing import Any

from explr.results.live.curves import Curves

PERIOD_S = 0.5
"""Seconds between two drawings."""

WIDTH = 100
"""Columns."""


class NotebookScreen:
    """Draws in a thread until it is closed; the last drawing stays.

    Args:
        view: any object that rich can draw.
        loggers: names of loggers whose handlers show only warnings and errors in the meantime.
        curves: drawn below the view.
    """

    def __init__(
        self, view: Any, loggers: tuple[str, ...] = (), curves: Curves | None = None
    ) -> None:
        self._view, self._curves = view, curves
        self._handlers = [h for name in loggers for h in logging.getLogger(name).handlers]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="explr-screen", daemon=True)

    def __enter__(self) -> NotebookScreen:
        jupyter: Any = import_module("IPython.display")
        self._html = jupyter.HTML
        self._display = jupyter.display(self._html(self._content()), display_id=True)
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
        self._display.update(self._html(self._content()))

    def _content(self) -> str:
        return html_of(self._view) + (self._curves.svg() if self._curves is not None else "")


def html_of(view: Any) -> str:
    """Render an object with rich as HTML."""
    from rich.console import Console

    console = Console(file=StringIO(), width=WIDTH, record=True, force_jupyter=False)
    console.print(view)
    form = '<pre style="line-height:1.3;white-space:pre;overflow-x:auto">{code}</pre>'
    return console.export_html(code_format=form, inline_styles=True)


def _matters(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
