"""Writes the report of a sweep as a page and as a picture.

Charts take some seconds to draw, of which most is importing. The end of a sweep does not wait for
them: it writes the page without charts, and `python -m explr.results.report.write FOLDER` draws
them in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from explr.core.errors import UsageError
from explr.core.folders import REPORT, replace_file
from explr.results.report.page import render
from explr.results.sweep import read_sweep
from explr.tracking.home import autostart_allowed
from explr.utils.priority import LOW, lower_priority
from explr.utils.processes import python_path

if TYPE_CHECKING:
    from optuna import Study


def write_report(
    folder: Path, out: Path | None = None, study: Study | None = None, charts: bool = True
) -> Path:
    """Write the report of a sweep.

    Args:
        folder: folder of the sweep, which another process may be running.
        out: file to write; None writes `report.html` in the folder.
        study: the study of the sweep; None reads it from its storage.
        charts: draw its charts.

    Returns:
        The file.

    Raises:
        UsageError: there is no study, or the file cannot be written.
    """
    page = render(read_sweep(folder, study), charts)
    out = out or folder / REPORT
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, page.encode(errors="replace"), private=False)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from None
    return out


def draw_charts_later(folder: Path) -> None:
    """Start a process that writes the report with its charts, unless none may be started.

    Nobody waits for it, and if it fails, the page without charts says how to draw them.

    Args:
        folder: folder of the sweep.
    """
    if not autostart_allowed(True):
        return
    environment = {**os.environ, "PYTHONPATH": python_path()}
    environment.pop("PYTHONWARNINGS", None)  # meant for the training
    command = [sys.executable, "-P", "-m", "explr.results.report.write", str(folder.absolute())]
    with suppress(OSError):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )
        process.returncode = 0  # else Popen warns that it still runs


def show_report(folder: Path, out: Path | None, png: Path | None) -> None:
    """Write the report of a sweep, and print its path.

    Args:
        folder: folder of the sweep.
        out: file to write; None writes `report.html` in the folder.
        png: file for a picture of its charts; None writes none.

    Raises:
        UsageError: there is no study, or a file cannot be written.
    """
    page = write_report(folder, out)
    click.echo(f"report: {page}")
    if png is not None:
        from explr.results.report.picture import write_picture

        write_picture(read_sweep(folder), png)
        click.echo(f"picture: {png}")


if __name__ == "__main__":
    lower_priority(os.getpid(), LOW)
    write_report(Path(sys.argv[1]))
